"""Stopping between two steps, not inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C (or a notebook's stop button) back until the yielded function is called.

    That function raises the KeyboardInterrupt that came meanwhile. A second one is raised at once.
    Outside the main thread, where Python delivers no signals, nothing is held back.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def hold(number: int, _frame: object) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, previous)

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
