"""Answers as people write them: one value in many spellings is right, every other value is wrong."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.grader import cases, misgraded
from mrt_lib.tasks import Fields, MathTask, Problem, grading, read_problems
from mrt_lib.thoughts.templates import last_boxed
from recipes.countdown import is_solution

pytest.importorskip("math_verify")


@pytest.fixture(scope="module")
def task():
    return MathTask({"train": [{"question": "?", "answer": "1"}]}, deadline=5.0)


def right(task, gold, answer):
    return task.score(Problem("?", "math", "?", gold), answer) == 1.0


SAME = {
    "73": [
        "73.",
        "= 73",
        "n = 73",
        "n = 73.",
        "\\approx 73",
        "**73**",
        "*73*",
        "`73`",
        "$73$.",
        "0x49",
        "73 apples",
    ],
    "36": ["36°", "36^\\circ", "36^{\\circ}", "36 degrees", "36\\text{ degrees}", "36\\degree"],
    "18": [
        "18 dollars",
        "$18",
        "\\$18.00",
        "18\\text{ dollars}",
        "18 m/s",
        "18\\text{ cm}^2",
        "x \\in \\{18\\}",
    ],
    "1234": [
        "1,234",
        "1{,}234",
        "1\\,234",
        "1 234",
        "1\u202f234",
        "1_234",
        "１２３４",
        "1.234e3",
        "1,234.0 dollars",
    ],
    "5e-05": ["0.00005", "5 \\times 10^{-5}", "5 × 10⁻⁵", "5*10**-5", "1/20000", "5E-05\r\n"],
    "1000000": ["1e6", "1E+6", "10^6", "1 million", "1_000_000"],
    "10^{-20}": ["1e-20", "\\frac{1}{10^{20}}", "10^{-10} \\cdot 10^{-10}"],
    "\\frac{1}{3}": ["0.333333", "0.33333333", "1/3", "⅓", "1÷3", "\\frac13", "2/6 cm"],
    "\\frac{5}{2}": ["2 1/2", "2½", "2\\frac{1}{2}", "2.50"],
    "\\sqrt{3}": ["√3", "√(3)", "sqrt(3)", "\\sqrt3", "1.7320508", "1.732051", "x = √3."],
    "2\\pi": ["2π", "2*pi", "6.283185", "2\\pi\\text{ cm}"],
    "50\\%": ["50%", "50", "0.5", "50 percent"],
    "18 dollars": ["18", "\\$18", "18\\text{ dollars}", "18 USD"],
    "east": ["East", "\\text{east}", "**EAST**", "east."],
    "no solution": ["No solution.", "\\text{no solution}"],
    "(1,2)": ["(1.0, 2)", "x \\in (1,2)", "(x,y) = (1,2)"],
    "x=1": ["1", "x = 1.0"],
    "xy": ["yx", "x \\cdot y"],
}
OTHERS = {
    "73": [
        "73!",
        "73\\%",
        "2x = 73",
        "72 = 73",
        "73 \\approx 72",
        "73 or 74",
        "73x",
        "73.0000001",
        "73_8",
        "-73",
        "",
    ],
    "3": [
        "1 2",
        "1\\;2",
        "\\pm 3",
        "[3, 3)",
        "2 1",
        "3 dozen",
        "3 billions",
        "3 K",
        "3 quarters",
        "3 percents",
        "3 squares",
        "3 negatives",
        "3 lakhs",
        "3\\text{ million}",
        "3^2",
        "x > 3",
    ],
    "235": ["1 234", "1\\,234"],
    "3/2": ["2 1/2"],
    "0": ["0x1F", "1e-30", "0.0000001", "not 0", "0\\text{ is wrong}", "I do not know", "10^{-20}"],
    "5e-05": ["8.591409142", "0", "5 \\times 10^{-6}", "0.0000500001"],
    "10^{-20}": ["10^{-21}", "0", "0.0", "0.0000001", "1.00000001e-20"],
    "e^{-50}": ["e^{-51}", "0"],
    "x+10^{-20}": ["x+10^{-21}", "x"],
    "10^{-20}x": ["10^{-21}x", "0"],
    "(1,10^{-20})": ["(1,10^{-21})", "(1,0)", "[1,10^{-20}]"],
    "0.1234567": ["0.1234568", "0.123457"],
    "12345678.1": ["12345678.10000001"],
    "\\frac{1}{3}": ["0.333", "0.33333", "0.3333331", "0.3333334", "33.3333\\%"],
    "\\pi": ["3.1415931", "3.14159", "3.14", "22/7"],
    "2": ["2t", "2m", "2d"],
    "50": ["50\\%", "0.5"],
    "18 dollars": ["18 euros", "18 cents"],
    "1010": ["1010_2"],
    "1010_2": ["1010_3"],
    "east": ["seat", "eats", "e \\cdot a \\cdot s \\cdot t", "the east", "42"],
    "no": ["on"],
    "2.5 million": ["2.5", "2.5 thousand"],
}


@pytest.mark.parametrize("gold", SAME)
def test_one_value(task, gold):
    assert [text for text in [gold, *SAME[gold]] if not right(task, gold, text)] == []


@pytest.mark.parametrize("gold", OTHERS)
def test_other_values(task, gold):
    assert [text for text in OTHERS[gold] if right(task, gold, text)] == []


NUMBERS = st.tuples(st.integers(-(10**9), 10**9), st.integers(-30, 30))


def spellings(digits, power):
    """One number as a person, a programmer and a file would write it."""
    value, text = Decimal(digits).scaleb(power), f"{digits}e{power}"
    wide = "".join(chr(ord(c) + 0xFEE0) if c in "0123456789." else c for c in f"{value:f}")
    found = [
        text,
        f"{value:f}",
        f"{value:,f}",
        f"{value:,f}".replace(",", "_"),
        f"{value:E}",
        f"{digits} \\times 10^{{{power}}}",
        wide,
    ]
    found += [
        f"{digits}*10**{power}",
        f"{digits}·10^{power}",
        f"{value:,f}".replace(",", "\\,"),
        f"{value:f} m",
    ]
    return [
        *found,
        f"**{text}**",
        f"n = {text}.",
        f"${value:f}$",
        f"\\boxed{{{text}}}\r\n",
        f"\\text{{{text}}}",
    ]


@settings(max_examples=150, deadline=None)
@given(NUMBERS)
def test_spellings_of_one_number_are_all_right(task, number):
    golds = spellings(*number)[:2]
    assert [(g, a) for g in golds for a in spellings(*number) if not right(task, g, a)] == []


@settings(max_examples=150, deadline=None)
@given(NUMBERS, NUMBERS, st.integers(-2, 2), st.integers(-1, 1))
def test_other_numbers_never_are(task, number, far, step, shift):
    for other in (far, (number[0] + step, number[1]), (number[0], number[1] + shift)):
        if Decimal(other[0]).scaleb(other[1]) != Decimal(number[0]).scaleb(number[1]):
            assert [a for a in spellings(*other) if right(task, spellings(*number)[0], a)] == []


@settings(max_examples=100, deadline=None)
@given(st.fractions(-1000, 1000, max_denominator=10**6), st.integers(0, 14))
def test_a_rounded_fraction_needs_six_digits(task, value, places):
    assume(pow(10, 60, value.denominator) != 0)  # no decimal equals it
    text = f"{Decimal(value.numerator) / Decimal(value.denominator):.{places}f}"
    digits = len(text.lstrip("-0.").replace(".", ""))
    assert right(task, str(value), text) == (places >= 6 and digits >= 6)
    if places:
        off = Fraction(text) + Fraction(2, 10**places)
        assert not right(task, str(value), f"{Decimal(off.numerator) / Decimal(off.denominator):.{places}f}")


WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=12)


@settings(max_examples=100, deadline=None)
@given(WORD, st.randoms())
def test_words_are_no_products_of_letters(task, word, random):
    letters = [*word]
    random.shuffle(letters)
    assert right(task, word, word.upper())
    assert right(task, word, "".join(letters)) == (letters == [*word])


@given(st.integers(0, 10**6))
def test_boxes_of_every_legal_kind(number):
    boxes = [
        "\\boxed{#}",
        "\\boxed #",
        "\\boxed {#}",
        "\\fbox{#}",
        "\\boxed{#}\r\n",
        "\\boxed{0} \\boxed{#}.",
    ]
    assert {last_boxed(box.replace("#", str(number))) for box in boxes} == {str(number)}
    assert last_boxed(f"\\boxed{{\\left\\{{{number} \\right.}}") == f"\\left\\{{{number} \\right."


@pytest.mark.parametrize("n", [22, pytest.param(500, marks=pytest.mark.slow)])
def test_generated_golds(task, n):
    found = [misgraded(task, case) for case in cases(n, seed=1)]
    assert [accepted for _, accepted in found if accepted] == []
    assert sum(len(missed) for missed, _ in found) <= 0.01 * 30 * n


def test_what_cannot_be_read_is_counted_apart_from_what_is_wrong(task):
    before = task.unread
    assert [right(task, "73", text) for text in ("74", "x + 1", "\\frac{", "I do not know", "", "1 9")] == [
        0
    ] * 6
    assert task.unread - before == 4
    assert not right(task, "73", "")
    assert task.unread - before == 5


# --- golds in files ---


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    line = json.dumps({"id": "1", "task": "t", "question": "1+1?", "answer": "2"})
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n")
    assert [p.answer for p in read_problems(tmp_path / "bom.jsonl")] == ["2"]


@pytest.mark.parametrize(
    "gold", ["NaN", "Infinity", "-Infinity", "1e999", "null", '"N/A"', '"nan"', '" none "', "9" * 5000]
)
def test_what_is_no_gold_is_refused_with_file_and_line(gold, tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text(f'{{"question": "a", "answer": 2}}\n{{"question": "b", "answer": {gold}}}\n')
    with pytest.raises(ValueError, match=rf"{file}:2: "):
        MathTask.from_jsonl(file)
    file.write_text(f'\n{{"id": "1", "task": "t", "question": "b", "answer": {gold}}}\n')
    with pytest.raises(ValueError, match=rf"{file}:2: "):
        read_problems(file)


@pytest.mark.parametrize(
    "gold", [float("nan"), float("-inf"), 10**5000, "N/A"], ids=["nan", "-inf", "long", "NA"]
)
def test_what_is_no_gold_is_refused_with_its_row(gold):
    with pytest.raises(ValueError, match="train row 1: "):
        MathTask({"train": [{"question": "?", "answer": gold}]})


def test_json_numbers_of_any_magnitude():
    golds = [5e-05, 1e-300, 1e22, 10**300, 0.1, -2.5e-9]
    task = MathTask({"train": [{"question": str(i), "answer": gold} for i, gold in enumerate(golds)]})
    for problem, gold in zip(task.problems["train"], golds, strict=True):
        assert task.score(problem, f"{Decimal(str(gold)):f}") == 1.0
        assert task.score(problem, f"{Decimal(str(gold)) * 10:f}") == 0.0
    assert Fields().read("here", {"question": "?", "answer": 1e6}) == ("?", "1000000.0")


def test_a_countdown_answer_of_a_windows_line():
    assert is_solution("(1 + 2)\r\n * 3\r\n", [1, 2, 3], 9)


# --- the process that grades ---

WORKER = """
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location("worker", {path!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
{change}
worker.main()
"""


def worker(tmp_path, monkeypatch, change):
    path = tmp_path / "worker.py"
    path.write_text(WORKER.format(path=str(grading.WORKER), change=change))
    monkeypatch.setattr(grading, "WORKER", path)
    return MathTask({"train": [{"question": "?", "answer": "1"}]})


def test_a_process_that_has_grown_is_replaced(tmp_path, monkeypatch):
    task = worker(tmp_path, monkeypatch, "worker.MOST_KEPT_BYTES = 0")
    pids = []
    for n in range(3):
        assert right(task, "\\pi", f"\\frac{{{n + 1}\\pi}}{{{n + 1}}}")
        pids.append(task.grader._worker.pid)
    assert len(set(pids)) == 3
    assert task.ungraded == []


def test_a_lack_of_memory_is_asked_again_in_a_fresh_process_and_then_listed(tmp_path, monkeypatch):
    full = """
grade, asked = worker.grade, []
def fill(gold, answer):
    asked.append(gold)
    if len(asked) > 1 or answer == 'y':
        raise MemoryError
    return grade(gold, answer)
worker.grade = fill
"""
    task = worker(tmp_path, monkeypatch, full)
    assert [right(task, "\\pi", text) for text in ("\\pi", "2\\pi/2")] == [True, True]
    assert task.ungraded == []
    with pytest.warns(RuntimeWarning, match="needs more than 4 GiB of memory"):
        assert not right(task, "\\pi", "y")
    assert [u.answer for u in task.ungraded] == ["y"]


def test_an_error_is_no_result(task, monkeypatch):
    monkeypatch.setattr(
        task.grader, "_compare", lambda *_: grading.Verdict(reason="the grading process died")
    )
    with pytest.warns(RuntimeWarning, match="the grading process died"):
        assert not right(task, "7\\pi", "14\\pi/2")
    monkeypatch.undo()
    assert right(task, "7\\pi", "14\\pi/2")


def test_math_verify_does_not_swallow_a_lack_of_memory(tmp_path, monkeypatch):
    change = "import math_verify.grader as g\ndef full(*_):\n    raise MemoryError\nworker.guard()\n"
    change += "g.safe_sympy_doit = full\nworker.guard = lambda: None"
    task = worker(tmp_path, monkeypatch, change)
    with pytest.warns(RuntimeWarning, match="memory"):
        assert not right(task, "\\pi", "3.5")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells it")
def test_a_large_caller_keeps_its_grading_process(task):
    assert right(task, "\\sqrt{2}", "\\frac{2}{\\sqrt{2}}")
    held = bytearray(2**30 + 2**28)  # more than a grading process may keep
    held[:: 2**12] = bytes([1]) * len(held[:: 2**12])
    own = MathTask({"train": [{"question": "?", "answer": "1"}]}, deadline=5.0)
    assert right(own, "\\sqrt{2}", "\\frac{2}{\\sqrt{2}}")
    first = own.grader._worker
    assert right(own, "\\sqrt{3}", "\\frac{3}{\\sqrt{3}}")
    assert own.grader._worker is first
    assert first.poll() is None
    del held
