"""A policy on a set of problems: traces, the value of every prefix, what each prefix costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from mrt_lib.engines.base import Sampling
from mrt_lib.measure.progress import kept_values
from mrt_lib.measure.prover import Prover
from mrt_lib.measure.regret import normalised_regret, value_at
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class Evaluation:
    """Valued traces, `rollouts` for each problem, in the order of the problems, each of which is there once.

    `tokens` has for each trace what it spends if stopped at prefix j, shape (k + 1,), see `tokens_spent`.
    """

    problems: list[Problem]
    rollouts: int
    traces: list[Trace]
    tokens: list[np.ndarray]

    def by_episode(self, episodes: int) -> np.ndarray:
        """J_0 .. J_episodes, shape (problems, rollouts, episodes + 1); a trace keeps its last J."""
        rows = [kept_values(t.values, episodes + 1) for t in self.traces]
        return np.array(rows).reshape(len(self.problems), self.rollouts, episodes + 1)

    def by_tokens(self, budgets: Sequence[int]) -> np.ndarray:
        """Mean value at each budget of tokens, shape (problems, budgets)."""
        rows = [value_at(n, t.values, budgets) for n, t in zip(self.tokens, self.traces, strict=True)]
        return self.by_problem(rows)

    def regret(self, budget: int, optimum: np.ndarray | None = None) -> np.ndarray:
        """Mean normalised regret up to `budget` tokens, shape (problems,).

        Against J*_0 .. J*_m of the optimal policy, at `optimum_tokens`; None compares with the oracle.
        """
        rows = []
        for i, trace in enumerate(self.traces):
            comparator = None if optimum is None else (self.optimum_tokens(i, len(optimum) - 1), optimum)
            rows.append(normalised_regret(self.tokens[i], trace.values, budget, comparator))
        return self.by_problem(rows)[:, 0]

    def by_problem(self, rows: ArrayLike) -> np.ndarray:
        """Means over each problem's rollouts of rows per trace, shape (problems, numbers of a row)."""
        return np.asarray(rows, dtype=float).reshape(len(self.problems), self.rollouts, -1).mean(1)

    def optimum_tokens(self, i: int, episodes: int) -> np.ndarray:
        """Tokens that the optimal policy spends on problem of trace `i`, shape (episodes + 1,)."""
        return self.tokens[i][0] + self.episode_tokens * np.arange(episodes + 1)

    @property
    def episode_tokens(self) -> float:
        """Mean tokens per episode over all traces."""
        return sum(len(t.thought_ids) for t in self.traces) / max(1, sum(t.n_episodes for t in self.traces))


def evaluate(
    reasoner: Reasoner,
    prover: Prover,
    problems: Sequence[Problem],
    rollouts: int,
    sampling: Sampling,
    answer_tokens: float,
    progress: bool = False,
) -> Evaluation:
    """Think `rollouts` times about each problem and value every prefix; ValueError without either.

    `sampling.max_new_tokens` is the thinking budget of a thought; `answer_tokens`, the mean length of an
    answer, is charged to every prefix.
    """
    if not problems or rollouts < 1:
        raise ValueError(f"need problems and rollouts >= 1, got {len(problems)} and {rollouts}")
    traces = reasoner.think([p for p in problems for _ in range(rollouts)], sampling, progress)
    return assess(reasoner, prover, problems, traces, answer_tokens)


def assess(
    reasoner: Reasoner,
    prover: Prover,
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    answer_tokens: float,
) -> Evaluation:
    """The evaluation of given traces, equally many for each problem, in their order; else ValueError."""
    rollouts, rest = divmod(len(traces), max(1, len(problems)))
    if rest or not rollouts:
        raise ValueError(f"{len(traces)} traces are no whole number of rollouts of {len(problems)} problems")
    values = prover.values([p for p in problems for _ in range(rollouts)], traces)
    valued = [replace(t, values=v.value.tolist()) for t, v in zip(traces, values, strict=True)]
    tokens = [tokens_spent(reasoner, t, answer_tokens) for t in valued]
    return Evaluation(list(problems), rollouts, valued, tokens)


def tokens_spent(reasoner: Reasoner, trace: Trace, answer_tokens: float) -> np.ndarray:
    """Tokens of prompt, prefix, closing text and answer at each prefix, shape (k + 1,)."""
    counts = [len(trace.prefix(j)) + len(reasoner.close(trace, j)) for j in range(trace.n_episodes + 1)]
    # The model's own end is shorter than the forced text, so the last prefix may cost less.
    return np.maximum.accumulate(np.array(counts, dtype=float)) + answer_tokens
