"""Answers as people write them: plain numbers, units and words are compared here, all else by math-verify.

It stands behind a deadline, threads share it, and whatever could not be graded is on record.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import unicodedata
import warnings
import weakref
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from mrt_lib.tasks.base import require

WORKER = Path(__file__).with_name("grading_worker.py")
START_SECONDS = 900.0
# A busy machine is slow, not hung: the deadline counts CPU time where the system can, and the clock on the
# wall only ends what waits this many times as long.
PATIENCE = 60.0 if hasattr(signal, "setitimer") else 1.0
LONGEST_ANSWER, LONGEST_UNIT = 1000, 40


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
        for side in answers:
            verdict = self._compare_values(golds[0], side)
            if not verdict.right:
                break
        return verdict

    def _compare_values(self, gold: str, answer: str) -> Verdict:
        (gold_body, gold_unit), (body, unit) = split_unit(gold), split_unit(answer)
        gold_number, number = read_number(gold_body), read_number(body)
        if gold_number and number:
            return Verdict(True, equal(gold_number, gold_unit, number, unit), answer_read=True)
        if is_words(gold) or is_words(answer):
            same = is_words(gold) and gold.casefold() == answer.casefold()
            return Verdict(is_words(gold) or gold_number is not None, same, answer_read=is_words(gold))
        expression, other = latex(gold_body), latex(body)
        if expression is None or other is None or not prose(body) <= prose(gold_body):
            return Verdict(expression is not None)
        ends, others = (BRACKETS.fullmatch(side) for side in (expression, other))
        if ends and others and ends.groups() != others.groups():
            return Verdict(True, answer_read=True)
        with self._lock:
            verdict = self._compare(expression, other)
        return verdict if same_kind(gold_unit, unit) else replace(verdict, right=False)

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


class Number(NamedTuple):
    """A plain number. `places`: digits after the point, None without one; `digits`: significant digits."""

    value: Fraction
    places: int | None = None
    digits: int = 0


RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
SYMBOLS = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full width
SYMBOLS |= dict.fromkeys("−–—‐‑", "-") | dict.fromkeys("⋅·∙", r"\cdot ") | dict.fromkeys("÷⁄∕", "/")
SYMBOLS |= dict.fromkeys("\u200b\u200c\u200d\u200e\u2060\u2062\ufeff\u00ad", "") | dict.fromkeys("“”", '"')
SYMBOLS |= {"×": r"\times ", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "±": r"\pm ", "≈": r"\approx "}
SYMBOLS |= {
    "≤": r"\leq ",
    "≥": r"\geq ",
    "≠": r"\neq ",
    "∈": r"\in ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∅": r"\emptyset ",
}
for vulgar in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞":
    share = Fraction(unicodedata.numeric(vulgar)).limit_denominator(10)
    SYMBOLS[vulgar] = rf"\frac{{{share.numerator}}}{{{share.denominator}}}"
CHARACTERS = {ord(character): text for character, text in SYMBOLS.items()}

BRACED = r"\{((?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)\}"
FONT = (
    r"\\(?:text|textrm|textbf|textit|textnormal|mbox|math(?:rm|bf|it|sf)|boldsymbol|bm|ensuremath)(?![a-z])"
)
REWRITES = [
    (r"(?<![\w)} ])\*\*([^*]+)\*\*(?![\w({+-])", r"\1"),
    (r"(?<![\\A-Za-z])(pi|sqrt|ln|log|sin|cos|tan)(?![A-Za-z])", r"\\\1 "),
    (r"<=", r"\\leq "),
    (r">=", r"\\geq "),
    (r"!=", r"\\neq "),
    (r"(?:√|\\sqrt) ?\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"(?:√|\\sqrt) ?([0-9]+(?:\.[0-9]+)?|[a-z](?![a-z])|\\pi)", r"\\sqrt{\1}"),
    (r"(?<!\\)\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![a-zA-Z])|(?<!\\)\\!", ""),
    (r"(?<!\\)\\(?:[,;: ]|q?quad(?![a-z])|thinspace|enspace)|~|\s", " "),
    (rf"{FONT} ?{BRACED}", r" \1 "),
    (rf"{FONT} ?{BRACED}", r" \1 "),
    (r"\{,\}", ","),
    (r"(?<=[0-9)}]) i(?![A-Za-z])", "i"),
    (r" *\^ *", "^"),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\div(?![a-z])", "/"),
    (r" ?(?:\\degree|\^ ?\\circ|\^ ?\{ ?\\circ ?\}|\bdeg(?:rees?)?\b)", r"^\\circ "),
    (r" ?(?:\\?%|\bper ?cent(?:age)?\b|\bpct\b)", r"\\%"),
    (r" +", " "),
]
ANSWER = r"(?i:(?:the |my )?(?:final |correct )?answer(?: is:?|:))"
LEADS = r"\\(?:approx|sim|therefore|Rightarrow|implies)(?![a-z])|=|(?i:about|approximately|roughly) "
WRAPPED = re.compile(
    r"\*\*(.+)\*\*|__(.+)__|\*(.+)\*|_(.+)_|`+([^`]+)`+|\"([^\"]+)\"|\\\((.+)\\\)|\\\[(.+)\\\]"
    rf"|\\(?:boxed|fbox) ?{BRACED}|{BRACED}|\\{{((?:(?!\\[{{}}])[^,;:|])+|\([^()]*\))\\}}"
    rf"|(?:{ANSWER}|{LEADS})(.+)|(.*[^.])\.|(.+)(?:[,;]|\\\\)"
)
BRACKETS = re.compile(r"([(\[])[^,]*,[^,]*([)\]])")  # of an interval, which a pair of numbers may be
NAME = re.compile(
    r"(?!.*(?:sqrt|frac|log|ln|sin|cos|tan|\\ne|\bnot\b|\\pm))[A-Za-z\\|(][A-Za-z\\|+ {}'(),-]*"
)
DIGITS = r"(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+|(?:_[0-9]{3})+)(?![0-9_])|[0-9]+)"
DECIMAL = rf"(?:{DIGITS}(?:\.[0-9]*)?|\.[0-9]+)"
POWER = r"10 ?(?:\^|\*\*) ?[{(]? ?([+-]?[0-9]+) ?[})]?"
PLAIN = re.compile(
    rf"([+-]?) ?(?:({DECIMAL})(?:[eE]([+-]?[0-9]+)| ?(?:\\times|\\cdot|\*|x) ?{POWER})?|{POWER})"
)
FRACTION = re.compile(
    rf"([+-]?) ?(?:([0-9]+)(?: | ?(?=\\)))?(?:\\frac ?{BRACED} ?{BRACED}|([^/ ]+) ?/ ?([^/ ]+))"
)
SCALE = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
CURRENCY = re.compile(r"([+-]?) ?(?:US)?([$€£¥₹]) ?(.+)")
POWERED = r"[A-Za-z]+(?:\^\{?-?[0-9]\}?)?"
UNIT = re.compile(
    r"(?:(?<=[0-9.)}\]i ])|(?<=lion)|(?<=sand)|(?<=dred)) ?"
    r"(\\%|[$€£¥₹]|_\{?[0-9]{1,2}\}?(?![0-9_])|\^\\circ ?[CFK]?|"
    rf"{POWERED}(?:(?: | ?/ ?){POWERED})*)"
)
UNITS = """ mm cm dm km m in ft yd mi mg g kg lb oz ml mL l L s h min sec hr ms N J W V A K Hz kHz Pa kPa mol
    kW kWh mph kph kmh rpm eV USD EUR GBP sq cu square cubic per dollar euro cent foot feet inch mile meter
    metre liter litre hour minute second day week month months year person people men women children unit
    point gram """
SAME_UNIT = {"dollar": "$", "USD": "$", "euro": "€", "EUR": "€", "kilometer": "km", "centimeter": "cm"}
SAME_UNIT |= {
    "meter": "m",
    "minute": "min",
    "hour": "h",
    "hr": "h",
    "second": "s",
    "sec": "s",
    "inch": "in",
    "inche": "in",
}
SAME_UNIT |= {
    "feet": "ft",
    "foot": "ft",
    "mile": "mi",
    "gram": "g",
    "kilogram": "kg",
    "kmh": "km/h",
    "kph": "km/h",
}
NO_UNITS = re.compile(
    r".*(?:ss|ths|rds)|(?:hundred|thousand|m?illion|dozen|pair|ten|time|alway|perhap|halve|plu|minu)s"
)
FUNCTIONS = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|ln|log|exp|sqrt|inf(?:inity|ty)?|pi|and|or|max|min|gcd|lcm|mod"
)


def clean(text: str) -> str:
    """Plain LaTeX in ASCII where there is some, without what only decorates: wraps, fonts, a last stop."""
    text = re.sub("[⁰¹²³⁴-⁹⁺⁻]+", lambda found: f"^{{{found[0].translate(RAISED)}}}", text)
    text = text.translate(CHARACTERS)
    if len(re.findall(r"(?<!\\)\$", text)) > 1:
        text = re.sub(r"(?<!\\)\$", "", text)
    text = text.replace(r"\$", "$")
    for pattern, new in REWRITES:
        text = re.sub(pattern, new, text)
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
    parts = [unwrap(part) for part in re.split(r"(?<![<>\\]):?==?|\\(?:approx|in)(?![a-z])", text)]
    names = [
        bool(NAME.fullmatch(re.sub(r"_\{[^{}]*\}|_\w|(?<=[A-Za-z'])\([^()]*\)", "", part)))
        for part in parts[:-1]
    ]
    named = names.index(False) if False in names else len(names)
    return parts[0].replace(" ", "") if named else "", parts[named:]


def split_unit(text: str) -> tuple[str, str]:
    """A value and its unit, "" if none is known: %, a currency, a number's base, degrees, words."""
    if found := CURRENCY.fullmatch(text):
        body, unit = split_unit(found[3])
        return (found[1] + body, found[2]) if unit in ("", found[2]) else (text, "")
    for start in range(max(1, len(text) - LONGEST_UNIT), len(text)):
        found = UNIT.fullmatch(text, start)
        variable = text[start - 1 : start + 1].isalnum() and not text[start + 1 : start + 2].isalpha()
        if found and not variable and _is_unit(unit := found[1]):
            unit = re.sub("[ {}]|(?<=[a-z]{3})s$", "", unit)
            return text[:start].strip(), SAME_UNIT.get(unit, unit)
    return text, ""


def _is_unit(text: str) -> bool:
    words = [word for word in re.split(r" ?/ ?| |\^\{?-?[0-9]\}?", text) if word]
    if not text[0].isalpha():
        return True
    plural = re.compile(r"[a-z]{3,}s")
    known = [w in UNITS.split() or bool(plural.fullmatch(w) and not NO_UNITS.fullmatch(w)) for w in words]
    return all(known) and words[-1] not in ("square", "cubic", "sq", "per")


def read_number(text: str) -> Number | None:
    """A decimal, a power of ten or a fraction, in whatever spelling; None for anything else."""
    if re.fullmatch("0(?:[xX][0-9a-fA-F]+|[bB][01]+|[oO][0-7]+)", text):
        return Number(Fraction(int(text, 0)))
    for word, power in SCALE.items():
        if text.endswith(f" {word}") and (number := _plain(text.removesuffix(f" {word}"))):
            return Number(number.value * 10**power)
    return _plain(text) or _fraction(text)


def _plain(text: str) -> Number | None:
    found = PLAIN.fullmatch(text)
    if not found:
        return None
    sign, mantissa, *powers = found.groups()
    power = int(next(filter(None, powers), 0))
    if abs(power) > LONGEST_ANSWER:
        return None
    mantissa = re.sub("[, _]", "", mantissa or "1")
    value = Fraction(f"{sign}{mantissa.rstrip('.')}") * Fraction(10) ** power
    places = len(mantissa.partition(".")[2]) - power if "." in mantissa else None
    return Number(value, places, len(mantissa.replace(".", "").lstrip("0")))


def _fraction(text: str) -> Number | None:
    found = FRACTION.fullmatch(re.sub(r"\\frac ?([0-9]) ?([0-9])$", r"\\frac{\1}{\2}", text))
    if not found:
        return None
    sign, whole, *parts = found.groups()
    above, below = (_plain(part.strip()) for part in parts if part is not None)
    if not above or not below or not below.value or (whole and not 0 < above.value < below.value):
        return None
    value = int(whole or 0) + above.value / below.value
    return Number(-value if sign == "-" else value)


def equal(gold: Number, gold_unit: str, answer: Number, unit: str) -> bool:
    """Whether two numbers with units are one. A gold in percent lets the sign be left out, no other does."""
    if gold_unit == r"\%" and not unit:
        return answer.value in (gold.value, gold.value / 100)
    if unit == r"\%" and not gold_unit:
        return gold.value == answer.value / 100
    return same_kind(gold_unit, unit) and (
        gold.value == answer.value or is_rounded(gold, answer) or is_rounded(answer, gold)
    )


def same_kind(gold_unit: str, unit: str) -> bool:
    """Whether the units are one, or one of them was left out, which a percent sign and a base cannot be."""
    return unit == gold_unit or (not unit and gold_unit != r"\%") or (not gold_unit and unit[0] not in "\\_")


def is_rounded(decimal: Number, exact: Number) -> bool:
    """Whether six digits or more are those of a number that no decimal equals, rounded or cut off."""
    if min(decimal.places or 0, decimal.digits) < 6 or exact.places is not None:
        return False
    if pow(10, 4 * LONGEST_ANSWER, exact.value.denominator) == 0:
        return False
    short = abs(exact.value) - abs(decimal.value)
    unit = Fraction(1, 10 ** (decimal.places or 0))
    return exact.value * decimal.value > 0 and -unit / 2 <= short < unit


def prose(text: str) -> set[str]:
    """The words in a text that are neither commands nor functions nor products of letters."""
    words = re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", re.sub(r"\\(?:begin|end)\{[a-z*]*\}", "", text))
    spoken = [word for word in words if len(word) > 3 or re.search("[aeiouAEIOU]", word)]
    return {word for word in spoken if not FUNCTIONS.fullmatch(word)}


def is_words(text: str) -> bool:
    """Whether the text is words alone, which are compared as such."""
    return (
        re.fullmatch(r"[^\W\d_][^\W\d_ ',.-]*(?:[ ',.-]+[^\W\d_]+)*", text) is not None
        and prose(text) != set()
    )


def latex(text: str) -> str | None:
    """The text as math-verify reads it, or None for what it would misread."""
    text = re.sub(r"\b0[xX][0-9a-fA-F]+", lambda found: str(int(found[0], 16)), text)
    text = re.sub(rf"(?<![\w.])({DECIMAL})[eE]([+-]?[0-9]+)(?!\w)", r"(\1 \\cdot 10^{\2})", text)
    text = re.sub(r"(?<=[0-9]) ?x ?(?=10 ?\^)", r" \\cdot ", text).replace("**", "^").replace("*", r" \cdot ")
    text = re.sub(r"\^ ?([+-]?[0-9]+)", r"^{\1}", text)
    text = re.sub(rf"(?<![\w.]){DIGITS}", lambda found: re.sub("[ _]", "", found[0]), text)
    if not re.search(r"[(\[{]|, ", text.replace(r"\sqrt{", "").replace(r"\frac{", "")):
        text = re.sub(rf"(?<![\w.]){DIGITS}", lambda found: found[0].replace(",", ""), text)
    misread = re.search(r"[0-9] +[0-9]|[0-9)] ?_|\\f?box|\.\.|[0-9]\. |[^\x00-\x7f]|\$|:.*:", text)
    return None if misread or not text else text


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
    start, timer = time.monotonic(), threading.Timer(seconds, worker.kill)
    timer.daemon = True
    timer.start()
    reply = ""
    try:
        with contextlib.suppress(OSError):
            worker.stdin.write(line)
            worker.stdin.flush()
            reply = worker.stdout.readline()
    except BaseException:  # an interrupt: the reply still to come would answer the next request
        _stop(worker)
        raise
    finally:
        timer.cancel()
    return reply, time.monotonic() - start >= seconds


def _stop(worker: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError), worker:  # unsent bytes for a worker that is gone
        worker.kill()
