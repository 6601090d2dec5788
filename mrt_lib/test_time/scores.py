"""How good a trace looks: to the model itself, or, as an upper bound, to an oracle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mrt_lib.measure.prover import Prover
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time.base import Solver
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class Scores:
    """Scores of traces in [0, 1] and what they cost, arrays of shape (traces,)."""

    value: np.ndarray
    prover: np.ndarray
    verifier: np.ndarray


class Scorer(Protocol):
    """Scores answered traces, and prefixes that have no answer yet."""

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:
        """One score per trace; `problems[i]` is the problem of `traces[i]`."""


class OwnValue:
    """The model's own confidence in its own answer: what it can know without the gold answer.

    exp(mean log-probability of the answer's tokens given the thought), the geometric mean per token. An
    answered trace costs nothing, since the numbers come with the sampling. At a prefix without an answer the
    greedy answer is forced, at temperature 1, and its tokens are the prover's. J itself is no choice here: it
    is the probability of the gold answer, so to pick by it is to look at the solution (`OracleValue`).
    """

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:
        """See `Scorer.score`; of the problems it takes the number alone."""
        if len(problems) != len(traces):
            raise ValueError(f"{len(problems)} problems do not go with {len(traces)} traces")
        open_ones = [i for i, t in enumerate(traces) if not t.answer_ids]
        greedy = replace(solver, answering=replace(solver.answering, temperature=0.0))
        forced = dict(zip(open_ones, greedy.answer([traces[i] for i in open_ones], 0), strict=True))
        answered = [forced.get(i, t) for i, t in enumerate(traces)]
        value = [math.exp(np.mean(t.answer_log_probs)) for t in answered]
        spent = [len(forced[i].answer_ids) if i in forced else 0 for i in range(len(traces))]
        return Scores(np.array(value), np.array(spent, dtype=float), np.zeros(len(traces)))


@dataclass(frozen=True)
class OracleValue:
    """Upper bound, never a method: it knows the gold answer.

    An answered trace is worth its grade, a prefix its J from `prover`.
    """

    prover: Prover

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:
        """See `Scorer.score`."""
        pairs = list(zip(problems, traces, strict=True))
        value = np.array([float(solver.read(p, t) == p.answer) for p, t in pairs])
        spent = np.zeros(len(traces))
        open_ones = [i for i, t in enumerate(traces) if not t.answer_ids]
        # One episode from start to end: the values in between are not asked for.
        whole = [replace(traces[i], boundaries=traces[i].boundaries[-1:]) for i in open_ones]
        for i, found in zip(
            open_ones, self.prover.values([problems[i] for i in open_ones], whole), strict=True
        ):
            value[i], spent[i] = found.value[-1], found.tokens
        return Scores(value, spent, np.zeros(len(traces)))
