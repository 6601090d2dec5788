"""Does the grader know one number in many spellings, and no other number? 2,000 golds, 30 of each.

Golds are drawn from eleven kinds. A right answer is a spelling of the gold's value in one of the `WRAPS`; a
wrong one spells another value, or says something else about the same digits.

    python -m benchmarks.grader
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from mrt_lib.files import write_json
from mrt_lib.measure.stats import bootstrap
from mrt_lib.provenance import provenance
from mrt_lib.tasks import MathTask, Problem
from tools.summary import record

RESULT = "data/results/grader.json"
COMMAND = "python -m benchmarks.grader"
EACH = 30

LISTS = json.loads(Path(__file__).with_name("spellings.json").read_text())
WRAPS, WORD_WRAPS, UNITS, WORDS = (LISTS[name] for name in ("wraps", "word_wraps", "units", "words"))
OTHERWISE = LISTS["otherwise"]  # the same digits, saying something else


@dataclass(frozen=True)
class Case:
    """A gold answer, and 30 answers that are right and 30 that are wrong."""

    kind: str
    gold: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


# fmt: off
def integer(rng: np.random.Generator, low: int = 3, high: int = 1000) -> tuple[str, list[str], list[str]]:
    """A whole number, with a minus sign now and then."""
    n = int(np.exp(rng.uniform(np.log(low), np.log(high))))
    sign = "-" if rng.random() < 0.2 else ""
    texts = [f"{n}", f"{n}.0", f"{n}.00", f"\\frac{{{n}}}{{1}}", f"\\frac{{{2 * n}}}{{2}}", f"{3 * n}/3"]
    texts += [f"{n:,}", f"{n:,}".replace(",", "{,}"), f"{n:,}".replace(",", "\\,"), f"{n:_}", wide(str(n))]
    texts += [f"{n:,}".replace(",", space) for space in " \u2009\u00a0\u202f"]
    texts += [f"{str(n)[0]}.{str(n)[1:] or '0'}e{len(str(n)) - 1}", f"{n}e0", f"{n}0E-01",
        f"{n} \\times 10^0"]
    right = [sign + text for text in dict.fromkeys(texts)]
    right += [right[0].replace("-", minus) for minus in "−–"] if sign else [f"+{n}", f"0{n}"]
    right += [unit.format(f"{sign}{n}") for unit in UNITS]
    others = [n + 1, n - 1, 10 * n, n + 100, 2 * n, *changed(n)]
    wrong = [f"{sign}{m}" for m in others if m != n] + [f"{'' if sign else '-'}{n}"]
    wrong += [f"{sign}{n}.{tail}" for tail in ("1", "01", "000001", "0000000001", "5")]
    wrong += [spaced(n)] + [
        text.format(f"{sign}{n}") for text in OTHERWISE if not (sign and text[0] in "-−±")
    ]
    return f"{sign}{n}", right, wrong


def large_integer(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """1,000 to 10^15."""
    return integer(rng, 1000, 10**15)


def decimal(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """A decimal with 1 to 9 digits after the point."""
    places = int(rng.integers(1, 10))
    digits = int(rng.integers(1, 10 ** (places + 2))) * 10 + int(rng.integers(1, 10))
    return scientific(digits, -places)


def tiny(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """10^-5 to 10^-30, as JSON spells it."""
    return scientific(int(rng.integers(1, 1000)) * 10 + int(rng.integers(1, 10)), -int(rng.integers(8, 31)))


def huge(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """10^7 to 10^30, as JSON spells it."""
    return scientific(int(rng.integers(1, 1000)) * 10 + int(rng.integers(1, 10)), int(rng.integers(6, 28)))


def power_of_ten(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """10^n in LaTeX."""
    n = int(rng.choice([-1, 1]) * rng.integers(4, 40))
    right = [f"10^{{{n}}}", f"1e{n}", f"1E{n:+}", f"1.0e{n:+03}", f"1 \\times 10^{{{n}}}", plain(1, n),
        raised(n)]
    right += [f"10 \\cdot 10^{{{n - 1}}}", f"0.1 × 10^{{{n + 1}}}", f"10**{n}", f"10^({n})", f"1*10^{n}"]
    right += [f"\\frac{{1}}{{10^{{{-n}}}}}"] if n < 0 else [f"{10**n:,}", f"{10**n:_}"]
    wrong = [f"10^{{{m}}}" for m in (n + 1, n - 1, -n, 2 * n)] + [f"1e{m}" for m in (n + 1, n - 1, -n)]
    wrong += [plain(1, n + 1), plain(1, n - 1), plain(11, n - 1), f"-10^{{{n}}}", f"1.0000001e{n}", "0",
        "0.0"]
    wrong += ["0.0000001", "0.000000", f"2 \\times 10^{{{n}}}", f"10^{n}0", f"1e{n}x", f"{n}", f"e^{{{n}}}",
        "1", "10"]
    wrong = [text for text in wrong if n != -7 or text != "0.0000001"]
    return f"10^{{{n}}}", right, wrong


def scientific(digits: int, power: int) -> tuple[str, list[str], list[str]]:
    """digits · 10^power; JSON's spelling is the gold."""
    value, shift = Fraction(digits) * Fraction(10) ** power, len(str(digits)) - 1
    head = f"{str(digits)[0]}.{str(digits)[1:] or '0'}"
    whole, gold = plain(digits, power), repr(float(f"{digits}e{power}"))
    right = [gold, whole, f"{digits}e{power}", f"{head}e{power + shift}", f"{head}E{power + shift:+03}"]
    right += [f"{head}0e{power + shift:+}", f"{head} \\times 10^{{{power + shift}}}",
        f"{head}·10^{{{power + shift}}}"]
    right += [f"{head} × {raised(power + shift)}", f"{digits} \\cdot 10^{{{power}}}",
        f"{head}*10^{power + shift}"]
    right += [f"{head} \\times 10^{power + shift}", f"{head}*10**{power + shift}",
        f"{head}\\times10^{{{power + shift}}}"]
    right += [f"{head} x 10^{{{power + shift}}}", wide(whole), f"+{gold}", f"{head}e{power + shift} m"]
    right += [f"\\frac{{{value.numerator}}}{{{value.denominator}}}", f"{whole}\\text{{ kg}}", f"${whole}"]
    right += (
        [whole + "0", whole[1:]]
        if whole.startswith("0.")
        else [f"{whole}.0" if "." not in whole else f"{whole}0"]
    )
    others = [(digits + 1, power), (digits - 1, power), (digits, power + 1), (digits, power - 1),
        (2 * digits, power)]
    others += [(digits * 10 + 1, power - 1), (digits * 10 - 1, power - 1), (-digits, power)]
    others += [(digits * 10**7 + 1, power - 7), (digits * 10**7 - 1, power - 7)] + [
        (m, power) for m in changed(digits)
    ]
    wrong = [text for d, p in others for text in (f"{d}e{p}", plain(d, p), f"{d} \\times 10^{{{p}}}")]
    wrong += [f"{head} \\times 10"] * (power + shift != 1)
    wrong += ["0", "0.0", "0.000000", "1", f"{head}e", f"{head}e{power + shift}x",
        f"{whole}\\%"]
    wrong += [f"{whole} million", f"{whole} or 7777", f"not {whole}", f"2x = {whole}", f"\\pm {whole}",
        f"> {whole}"]
    return gold, right, wrong


def fraction(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """a/b in lowest terms, b from 3 to 99 and prime to 10, so that no decimal is equal to it."""
    b = int(rng.choice([b for b in range(3, 100) if b % 2 and b % 5]))
    a = int(rng.choice([a for a in range(1, 300) if np.gcd(a, b) == 1]))
    frac = f"\\frac{{{a}}}{{{b}}}"
    right = [frac, f"{a}/{b}", f"\\dfrac{{{a}}}{{{b}}}", f"\\tfrac{{{a}}}{{{b}}}",
        f"\\frac{{{2 * a}}}{{{2 * b}}}"]
    right += [f"{3 * a}/{3 * b}", f"{a} / {b}", f"{a}\\div {b}", f"{a}÷{b}", f"\\frac{{-{a}}}{{-{b}}}",
        f"{a}.0/{b}"]
    right += [f"\\frac{{{a}}}{{{b}}}\\text{{ cm}}", wide(f"{a}/{b}"), f"{a / b:.9f}", f"{a / b:.12f}",
        f"\\left({frac}\\right)"]
    right += [f"{a // b}\\frac{{{a % b}}}{{{b}}}", f"{a // b} + {a % b}/{b}"] if a > b else [f"0 + {frac}"]
    wrong = [f"\\frac{{{a + 1}}}{{{b}}}", f"{a}/{b + 1}", f"{a - 1}/{b}", f"{b}/{a + b}", f"-{frac}",
        f"{a}{b}", f"{a}", f"{b}"]
    wrong += [f"{a / b:.2f}", f"{a / b:.3f}", f"{a / b + 2e-6:.7f}", f"{a / b - 2e-6:.7f}",
        f"{a / b + 2e-9:.9f}"]
    wrong += [f"{frac}\\%", f"{frac}x", f"{frac} or 7777", f"2x = {frac}", f"{a}.{b}", f"({a}, {b})",
        f"\\pm {frac}"]
    wrong += [f"{a} + {b}", f"{a} - {b}", f"{a}:{b}:1", f"\\sqrt{{{frac}}}", f"\\frac{{{a}}}{{{b}0}}",
        f"> {frac}", "0", "1"]
    return frac, right, wrong


def percent(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """n percent: n alone is right, as is the share itself."""
    n = int(rng.integers(2, 100))
    right = [f"{n}\\%", f"{n}%", f"{n} %", f"{n}\\ \\%", f"{n} percent", f"{n}\\text{{ percent}}", f"{n}",
        f"{n}.0\\%"]
    right += [f"{Fraction(n, 100)}", f"{n / 100}", f"\\frac{{{n}}}{{100}}", wide(f"{n}%"), f"{2 * n}/2\\%"]
    wrong = [f"{m}{tail}" for m in (n + 1, n - 1, n * 10, -n, n * 100) for tail in ("", "\\%", " percent")]
    wrong += [f"{n / 100}\\%", f"{n / 1000}", f"{n / 10}", f"{n}.1", f"{n}.01\\%", f"{n}\\%\\%", f"{n}x",
        f"\\pm {n}\\%"]
    wrong += [f"{n}‰", f"not {n}%", f"{n}% or 7777%", f"> {n}\\%", "0", "1", f"{n} million",
        f"\\frac{{{n}}}{{1000}}"]
    return f"{n}\\%", right, wrong


def root(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """a times the root of b."""
    a, b = int(rng.integers(2, 12)), int(rng.choice([2, 3, 5, 6, 7, 10, 11, 13]))
    right = [f"{a}\\sqrt{{{b}}}", f"{a}√{b}", f"{a}√({b})", f"\\sqrt{{{a * a * b}}}", f"√{a * a * b}",
        f"{a} \\cdot \\sqrt{{{b}}}"]
    right += [f"\\sqrt{{{b}}} \\cdot {a}", f"{a}*√{b}", f"{a} × √{b}", f"{a}\\sqrt {b}",
        f"{a}\\,\\sqrt{{{b}}}", f"{a}⋅√{b}"]
    right += [f"\\frac{{{2 * a}\\sqrt{{{b}}}}}{{2}}", f"{a * b**0.5:.9f}", f"{a}\\sqrt{{{b}}}\\text{{ cm}}",
        f"{a}\\cdot{b}^{{1/2}}"]
    wrong = [
        f"{c}\\sqrt{{{d}}}" for c, d in ((a + 1, b), (a - 1, b), (a, b + 1), (b, a + 1), (-a, b), (9 * a, b))
    ]
    wrong += [f"{a}√{b + 1}", f"√{a * b}", f"{a}{b}", f"{a * b}", f"{a * b**0.5:.3f}",
        f"{a * b**0.5 + 2e-6:.7f}", f"{a}√{b}x"]
    wrong += [f"{a}√{b} or 7777", f"\\pm {a}√{b}", f"{a}+√{b}", f"2x = {a}√{b}", f"{a}√{b}\\%",
        f"{a * a * b}", "0", f"√({a}+{b})"]
    wrong += [f"{a * b**0.5 - 2e-9:.9f}", f"\\frac{{{a}}}{{\\sqrt{{{b}}}}}", f"\\sqrt[3]{{{a * a * b}}}",
        f"{a}√{b}i", f"> {a}√{b}"]
    return f"{a}\\sqrt{{{b}}}", right, wrong


def pair(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """An ordered pair, one number of which may be very small."""
    a, n = int(rng.integers(-50, 50)), int(rng.integers(4, 25))
    right = [f"({a}, 10^{{-{n}}})", f"({a},1e-{n})", f"({a}.0, 1E-{n:02})",
        f"\\left({a}, 10^{{-{n}}}\\right)", f"( {a} , 10^{{-{n}}} )"]
    right += [f"({a},\\,10^{{-{n}}})", f"({a}, 1 \\times 10^{{-{n}}})", f"({a}, {plain(1, -n)})",
        f"({a}, {raised(-n)})"]
    wrong = [f"({a}, 10^{{-{m}}})" for m in (n + 1, n - 1)] + [f"({a},1e-{m})" for m in (n + 1, n - 1)]
    wrong += [f"({a + 1}, 10^{{-{n}}})", f"(10^{{-{n}}}, {a})", f"({a}, 0)", f"({a}, 0.0)",
        f"({a}, -10^{{-{n}}})", f"{a}"]
    wrong += [f"[{a}, 10^{{-{n}}}]", f"({a}, 10^{{-{n}}}, 0)", f"({a}, 10^{{{n}}})", f"10^{{-{n}}}",
        f"({a}, {n})", f"({a}, 2e-{n})"]
    return f"({a}, 10^{{-{n}}})", right, wrong


def word(rng: np.random.Generator) -> tuple[str, list[str], list[str]]:
    """A bare word."""
    gold = str(rng.choice(WORDS))
    right = [gold, gold.lower(), gold.capitalize(), gold.upper()]
    letters = [[*gold.lower()] for _ in range(20)]
    wrong = ["".join(rng.permutation(row)) for row in letters] + [
        gold.lower()[::-1],
        gold[1:],
        gold[:-1],
        f"{gold}s",
    ]
    wrong += [w for w in WORDS if w != gold] + [f"not {gold}", "\\cdot ".join(letters[0][::-1]), "seat", "42"]
    return gold, right, [text for text in wrong if text.lower() != gold.lower()]


# fmt: on
KINDS = (integer, large_integer, decimal, tiny, huge, power_of_ten, fraction, percent, root, pair, word)


def plain(digits: int, power: int) -> str:
    """digits · 10^power written out."""
    sign, text = "-" * (digits < 0), str(abs(digits))
    if power >= 0:
        return sign + text + "0" * power
    text = text.rjust(1 - power, "0")
    return f"{sign}{text[:power]}.{text[power:]}"


def raised(power: int) -> str:
    """A power of ten with raised digits."""
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def wide(text: str) -> str:
    """In full-width characters."""
    return "".join(chr(ord(c) + 0xFEE0) for c in text)


def changed(n: int) -> list[int]:
    """n with one digit more, less or another."""
    text = str(n)
    return [m for m in (int(text + "7"), int(text[:-1] or "0"), int(text[::-1]), int("9" + text)) if m != n]


def spaced(n: int) -> str:
    """Another number whose digits stand apart; read as a product they may be `n`."""
    return f"1 {n}" if n < 100 else f"{str(n)[0]} {str(n)[1:]}1"


def cases(n: int, seed: int = 0) -> Iterator[Case]:
    """`n` golds with their answers, one kind after the other."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        make: Callable[[np.random.Generator], tuple[str, list[str], list[str]]] = KINDS[i % len(KINDS)]
        gold, right, wrong = make(rng)
        wraps = WORD_WRAPS if make is word else WRAPS
        yield Case(make.__name__, gold, wrapped(right, wraps, rng), wrapped(wrong, wraps, rng))


def wrapped(texts: list[str], wraps: list[str], rng: np.random.Generator) -> tuple[str, ...]:
    """`EACH` different pairs of text and wrap, every text and wrap as often as can be."""
    found: dict[str, None] = {}
    while len(found) < EACH:
        for text, wrap in zip(rng.permutation(texts), rng.permutation(wraps), strict=False):
            found[str(wrap).format(text)] = None
    return tuple(found)[:EACH]


def misgraded(task: MathTask, case: Case) -> tuple[list[str], list[str]]:
    """Right answers that the task calls wrong, and wrong ones that it calls right."""
    problem = Problem(case.kind, task.name, "?", case.gold)
    missed = [text for text in case.right if not task.score(problem, text)]
    return missed, [text for text in case.wrong if task.score(problem, text)]


def main() -> None:
    """Grade every case, write the table and the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golds", type=int, default=2000)
    golds = parser.parse_args().golds
    warnings.simplefilter("ignore", RuntimeWarning)  # answers that cannot be graded are listed
    task = MathTask({"train": [{"question": "?", "answer": "1"}]}, deadline=2.0)
    found = [(case, *misgraded(task, case)) for case in cases(golds)]
    faults = {f"{c.kind}: {c.gold}": {"missed": m, "accepted": a} for c, m, a in found if m or a}
    for name, place in (("false_wrong", 1), ("false_right", 2)):
        shares = [len(row[place]) / EACH for row in found]
        share = bootstrap(np.mean, shares, seed=0)
        print(f"grader.{name} {share.value:.4%} [{share.low:.4%}, {share.high:.4%}]", flush=True)
        record(f"grader.{name}", share, f"share of {EACH} answers a gold", COMMAND)
    ungraded = [asdict(row) for row in task.ungraded]
    write_json(RESULT, {"provenance": provenance(), "golds": golds, "faults": faults, "ungraded": ungraded})


if __name__ == "__main__":
    main()
