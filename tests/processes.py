"""What tests run in processes of their own, to kill them, to fill their disk or to have two at once."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from mrt_lib.files import alone
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import ROOT
from tools.summary import record

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def small_files(most):
    """Writing beyond `most` bytes fails like on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def start(*arguments, **options):
    """`python ARGUMENTS` from the project's folder."""
    import os

    environment = os.environ | ENVIRONMENT
    return subprocess.Popen([sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, **options)


def hold(folder):
    """Have a folder alone until killed."""
    with alone(folder):
        (Path(folder) / ".ready").touch()
        time.sleep(600)


def record_many(path, name, count):
    """Record numbers one after the other."""
    for i in range(int(count)):
        record(f"{name}.{i}", Interval(1.0, 0.5, 1.5, 3), "share", "none", path)


def wait_for(condition, seconds=120):
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


if __name__ == "__main__":
    {"hold": hold, "record": record_many}[sys.argv[1]](*sys.argv[2:])
