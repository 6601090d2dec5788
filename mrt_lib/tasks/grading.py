"""math-verify behind a deadline: thread-safe, and whatever could not be graded is on record."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from dataclasses import dataclass
from pathlib import Path

from mrt_lib.tasks.base import require

WORKER = Path(__file__).with_name("grading_worker.py")
START_SECONDS = 900.0
# A busy machine is slow, not hung: the deadline counts CPU time where the system can, and the clock on the
# wall only ends what waits this many times as long.
PATIENCE = 60.0 if hasattr(signal, "setitimer") else 1.0
LONGEST_ANSWER = 1000


@dataclass(frozen=True)
class Ungraded:
    """An answer that counts as wrong because it could not be graded, and why."""

    gold: str
    answer: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """`gold_read`: the gold is mathematics; `right`: the answer equals it; `reason`: why ungraded, or ""."""

    gold_read: bool = False
    right: bool = False
    reason: str = ""


class Grader:
    """Compares answers with gold answers in one worker process.

    A process, because nothing else can stop sympy: math-verify's own timeouts need SIGALRM in the main
    thread, raise in any other, and log a timeout as a plain "wrong". Here a comparison past the deadline
    ends the worker, is wrong, and is added to `ungraded`, which lists every answer that could not be graded,
    in order. Threads may share a grader; they take turns.
    """

    def __init__(self, deadline: float = 10.0) -> None:
        """`deadline`: seconds of CPU time for one comparison. ImportError without math-verify."""
        if not 0 < deadline < math.inf:
            raise ValueError(f"deadline must be a positive number of seconds, got {deadline}")
        require("math_verify", "math")
        self.deadline = deadline
        self.ungraded: list[Ungraded] = []
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[str] | None = None
        self._owner = 0

    def compare(self, gold: str, answer: str) -> Verdict:
        """Whether `answer` equals `gold`; both as in a `\\boxed{}`. RuntimeError if no worker starts."""
        if max(len(gold), len(answer)) > LONGEST_ANSWER:
            verdict = Verdict(reason=f"longer than {LONGEST_ANSWER} characters")
        else:
            with self._lock:
                verdict = self._compare(gold, answer)
        if verdict.reason:
            self.ungraded.append(Ungraded(gold, answer, verdict.reason))
            listed = "answers that cannot be graded count as wrong and are listed in `ungraded`"
            warnings.warn(f"{listed}: {verdict.reason}", RuntimeWarning, stacklevel=3)
        return verdict

    def _compare(self, gold: str, answer: str) -> Verdict:
        request = json.dumps({"gold": gold, "answer": answer, "seconds": self.deadline}) + "\n"
        for _ in range(2):  # a worker may have died since the last comparison
            if self._worker is None or self._worker.poll() is not None or self._owner != os.getpid():
                self._worker, self._owner = _start(), os.getpid()  # also after a fork
                weakref.finalize(self, _stop, self._worker)
            worker = self._worker
            line, late = _ask(worker, request, self.deadline * PATIENCE)
            if line:
                return Verdict(**json.loads(line))
            _stop(worker)
            if late or worker.returncode == -getattr(signal, "SIGPROF", 1):
                return Verdict(reason=f"no verdict within {self.deadline:g} s")
        return Verdict(reason="the grading process died")


def _start() -> subprocess.Popen[str]:
    # -P: the folder of the script holds a math.py, which must not stand in for Python's own.
    worker = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for the caller
    )
    if not _ask(worker, "", START_SECONDS)[0]:
        _stop(worker)
        raise RuntimeError(f"the grading process does not start; `{sys.executable} -P {WORKER}` says why")
    return worker


def _ask(worker: subprocess.Popen[str], line: str, seconds: float) -> tuple[str, bool]:
    """The reply, or "" from a worker that died; and whether it died because `seconds` had passed."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        worker.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        worker.stdin.write(line)
        worker.stdin.flush()
        return worker.stdout.readline(), late.is_set()
    except OSError:
        return "", late.is_set()
    except BaseException:  # an interrupt: the reply still to come would answer the next request
        worker.kill()
        worker.wait()
        raise
    finally:
        timer.cancel()


def _stop(worker: subprocess.Popen[str]) -> None:
    if worker.poll() is None:
        worker.kill()
    worker.wait()
    for stream in filter(None, (worker.stdout, worker.stdin)):
        with contextlib.suppress(OSError):  # unsent bytes for a worker that is gone
            stream.close()
