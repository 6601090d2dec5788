"""Word problems of two steps, in which a try is a way to read the story: where overthinking shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np

from mrt_lib.tasks.base import Problem
from recipes.words.search import Drawn, Try

NAMES = ("Ann", "Ben", "Mia", "Tom", "Eva", "Sam", "Lea", "Max")
THINGS = ("apples", "books", "coins", "cards", "pens", "shells", "stamps", "eggs")
GAINS = ("buys", "finds", "wins", "gets")
LOSSES = ("loses", "sells", "gives away", "uses up")
SIGNS = {"plus": "+", "minus": "-"}


@dataclass(frozen=True)
class Story(Drawn):
    """How many are left of up to `largest` things, after two changes of 1 .. 5 each?

    A try reads each change as more or as fewer, so there are four of them; it is checked change by change,
    up to the first that is read wrongly. A careless one may repeat itself.
    """

    largest: int = 14

    shape: ClassVar = re.compile(
        r"Try (\d+ (?:plus|minus) \d+ (?:plus|minus) \d+): [a-z ]+ is (?:plus|minus), "
        r"(?:[a-z ]+ is (?:plus|minus), )?(?:no|\d+ [+-] \d+ = \d+, \d+ [+-] \d+ = \d+, found)\."
    )

    def _name(self) -> str:
        return f"story_{self.largest}"

    def _draw(self, rng: np.random.Generator) -> Problem:
        first, second = (int(n) for n in rng.permutation(5)[:2] + 1)
        start = int(rng.integers(first + second + 1, self.largest + 1))
        signs = [str(sign) for sign in rng.choice(list(SIGNS), 2)]
        verbs = [str(rng.choice(GAINS if sign == "plus" else LOSSES)) for sign in signs]
        name, things = str(rng.choice(NAMES)), str(rng.choice(THINGS))
        told = f"{name} has {start} {things}, {verbs[0]} {first}, then {verbs[1]} {second}."
        reading = f"{start} {signs[0]} {first} {signs[1]} {second}"
        question = f"{told} How many {things} does {name} have now?"
        return self._problem(question, str(_value(reading)), reading=reading, verbs=", ".join(verbs))

    def candidates(self, problem: Problem) -> tuple[str, ...]:
        """What the four readings come to."""
        return tuple(str(_value(reading)) for reading in _readings(problem))

    def guesses(self, problem: Problem, left: Sequence[str], careful: bool) -> list[str]:
        """Readings that are left, or any."""
        return [reading for reading in _readings(problem) if not careful or str(_value(reading)) in left]

    def offers(self, problem: Problem, guess: str) -> bool:
        """A reading of this story's numbers."""
        return guess in _readings(problem)

    def attempt(self, problem: Problem, guess: str, left: Sequence[str]) -> Try:
        """See `Family.attempt`."""
        reading, verbs = str(problem.facts["reading"]), str(problem.facts["verbs"]).split(", ")
        agreed = [one == true for one, true in zip(_signs(guess), _signs(reading), strict=True)]
        checked = 2 if agreed[0] else 1
        said = "".join(f"{v} is {s}, " for v, s in zip(verbs[:checked], _signs(reading), strict=False))
        head = f"Try {guess}: {said}"
        if all(agreed):
            start, one, first, two, second = guess.split()
            between, value = _value(f"{start} {one} {first}"), _value(guess)
            sums = f"{start} {SIGNS[one]} {first} = {between}, {between} {SIGNS[two]} {second} = {value}"
            return Try(f"{head}{sums}, found.\n", (str(value),), True)
        fitting = [r for r in _readings(problem) if _signs(r)[:checked] == _signs(reading)[:checked]]
        return Try(f"{head}no.\n", tuple(str(_value(r)) for r in fitting if str(_value(r)) in left), False)

    def guess(self, line: str) -> str | None:
        """See `Family.guess`."""
        return read[1] if (read := self.shape.fullmatch(line)) else None


def _readings(problem: Problem) -> list[str]:
    start, _, first, _, second = str(problem.facts["reading"]).split()
    return [f"{start} {one} {first} {two} {second}" for one, two in product(SIGNS, repeat=2)]


def _signs(reading: str) -> list[str]:
    return reading.split()[1::2]


def _value(reading: str) -> int:
    start, *changes = reading.split()
    pairs = zip(changes[::2], changes[1::2], strict=True)
    return int(start) + sum(int(f"{SIGNS[sign]}{number}") for sign, number in pairs)
