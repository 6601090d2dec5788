"""Hand-written policies for subset sum: how they decide, where they go back, and the right line to go to.

`recipes/backtracking/text.py` writes their attempts as thoughts and reads thoughts back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mrt_lib.tasks.base import Problem
from recipes.backtracking.subset_sum import facts_of, solution_of


class Line(NamedTuple):
    """One line: whether its number is taken, the number, and what is left to make."""

    taken: bool
    number: int
    rest: int


@dataclass(frozen=True)
class Attempt:
    """One attempt, with the lines it shares.

    Attributes:
        lines: all lines from Line 1 on, the shared ones among them; fewer than the problem has where the
            thought ends inside the attempt.
        back_to: the line that a backtrack named before the attempt, so that it shares `back_to` - 1 lines
            with the attempt before it; None for an attempt that was started without going back.
    """

    lines: tuple[Line, ...]
    back_to: int | None = None

    @property
    def taken(self) -> tuple[bool, ...]:
        return tuple(line.taken for line in self.lines)

    @property
    def first(self) -> int:
        """The first line that the attempt itself writes."""
        return self.back_to or 1


Chooser = Callable[[np.random.Generator, int, int, int], bool]
Returner = Callable[[np.random.Generator, Problem, Attempt], int]


def random_choice(rng: np.random.Generator, number: int, rest: int, later: int) -> bool:  # noqa: ARG001
    """Takes a number that fits with probability 1/2."""
    return number <= rest and rng.random() < 0.5


def bounded_choice(rng: np.random.Generator, number: int, rest: int, later: int) -> bool:
    """As `random_choice`, but never skips a number without which the `later` ones are too few."""
    return number <= rest and (rest > later or rng.random() < 0.5)


def oracle_line(rng: np.random.Generator, problem: Problem, attempt: Attempt) -> int:  # noqa: ARG001
    """The right line; ValueError for an attempt that is right."""
    line = right_line(problem, attempt)
    if line is None:
        raise ValueError(f"this attempt at {problem.id} is right: there is no line to go back to")
    return line


def random_line(rng: np.random.Generator, problem: Problem, attempt: Attempt) -> int:  # noqa: ARG001
    """Uniform over the lines that can be decided the other way."""
    return int(rng.choice(open_lines(attempt)))


def beginning(rng: np.random.Generator, problem: Problem, attempt: Attempt) -> int:  # noqa: ARG001
    """Line 1, whatever went wrong."""
    return 1


def mixture(right: float) -> Returner:
    """The right line with probability `right`, else a random one."""

    def go_back(rng: np.random.Generator, problem: Problem, attempt: Attempt) -> int:
        choose = oracle_line if rng.random() < right else random_line
        return choose(rng, problem, attempt)

    return go_back


def right_line(problem: Problem, attempt: Attempt) -> int | None:
    """The first line that differs from the solution, counted from 1; None if none does."""
    pairs = enumerate(zip(attempt.taken, solution_of(problem), strict=False), start=1)
    return next((i for i, (taken, right) in pairs if taken != right), None)


def open_lines(attempt: Attempt) -> list[int]:
    """The lines that can be decided the other way: taken numbers, and skipped ones that would have fit."""
    return [i for i, line in enumerate(attempt.lines, start=1) if line.taken or line.number <= line.rest]


def write_lines(
    problem: Problem, choose: Chooser, rng: np.random.Generator, kept: tuple[Line, ...] = ()
) -> tuple[Line, ...]:
    """`kept` and the lines after it, decided by `choose`."""
    numbers, target = facts_of(problem)
    lines = list(kept)
    for i in range(len(kept), len(numbers)):
        rest = lines[-1].rest if lines else target
        taken = choose(rng, numbers[i], rest, sum(numbers[i + 1 :]))
        lines.append(Line(taken, numbers[i], rest - numbers[i] * taken))
    return tuple(lines)


def redo(problem: Problem, attempt: Attempt, line: int, choose: Chooser, rng: np.random.Generator) -> Attempt:
    """Back to `line`, which is decided the other way where its number fits; the lines before it stay.

    ValueError for a line that the attempt does not have.
    """
    check_line(line, len(attempt.lines))
    was_taken, number, rest = attempt.lines[line - 1]
    before = rest + number * was_taken
    taken = not was_taken and number <= before
    kept = (*attempt.lines[: line - 1], Line(taken, number, before - number * taken))
    return Attempt(write_lines(problem, choose, rng, kept), line)


def solution_attempt(problem: Problem, back_to: int | None = None) -> Attempt:
    """The right attempt, as it is written after going back to line `back_to`."""
    numbers, rest = facts_of(problem)
    lines = []
    for number, taken in zip(numbers, solution_of(problem), strict=True):
        rest -= number * taken
        lines.append(Line(taken, number, rest))
    return Attempt(tuple(lines), back_to)


def is_right(problem: Problem, attempt: Attempt) -> bool:
    """Whether all lines are there and decide as the solution does."""
    return attempt.taken == solution_of(problem)


def decided(attempts: Sequence[Attempt]) -> tuple[bool, ...]:
    """What a meta-prover that cannot search copies into the answer: the decisions of the newest attempt."""
    return attempts[-1].taken if attempts else ()


def guess(rng: np.random.Generator, attempts: Sequence[Attempt], lines: int) -> tuple[bool, ...]:
    """An answer of `lines` decisions: `decided`, and a coin for every other line."""
    known = decided(attempts)
    return known + tuple((rng.random(lines - len(known)) < 0.5).tolist())


def search_by_lines(
    problem: Problem, choose: Chooser, go_back: Returner, attempts: int, rng: np.random.Generator
) -> list[Attempt]:
    """Up to `attempts` attempts, each going back from the one before; stops after a right one."""
    found: list[Attempt] = []
    while len(found) < attempts and not (found and is_right(problem, found[-1])):
        found.append(next_attempt(problem, found, choose, go_back, rng))
    return found


def next_attempt(
    problem: Problem,
    attempts: Sequence[Attempt],
    choose: Chooser,
    go_back: Returner,
    rng: np.random.Generator,
) -> Attempt:
    """The attempt after `attempts`: from the beginning if there are none, else a redo of the last."""
    if not attempts:
        return Attempt(write_lines(problem, choose, rng))
    return redo(problem, attempts[-1], go_back(rng, problem, attempts[-1]), choose, rng)


def check_line(line: int, lines: int) -> None:
    """ValueError unless a problem of `lines` lines has `line`."""
    if not 1 <= line <= lines:
        raise ValueError(f"there is no Line {line}; the lines are 1..{lines}")


def backtracks(problem: Problem, attempts: Sequence[Attempt]) -> list[tuple[int, int | None]]:
    """For each backtrack, the line it names and the right one (None where the attempt was right)."""
    pairs = pairwise(attempts)
    return [(b.back_to, right_line(problem, a)) for a, b in pairs if b.back_to is not None]


def backtrack_accuracy(problem: Problem, attempts: Sequence[Attempt]) -> float:
    """Share of the backtracks that name the right line; nan where there is none."""
    named = backtracks(problem, attempts)
    return float(np.mean([line == right for line, right in named])) if named else float("nan")
