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


def count(root: Path = ROOT) -> tuple[int, int]:
    """Lines and files of the library."""
    files = list((root / "mrt_lib").rglob("*.py"))
    return sum(len(file.read_text().splitlines()) for file in files), len(files)


def clock(root: Path = ROOT) -> tuple[float, float]:
    """Minutes of `make test`, and of it with `make test-vllm`, in a clean clone; an error if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(root), folder], check=True)
        started = time.perf_counter()
        subprocess.run(["make", "test"], cwd=folder, check=True)
        tested = time.perf_counter()
        subprocess.run(["make", "test-vllm"], cwd=folder, check=True)
        return (tested - started) / 60, (time.perf_counter() - started) / 60


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
        test, whole = clock()
        note("test_minutes", test, "minutes", f"{COMMAND} --clock")
        note("ci_minutes", whole, "minutes", f"{COMMAND} --clock")
        print(f"make test {test:.1f} minutes, with make test-vllm {whole:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
