"""Keep the runs of a plan going, one thread each, until none is missing."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from experiments.records import SCRATCH
from mrt_lib.files import alone
from tools.processes import end, orderly

WAIT = 60.0  # seconds between two looks at what another process does


def keep_going(jobs: int, plan: Callable[[], Sequence[Any]], module: str) -> None:
    """Keep `jobs` runs of a plan going, one thread each, until none is missing.

    They end with this process. A run that another process does is left to it and waited for.

    Args:
        jobs: runs at a time.
        plan: every run that can be started now or is done, most needed first; asked again after each run.
        module: `python -m MODULE NAME` does the run of that name.
    """
    working: dict[Any, subprocess.Popen] = {}
    try:
        with orderly():
            _keep_going(jobs, plan, module, working)
    finally:
        for process in working.values():
            end(process)


def _keep_going(
    jobs: int, plan: Callable[[], Sequence[Any]], module: str, working: dict[Any, subprocess.Popen]
) -> None:
    seconds: list[float] = []
    started: dict[Any, float] = {}
    failed: set[Any] = set()
    while True:
        for run in [r for r, process in working.items() if process.poll() is not None]:
            code = working.pop(run).returncode
            seconds.append(time.time() - started[run])
            if code:
                failed.add(run)
            missing = [r for r in plan() if not r.done() and r not in failed]
            hours = len(missing) * sum(seconds) / len(seconds) / jobs / 3600
            state = f"failed, see {SCRATCH / run.name}.log" if code else "done"
            print(
                f"{time.strftime('%H:%M:%S')} {run.name}: {state} in {seconds[-1]:.0f} s; "
                f"{len(missing)} known runs left, about {hours:.1f} h",
                flush=True,
            )
        ready = [r for r in plan() if not r.done() and r not in working and r not in failed]
        if not ready and not working:
            break
        free = [r for r in ready if not in_use(SCRATCH / r.name)][: jobs - len(working)]
        for run in free:
            started[run], working[run] = time.time(), start(run.name, module)
        while working and all(process.poll() is None for process in working.values()):
            time.sleep(1)
        if ready and not working:
            print(f"waiting for another process: {', '.join(r.name for r in ready)}", flush=True)
            time.sleep(WAIT)
    if failed:
        sys.exit(f"{len(failed)} runs failed: {', '.join(sorted(r.name for r in failed))}")


def in_use(folder: Path) -> bool:
    """Another process has the folder `alone`."""
    if not folder.is_dir():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def start(name: str, module: str) -> subprocess.Popen:
    """A process of its own for one run, its output in a log file."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, name]
    with (SCRATCH / f"{name}.log").open("a") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)


def command_line(
    module: str,
    description: str,
    plan: Callable[[], Sequence[Any]],
    execute: Callable[[Any], None],
    *afterwards: Callable[[], None],
) -> None:
    """`python -m MODULE [--jobs N]`: every run, then `afterwards`; with the name of a run that run alone."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("run", nargs="?", help="name of one run to do alone")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    if options.run:
        run = next(run for run in plan() if run.name == options.run)
        with orderly(), alone(SCRATCH / run.name):
            execute(run)
        return
    keep_going(options.jobs, plan, module)
    for write in afterwards:
        write()
