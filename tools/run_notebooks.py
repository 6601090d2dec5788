"""Run the notebooks in order, keep their outputs, and say what they cost.

    python -m tools.run_notebooks                run all, write them back, build build/html
    python -m tools.run_notebooks --only 02      the same for some
    python -m tools.run_notebooks --check        run all, write nothing back

With MRT_TIER=smoke the notebooks take their small sizes (`tools.tier`), whose outputs are never kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from mrt_lib.files import alone, digest
from mrt_lib.provenance import ROOT, provenance
from tools import notebook_files, notebook_pages
from tools.processes import end, orderly
from tools.summary import update_json
from tools.tier import tier


@dataclass(frozen=True)
class Run:
    """One notebook executed.

    Attributes:
        name: file name.
        seconds: from start to end, the kernel's start included.
        memory_gb: largest memory of the kernel and its processes together, in GiB.
        error: None, or {"cell", "source", "error"}.
    """

    name: str
    seconds: float
    memory_gb: float
    error: dict[str, Any] | None


def run_notebook(source: Path, target: Path, timeout: int = 1800, solutions: bool = False) -> Run:
    """Execute `source` in its own process; `target` is written only if every cell ran.

    With `solutions`, those of its exercises run after its last cell.

    Raises:
        RuntimeError: the process itself failed, so that there is no report.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "tools.execute_notebook", str(source), str(target), str(report)]
        command += [str(timeout), "solutions" if solutions else ""]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
        try:
            peak = _watch(process)
        finally:
            end(process)
        if not report.is_file():
            raise RuntimeError(f"{source.name}: the runner ended with status {process.returncode}")
        result = json.loads(report.read_text())
    memory = max(peak, result["peak_bytes"]) / 2**30
    return Run(source.name, time.monotonic() - started, memory, result["error"])


def run_all(sources: Sequence[Path], results: Path, timeout: int, write_back: bool) -> list[Run]:
    """Run notebooks in order up to the first failure, with a line for each.

    With `write_back`, each notebook that ran replaces its source and is entered in `results`.
    """
    runs = []
    machine = machine_now()
    width = max(len(source.name) for source in sources)
    with tempfile.TemporaryDirectory() as folder:
        for i, source in enumerate(sources, start=1):
            print(f"[{i}/{len(sources)}] {source.name:{width}} running", flush=True)
            target = Path(folder) / source.name
            run = run_notebook(source, target, timeout)
            runs.append(run)
            if run.error:
                print_failure(run)
                break
            print(f"[{i}/{len(sources)}] {source.name:{width}} {_cost(run)}", flush=True)
            if write_back:
                keep(run, target, source, machine)
                record(run, results, machine, source.parent)
    return runs


def keep(run: Run, executed: Path, source: Path, machine: dict[str, Any]) -> None:
    """Replace the source by the executed notebook, with the measured row filled and its code marked."""
    notebook = notebook_files.read(executed)
    notebook_files.fill_measured(notebook, run.seconds / 60, run.memory_gb, machine["device"])
    notebook.metadata["executed"] = {"code": notebook_files.code_digest(notebook)}
    notebook_files.write(notebook, source)
    if (size := source.stat().st_size) > notebook_files.MAX_BYTES:
        print(f"    warning: {source.name} has {size / 1e6:.1f} MB; GitHub may not show it", flush=True)


def record(run: Run, results: Path, machine: dict[str, Any], folder: Path) -> None:
    """Enter one measurement, with its provenance, in a JSON file of the notebooks in `folder`."""
    minutes, memory = round(run.seconds / 60, 2), round(run.memory_gb, 2)
    row = {"minutes": minutes, "peak_memory_gb": memory, "provenance": machine}

    def entered(table: dict[str, Any]) -> dict[str, Any]:
        kept = {name: old for name, old in table.items() if (folder / name).is_file()}
        return dict(sorted((kept | {run.name: row}).items()))

    update_json(results, entered, {})


def machine_now() -> dict[str, Any]:
    """Date, commit, versions and device, with the processor count."""
    return {"cpu_count": os.cpu_count(), **provenance()}


def print_table(runs: Sequence[Run]) -> None:
    """Minutes and peak memory per notebook, and in all."""
    width = max(len(run.name) for run in runs)
    print(f"\n{'notebook':{width}}  minutes  peak memory")
    for run in runs:
        print(f"{run.name:{width}}  {run.seconds / 60:7.1f}  {run.memory_gb:8.1f} GB")
    total, largest = sum(run.seconds for run in runs) / 60, max(run.memory_gb for run in runs)
    print(f"{'all':{width}}  {total:7.1f}  {largest:8.1f} GB", flush=True)


def print_failure(run: Run) -> None:
    """Which cell failed, its source and the error."""
    error = run.error or {}
    source = "\n".join(f"    {line}" for line in error["source"].splitlines())
    print(f"\n{run.name}: cell {error['cell']} failed\n\n{source}\n\n{error['error']}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 if a notebook failed."""
    options = _parser().parse_args(arguments)
    if tier() != "full" and not options.check:
        print(f"outputs of MRT_TIER={tier()} are not kept: add --check, or unset it")
        return 1
    try:
        sources = notebook_files.find(options.notebooks, options.only)
    except FileNotFoundError as error:
        print(error)
        return 1
    # Two that write the same notebooks back would run each of them twice.
    keeping = alone(ROOT / "build" / "running" / digest(str(options.notebooks.resolve())))
    try:
        with orderly(), nullcontext() if options.check else keeping:
            runs = run_all(sources, options.results, options.timeout, write_back=not options.check)
    except BlockingIOError as error:
        print(f"these notebooks are being run already: {error}")
        return 1
    if any(run.error for run in runs):
        print(f"{runs[-1].name} failed and was left as it was; nothing after it ran", flush=True)
        return 1
    if not options.check:
        index = notebook_pages.build(notebook_files.find(options.notebooks), options.html)
        print(f"\npages: {index}")
    print_table(runs)
    return 0


def _watch(process: subprocess.Popen) -> int:
    """Wait for the process; the largest memory in bytes that its children had together."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory_of_children(process.pid))
        time.sleep(0.1)
    return peak


def _memory_of_children(pid: int) -> int:
    total = 0
    try:
        for child in psutil.Process(pid).children(recursive=True):
            total += child.memory_info().rss
    except psutil.Error:  # a process ended between the two calls
        pass
    return total


def _cost(run: Run) -> str:
    return f"{run.seconds / 60:.1f} min, {run.memory_gb:.1f} GB"


def _parser() -> argparse.ArgumentParser:
    results = ROOT / "data" / "results" / "notebooks.json"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="run_notebooks"
    )
    parser.add_argument("--check", action="store_true", help="run in a temporary folder, write nothing back")
    parser.add_argument("--only", nargs="+", default=(), metavar="NN", help="how the names start, like 02")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds allowed per cell")
    parser.add_argument("--notebooks", type=Path, default=notebook_files.NOTEBOOKS, help="folder to run")
    parser.add_argument("--results", type=Path, default=results, help="JSON file of measurements")
    parser.add_argument("--html", type=Path, default=ROOT / "build" / "html", help="folder of pages")
    return parser


if __name__ == "__main__":
    sys.exit(main())
