"""Guided search for an integer root: the testbed whose optimal policy is known.

Find x in 1..n with f(x) = N for an increasing f. One episode of thought is one trial: evaluate f
at a guess, compare with N, write down the interval that is left::

    solve x(x+b) = 0 4 7 5 b = 6 in 1 31 <think>
    try 24 : 0 7 2 0 high in 1 23
    try 13 : 0 2 4 7 low in 14 23
    </think> 19

A trial leaves "low", "high" or "hit", so information is graded: halving the interval doubles the
chance of guessing right although nothing is solved yet.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mrt_lib.tasks.base import Problem, draw

FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "x(x+b)": lambda x, b: x * (x + b),
    "xx+b": lambda x, b: x * x + b,
}
OFFSETS = range(32)
SPLITS = {"train": range(0, 65), "validation": range(65, 80), "test": range(80, 100)}
MAX_CANDIDATES = 127
WORDS = ("solve", *FUNCTIONS, "=", "b", "in", "try", ":", "low", "high", "hit", "time", "up")


@dataclass(frozen=True)
class RootSearch:
    """Root search over 1..`candidates` for one function of `FUNCTIONS` and b in 0..31."""

    candidates: int = 31
    function: str = "x(x+b)"

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"unknown function {self.function!r}; known: {sorted(FUNCTIONS)}")
        if not 1 <= self.candidates <= MAX_CANDIDATES:
            raise ValueError(f"candidates must be in 1..{MAX_CANDIDATES}, got {self.candidates}")

    @property
    def name(self) -> str:
        return f"root_search_{self.candidates}{'' if self.function == 'x(x+b)' else '_square'}"

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """All problems by split: a hash of function, b and N, so ranges share no test problem."""
        found = [self.problem(x, b) for b in OFFSETS for x in range(1, self.candidates + 1)]
        return {name: [p for p in found if _bucket(p) in buckets] for name, buckets in SPLITS.items()}

    def problem(self, x: int, b: int) -> Problem:
        """The problem with root `x` and offset `b`."""
        target = self.evaluate(x, b)
        question = f"{self.function} = {self.digits(target)} b = {b} in 1 {self.candidates}"
        facts: dict[str, int | str] = {"b": b, "candidates": self.candidates}
        facts |= {"function": self.function, "target": target}
        return Problem(f"{self.name}:b={b}:N={target}", self.name, question, str(x), facts)

    def evaluate(self, x: int, b: int) -> int:
        """f(x) with offset `b`."""
        return FUNCTIONS[self.function](x, b)

    def digits(self, value: int) -> str:
        """`value` as space-separated digits, as many as this task's largest value has."""
        largest = max(f(self.candidates, OFFSETS[-1]) for f in FUNCTIONS.values())
        return " ".join(f"{value:0{len(str(largest))}d}")

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems drawn with replacement; ValueError for an unknown split."""
        return draw(self.problems, rng, n, split)

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 if the text is the gold answer and a root, else 0.0; ValueError without the problem's facts."""
        text, facts = answer_text.strip(), problem.facts
        if not {"function", "b", "target"} <= facts.keys():
            raise ValueError(f"problem {problem.id!r} needs the facts function, b and target; see `problem`")
        if text != problem.answer or not text.isdecimal():
            return 0.0
        return float(FUNCTIONS[str(facts["function"])](int(text), int(facts["b"])) == facts["target"])

    def answers(self, problem: Problem) -> tuple[str, ...]:
        """The one right answer: f is increasing, so the root is unique."""
        return (problem.answer,)

    def optimal_values(self, episodes: int) -> np.ndarray:
        """J*_j = min(1, (2^(j+1) - 1) / n) for j = 0..`episodes`, shape (episodes + 1,).

        j trials settle at most W(j) = 1 + 2 W(j-1) candidates, the hit and those of "low" and "high", with
        W(0) = 1 for the final guess (notebook 01); bisection does at every j when n = 2^m - 1. The bound is
        for policies that learn from trials alone: one that inverted f in its weights could beat it.
        """
        if episodes < 0:
            raise ValueError(f"episodes must be at least 0, got {episodes}")
        settled = 2.0 ** (np.arange(episodes + 1) + 1) - 1
        return np.minimum(1.0, settled / self.candidates)


def _bucket(problem: Problem) -> int:
    key = "{function}:{b}:{target}".format(**problem.facts)
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100
