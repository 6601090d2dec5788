"""Many answers to choose from: pass@k, votes, best of N, and votes after an early stop.

`solve` draws what it needs; `grade` takes samples that are there, at least as many as the method uses (else
ValueError), and gives the mean over their subsets at the tokens that the method itself would spend.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import repeat
from mrt_lib.measure.voting import majority_at_k, pass_at_k
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time.base import Outcome, Scorer, Scores, Solver, sampled_tokens, stopped
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class Samples:
    """n independent answered thoughts of each problem, in the order of the problems, which are there once.

    `answers`: (problems, n) texts, "" where none could be read.
    """

    problems: list[Problem]
    traces: list[Trace]
    answers: np.ndarray

    @property
    def n(self) -> int:
        """Samples of each problem."""
        return self.answers.shape[1]

    @property
    def right(self) -> np.ndarray:
        """Which are right, as 0 and 1, shape (problems, n)."""
        return (self.answers == np.array([[p.answer] for p in self.problems])).astype(float)

    @property
    def tokens(self) -> np.ndarray:
        """Sampled tokens of each, shape (problems, n)."""
        return np.array([sampled_tokens(t) for t in self.traces]).reshape(self.answers.shape)

    def outcome(self, right: Sequence[float], k: int, **spent: np.ndarray) -> Outcome:
        """k of the n samples used, at k times their mean cost; `spent` per sample, shape (problems x n,)."""
        means = {kind: k * own.reshape(self.answers.shape).mean(1) for kind, own in spent.items()}
        return Outcome.of(right, self.answers, k * self.tokens.mean(1), **means)


def draw(solver: Solver, problems: Sequence[Problem], n: int, seed: int) -> Samples:
    """n samples of each problem; ValueError for n < 1."""
    if n < 1:
        raise ValueError(f"need at least 1 sample of each problem, got {n}")
    traces = solver.answer(solver.think(repeat(problems, n), seed), seed)
    return Samples(list(problems), traces, solver.read_all(problems, traces))


@dataclass(frozen=True)
class PassAtK:
    """At least one of k is right: no method without an oracle that picks it, but the bound of them all."""

    k: int

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        return self.grade(draw(solver, problems, self.k, seed))

    def grade(self, samples: Samples) -> Outcome:
        """Unbiased from n >= k samples."""
        right = [pass_at_k(samples.n, int(row.sum()), self.k) for row in samples.right]
        return samples.outcome(right, self.k)


@dataclass(frozen=True)
class MajorityAtK:
    """The answer that most of k samples give (paper, Figure 7 and Appendix E).

    `weighted`: a vote weighs 2 ** (mean log-probability of its answer's tokens), else 1.
    """

    k: int
    weighted: bool = False

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        return self.grade(draw(solver, problems, self.k, seed))

    def grade(self, samples: Samples) -> Outcome:
        """Mean over the subsets of k of n samples."""
        logs = np.array([np.mean(t.answer_log_probs) for t in samples.traces]).reshape(-1, samples.n)
        weights = logs.tolist() if self.weighted else [None] * len(logs)
        rows = zip(samples.answers.tolist(), samples.problems, weights, strict=True)
        return samples.outcome([majority_at_k(row, p.answer, self.k, own) for row, p, own in rows], self.k)


@dataclass(frozen=True)
class BestOfN:
    """Sample N, keep the best by a score: `OwnValue`, a trained verifier, or `OracleValue` as the bound."""

    n: int
    scorer: Scorer

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        samples = draw(solver, problems, self.n, seed)
        return self.grade(samples, self.scorer.score(solver, repeat(problems, self.n), samples.traces))

    def grade(self, samples: Samples, scores: Scores) -> Outcome:
        """Mean over the subsets of N of the samples, whose `scores` are given."""
        pairs = zip(samples.right, scores.value.reshape(samples.answers.shape), strict=True)
        right = [expected_best(own, value, self.n) for own, value in pairs]
        return samples.outcome(right, self.n, prover=scores.prover, verifier=scores.verifier)


def expected_best(right: np.ndarray, scores: np.ndarray, n: int) -> float:
    """Probability that the highest score among n of the samples, drawn without replacement, is right.

    Equal scores share the choice. `right`, 0 or 1, and `scores` have shape (samples,), with n in 1..samples.
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


@dataclass(frozen=True)
class StopAndVote:
    """One thought, stopped after `episodes` episodes if it is longer, then a majority of `votes` answers.

    That the thought went on after the stop is not charged: it would not have (paper, section 5, Appendix E).
    """

    episodes: int
    votes: int

    def __post_init__(self) -> None:
        if self.episodes < 0 or self.votes < 1:
            raise ValueError(f"need episodes >= 0 and votes >= 1, got {self.episodes} and {self.votes}")

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        thoughts = [stopped(t, self.episodes) for t in solver.think(problems, seed)]
        traces = solver.answer(repeat(thoughts, self.votes), seed)
        answers = solver.read_all(problems, traces)
        pairs = zip(answers.tolist(), problems, strict=True)
        right = [majority_at_k(row, problem.answer, self.votes) for row, problem in pairs]
        voted = np.array([len(t.answer_ids) for t in traces]).reshape(answers.shape).sum(1)
        return Outcome.of(right, answers, voted + [sampled_tokens(t) for t in thoughts])
