"""The process in which math-verify runs: one JSON request per input line, one JSON reply per line.

`mrt_lib.tasks.grading` starts it as a script, so that it imports math-verify and nothing else of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MOST_BYTES, MOST_KEPT_BYTES = 4 * 2**30, 2**30


def main() -> None:
    """Answer requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # a library's print must not look like a reply
    if resource:  # numbers too long fail, nothing fills up
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    guard()
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for served, line in enumerate(sys.stdin):
        request = json.loads(line)
        set_alarm(request["seconds"])
        try:
            reply = grade(request["gold"], request["answer"])
        except MemoryError:
            if served:
                return  # what earlier answers left may be in the way: a fresh process is asked again
            reply = {"reason": f"needs more than {MOST_BYTES >> 30} GiB of memory"}
        except Exception as error:
            reply = {"reason": f"{type(error).__name__}: {error}"[:200]}
        set_alarm(0)
        print(json.dumps(reply), file=replies, flush=True)
        if peak() > MOST_KEPT_BYTES:
            return


def grade(gold: str, answer: str) -> dict[str, Any]:
    """Whether the gold and the answer can be read, and whether they are equal.

    The parent's deadline stands in for math-verify's own timeouts (see `Grader`). Its extraction is left out:
    it takes a part for the whole, drops units that may be variables, and ends in sympy's `parse_expr`, which
    evaluates text.
    """
    from math_verify import verify

    expected, found = read(gold), read(answer)
    if expected is None or found is None:
        return {"gold_read": expected is not None, "answer_read": found is not None}
    right = verify(expected, found, timeout_seconds=None, raise_on_error=True)
    for text, other in ((gold, found), (answer, expected)):
        if right and re.fullmatch(r"-?[0-9]*\.[0-9]+", text) and getattr(other, "is_number", False):
            right = rounds(text, other)
    return {"gold_read": True, "answer_read": True, "right": bool(right)}


def read(text: str) -> Any:
    """sympy's object for LaTeX, or None if it is none."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from math_verify.grader import should_treat_as_complex

    normal = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
    try:
        return latex2sympy(text, is_real=not should_treat_as_complex(text), normalization_config=normal)
    except MemoryError:
        raise
    except Exception:
        return None


def guard() -> None:
    """Make math-verify's comparison of numbers relative, and let nothing in it swallow a lack of memory.

    It rounds to six decimals and drops what is below 1e-15, so that all small numbers are equal.
    """
    from math_verify import grader

    numeric, symbolic = grader.sympy_numeric_eq, grader.sympy_symbolic_eq
    grader.sympy_numeric_eq = lambda a, b, *digits: numeric(a, b, *digits) and is_close(a, b)
    grader.sympy_symbolic_eq = lambda a, b: symbolic(a, b) and is_close(a, b)
    kinds = [kind for kind in Exception.__subclasses__() if kind is not MemoryError]
    grader.Exception = tuple(kinds)  # type: ignore[attr-defined]


def is_close(a: Any, b: Any) -> bool:
    """Whether two expressions that are equal to six decimals are so to 20 digits, or one rounds the other."""
    from sympy import Float, MatrixBase, Rational, simplify

    if isinstance(a, MatrixBase):
        return all(is_close(x, y) for x, y in zip(a, b, strict=True))
    x, y = (e.xreplace({f: Rational(str(f)) for f in e.atoms(Float)}).doit() for e in (a, b))
    difference = (x - y).expand()
    if difference.free_symbols:
        return simplify(difference) == 0
    size = abs(x.evalf(30)) if x.is_number else Rational(1, 10**40)
    if abs(difference.evalf(30)) <= size * Rational(1, 10**20):
        return True
    return (isinstance(a, Float) and rounds(str(a).rstrip("0"), y)) or (
        isinstance(b, Float) and rounds(str(b).rstrip("0"), x)
    )


def rounds(decimal: str, exact: Any) -> bool:
    """Whether a decimal is the number, or at least six digits of an irrational one, rounded or cut off."""
    from sympy import Rational

    digits, places = decimal.lstrip("-0.").replace(".", ""), len(decimal.partition(".")[2])
    unit, value = Rational(1, 10**places), Rational(decimal)
    if exact.is_Rational or min(len(digits), places) < 6 or "e" in decimal:
        return bool(exact.equals(value))
    short = (abs(exact) - abs(value)).evalf(30)
    return bool(exact.is_real and exact * value > 0 and -unit / 2 <= short < unit)


def peak() -> int:
    """The most bytes that this process has held; 0 where the system does not say."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit if resource else 0


def set_alarm(seconds: float) -> None:
    """End this process, even inside C code, after that much CPU time; 0 is never. Not on Windows."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
