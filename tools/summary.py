"""The measured numbers, each with its interval and its command: data/results/summary.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrt_lib.files import write_json
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import git_commit

SUMMARY = Path("data/results/summary.json")


def record(name: str, interval: Interval, unit: str, command: str, path: str | Path = SUMMARY) -> None:
    """Put one measured number into the summary, replacing an older one of that name."""
    summary = read_summary(path)
    summary[name] = {
        "name": name,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "unit": unit,
        "n": interval.n,
        "command": command,
        "commit": git_commit()[:12],
    }
    write_json(path, [summary[key] for key in sorted(summary)])


def read_summary(path: str | Path = SUMMARY) -> dict[str, dict[str, Any]]:
    """The summary by name; empty if nothing was measured yet."""
    path = Path(path)
    return {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
