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


@dataclass(frozen=True)
class Story(Drawn):
    """How many are left of up to `largest` things, after two changes of 1 .. 5 each?

    A try reads each change as more or as fewer, so there are four of them. A careless one may repeat itself.
    """

    largest: int = 14

    shape: ClassVar = re.compile(
        r"Try (\d+ [+-] \d+ [+-] \d+): \d+ [+-] \d+ = \d+, \d+ [+-] \d+ = -?\d+, (?:does not fit|found)\."
    )

    def _name(self) -> str:
        return f"story_{self.largest}"

    def _draw(self, rng: np.random.Generator) -> Problem:
        first, second = (int(n) for n in rng.permutation(5)[:2] + 1)
        start = int(rng.integers(first + second + 1, self.largest + 1))
        signs = [str(sign) for sign in rng.choice(["+", "-"], 2)]
        verbs = [str(rng.choice(GAINS if sign == "+" else LOSSES)) for sign in signs]
        name, things = str(rng.choice(NAMES)), str(rng.choice(THINGS))
        told = f"{name} has {start} {things}, {verbs[0]} {first}, then {verbs[1]} {second}."
        reading = f"{start} {signs[0]} {first} {signs[1]} {second}"
        question = f"{told} How many {things} does {name} have now?"
        return self._problem(question, str(_value(reading)), reading=reading)

    def candidates(self, problem: Problem) -> tuple[str, ...]:
        """What the four readings come to."""
        return tuple(str(_value(reading)) for reading in _readings(problem))

    def guesses(self, problem: Problem, left: Sequence[str], careful: bool) -> list[str]:
        """Readings that are left, or any."""
        return [reading for reading in _readings(problem) if not careful or str(_value(reading)) in left]

    def attempt(self, problem: Problem, guess: str, left: Sequence[str]) -> Try:
        """See `Family.attempt`."""
        start, sign, change, other, second = guess.split()
        between, value = _value(f"{start} {sign} {change} + 0"), str(_value(guess))
        head = f"Try {guess}: {start} {sign} {change} = {between}, {between} {other} {second} = {value}, "
        if guess == problem.facts["reading"]:
            return Try(f"{head}found.\n", (value,), True)
        return Try(f"{head}does not fit.\n", tuple(x for x in left if x != value), False)

    def guess(self, line: str) -> str | None:
        """See `Family.guess`."""
        return read[1] if (read := self.shape.fullmatch(line)) else None


def _readings(problem: Problem) -> list[str]:
    start, _, first, _, second = str(problem.facts["reading"]).split()
    return [f"{start} {one} {first} {two} {second}" for one, two in product("+-", repeat=2)]


def _value(reading: str) -> int:
    start, one, first, two, second = reading.split()
    return int(start) + int(f"{one}{first}") + int(f"{two}{second}")
