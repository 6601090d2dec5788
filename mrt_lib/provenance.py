"""Where a result came from: versions, device, commit."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COMMIT_FILE = "COMMIT"  # in a copy without git, written by whoever made it


def provenance() -> dict[str, Any]:
    """Date, versions, device and git commit of this moment: what a result must be read with."""
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    packages = {n: installed(n) or "not installed" for n in ("torch", "transformers", "peft", "numpy")}
    python = {"date": date, "python": platform.python_version()}
    return {**python, **packages, "device": device_name(), "commit": git_commit()}


def installed(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def device_name() -> str:
    """Name of the first GPU, or the CPU with its number of cores."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"


def git_commit(root: Path = ROOT) -> str:
    """The commit checked out at `root`, a clone or a worktree, or a copy's COMMIT; else "unknown"."""
    git = root / ".git"
    try:
        own = root / git.read_text().strip().removeprefix("gitdir: ") if git.is_file() else git
        head = (own / "HEAD").read_text().strip()
        git = own / (own / "commondir").read_text().strip() if git.is_file() else git
        if (reference := head.removeprefix("ref: ")) == head:
            return head
        if (git / reference).is_file():
            return (git / reference).read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), "unknown")
    except OSError:
        copied = root / COMMIT_FILE
        return copied.read_text().strip() if copied.is_file() else "unknown"
