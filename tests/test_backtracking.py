"""Going back: attempts, the right line, thoughts written and read."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.thoughts.templates import TESTBED, encode
from recipes.backtracking.attempts import (
    Attempt,
    Line,
    backtrack_accuracy,
    backtracks,
    beginning,
    bounded_choice,
    is_right,
    mixture,
    open_lines,
    oracle_line,
    random_choice,
    random_line,
    redo,
    right_line,
    search_by_lines,
    solution_attempt,
    write_lines,
)
from recipes.backtracking.base import build_tokenizer
from recipes.backtracking.subset_sum import SubsetSum, facts_of, solution_of
from recipes.backtracking.text import read_attempts, read_prefix, thought_text

TASK = SubsetSum(5)
PROBLEM = SubsetSum(4).problem([12, 5, 4, 2], 21)  # take take take skip
TEXT = (
    "try Line 1 take 12 9 Line 2 skip 5 9 Line 3 take 4 5 Line 4 take 2 3 "
    "try Backtrack to Line 2 "
    "try Line 2 take 5 4 Line 3 take 4 0 Line 4 skip 2 0"
)
CHOOSERS = [random_choice, bounded_choice]
RETURNERS = [random_line, oracle_line, beginning, mixture(0.5)]
FIRST = "try Line 1 take 12 9 Line 2 skip 5 9 Line 3 take 4 5 Line 4 take 2 3"

searches = st.builds(
    lambda problem, choose, go_back, n, seed: (
        problem,
        search_by_lines(problem, choose, go_back, n, np.random.default_rng(seed)),
    ),
    st.sampled_from(TASK.problems["test"]),
    st.sampled_from(CHOOSERS),
    st.sampled_from(RETURNERS),
    st.integers(1, 7),
    st.integers(0, 10**6),
)


@given(searches)
def test_what_is_written_reads_back(found):
    _, attempts = found
    assert read_attempts(thought_text(attempts), TASK.numbers) == attempts


@given(searches, st.integers(0, 400))
def test_a_thought_cut_anywhere_reads_as_the_attempts_before_the_cut(found, cut):
    """Tokens cut off may lose the episode they stand in, never change what stands before."""
    _, attempts = found
    read, error = read_prefix(" ".join(thought_text(attempts).split()[:cut]), TASK.numbers)
    assert all(a == b for a, b in zip(read[:-1], attempts, strict=False))
    assert not read or read[-1].lines == attempts[len(read) - 1].lines[: len(read[-1].lines)]
    assert not error or "episode" in error


@given(searches)
def test_redone_attempts_share_the_lines_before_and_tell_the_truth(found):
    problem, attempts = found
    numbers, target = facts_of(problem)
    for before, after in pairwise(attempts):
        assert after.lines[: after.back_to - 1] == before.lines[: after.back_to - 1]
    for attempt in attempts:
        rest = target
        for line, number in zip(attempt.lines, numbers, strict=True):
            assert (line.number, line.taken and number > rest) == (number, False)
            rest -= number * line.taken
            assert line.rest == rest
        assert is_right(problem, attempt) == (rest == 0)
    assert not any(is_right(problem, a) for a in attempts[:-1])


@given(searches)
def test_the_right_line_is_the_first_that_differs_from_the_solution(found):
    problem, attempts = found
    solution = solution_of(problem)
    for attempt in attempts:
        line = right_line(problem, attempt)
        if is_right(problem, attempt):
            assert line is None
        else:
            assert attempt.taken[: line - 1] == solution[: line - 1]
            assert attempt.taken[line - 1] != solution[line - 1]
            assert line in open_lines(attempt)  # so the redo can decide it rightly


@given(st.sampled_from(TASK.problems["test"]), st.sampled_from(CHOOSERS), st.integers(0, 10**6))
def test_with_the_oracle_every_redo_is_right_for_longer(problem, choose, seed):
    attempts = search_by_lines(problem, choose, oracle_line, 7, np.random.default_rng(seed))
    lines = [right_line(problem, a) for a in attempts]
    assert lines[-1] is None
    assert lines[:-1] == sorted(set(lines[:-1]))
    assert backtrack_accuracy(problem, attempts) == 1.0 or len(attempts) == 1


def test_a_thought_by_hand():
    first = Attempt((Line(True, 12, 9), Line(False, 5, 9), Line(True, 4, 5), Line(True, 2, 3)))
    attempts = [first, solution_attempt(PROBLEM, 2)]
    assert read_attempts(TEXT, 4) == attempts
    assert thought_text(attempts) == TEXT
    assert (right_line(PROBLEM, first), right_line(PROBLEM, attempts[1])) == (2, None)
    assert backtracks(PROBLEM, attempts) == [(2, 2)]
    assert open_lines(first) == [1, 2, 3, 4]
    assert redo(PROBLEM, first, 2, bounded_choice, np.random.default_rng(0)).taken[:2] == (True, True)


def test_backtrack_accuracy_by_hand():
    """Back to Line 3 (wrong: Line 2), to Line 2 (right), then from a right attempt (no line is right)."""
    text = f"{FIRST} try Backtrack to Line 3 try Line 3 skip 4 9 Line 4 skip 2 9 {TEXT[len(FIRST) + 1 :]}"
    attempts = read_attempts(f"{text} try Backtrack to beginning", 4)
    assert attempts[-1] == Attempt((), 1)
    assert backtracks(PROBLEM, attempts) == [(3, 2), (2, 2), (1, None)]
    assert backtrack_accuracy(PROBLEM, attempts) == pytest.approx(1 / 3)
    assert math.isnan(backtrack_accuracy(PROBLEM, attempts[:1]))


def test_attempts_and_backtracks_are_episodes_of_the_template():
    tokenizer = build_tokenizer()
    assert TESTBED.cut(tokenizer, encode(tokenizer, TEXT)) == [17, 21, 34]


def test_whole_attempts_may_follow_each_other_without_going_back():
    attempts = read_attempts(f"{FIRST} {FIRST}", 4)
    assert [a.back_to for a in attempts] == [None, None]
    assert backtracks(PROBLEM, attempts) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{FIRST} try Backtrack to Line 5", "episode 2, .*there is no Line 5; the lines are 1..4"),
        (f"{FIRST} try Backtrack to Line 0", "there is no Line 0; the lines are 1..4"),
        (f"{FIRST} try Backtrack to Line", "expected 'Backtrack to Line n' or 'Backtrack to beginning'"),
        (f"{FIRST} try Backtrack to 3", "expected 'Backtrack to Line n'"),
        ("try Backtrack to beginning", "episode 1, .*nothing to go back from"),
        (f"{FIRST} try Backtrack to Line 2 try Backtrack to Line 3", "nothing to go back from"),
        (f"{FIRST} try Backtrack to Line 2 try Line 3 take 4 5", "expected 'Line 2 take|skip number rest'"),
        ("try Line 1 take 12 9 try Line 2 skip 5 9", "the attempt before it stops at Line 1 of 4"),
        (f"{FIRST} Line 5 take 1 1", "there is no Line 5; the lines are 1..4"),
        ("try Line 1 leave 12 9", "expected 'Line 1 take|skip number rest', got 'Line 1 leave 12 9'"),
        ("try Line 1 take 12 -9", "number and rest must be whole numbers, got '12 -9'"),
        ("try Line 1 take 12", "expected 'Line 1 take|skip number rest', got 'Line 1 take 12'"),
        ("try", "it holds no line"),
        ("Line 1 take 12 9", "a thought opens with 'try', got 'Line 1 take 12 9'"),
    ],
)
def test_malformed_thoughts_are_refused_by_name(text, message):
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        read_attempts(text, 4)


def test_what_stands_before_a_mistake_is_still_read():
    attempts, error = read_prefix(f"{TEXT} try Backtrack to Line 9", 4)
    assert attempts == read_attempts(TEXT, 4)
    assert error == "episode 4, 'Backtrack to Line 9': there is no Line 9; the lines are 1..4"
    assert read_prefix("", 4) == ([], "")


def test_going_back_where_nothing_can_be_done():
    right = solution_attempt(PROBLEM)
    with pytest.raises(ValueError, match="is right: there is no line to go back to"):
        oracle_line(np.random.default_rng(0), PROBLEM, right)
    with pytest.raises(ValueError, match=r"there is no Line 5; the lines are 1\.\.4"):
        redo(PROBLEM, right, 5, random_choice, np.random.default_rng(0))


def test_bounded_choices_never_leave_too_much():
    """After 12 and 5, 4 is left and 4 + 2 can still make it; random choices often leave too much."""
    rng = np.random.default_rng(0)
    rests = [write_lines(PROBLEM, bounded_choice, rng)[1].rest for _ in range(200)]
    assert max(rests) == 4  # the 9 left after 12 cannot be made from 4 and 2, so 5 is taken
    assert max(write_lines(PROBLEM, random_choice, rng)[1].rest for _ in range(200)) == 21
