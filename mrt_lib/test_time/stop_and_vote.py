"""Stop early and vote: after some episodes several answers are forced (paper, section 5 and Appendix E)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import repeat
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time.base import Outcome, Solver, sampled_tokens, stopped
from mrt_lib.measure.voting import majority_at_k


@dataclass(frozen=True)
class StopAndVote:
    """One thought, stopped after `episodes` episodes if it is longer, then a majority of `votes` answers.

    That the thought went on after the stop is not charged: it would not have.
    """

    episodes: int
    votes: int

    def __post_init__(self) -> None:
        if self.episodes < 0 or self.votes < 1:
            raise ValueError(f"need episodes >= 0 and votes >= 1, got {self.episodes} and {self.votes}")

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """See `Method.solve`."""
        thoughts = [stopped(t, self.episodes) for t in solver.think(problems, seed)]
        traces = solver.answer(repeat(thoughts, self.votes), seed)
        pairs = zip(repeat(problems, self.votes), traces, strict=True)
        answers = np.array([solver.read(p, t) for p, t in pairs], dtype=object).reshape(-1, self.votes)
        right = [
            majority_at_k(row.tolist(), problem.answer, self.votes)
            for row, problem in zip(answers, problems, strict=True)
        ]
        voted = np.array([len(t.answer_ids) for t in traces]).reshape(answers.shape).sum(1)
        spent = voted + [sampled_tokens(t) for t in thoughts]
        zeros = np.zeros(len(problems))
        return Outcome(np.array(right), (answers == "").mean(1), spent.astype(float), zeros, zeros, zeros)
