"""The process in which math-verify runs: one JSON request per input line, one JSON reply per line.

`mrt_lib.tasks.grading` starts it as a script, so that it imports math-verify and nothing else of ours.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import sys
from typing import Any

with contextlib.suppress(ImportError):  # whoever reads this file without the extra is no worker
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from math_verify import grader, verify
    from sympy import Float, MatrixBase, Rational, simplify
try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MOST_BYTES, MOST_KEPT_BYTES = 4 * 2**30, 2**30
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    """Answer requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # a library's print must not look like a reply
    with contextlib.suppress(AttributeError, ValueError, OSError):  # numbers too long fail, nothing fills up
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    guard()
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for served, line in enumerate(sys.stdin):
        gold, answer, seconds = json.loads(line)
        set_alarm(seconds)
        try:
            reply = grade(gold, answer)
        except MemoryError:
            if served:
                return  # what earlier answers left may be in the way: a fresh process is asked again
            reply = {"reason": f"needs more than {MOST_BYTES >> 30} GiB of memory"}
        except Exception as error:
            reply = {"reason": f"{type(error).__name__}: {error}"[:200]}
        set_alarm(0)
        print(json.dumps(reply), file=replies, flush=True)
        if resident_bytes() > MOST_KEPT_BYTES:
            return


@functools.lru_cache(2**12)
def grade(gold: str, answer: str) -> dict[str, Any]:
    """Whether the gold and the answer can be read, and whether they are equal.

    math-verify's extraction is left out: it takes a part for the whole, drops units that may be variables,
    and ends in sympy's `parse_expr`, which evaluates text.
    """
    expected, found = read(gold), read(answer)
    if expected is None or found is None:
        return {"gold_read": expected is not None, "answer_read": found is not None}
    right = verify(expected, found, timeout_seconds=None, raise_on_error=True)
    for text, other in ((gold, found), (answer, expected)):
        if right and re.fullmatch(r"-?[0-9]*\.[0-9]+", text) and getattr(other, "is_number", False):
            right = rounds(text, other)
    return {"gold_read": True, "answer_read": True, "right": bool(right)}


@functools.lru_cache(2**12)
def read(text: str) -> Any:
    """sympy's object for LaTeX, or None if it is none."""
    normal = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
    try:
        is_real = not grader.should_treat_as_complex(text)
        return latex2sympy(text, is_real=is_real, normalization_config=normal)
    except MemoryError:
        raise
    except Exception:
        return None


def resident_bytes() -> int:
    """Memory of this process; where Linux does not tell it, the most that it ever had. (On Linux that most
    begins with what the process that started this one had, so a large caller would have it end each time.)"""
    with contextlib.suppress(OSError), open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT if resource else 0


def guard() -> None:
    """Hold math-verify, to which 1e-16 is zero, to `is_close`, and let it swallow no lack of memory."""
    numeric, symbolic = grader.sympy_numeric_eq, grader.sympy_symbolic_eq
    grader.sympy_numeric_eq = lambda a, b, *digits: numeric(a, b, *digits) and is_close(a, b)
    grader.sympy_symbolic_eq = lambda a, b: symbolic(a, b) and is_close(a, b)
    grader.Exception = tuple(kind for kind in Exception.__subclasses__() if kind is not MemoryError)


def is_close(a: Any, b: Any) -> bool:
    """Whether two expressions that are equal to six decimals are so to 20 digits, or one rounds the other."""
    if isinstance(a, MatrixBase):
        return all(is_close(x, y) for x, y in zip(a, b, strict=True))
    x, y = (e.xreplace({f: Rational(str(f)) for f in e.atoms(Float)}).doit() for e in (a, b))
    difference = (x - y).expand()
    if difference.free_symbols:
        return simplify(difference) == 0
    size = abs(x.evalf(30)) if x.is_number else Rational(1, 10**40)
    decimals = [(str(e).rstrip("0"), exact) for e, exact in ((a, y), (b, x)) if isinstance(e, Float)]
    close = abs(difference.evalf(30)) <= size * Rational(1, 10**20)
    return bool(close) or any(rounds(*pair) for pair in decimals)


def rounds(decimal: str, exact: Any) -> bool:
    """Whether a decimal is the number, or at least six digits of an irrational one, rounded or cut off."""
    digits, places = decimal.lstrip("-0.").replace(".", ""), len(decimal.partition(".")[2])
    unit, value = Rational(1, 10**places), Rational(decimal)
    if exact.is_Rational or min(len(digits), places) < 6 or "e" in decimal:
        return bool(exact.equals(value))
    short = (abs(exact) - abs(value)).evalf(30)
    return bool(exact.is_real and exact * value > 0 and -unit / 2 <= short < unit)


def set_alarm(seconds: float) -> None:
    """End this process, even inside C code, after that much CPU time; 0 is never. Not on Windows."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    main()
