"""Measured numbers and where they came from."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from mrt_lib.stats import Interval

SUMMARY = Path("data/results/summary.json")
PACKAGES = ("torch", "transformers", "peft", "numpy", "vllm", "trl")


def provenance() -> dict[str, Any]:
    """Date, commit, versions and device of this moment, for the head of a result file."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {p: v for p in PACKAGES if (v := _version(p))},
        "device": device,
    }


def commit() -> str:
    """The checked-out commit, with "+" if tracked files differ from it; "unknown" outside git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


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
        "commit": commit(),
    }
    write_json(path, [summary[key] for key in sorted(summary)])


def read_summary(path: str | Path = SUMMARY) -> dict[str, dict[str, Any]]:
    """The summary by name; empty if nothing was measured yet."""
    path = Path(path)
    return {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}


def _git(*arguments: str) -> str:
    done = subprocess.run(("git", *arguments), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
