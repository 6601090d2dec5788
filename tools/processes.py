"""Processes that end with whoever started them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType

import psutil

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
PATIENCE = 10.0


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Within it, in the main thread, SIGTERM and SIGHUP leave through every `finally`."""

    def leave(number: int, _: FrameType | None) -> None:
        for later in SIGNALS:  # a second one must not interrupt the cleaning up
            signal.signal(later, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(process: subprocess.Popen) -> None:
    """End a process and all that it started: asked first, killed after `PATIENCE` seconds."""
    try:
        tree = [psutil.Process(process.pid)]
        tree += tree[0].children(recursive=True)
    except psutil.NoSuchProcess:
        tree = []
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    for left in tree:  # a kernel has a session of its own and ignores what its parent was asked
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()
    process.wait()
