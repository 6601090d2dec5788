"""The measured numbers, each with its interval and its command: data/results/summary.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from mrt_lib.files import write_json
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import git_commit

SUMMARY = Path("data/results/summary.json")


def record(name: str, interval: Interval, unit: str, command: str, path: str | Path = SUMMARY) -> None:
    """Put one measured number into the summary, replacing an older one of that name."""
    row = {
        "name": name,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "unit": unit,
        "n": interval.n,
        "command": command,
        "commit": git_commit()[:12],
    }

    def entered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted([*(old for old in rows if old["name"] != name), row], key=lambda row: row["name"])

    update_json(path, entered, [])


def update_json(path: str | Path, change: Callable[[Any], Any], empty: Any) -> None:
    """Write `change` of what a JSON file holds, or of `empty`; whoever else does so waits meanwhile."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        write_json(path, change(json.loads(path.read_text()) if path.exists() else empty))


def read_summary(path: str | Path = SUMMARY) -> dict[str, dict[str, Any]]:
    """The summary by name; empty if nothing was measured yet."""
    path = Path(path)
    return {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
