"""Countdown: expressions are parsed, not evaluated, and agree with reasoning-gym where it is installed."""

from fractions import Fraction
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.tasks import Problem, base
from recipes.countdown import SPLITS, Countdown, is_solution, parse_arithmetic

gym = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="needs the extra `countdown`")
PROBLEM = Problem("c", "countdown", "?", "(2+3)*4", {"numbers": "2 3 4", "target": 20})


# --- expressions ---


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("(2+3)*4", 1),
        (" 4 * (3 + 2)\n", 1),
        ("4*(3+2)/1", 0),
        ("(2+3)*4*1", 0),
        ("2+3*4", 0),
        ("20", 0),
        ("2+3+4", 0),
        ("(2+3)*4 = 20", 0),
        ("-(2+3)*-4", 1),
        ("+4*(2+3)", 1),
        ("4/(2-2)", 0),
        ("", 0),
    ],
)
def test_scores_by_hand(text, right):
    assert Countdown().score(PROBLEM, text) == right


def test_values_are_exact():
    assert is_solution("8/(3-8/3)", [8, 3, 8, 3], 24)
    assert not is_solution("1000*99/98/1", [1000, 99, 98, 1], 1010)
    assert not is_solution("1/(2-2)", [1, 2, 2], 0)
    assert is_solution("(1/2/2)*4", [1, 2, 2, 4], 1)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "__import__('os').system('true')",
        "abs(-2)",
        "(1)(2)",
        "2**3",
        "9**9**9",
        "7//2",
        "1.5",
        "1_0",
        "0x1F",
        "2e3",
        "1j",
        "01",
        "True",
        "[1]",
        "(1,2)",
        "1 if 1 else 2",
        "1\n2",
        "~1",
        "1%2",
        "()",
        "1+",
        "2 3",
        "２+3",
        "2×3",
        "9" * 401,
        "(" * 200 + "1" + ")" * 199,
        "-" * 399 + "1 ",
        "\x00",
    ],
)
def test_anything_but_plain_arithmetic_is_refused(text):
    if text.startswith("-"):
        assert not is_solution(text, [2], 2)
    else:
        assert parse_arithmetic(text) is None
    assert Countdown().score(PROBLEM, text) == 0.0


def test_huge_numbers_cost_nothing():
    product = "*".join(["9" * 40] * 9)
    assert not is_solution(product, [2, 3], 6)


@given(st.text(max_size=60) | st.text(alphabet="0123456789+-*/() ", max_size=60))
def test_no_text_makes_the_score_raise(text):
    assert Countdown().score(PROBLEM, text) in (0.0, 1.0)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.data())
def test_expressions_built_at_random_have_their_exact_value(numbers, data):
    text, value = str(numbers[0]), Fraction(numbers[0])
    for number in numbers[1:]:
        operator = data.draw(st.sampled_from("+-*/"))
        text = f"({text}){operator}{number}"
        value = {"+": value + number, "-": value - number, "*": value * number, "/": value / number}[operator]
    whole = value.denominator == 1
    assert is_solution(text, numbers, int(value)) == whole
    assert not is_solution(text, numbers, int(value) + 1)
    assert not is_solution(text, numbers[1:], int(value))


# --- problems from reasoning-gym ---


@gym
@pytest.mark.parametrize("split", SPLITS)
def test_problems_repeat_with_the_seed_and_splits_share_none(split):
    task = Countdown()
    drawn = task.sample(np.random.default_rng(5), 20, split)
    assert drawn == task.sample(np.random.default_rng(5), 20, split)
    assert len({p.id for p in drawn}) == 20
    others = [
        p for other in SPLITS if other != split for p in task.sample(np.random.default_rng(5), 60, other)
    ]
    assert not {key(p) for p in drawn} & {key(p) for p in others}


def key(problem):
    return (*sorted(problem.facts["numbers"].split()), problem.facts["target"])


@gym
def test_the_verifier_accepts_gold_and_a_constant_nowhere():
    task = Countdown((3, 5), 50, (10, 99))
    problems = task.sample(np.random.default_rng(0), 200)
    assert task.name == "countdown_3_5_50_10_99"
    assert all(task.score(p, p.answer) == 1.0 for p in problems)
    assert not any(
        task.score(p, constant) for p in problems for constant in ("42", "1+2+3", problems[0].answer[1:])
    )
    assert all(str(p.facts["target"]) in p.question for p in problems)
    assert task.answers(problems[0]) is task.optimal_values(3) is None


@gym
def test_reasoning_gyms_scorer_agrees():
    task, rng = Countdown(), np.random.default_rng(1)
    for problem in task.sample(rng, 60):
        numbers = [int(n) for n in problem.facts["numbers"].split()]
        entry = {"metadata": {"numbers": numbers, "target": problem.facts["target"]}}
        shuffled = "+".join(map(str, rng.permutation(numbers)))
        for text in (problem.answer, shuffled, problem.answer + "+1", f"({problem.answer})*1", "7"):
            theirs = task.generator.score_answer(text, entry)
            assert task.score(problem, text) == (theirs == 1.0)


@gym
def test_bad_ranges():
    with pytest.raises(ValueError, match="max_numbers must be >= min_numbers"):
        Countdown((5, 3)).sample(np.random.default_rng(0), 1)


def test_unknown_split_and_missing_extra(monkeypatch):
    with pytest.raises(ValueError, match=r"unknown split 'dev'; known: \['test', 'train', 'validation'\]"):
        Countdown().sample(np.random.default_rng(0), 1, "dev")
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"reasoning_gym is not installed; .*mrt-lib\[countdown\]"):
        Countdown().sample(np.random.default_rng(0), 1)
