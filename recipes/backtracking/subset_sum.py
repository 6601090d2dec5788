"""Subset sum with one solution: the testbed where going back to the right line is the skill.

Given different numbers and a target, take or skip each number so that the taken ones make the target::

    solve 12 5 4 2 make 21 <think>
    try Line 1 take 12 9 Line 2 skip 5 9 Line 3 take 4 5 Line 4 take 2 3
    try Backtrack to Line 2
    try Line 2 take 5 4 Line 3 take 4 0 Line 4 skip 2 0
    </think> Line 1 take Line 2 take Line 3 take Line 4 skip

A line holds its number, the decision, the number decided about and what is left to make; a number larger
than that is skipped. `recipes/backtracking/text.py` writes and reads these thoughts. The answer is one
decision per line, a single string, so exact values exist. It names the lines, so that a small model finds
what to copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import numpy as np

from mrt_lib.tasks import Problem, register
from mrt_lib.tasks.base import draw

LARGEST = 12
NUMBERS = range(4, 7)
LARGEST_SUM = sum(range(LARGEST - NUMBERS[-1] + 1, LARGEST + 1))
SPLITS = {"train": range(0, 65), "validation": range(65, 80), "test": range(80, 100)}
SIZES = {"train": 2000, "validation": 250, "test": 400}
DECISIONS = ("skip", "take")
WORDS = ("solve", "make", "try", *DECISIONS, "Backtrack", "to", "beginning", "time", "up")


@dataclass(frozen=True)
class SubsetSum:
    """Subset sum of `numbers` different numbers in 1..12, at least two of them taken and two skipped."""

    numbers: int = 5

    def __post_init__(self) -> None:
        if self.numbers not in NUMBERS:
            raise ValueError(f"numbers must be in {NUMBERS[0]}..{NUMBERS[-1]}, got {self.numbers}")

    @property
    def name(self) -> str:
        return f"subset_sum_{self.numbers}"

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """The shipped problems by split: drawn once with a fixed seed, each different."""
        return {split: self._pool(split, seed) for seed, split in enumerate(SPLITS)}

    def problem(self, numbers: Sequence[int], target: int) -> Problem:
        """The problem with these numbers and this target; ValueError unless one subset makes it."""
        if len(numbers) != self.numbers or len(set(numbers) & set(range(1, LARGEST + 1))) != self.numbers:
            raise ValueError(f"need {self.numbers} different numbers in 1..{LARGEST}, got {list(numbers)}")
        found = solutions(numbers, target)
        if len(found) != 1:
            raise ValueError(f"{len(found)} subsets of {list(numbers)} make {target}; a problem has one")
        text = " ".join(map(str, numbers))
        facts: dict[str, int | str] = {"numbers": text, "target": target}
        question = f"{text} make {target}"
        return Problem(f"{self.name}:{text}:{target}", self.name, question, answer_text(found[0]), facts)

    def draw(self, rng: np.random.Generator, split: str) -> Problem:
        """A new problem of a split: the hash of its set of numbers, in any order, decides the split.

        The solution is uniform over those that take and skip at least two numbers, before the draws
        whose target another subset makes as well are thrown away. ValueError for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; known: {sorted(SPLITS)}")
        while True:
            numbers = [int(n) for n in rng.permutation(LARGEST)[: self.numbers] + 1]
            taken = rng.integers(2, size=self.numbers)
            target = int(taken @ numbers)
            fair = 2 <= taken.sum() <= self.numbers - 2
            if fair and split_of(numbers) == split and len(solutions(numbers, target)) == 1:
                return self.problem(numbers, target)

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` of the shipped problems, with replacement; ValueError for an unknown split."""
        return draw(self.problems, rng, n, split)

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 if the text is the solution's decision for every line and nothing else, else 0.0."""
        return float(answer_text.split() == problem.answer.split())

    def answers(self, problem: Problem) -> tuple[str, ...]:
        """The one right answer."""
        return (problem.answer,)

    def optimal_values(self, episodes: int) -> None:
        """None: attempts reveal nothing that the prompt does not fix.

        Numbers and target determine the solution, so the best policy answers at once and J* is 1 after 0
        episodes; what limits a policy is what it can compute, and that has no known optimum. A searcher
        that learns of each attempt only whether it is right has (e + 1) / 2^n after e attempts.
        """

    def _pool(self, split: str, seed: int) -> list[Problem]:
        rng = np.random.default_rng(seed)
        found: dict[str, Problem] = {}
        while len(found) < SIZES[split]:
            problem = self.draw(rng, split)
            found[problem.id] = problem
        return list(found.values())


def solutions(numbers: Sequence[int], target: int) -> list[tuple[bool, ...]]:
    """Every choice of numbers that makes the target, by enumeration."""
    choices = _choices(len(numbers))
    return [tuple(row) for row in choices[choices @ np.asarray(numbers) == target].tolist()]


@cache
def _choices(n: int) -> np.ndarray:
    return np.array(list(product((False, True), repeat=n)))


def answer_text(taken: Sequence[bool]) -> str:
    """The answer: every line with its decision."""
    return " ".join(f"Line {i} {DECISIONS[t]}" for i, t in enumerate(taken, start=1))


def split_of(numbers: Sequence[int]) -> str:
    """The split of all problems with these numbers, in any order and for any target."""
    bucket = int(hashlib.sha256(str(sorted(numbers)).encode()).hexdigest(), 16) % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def facts_of(problem: Problem) -> tuple[list[int], int]:
    """Numbers and target of a problem."""
    return [int(n) for n in str(problem.facts["numbers"]).split()], int(problem.facts["target"])


def solution_of(problem: Problem) -> tuple[bool, ...]:
    """For each line, whether the solution takes its number."""
    return tuple(word == "take" for word in problem.answer.split() if word in DECISIONS)


register(SubsetSum())
