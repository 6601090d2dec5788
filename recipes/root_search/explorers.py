"""Hand-written policies for root search, and the text of what they do.

An explorer knows only what its own trials revealed: it sees the interval that is left and the range,
never the root. They teach in notebook 01 and write the demonstrations the base reasoner learns from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mrt_lib.tasks.base import Problem
from mrt_lib.tasks.root_search import RootSearch

Interval = tuple[int, int]
Explorer = Callable[[np.random.Generator, Interval, int], int]


@dataclass(frozen=True)
class Trial:
    """One episode: the guess, f(guess), the verdict and the interval (low, high) that is left."""

    guess: int
    value: int
    verdict: str
    interval: Interval


def random_guess(rng: np.random.Generator, interval: Interval, candidates: int) -> int:  # noqa: ARG001
    """Uniform over the whole range, whatever was learnt."""
    return int(rng.integers(1, candidates + 1))


def stay_inside(rng: np.random.Generator, interval: Interval, candidates: int) -> int:  # noqa: ARG001
    """Uniform over the interval that is left."""
    return int(rng.integers(interval[0], interval[1] + 1))


def bisect(rng: np.random.Generator, interval: Interval, candidates: int) -> int:  # noqa: ARG001
    """The middle of the interval that is left: the optimal policy."""
    return (interval[0] + interval[1]) // 2


def mixture(inside: float) -> Explorer:
    """Stays inside the interval with probability `inside`, else guesses anywhere in the range."""

    def guess(rng: np.random.Generator, interval: Interval, candidates: int) -> int:
        choose = stay_inside if rng.random() < inside else random_guess
        return choose(rng, interval, candidates)

    return guess


def explore(
    task: RootSearch, problem: Problem, explorer: Explorer, episodes: int, rng: np.random.Generator
) -> list[Trial]:
    """Up to `episodes` trials; stops after a hit."""
    trials: list[Trial] = []
    interval = (1, task.candidates)
    while len(trials) < episodes and not (trials and trials[-1].verdict == "hit"):
        trials.append(trial_at(task, problem, explorer(rng, interval, task.candidates), interval))
        interval = trials[-1].interval
    return trials


def trial_at(task: RootSearch, problem: Problem, guess: int, interval: Interval) -> Trial:
    """Evaluate a guess and shrink the interval by what it reveals."""
    value, target = task.evaluate(guess, int(problem.facts["b"])), int(problem.facts["target"])
    low, high = interval
    if value == target:
        return Trial(guess, value, "hit", (guess, guess))
    if value < target:
        return Trial(guess, value, "low", (max(low, guess + 1), high))
    return Trial(guess, value, "high", (low, min(high, guess - 1)))


def thought_text(task: RootSearch, trials: list[Trial]) -> str:
    """The trials as the base reasoner writes them."""
    return " ".join(
        f"try {t.guess} : {task.digits(t.value)} {t.verdict} in {t.interval[0]} {t.interval[1]}"
        for t in trials
    )


def forced_values(trials: list[Trial], candidates: int) -> np.ndarray:
    """J_0 .. J_k of an answer drawn from the interval that is left, shape (len(trials) + 1,)."""
    intervals = [(1, candidates), *(t.interval for t in trials)]
    return np.array([1 / (high - low + 1) for low, high in intervals])
