"""Parallel samples: pass@k, and majority votes, plain or weighted as in the released code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import repeat
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time.base import Outcome, Solver, sampled_tokens
from mrt_lib.thoughts.traces import Trace
from mrt_lib.measure.voting import majority_at_k, pass_at_k


@dataclass(frozen=True)
class Samples:
    """n independent answered thoughts of each problem, in the order of the problems.

    Attributes:
        problems: each once.
        traces: problems x n.
        answers: (problems, n) texts, "" where none could be read.
        tokens: (problems, n) sampled tokens of each.
    """

    problems: list[Problem]
    traces: list[Trace]
    answers: np.ndarray
    tokens: np.ndarray

    @property
    def n(self) -> int:
        """Samples of each problem."""
        return self.answers.shape[1]

    @property
    def right(self) -> np.ndarray:
        """Which are right, as 0 and 1, shape (problems, n)."""
        return (self.answers == np.array([[p.answer] for p in self.problems])).astype(float)

    @property
    def confidence(self) -> np.ndarray:
        """Mean log-probability in nats of each answer's tokens, shape (problems, n)."""
        return np.array([np.mean(t.answer_log_probs) for t in self.traces]).reshape(self.answers.shape)

    def outcome(
        self, right: np.ndarray, k: int, prover: np.ndarray | float = 0.0, verifier: np.ndarray | float = 0.0
    ) -> Outcome:
        """k of the n samples used, at k times their mean cost; prover and verifier tokens as given."""
        zeros = np.zeros(len(self.problems))
        unanswered = (self.answers == "").mean(1)
        return Outcome(right, unanswered, k * self.tokens.mean(1), prover + zeros, verifier + zeros, zeros)


def draw(solver: Solver, problems: Sequence[Problem], n: int, seed: int) -> Samples:
    """n samples of each problem; ValueError for n < 1."""
    if n < 1:
        raise ValueError(f"need at least 1 sample of each problem, got {n}")
    repeated = repeat(problems, n)
    traces = solver.answer(solver.think(repeated, seed), seed)
    answers = np.array([solver.read(p, t) for p, t in zip(repeated, traces, strict=True)], dtype=object)
    tokens = np.array([sampled_tokens(t) for t in traces])
    shape = (len(problems), n)
    return Samples(list(problems), traces, answers.reshape(shape), tokens.reshape(shape))


@dataclass(frozen=True)
class PassAtK:
    """At least one of k is right: no method without an oracle that picks it, but the bound of them all."""

    k: int

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """See `Method.solve`."""
        return self.judge(draw(solver, problems, self.k, seed))

    def judge(self, samples: Samples) -> Outcome:
        """Unbiased from n >= k samples; ValueError if there are fewer."""
        right = [pass_at_k(samples.n, int(row.sum()), self.k) for row in samples.right]
        return samples.outcome(np.array(right), self.k)


@dataclass(frozen=True)
class MajorityAtK:
    """The answer that most of k samples give (paper, Figure 7 and Appendix E).

    Attributes:
        k: votes.
        weighted: a vote weighs 2 ** (mean log-probability of its answer's tokens), else 1.
    """

    k: int
    weighted: bool = False

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """See `Method.solve`."""
        return self.judge(draw(solver, problems, self.k, seed))

    def judge(self, samples: Samples) -> Outcome:
        """Mean over the subsets of k of n samples; ValueError if there are fewer than k."""
        weights = list(samples.confidence) if self.weighted else [None] * len(samples.problems)
        right = [
            majority_at_k(row.tolist(), problem.answer, self.k, own)
            for row, problem, own in zip(samples.answers, samples.problems, weights, strict=True)
        ]
        return samples.outcome(np.array(right), self.k)
