"""How large the house is and how long its checks take: `python -m tools.house [--clock]` records `house.*`.

With --clock the commit that is checked out is cloned into an empty folder, and what .ci/run does there is
timed with its installations: about a quarter of an hour on two idle cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import ROOT
from tools.summary import record

COMMAND = "python -m tools.house"
# What .ci/run does, in parts: name to make target.
PARTS = {
    "install": "install",
    "checks": "test",
    "vllm_install": ".venv-vllm/.installed",
    "vllm_tests": "test-vllm",
}


def count(root: Path = ROOT) -> tuple[int, int]:
    """Lines and files of the library."""
    files = list((root / "mrt_lib").rglob("*.py"))
    return sum(len(file.read_text().splitlines()) for file in files), len(files)


def clock(root: Path = ROOT) -> dict[str, float]:
    """Minutes of each part of .ci/run in a clean clone, in order; an error if one fails."""
    minutes = {}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(root), folder], check=True)
        for name, target in PARTS.items():
            started = time.perf_counter()
            subprocess.run(["make", target], cwd=folder, check=True)
            minutes[name] = (time.perf_counter() - started) / 60
    return minutes


def note(name: str, value: float, unit: str, command: str) -> None:
    """One number that was counted or measured once: no interval."""
    record(f"house.{name}", Interval(value, value, value, 1), unit, command)


def main(arguments: list[str]) -> None:
    """Count, and time if asked to."""
    lines, files = count()
    note("lib_lines", lines, "lines", COMMAND)
    note("lib_files", files, "files", COMMAND)
    print(f"mrt_lib: {lines} lines in {files} files")
    if "--clock" in arguments:
        parts = clock()
        totals = {"test": parts["install"] + parts["checks"], "ci": sum(parts.values())}
        for name, minutes in {**parts, **totals}.items():
            note(f"{name}_minutes", minutes, "minutes", f"{COMMAND} --clock")
            print(f"{name}: {minutes:.1f} minutes")


if __name__ == "__main__":
    main(sys.argv[1:])
