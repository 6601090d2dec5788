"""Answers as people write them: plain numbers, units and words are compared here, all else by math-verify."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
import tomllib
import warnings
import weakref
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

from mrt_lib.tasks.base import require

WORKER = Path(__file__).with_name("grading_worker.py")
START_SECONDS, LONGEST_ANSWER = 900.0, 1000
# A busy machine is slow, not hung: the deadline counts CPU time where the system can, and the clock on the
# wall only ends what waits this many times as long.
PATIENCE = 60.0 if hasattr(signal, "setitimer") else 1.0


@dataclass(frozen=True)
class Ungraded:
    """An answer that counts as wrong because it could not be graded, and why."""

    gold: str
    answer: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """`right`: the answer equals the gold; `gold_read`, `answer_read`: whether they could be read as
    mathematics or as words; `reason`: why ungraded, or ""."""

    gold_read: bool = False
    right: bool = False
    reason: str = ""
    answer_read: bool = False


class Grader:
    """Compares answers with gold answers in one worker process.

    A process, because nothing else can stop sympy: math-verify's own timeouts need SIGALRM in the main
    thread, raise in any other, and log a timeout as a plain "wrong". Here a comparison past the deadline
    ends the worker and is wrong; `ungraded` lists every answer that could not be graded, in order. Threads
    may share a grader; they take turns.
    """

    def __init__(self, deadline: float = 10.0) -> None:
        """`deadline`: seconds of CPU time for one comparison. ImportError without math-verify."""
        if not 0 < deadline < float("inf"):
            raise ValueError(f"deadline must be a positive number of seconds, got {deadline}")
        require("math_verify", "math")
        self.deadline = deadline
        self.ungraded: list[Ungraded] = []
        self._lock = threading.Lock()
        self._worker: Popen[str] | None = None
        self._owner = 0

    def compare(self, gold: str, answer: str) -> Verdict:
        """Whether `answer` equals `gold`; both as in a `\\boxed{}`. RuntimeError if no worker starts."""
        if max(len(gold), len(answer)) > LONGEST_ANSWER:
            verdict = Verdict(reason=f"longer than {LONGEST_ANSWER} characters")
        else:
            verdict = self._compare_sides(clean(gold), clean(answer))
        if verdict.reason:
            self.ungraded.append(Ungraded(gold, answer, verdict.reason))
            listed = "answers that cannot be graded count as wrong and are listed in `ungraded`"
            warnings.warn(f"{listed}: {verdict.reason}", RuntimeWarning, stacklevel=3)
        return verdict

    def _compare_sides(self, gold: str, answer: str) -> Verdict:
        """Every side of the answer that says more than a name must equal the gold."""
        (gold_name, golds), (answer_name, answers) = sides(gold), sides(answer)
        if len(golds) > 1 or (gold_name and (len(answers) > 1 or answer_name not in ("", gold_name))):
            golds, answers = [gold], [answer]  # an equation is compared with an equation
        verdicts = (self._compare_values(golds[0], side) for side in answers)
        return next((found for found in verdicts if not found.right), Verdict(True, True, answer_read=True))

    def _compare_values(self, gold: str, answer: str) -> Verdict:
        (gold_body, gold_unit), (body, unit) = split_unit(gold), split_unit(answer)
        gold_number, number = read_number(gold_body), read_number(body)
        if gold_number is not None and number is not None:
            return Verdict(True, equal(gold_number, gold_unit, number, unit), answer_read=True)
        prose = PATTERNS["prose"].findall
        words, others = (bool(PATTERNS["words"].fullmatch(side) and prose(side)) for side in (gold, answer))
        if words or others:
            same = words and gold.casefold() == answer.casefold()
            return Verdict(words or gold_number is not None, same, answer_read=words)
        expression, other = latex(gold_body), latex(body)
        if expression is None or other is None or not {*prose(body)} <= {*prose(gold_body)}:
            return Verdict(expression is not None)
        ends = [found.groups() for found in map(PATTERNS["brackets"].fullmatch, (expression, other)) if found]
        if len(set(ends)) == 2:
            return Verdict(True, answer_read=True)
        with self._lock:
            verdict = self._compare(expression, other)
        return verdict if same_kind(gold_unit, unit) else replace(verdict, right=False)

    def _compare(self, gold: str, answer: str) -> Verdict:
        request = json.dumps([gold, answer, self.deadline]) + "\n"
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


SPELLINGS = tomllib.loads(Path(__file__).with_name("spellings.toml").read_text(encoding="utf-8"))
UNITS = {name: other or name for name, _, other in (u.partition("=") for u in SPELLINGS["units"].split())}
PARTS = SPELLINGS["parts"] | {"UNITS": "|".join(UNITS), "SCALE": "|".join(SPELLINGS["scale"])}
CHARACTERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
CHARACTERS |= {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full width


def _compiled(pattern: str) -> re.Pattern[str]:
    for name, part in PARTS.items():
        pattern = pattern.replace(name, part)
    return re.compile(pattern)


PATTERNS = {name: _compiled(pattern) for name, pattern in SPELLINGS["patterns"].items()}
REWRITES, LATEX = ([(_compiled(old), new) for old, new in SPELLINGS[key]] for key in ("rewrites", "latex"))
WRAPPED = _compiled("|".join(SPELLINGS["wraps"]))


def clean(text: str) -> str:
    """Plain LaTeX in ASCII where there is some, without what only decorates: wraps, fonts, a last stop."""
    text = re.sub("([⁰¹²³⁴-⁹⁺⁻]+)", r"^{\1}", text).translate(CHARACTERS)
    text = PATTERNS["hexadecimal"].sub(lambda found: str(int(found[0], 16)), text)
    if len(re.findall(r"(?<!\\)\$", text)) > 1:
        text = re.sub(r"(?<!\\)\$", "", text)
    for pattern, new in REWRITES:
        text = pattern.sub(new, text)
    return unwrap(text)


def unwrap(text: str) -> str:
    """What stands inside the boxes, marks of emphasis and of mathematics, and lone braces around a text."""
    text = text.strip()
    while found := WRAPPED.fullmatch(text):
        text = found[found.lastindex or 0].strip()
    return text


def sides(text: str) -> tuple[str, list[str]]:
    """The name that an equation gives its value ("" if none), and its other sides."""
    if text.count("=") > 1 and re.search(r"[,;]|\b(?:or|and)\b", text):
        return "", [text]
    parts = [unwrap(part) for part in PATTERNS["equals"].split(text)]
    bare = [PATTERNS["index"].sub("", part) for part in parts[:-1]]
    named = next((i for i, part in enumerate(bare) if not PATTERNS["name"].fullmatch(part)), len(bare))
    return parts[0].replace(" ", "") if named else "", parts[named:]


def split_unit(text: str) -> tuple[str, str]:
    """A value and its unit, "" if none is known: %, a currency, a number's base, degrees, words."""
    if found := PATTERNS["currency"].fullmatch(text):
        body, unit = split_unit(found[3])
        return (found[1] + body, found[2]) if unit in ("", found[2]) else (text, "")
    found = PATTERNS["unit"].search(text, 1)
    unit = re.sub("[ {}]|(?<=[a-z]{3})s$", "", found[1]) if found else ""
    return text[: found.start()].strip() if found else text, UNITS.get(unit, unit)


def read_number(text: str) -> Decimal | Fraction | None:
    """A decimal, a power of ten or a fraction, in whatever spelling; None for anything else."""
    found = PATTERNS["fraction"].fullmatch(text)
    if not found:
        return _decimal(text)
    sign, whole, *parts = found.groups()
    above, below = (_decimal(part.strip()) for part in parts if part is not None)
    if above is None or not below or (whole and not 0 < above < below):
        return None
    value = int(whole or 0) + Fraction(above) / Fraction(below)
    return -value if sign == "-" else value


def _decimal(text: str) -> Decimal | None:
    found = PATTERNS["decimal"].fullmatch(text)
    if not found:
        return None
    sign, mantissa, *powers, scale = found.groups("")
    power = int("".join(powers) or 0) + SPELLINGS["scale"].get(scale, 0)
    digits = re.sub("[, _]", "", mantissa or "1")
    return Decimal(f"{sign}{digits}e{power}") if abs(power) <= LONGEST_ANSWER else None


def equal(gold: Decimal | Fraction, gold_unit: str, answer: Decimal | Fraction, unit: str) -> bool:
    """Whether two numbers with units are one. A gold in percent lets the sign be left out, no other does."""
    if gold_unit == r"\%" and not unit:
        return answer in (gold, Fraction(gold) / 100)
    if unit == r"\%" and not gold_unit:
        return gold == Fraction(answer) / 100
    same = gold == answer or is_rounded(gold, answer) or is_rounded(answer, gold)
    return same and same_kind(gold_unit, unit)


def same_kind(gold_unit: str, unit: str) -> bool:
    """Whether the units are one, or one of them was left out, which a percent sign and a base cannot be."""
    return unit == gold_unit or (not unit and gold_unit != r"\%") or (not gold_unit and unit[0] not in "\\_")


def is_rounded(decimal: Decimal | Fraction, exact: Decimal | Fraction) -> bool:
    """Whether six digits or more are those of a number that no decimal equals, rounded or cut off."""
    if isinstance(decimal, Fraction) or isinstance(exact, Decimal):
        return False
    digits = len(decimal.as_tuple().digits)
    places = digits - 1 - decimal.adjusted()
    if min(digits, places) < 6 or pow(10, 4 * LONGEST_ANSWER, exact.denominator) == 0:
        return False
    short = (abs(exact) - abs(Fraction(decimal))) * 10**places
    return (decimal > 0) == (exact > 0) and Fraction(-1, 2) <= short < 1


def latex(text: str) -> str | None:
    """The text as math-verify reads it, or None for what it would misread."""
    for pattern, new in LATEX:
        text = pattern.sub(new, text)
    marks = "[ _]" if PATTERNS["list"].search(text) else "[ _,]"
    text = PATTERNS["grouped"].sub(lambda found: re.sub(marks, "", found[0]), text)
    misread = PATTERNS["misread"].search(text)
    return None if misread or not text else text


def _start() -> Popen[str]:
    # -P: a math.py lies beside the script. A session of its own: Ctrl-C is for the caller.
    command = [sys.executable, "-P", "-W", "ignore", str(WORKER)]
    worker = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True, start_new_session=True)
    if not _ask(worker, "", START_SECONDS)[0]:
        _stop(worker)
        raise RuntimeError(f"the grading process does not start; `{sys.executable} -P {WORKER}` says why")
    return worker


def _ask(worker: Popen[str], line: str, seconds: float) -> tuple[str, bool]:
    """The reply, or "" from a worker that died; and whether it died because `seconds` had passed."""
    assert worker.stdout is not None
    start, timer = time.monotonic(), threading.Timer(seconds, worker.kill)
    timer.start()
    try:
        print(line, end="", file=worker.stdin, flush=True)
        reply = worker.stdout.readline()
    except OSError:
        reply = ""
    except BaseException:  # an interrupt: the reply still to come would answer the next request
        _stop(worker)
        raise
    finally:
        timer.cancel()
    return reply, time.monotonic() - start >= seconds


def _stop(worker: Popen[str]) -> None:
    with contextlib.suppress(OSError), worker:  # unsent bytes for a worker that is gone
        worker.kill()
