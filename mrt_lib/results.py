"""Measured numbers and where they came from."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mrt_lib.environment import git_commit, versions
from mrt_lib.stats import Interval

SUMMARY = Path("data/results/summary.json")


def provenance() -> dict[str, Any]:
    """Date, commit, package versions and device of this moment, for the head of a result file."""
    return {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **versions()}


def sha256(path: str | Path) -> str:
    """Hex digest of a file; FileNotFoundError if there is none."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


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
