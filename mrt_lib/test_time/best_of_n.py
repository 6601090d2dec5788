"""Best of N: of N answered thoughts the one that scores highest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import repeat
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time.base import Outcome, Solver
from mrt_lib.test_time.parallel import Samples, draw
from mrt_lib.test_time.scores import Scorer, Scores


@dataclass(frozen=True)
class BestOfN:
    """Sample N, keep the best by a score: `OwnValue`, a `Verifier`, or `OracleValue` as the bound."""

    n: int
    scorer: Scorer

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """See `Method.solve`."""
        samples = draw(solver, problems, self.n, seed)
        return self.judge(samples, self.scorer.score(solver, repeat(problems, self.n), samples.traces))

    def judge(self, samples: Samples, scores: Scores) -> Outcome:
        """Mean over the subsets of N of the samples; ValueError if there are fewer than N."""
        values = scores.value.reshape(samples.answers.shape)
        pairs = zip(samples.right, values, strict=True)
        right = np.array([expected_best(own, value, self.n) for own, value in pairs])
        spent = [
            self.n * part.reshape(samples.answers.shape).mean(1) for part in (scores.prover, scores.verifier)
        ]
        return samples.outcome(right, self.n, *spent)


def expected_best(right: np.ndarray, scores: np.ndarray, n: int) -> float:
    """Probability that the highest score among n of the samples, drawn without replacement, is right.

    Equal scores share the choice.

    Args:
        right: (samples,) 0 or 1.
        scores: (samples,).
        n: 1 to the number of samples.

    Raises:
        ValueError: n out of range.
    """
    if not 1 <= n <= len(scores):
        raise ValueError(f"N must be in 1..{len(scores)}, the number of samples; got {n}")
    total, below = 0.0, 0
    for level in np.unique(scores):
        own = right[scores == level]
        reached = math.comb(below + len(own), n) - math.comb(below, n)
        total += reached / math.comb(len(scores), n) * own.mean()
        below += len(own)
    return float(total)
