"""The process in which math-verify runs: one JSON request per input line, one JSON reply per line.

`mrt_lib.tasks.grading` starts it as a script, so that it imports math-verify and nothing else of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Answer requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # a library's print must not look like a reply
    with contextlib.suppress(ImportError, ValueError, OSError):  # numbers too long fail, nothing fills up
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
    import math_verify  # noqa: F401 (so that the first request does not pay for the import)

    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        set_alarm(request["seconds"])
        try:
            reply = grade(request["gold"], request["answer"])
        except Exception as error:
            reply = {"reason": f"{type(error).__name__}: {error}"[:200]}
        set_alarm(0)
        print(json.dumps(reply), file=replies, flush=True)


def grade(gold: str, answer: str) -> dict[str, Any]:
    """Whether the gold can be read, and whether the answer equals it.

    The parent's deadline stands in for math-verify's own timeouts (see `Grader`). The extraction of plain
    expressions is left out because it ends in sympy's `parse_expr`, which evaluates text.
    """
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list[Any]:
        boxed = f"\\boxed{{{text}}}"
        return parse(boxed, [LatexExtractionConfig()], parsing_timeout=None, raise_on_error=True)

    expected = read(gold)
    if all(isinstance(item, str) for item in expected):
        return {"gold_read": False, "right": False}
    right = verify(expected, read(answer), timeout_seconds=None, raise_on_error=True)
    return {"gold_read": True, "right": bool(right)}


def set_alarm(seconds: float) -> None:
    """End this process, even inside C code, after that much CPU time; 0 is never. Not on Windows."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
