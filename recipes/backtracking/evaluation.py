"""What backtracks are worth: J before and after each, and whether it names the right line."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from mrt_lib.measure.evaluation import Evaluation
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import decode
from mrt_lib.thoughts.traces import Trace
from recipes.backtracking.attempts import right_line
from recipes.backtracking.subset_sum import solution_of
from recipes.backtracking.text import is_backtrack, read_prefix


class Backtrack(NamedTuple):
    """One backtrack from a wrong attempt.

    Attributes:
        problem: index of the problem.
        line: the line named.
        right: the right one.
        before: J after the wrong attempt.
        after: J after the backtrack (claim C15 compares it with `before`).
        redone: J after the attempt that follows, nan if the thought ends before.
    """

    problem: int
    line: int
    right: int
    before: float
    after: float
    redone: float


def valued_backtracks(found: Evaluation, tokenizer: PreTrainedTokenizerBase) -> list[Backtrack]:
    """Every well-formed backtrack from a wrong attempt, in the order of the traces."""
    return [
        backtrack
        for i, trace in enumerate(found.traces)
        for backtrack in _of_trace(i // found.rollouts, found.problems[i // found.rollouts], trace, tokenizer)
    ]


def _of_trace(
    index: int, problem: Problem, trace: Trace, tokenizer: PreTrainedTokenizerBase
) -> list[Backtrack]:
    found = []
    for j in (j for j, text in enumerate(_episodes(trace, tokenizer)) if is_backtrack(text)):
        text = decode(tokenizer, trace.prefix(j + 1)[len(trace.prompt_ids) :])
        attempts, error = read_prefix(text, len(solution_of(problem)))
        right = None if error or len(attempts) < 2 else right_line(problem, attempts[-2])
        if right is not None:
            redone = trace.values[j + 2] if j + 2 < len(trace.values) else float("nan")
            found.append(
                Backtrack(index, attempts[-1].first, right, trace.values[j], trace.values[j + 1], redone)
            )
    return found


def by_attempt(found: Evaluation, tokenizer: PreTrainedTokenizerBase, attempts: int) -> np.ndarray:
    """J before the first attempt and after 1 .. `attempts`, shape (problems, rollouts, attempts + 1).

    A backtrack is no attempt. A trace with fewer keeps its last J.
    """
    rows = []
    for trace in found.traces:
        ends = [j + 1 for j, text in enumerate(_episodes(trace, tokenizer)) if not is_backtrack(text)]
        values = [trace.values[j] for j in (0, *ends)]
        rows.append([values[min(k, len(values) - 1)] for k in range(attempts + 1)])
    return np.array(rows).reshape(len(found.problems), found.rollouts, attempts + 1)


def _episodes(trace: Trace, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [decode(tokenizer, trace.episode(j)) for j in range(trace.n_episodes)]
