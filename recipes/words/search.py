"""Problems in plain English that are solved by trying: easy to check, hard to invert.

A thought is a list of tries, one a line. What a try says leaves fewer candidates, so information is graded,
and a meta-prover that knows nothing else can do no better than to draw one of those that are left::

    Which whole number from 1 to 15, times 4 and plus 7, makes 55?
    Try 8: 32 + 7 = 39, 55 is more, 9 to 15 left.
    Try 12: 48 + 7 = 55, 55 is found.
    Answer: 12
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import ClassVar, Protocol

import numpy as np

from mrt_lib.tasks.base import ListedTask, Problem, draw, text_digest

SPLITS = {"train": range(0, 70), "validation": range(70, 85), "test": range(85, 100)}
# Names that are one token of the language model, with and without a space before them.
PEOPLE = ("Ann", "Ben", "Dan", "Jim", "John", "Kim", "Mary", "Max", "Ray", "Sam", "Tim", "Tom")
SIZES = {"train": 2048, "validation": 128, "test": 256}


@dataclass(frozen=True)
class Try:
    """One try: its line, the candidates that are left after it, whether it found the answer."""

    text: str
    left: tuple[str, ...]
    found: bool


class Family(ListedTask, Protocol):
    """A family of problems that are solved by trying candidates."""

    def candidates(self, problem: Problem) -> tuple[str, ...]:
        """What an answer may be before the first try, as text."""

    def guesses(self, problem: Problem, left: Sequence[str], careful: bool) -> list[str]:
        """What a careful or a careless explorer may try next."""

    def offers(self, problem: Problem, guess: str) -> bool:
        """Whether it is a guess at this problem, and not one that a thought has made up."""

    def attempt(self, problem: Problem, guess: str, left: Sequence[str]) -> Try:
        """The try of a guess that the problem offers, after which these candidates were left."""

    def guess(self, line: str) -> str | None:
        """The guess in a line of a thought, or None where the line has not the form of a try."""


@dataclass(frozen=True)
class Drawn:
    """Problems drawn at random and kept apart by a hash of what defines them."""

    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self._name())

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """All problems by split; a hash of its question puts each into one."""
        rng = np.random.default_rng(0)
        found: dict[str, dict[str, Problem]] = {split: {} for split in SPLITS}
        for _ in range(100 * sum(SIZES.values())):
            problem = self._draw(rng)
            own = next(split for split, buckets in SPLITS.items() if _bucket(problem) in buckets)
            if len(found[own]) < SIZES[own]:
                found[own][problem.id] = problem
            if all(len(found[split]) == SIZES[split] for split in SPLITS):
                break
        return {split: list(own.values()) for split, own in found.items()}

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems of a split, drawn with replacement; ValueError for an unknown split."""
        return draw(self.problems, rng, n, split)

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 if the text is a right answer and nothing else, else 0.0."""
        return float(answer_text.strip() in self.answers(problem))

    def answers(self, problem: Problem) -> tuple[str, ...]:
        """The one right answer."""
        return (problem.answer,)

    def optimal_values(self, episodes: int) -> np.ndarray | None:  # noqa: ARG002
        """None: no optimal policy is known."""
        return None

    def candidates(self, problem: Problem) -> tuple[str, ...]:
        """See `Family.candidates`."""
        raise NotImplementedError

    def offers(self, problem: Problem, guess: str) -> bool:
        """A candidate: what most families guess."""
        return guess in self.candidates(problem)

    def _problem(self, question: str, answer: str, **facts: int | str) -> Problem:
        return Problem(f"{self.name}:{text_digest(question)}", self.name, question, answer, facts)

    def _name(self) -> str:
        raise NotImplementedError

    def _draw(self, rng: np.random.Generator) -> Problem:
        raise NotImplementedError


@dataclass(frozen=True)
class PairSum(Drawn):
    """Which two of `size` different numbers up to `largest` add up to a target? One pair does.

    A careless try takes two numbers and rules out one pair. A careful one takes a single number, says what it
    needs, and rules out every pair that it is in.
    """

    size: int = 6
    largest: int = 12

    shape: ClassVar = re.compile(
        r"Try (\d+)(?: and (\d+))?: -?\d+ [+-] \d+ = -?\d+, (?:not there|no|found)\."
    )

    def _name(self) -> str:
        return f"pair_sum_{self.size}_{self.largest}"

    def _draw(self, rng: np.random.Generator) -> Problem:
        while True:
            numbers = [int(n) for n in rng.permutation(self.largest)[: self.size] + 1]
            pairs = list(combinations(numbers, 2))
            a, b = pairs[rng.integers(len(pairs))]
            if sum(x + y == a + b for x, y in pairs) == 1:
                listed = ", ".join(map(str, numbers))
                question = f"Which two of the numbers {listed} add up to {a + b}?"
                return self._problem(question, f"{a} and {b}", numbers=listed, target=a + b)

    def answers(self, problem: Problem) -> tuple[str, ...]:
        """The pair in both orders."""
        a, b = problem.answer.split(" and ")
        return problem.answer, f"{b} and {a}"

    def candidates(self, problem: Problem) -> tuple[str, ...]:
        """All pairs, in the order of the list."""
        return tuple(" and ".join(pair) for pair in combinations(_listed(problem), 2))

    def guesses(self, problem: Problem, left: Sequence[str], careful: bool) -> list[str]:
        """Single numbers, or pairs, that are in what is left."""
        return [n for n in _listed(problem) if any(_has(pair, n) for pair in left)] if careful else [*left]

    def offers(self, problem: Problem, guess: str) -> bool:
        """One number of the list, or two, in any order."""
        numbers = guess.split(" and ")
        return {*numbers} <= {*_listed(problem)} and len({*numbers}) == len(numbers)

    def attempt(self, problem: Problem, guess: str, left: Sequence[str]) -> Try:
        """See `Family.attempt`."""
        target, numbers = int(problem.facts["target"]), guess.split(" and ")
        if len(numbers) == 2:
            total = sum(map(int, numbers))
            found = total == target
            kept = (
                (guess,)
                if found
                else tuple(pair for pair in left if set(pair.split(" and ")) != set(numbers))
            )
            text = f"Try {guess}: {numbers[0]} + {numbers[1]} = {total}, {'found' if found else 'no'}.\n"
            return Try(text, kept, found)
        needed = str(target - int(guess))
        found = needed in _listed(problem) and needed != guess
        kept = (f"{guess} and {needed}",) if found else tuple(pair for pair in left if not _has(pair, guess))
        text = f"Try {guess}: {target} - {guess} = {needed}, {'found' if found else 'not there'}.\n"
        return Try(text, kept, found)

    def guess(self, line: str) -> str | None:
        """See `Family.guess`."""
        read = self.shape.fullmatch(line)
        return None if read is None else read[1] if read[2] is None else f"{read[1]} and {read[2]}"


@dataclass(frozen=True)
class Equation(Drawn):
    """Which number of 1 .. `largest`, times a and plus b, makes N? a is 2 .. `most` and b 1 .. 9.

    A try says on which side the answer lies. A careless one may lie outside what is left.
    """

    largest: int = 15
    most: int = 5

    shape: ClassVar = re.compile(
        r"Try (\d+): \d+ \+ \d+ = \d+, \d+ is (?:found|(?:more|less), \d+ to \d+ left)\."
    )

    def _name(self) -> str:
        return f"equation_{self.largest}_{self.most}"

    def _draw(self, rng: np.random.Generator) -> Problem:
        a, b = int(rng.integers(2, self.most + 1)), int(rng.integers(1, 10))
        x = int(rng.integers(1, self.largest + 1))
        question = f"Which whole number from 1 to {self.largest}, times {a} and plus {b}, makes {a * x + b}?"
        return self._problem(question, str(x), a=a, b=b, target=a * x + b)

    def candidates(self, problem: Problem) -> tuple[str, ...]:  # noqa: ARG002
        """1 .. `largest`."""
        return tuple(str(x) for x in range(1, self.largest + 1))

    def guesses(self, problem: Problem, left: Sequence[str], careful: bool) -> list[str]:
        """What is left, or anything."""
        return list(left if careful else self.candidates(problem))

    def attempt(self, problem: Problem, guess: str, left: Sequence[str]) -> Try:
        """See `Family.attempt`."""
        a, b, target = (int(problem.facts[name]) for name in ("a", "b", "target"))
        value = a * int(guess) + b
        # The target is said again, so that the verdict compares two neighbours.
        head = f"Try {guess}: {value - b} + {b} = {value}, {target} is "
        if value == target:
            return Try(f"{head}found.\n", (guess,), True)
        small = value < target
        # Nothing is left only where a thought has gone wrong before.
        kept = tuple(x for x in left if (int(x) > int(guess)) == small and x != guess) or tuple(left)
        return Try(f"{head}{'more' if small else 'less'}, {kept[0]} to {kept[-1]} left.\n", kept, False)

    def guess(self, line: str) -> str | None:
        """See `Family.guess`."""
        return read[1] if (read := self.shape.fullmatch(line)) else None


@dataclass(frozen=True)
class ListedEquation(Equation):
    """An equation whose candidates are `size` listed numbers: what no training ever sees."""

    size: int = 8

    def _name(self) -> str:
        return f"listed_equation_{self.size}_{self.largest}"

    def _draw(self, rng: np.random.Generator) -> Problem:
        a, b = int(rng.integers(2, self.most + 1)), int(rng.integers(1, 10))
        numbers = [int(n) for n in rng.permutation(self.largest)[: self.size] + 1]
        target, listed = a * numbers[0] + b, ", ".join(str(n) for n in rng.permutation(numbers))
        question = f"Which one of the numbers {listed}, times {a} and plus {b}, makes {target}?"
        return self._problem(question, str(numbers[0]), a=a, b=b, target=target, numbers=listed)

    def candidates(self, problem: Problem) -> tuple[str, ...]:
        """The listed numbers, in rising order."""
        return tuple(sorted(_listed(problem), key=int))


@dataclass(frozen=True)
class Letters(Drawn):
    """Who writes to somebody who writes to a given person? Each of `size` people writes to one other.

    A try follows two letters. A careless one may repeat a person.
    """

    size: int = 8

    shape: ClassVar = re.compile(
        r"Try (\w+): \w+ writes to \w+, \w+ writes to \w+, \w+ is (?:found|missed)\."
    )

    def _name(self) -> str:
        return f"letters_{self.size}"

    def _draw(self, rng: np.random.Generator) -> Problem:
        people = [str(name) for name in rng.permutation(PEOPLE)[: self.size]]
        readers = people
        while any(a == b for a, b in zip(people, readers, strict=True)):
            readers = [str(name) for name in rng.permutation(people)]
        to = dict(zip(people, readers, strict=True))
        answer = people[0]
        told = ", ".join(f"{name} writes to {to[name]}" for name in rng.permutation(people))
        question = f"In a game {told}. Who writes to somebody who writes to {to[to[answer]]}?"
        letters = " ".join(f"{a}>{b}" for a, b in to.items())
        return self._problem(question, answer, letters=letters, target=to[to[answer]])

    def candidates(self, problem: Problem) -> tuple[str, ...]:
        """Everybody, by name."""
        return tuple(sorted(_letters(problem)))

    def guesses(self, problem: Problem, left: Sequence[str], careful: bool) -> list[str]:
        """Who is left, or anybody."""
        return list(left if careful else self.candidates(problem))

    def attempt(self, problem: Problem, guess: str, left: Sequence[str]) -> Try:
        """See `Family.attempt`."""
        to, target = _letters(problem), problem.facts["target"]
        first, second = to[guess], to[to[guess]]
        head = f"Try {guess}: {guess} writes to {first}, {first} writes to {second}, {target} is "
        if second == target:
            return Try(f"{head}found.\n", (guess,), True)
        return Try(f"{head}missed.\n", tuple(x for x in left if x != guess), False)

    def guess(self, line: str) -> str | None:
        """See `Family.guess`."""
        return read[1] if (read := self.shape.fullmatch(line)) else None


@dataclass(frozen=True)
class Mixture:
    """Several families as one task; a problem says which of them it belongs to."""

    families: tuple[Family, ...]
    name: str = "words"

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Problems of all families in turn, of each as many as the smallest one has."""
        return {
            split: [p for row in zip(*(f.problems[split] for f in self.families), strict=False) for p in row]
            for split in SPLITS
        }

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems of a split, drawn with replacement, each family equally often."""
        return [self.families[rng.integers(len(self.families))].sample(rng, 1, split)[0] for _ in range(n)]

    def score(self, problem: Problem, answer_text: str) -> float:
        """See the family's own."""
        return self.family(problem).score(problem, answer_text)

    def answers(self, problem: Problem) -> tuple[str, ...] | None:
        """See the family's own."""
        return self.family(problem).answers(problem)

    def optimal_values(self, episodes: int) -> None:
        """None: no optimal policy is known."""

    def family(self, problem: Problem) -> Family:
        """The family of a problem; KeyError for one of another task."""
        return {family.name: family for family in self.families}[problem.task]


def read_tries(family: Family, problem: Problem, thought: str) -> list[tuple[Try | None, bool]]:
    """The tries of a thought as they should read, None from a line without form; and whether they do read so.

    Each is judged by what the thought itself says was left before.
    """
    left, found = family.candidates(problem), list[tuple[Try | None, bool]]()
    for line in thought.splitlines():
        guess = family.guess(line)
        if guess is None:
            found.append((None, False))
        elif not family.offers(problem, guess):  # whatever else the line says
            found.append((Try(f"{line}\n", left, False), False))
        else:
            right = family.attempt(problem, guess, left)
            found.append((right, right.text == f"{line}\n"))
            left = right.left
    return found


def explore(
    family: Family, problem: Problem, careful: float, most: int, after: float, rng: np.random.Generator
) -> list[Try]:
    """Up to `most` tries, each careful with that probability; after the answer is found, it goes on with
    probability `after` each time, which is of no use."""
    tries: list[Try] = []
    everything = family.candidates(problem)
    left, found = everything, False
    while len(tries) < most and (not found or rng.random() < after):
        own = family.guesses(problem, everything if found else left, rng.random() < careful)
        tries.append(family.attempt(problem, own[rng.integers(len(own))], left))
        left, found = tries[-1].left, found or tries[-1].found
    return tries


def _letters(problem: Problem) -> dict[str, str]:
    """Who writes to whom."""
    return dict(pair.split(">") for pair in str(problem.facts["letters"]).split())


def _listed(problem: Problem) -> list[str]:
    return str(problem.facts["numbers"]).split(", ")


def _has(pair: str, number: str) -> bool:
    return number in pair.split(" and ")


def _bucket(problem: Problem) -> int:
    return int(hashlib.sha256(problem.question.encode()).hexdigest(), 16) % 100
