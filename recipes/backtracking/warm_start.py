"""Warm-start data for backtracking in three schemes, at equal tokens (paper, section 8 and Figures 14, 15).

A problem has one solution, so a right attempt has the same lines whoever writes it: taking it from the
solution gives what rejection sampling would, without the preference for problems that chance solves.
Loss levels of the schemes are not comparable by themselves: a failed attempt holds chance
decisions, which no model can predict, so text that holds one has a higher floor (`entropy_floor`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedTokenizerFast

from mrt_lib.tasks.base import Problem
from mrt_lib.training.supervised import Example
from recipes.backtracking.attempts import (
    Attempt,
    open_lines,
    random_choice,
    redo,
    right_line,
    solution_attempt,
)
from recipes.backtracking.base import example
from recipes.backtracking.subset_sum import SubsetSum

Scheme = Callable[[np.random.Generator, Problem], list[Attempt]]


def star(rng: np.random.Generator, problem: Problem) -> list[Attempt]:  # noqa: ARG001
    """STaR: one right attempt."""
    return [solution_attempt(problem)]


def rise(rng: np.random.Generator, problem: Problem) -> list[Attempt]:
    """RISE-like: a failed attempt, then a whole right one."""
    return [failed_attempt(rng, problem), solution_attempt(problem)]


def backtrack(rng: np.random.Generator, problem: Problem) -> list[Attempt]:
    """A failed attempt, back to its right line, and the right attempt that shares the lines before."""
    failed = failed_attempt(rng, problem)
    return [failed, solution_attempt(problem, right_line(problem, failed))]


SCHEMES: dict[str, Scheme] = {"star": star, "rise": rise, "backtrack": backtrack}


def failed_attempt(rng: np.random.Generator, problem: Problem) -> Attempt:
    """An attempt whose first mistake is equally likely in every line that can be wrong; chance follows it.

    Attempts by chance alone mostly fail in Line 1 or 2 and leave next to nothing to share; the paper picks
    traces that go back to prefixes with a high chance of success.
    """
    right = solution_attempt(problem)
    return replace(redo(problem, right, int(rng.choice(open_lines(right))), random_choice, rng), back_to=None)


def warm_start(
    scheme: str,
    tokenizer: PreTrainedTokenizerFast,
    task: SubsetSum,
    tokens: int,
    seed: int,
    learn_failures: bool,
) -> list[Example]:
    """Examples of one scheme on new training problems, the same problems in every scheme.

    Args:
        tokens: budget of tokens read, prompts included; the examples fill it but for the last one's rest.
        learn_failures: whether the failed attempt is learnt too; the paper learns what comes after it.

    Raises:
        ValueError: an unknown scheme, or a budget below one example.
    """
    examples: list[Example] = []
    while True:
        problem, attempts = draw(scheme, task, seed, len(examples))
        learn_from = 0 if learn_failures else len(attempts) - 1
        examples.append(example(tokenizer, problem, attempts, attempts[-1].taken, learn_from=learn_from))
        tokens -= len(examples[-1].ids)
        if tokens < 0:
            break
    if len(examples) == 1:
        raise ValueError(f"the budget is smaller than one example of {len(examples[0].ids)} tokens")
    return examples[:-1]


def draw(scheme: str, task: SubsetSum, seed: int, index: int) -> tuple[Problem, list[Attempt]]:
    """Problem and attempts of example `index`; ValueError for an unknown scheme."""
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}; known: {sorted(SCHEMES)}")
    rng = np.random.default_rng((seed, index))
    problem = task.draw(rng, "train")
    return problem, SCHEMES[scheme](rng, problem)


def entropy_floor(scheme: str, task: SubsetSum, examples: Sequence[Example], seed: int) -> float:
    """The loss that no model can go below, in nats per learnt token, where failures are learnt.

    It is what the failed attempts' decisions hold; all else follows from the prompt and from them.
    """
    drawn = [draw(scheme, task, seed, i) for i in range(len(examples))]
    nats = sum(failure_nats(problem, attempt) for problem, attempts in drawn for attempt in attempts[:-1])
    return nats / sum(sum(e.learn) for e in examples)


def failure_nats(problem: Problem, attempt: Attempt) -> float:
    """-log of the probability that `failed_attempt` writes this one."""
    mistake = right_line(problem, attempt)
    assert mistake is not None
    after = sum(line > mistake for line in open_lines(attempt))
    return math.log(len(open_lines(solution_attempt(problem)))) + after * math.log(2)
