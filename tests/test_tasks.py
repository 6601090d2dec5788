"""Tasks: the verifier, the splits and the proven optimum."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mrt_lib.tasks import SHIPPED, TASKS, Problem, RootSearch, get_task, register, select, task_of
from mrt_lib.tasks.root_search import SPLITS
from recipes.root_search.explorers import bisect, explore, forced_values

shipped = pytest.mark.parametrize("task", SHIPPED, ids=lambda task: task.name)


def every_problem(task):
    return [problem for split in task.problems.values() for problem in split]


# --- problems, verifier and splits ---


def test_a_problem_written_out_by_hand():
    # 19 * (19 + 6) = 475, and the largest value of this range, 31 * (31 + 31) = 1922, has four digits.
    assert RootSearch(31).problem(19, 6) == Problem(
        id="root_search_31:b=6:N=475",
        task="root_search_31",
        question="x(x+b) = 0 4 7 5 b = 6 in 1 31",
        answer="19",
        facts={"b": 6, "candidates": 31, "function": "x(x+b)", "target": 475},
    )


@shipped
def test_the_verifier_accepts_gold_and_a_constant_only_where_it_is_gold(task):
    problems = every_problem(task)
    assert all(task.score(p, p.answer) == 1.0 for p in problems)
    right = [p for p in problems if task.score(p, "7") == 1.0]
    assert right == [p for p in problems if p.answer == "7"]
    assert len(right) == 32  # one for every b


@shipped
def test_the_verifier_refuses_junk_and_ignores_white_space_around_the_answer(task):
    problems = every_problem(task)
    for junk in ("", " ", "0", "-{0}", "+{0}", "0{0}", "{0}.0", "{0} {0}", "x = {0}", "１"):
        assert not any(task.score(p, junk.format(p.answer)) for p in problems), junk
    assert all(task.score(p, f" \n{p.answer}\t") == 1.0 for p in problems)


def test_a_gold_that_is_no_root_is_right_for_nobody_and_missing_facts_are_named():
    task = RootSearch(31)
    problem = task.problem(7, 3)
    wrong = replace(problem, answer="99")
    assert task.score(wrong, "99") == task.score(wrong, "7") == 0
    assert task.score(problem, " 7 ") == 1
    with pytest.raises(ValueError, match="needs the facts function, b and target"):
        task.score(replace(problem, facts={}), "7")


@shipped
def test_the_question_alone_has_exactly_one_root_and_it_is_the_answer(task):
    formulas = {"x(x+b)": lambda x, b: x * (x + b), "xx+b": lambda x, b: x * x + b}
    for problem in every_problem(task):
        formula, digits, b, n = re.fullmatch(
            r"(\S+) = ([\d ]+) b = (\d+) in 1 (\d+)", problem.question
        ).groups()
        target = int(digits.replace(" ", ""))
        roots = [str(x) for x in range(1, int(n) + 1) if formulas[formula](x, int(b)) == target]
        assert tuple(roots) == task.answers(problem) == (problem.answer,)


@shipped
def test_every_root_and_offset_is_in_one_split(task):
    ids = [p.id for p in every_problem(task)]
    assert len(ids) == len(set(ids)) == task.candidates * 32
    shares = {name: len(problems) / len(ids) for name, problems in task.problems.items()}
    assert shares == pytest.approx({"train": 0.65, "validation": 0.15, "test": 0.20}, abs=0.03)


def test_a_problem_is_in_the_same_split_at_every_range():
    split_of = {}
    for task in SHIPPED:
        for split, problems in task.problems.items():
            for p in problems:
                key = (p.facts["function"], p.facts["b"], p.facts["target"])
                assert split_of.setdefault(key, split) == split
    # The smaller ranges of x(x+b) lie inside the largest one.
    assert len(split_of) == (127 + 31) * 32


@pytest.mark.parametrize("split", SPLITS)
def test_sampling_stays_in_the_split_and_repeats_with_the_seed(split):
    task = RootSearch(31)
    drawn = task.sample(np.random.default_rng(3), 50, split)
    assert len(drawn) == 50
    assert {p.id for p in drawn} <= {p.id for p in task.problems[split]}
    assert drawn == task.sample(np.random.default_rng(3), 50, split)
    assert drawn != task.sample(np.random.default_rng(4), 50, split)


def test_unknown_split():
    with pytest.raises(ValueError, match=r"unknown split 'dev'; known: .*'test', 'train', 'validation'"):
        RootSearch(31).sample(np.random.default_rng(0), 1, "dev")


def test_get_task():
    assert [get_task(task.name) for task in SHIPPED] == list(SHIPPED)
    with pytest.raises(ValueError, match=r"unknown task 'root_search_32'; known: .*'root_search_31'"):
        get_task("root_search_32")


def test_a_registered_task_is_found_and_problems_name_their_task():
    small = RootSearch(15)
    with pytest.raises(ValueError, match="unknown task 'root_search_15'"):
        task_of(small.problems["test"], None)
    register(small)
    assert task_of(small.problems["test"], None) is get_task("root_search_15") is small
    del TASKS[small.name]
    assert task_of(small.problems["test"], small) is small


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        ([], "there are no problems"),
        ([Problem("1", "root_search_31", "q", "")], "problem '1' has no gold answer"),
        (
            [Problem("1", "root_search_31", "q", "7"), Problem("2", "sums", "q", "7")],
            r"belong to the tasks \['root_search_31', 'sums'\]; give one task at a time",
        ),
    ],
    ids=["none", "no answer", "two tasks"],
)
def test_problems_without_one_task_and_answers_are_refused(problems, message):
    with pytest.raises(ValueError, match=message):
        task_of(problems, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((31, "x^3"), "unknown function 'x.3'; known: .*'xx.b'"),
        ((0,), "candidates must be in 1..127, got 0"),
        ((128,), "candidates must be in 1..127, got 128"),
    ],
)
def test_bad_tasks(arguments, message):
    with pytest.raises(ValueError, match=message):
        RootSearch(*arguments)


def test_select_draws_different_problems():
    problems = RootSearch(31).problems["test"]
    chosen = select(problems, 20, np.random.default_rng(0))
    assert len({p.id for p in chosen}) == 20
    assert sorted(p.id for p in select(problems, len(problems), np.random.default_rng(0))) == sorted(
        p.id for p in problems
    )


@pytest.mark.parametrize("n", [0, -1, 4])
def test_select_asks_for_a_possible_number(n):
    with pytest.raises(ValueError, match=rf"cannot select {n} of 3 problems; ask for 1\.\.3"):
        select(RootSearch(31).problems["test"][:3], n, np.random.default_rng(0))


# --- the optimum ---


def best_by_brute_force(task, b, trials):
    """The best chance of a right final guess after `trials` trials, over all strategies.

    Dynamic programme over beliefs: the set of roots that all feedback so far allows. Every guess of the
    range may be tried, inside the belief or not, and the feedback is the sign of f(guess) - N.
    """
    values = {x: task.evaluate(x, b) for x in range(1, task.candidates + 1)}

    @cache
    def settled(belief: frozenset, trials_left: int) -> int:
        """How many roots of `belief` the best strategy ends up naming."""
        if trials_left == 0:
            return 1
        return max(sum(settled(part, trials_left - 1) for part in parts(belief, guess)) for guess in values)

    def parts(belief, guess):
        feedback = {x: np.sign(values[guess] - values[x]) for x in belief}
        return [frozenset(x for x in belief if feedback[x] == sign) for sign in set(feedback.values())]

    return settled(frozenset(values), trials) / task.candidates


@pytest.mark.parametrize("candidates", range(1, 8))
@pytest.mark.parametrize(("function", "b"), [("x(x+b)", 0), ("x(x+b)", 31), ("xx+b", 5)])
def test_no_strategy_beats_the_optimal_values_and_one_reaches_them(candidates, function, b):
    task = RootSearch(candidates, function)
    best = [best_by_brute_force(task, b, trials) for trials in range(4)]
    assert task.optimal_values(3) == pytest.approx(best)


def test_optimal_values_by_hand():
    assert RootSearch(31).optimal_values(5) == pytest.approx(np.array([1, 3, 7, 15, 31, 31]) / 31)
    assert RootSearch(100).optimal_values(0) == pytest.approx([0.01])
    with pytest.raises(ValueError, match="episodes must be at least 0, got -1"):
        RootSearch(31).optimal_values(-1)


@pytest.mark.parametrize(("candidates", "episodes"), [(31, 5), (63, 6)])
@pytest.mark.parametrize("b", [0, 31])
def test_bisection_is_optimal_after_every_trial(candidates, episodes, b):
    task, rng = RootSearch(candidates), np.random.default_rng(0)
    total = np.zeros(episodes + 1)
    for x in range(1, candidates + 1):
        values = forced_values(explore(task, task.problem(x, b), bisect, episodes, rng), candidates)
        total += np.pad(values, (0, episodes + 1 - len(values)), mode="edge")
    assert total / candidates == pytest.approx(task.optimal_values(episodes))
