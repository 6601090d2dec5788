"""A task from two or three functions of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mrt_lib.tasks.base import Problem

Sample = Callable[[np.random.Generator, int, str], Iterable[Problem | tuple[str, str]]]
Score = Callable[[Problem, str], float]
Answers = Callable[[Problem], Iterable[str]]


def from_callable(
    sample: Sample, score: Score, answers: Answers | None = None, name: str = "custom"
) -> CallableTask:
    """Your own task::

        def sums(rng, n, split):
            pairs = rng.integers(10, 100, size=(n, 2))
            return [(f"{a} + {b} = ?", str(a + b)) for a, b in pairs]

        task = from_callable(
            sums,
            score=lambda problem, text: text.strip() == problem.answer,
            answers=lambda problem: [problem.answer],  # only if they can be listed: J is then exact
        )

    Args:
        sample: (rng, n, split) to n problems, each a `Problem` or a pair of question and gold answer.
            Keep the splits apart there.
        score: (problem, answer text) to 1 or True if right, 0 or False if wrong, for any text.
        answers: problem to every right answer as text; leave it out where there are too many to list.
        name: of the task.
    """
    return CallableTask(sample, score, answers, name)


@dataclass(frozen=True)
class CallableTask:
    """What `from_callable` makes."""

    draw: Sample
    judge: Score
    listing: Answers | None
    name: str

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems; ValueError unless the user's function gives `n` sound ones."""
        problems = [self._problem(item) for item in self.draw(rng, n, split)]
        if len(problems) != n:
            raise ValueError(f"{self.name}: sample gave {len(problems)} problems, {n} were asked for")
        return problems

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 or 0.0; ValueError if the user's function fails or gives anything else."""
        where = f"{self.name}: score of {problem.id!r} for the answer {answer_text!r}"
        try:
            right = float(self.judge(problem, answer_text))
        except Exception as error:
            raise ValueError(f"{where} failed ({error!r}); wrong answers of any form are 0") from error
        if right not in (0.0, 1.0):
            raise ValueError(f"{where} must be 0 or 1, got {right}")
        return right

    def answers(self, problem: Problem) -> tuple[str, ...] | None:
        """The listed answers, or None; ValueError if `score` calls one of them wrong."""
        if self.listing is None:
            return None
        listed = tuple(self.listing(problem))
        if wrong := [text for text in listed if not self.score(problem, text)]:
            raise ValueError(f"{self.name}: answers of {problem.id!r} lists {wrong[0]!r}, which scores 0")
        return listed

    def optimal_values(self, episodes: int) -> None:
        """None: no optimal policy is known."""

    def _problem(self, item: Problem | tuple[str, str]) -> Problem:
        if isinstance(item, Problem):
            return item
        texts = isinstance(item, tuple) and all(isinstance(text, str) and text.strip() for text in item)
        if not texts or len(item) != 2:
            raise ValueError(f"{self.name}: sample must give (question, gold answer) texts, got {item!r}")
        question, gold = item
        digest = hashlib.sha256(f"{question}\n{gold}".encode(errors="surrogatepass")).hexdigest()[:16]
        return Problem(f"{self.name}:{digest}", self.name, question, gold)
