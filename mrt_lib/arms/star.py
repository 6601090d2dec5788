"""Arms that imitate: STaR, and MRT (STaR), which imitates what made progress and ended right.

    for it in 1..I:                                               (paper, Figure 6 left and Algorithm 1)
        for x in D:
            sample traces z = z_0 .. z_{k-1} and answers from the current policy, cut into episodes
            for each prefix c_j:  J_j = mean correctness of M forced answers           (here also exact)
            progress of episode j:  J_{j+1} - J_j                                      (Definition 6.1)
        STaR:  keep whole traces with a right answer                                   (arXiv 2203.14465)
        MRT:   keep traces that (a) maximise cumulative progress and (b) are followed by a right answer
               when thinking is ended there
        supervised fine-tuning of the policy on what was kept

"There" has two readings; progress up to prefix j adds up to J_j - J_0 in both:

    "rank"  whole traces:   of each problem's right traces, the one with the largest J_k - J_0
    "cut"   best prefixes:  every trace up to j* = argmax_j J_j, if the answer given there is right

The answer at a cut is drawn from the policy once, forced, as that of a whole trace is. Ties go to the shorter
thought (the paper does not say). What never rose above J_0 has made no progress and is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, stream, with_traces
from mrt_lib.arms.credit import groups
from mrt_lib.arms.mrt import cut
from mrt_lib.arms.outcome import outcome_rollouts, valued_rollouts
from mrt_lib.engines.base import check_numbers
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class STaR:
    """Rejection sampling by the final answer."""

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think and answer."""
        return outcome_rollouts(policy, problems, group, seed)

    def keep(self, policy: Policy, rollouts: Sequence[Rollout], seed: int) -> list[Rollout]:  # noqa: ARG002
        """Whole traces with a right answer."""
        return [r for r in rollouts if r.reward == 1]


@dataclass(frozen=True)
class MRTSTaR:
    """`reading` of the filter: "rank" or "cut", see above; `branches`: M, forced answers per prefix (paper:
    20, released analysis: 8), or None for exact values."""

    reading: Literal["rank", "cut"]
    branches: int | None = None

    def __post_init__(self) -> None:
        check_numbers(self, branches=1)
        if self.reading not in ("rank", "cut"):
            raise ValueError(f"reading must be one of rank, cut, got {self.reading!r}")

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think, answer and value every prefix.

        Raises:
            ValueError: exact values of a task that lists no right answers.
        """
        if self.branches is None and policy.task.answers(problems[0]) is None:
            raise ValueError(
                f"task {policy.task.name!r} lists no finite set of right answers, so values cannot be exact; "
                "sample them, such as with branches=8"
            )
        if self.branches is not None:
            return valued_rollouts(policy, problems, group, seed, self.branches)
        rollouts = outcome_rollouts(policy, problems, group, seed)
        pairs = [r.problem for r in rollouts], [r.trace for r in rollouts]
        return with_traces(rollouts, policy.exact_values(*pairs))

    def keep(self, policy: Policy, rollouts: Sequence[Rollout], seed: int) -> list[Rollout]:
        """Whole traces ("rank"), or traces cut at their best prefix with a forced answer ("cut")."""
        if self.reading == "rank":
            return best_traces(rollouts)
        risen = [r for r in rollouts if best_prefix(r.trace.values)]
        prefixes = [best_prefix(r.trace.values) for r in risen]
        return [r for r in stopped_at(policy, risen, prefixes, stream(seed, 3)) if r.reward == 1]


def best_traces(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Of each group's right rollouts with progress, the one with most, J_k - J_0; the shorter of equals."""
    gains, best = [r.trace.values[-1] - r.trace.values[0] for r in rollouts], []
    for members in groups(rollouts):
        if right := [i for i in members if rollouts[i].reward == 1 and gains[i] > 0]:
            best.append(max(right, key=lambda i: (gains[i], -len(rollouts[i].trace.thought_ids))))
    return [rollouts[i] for i in best]


def best_prefix(values: Sequence[float]) -> int:
    """j* = argmax_j J_j, the smallest if several are equal; 0 says that no episode raised the value."""
    return int(np.argmax(values))


def stopped_at(
    policy: Policy, rollouts: Sequence[Rollout], prefixes: Sequence[int], seed: int
) -> list[Rollout]:
    """The rollouts cut after so many episodes, with a new forced answer; uncut ones keep their own."""
    found = list(rollouts)
    shorter = [i for i, r in enumerate(rollouts) if prefixes[i] < r.trace.n_episodes]
    traces = policy.answer([cut(rollouts[i].trace, prefixes[i]) for i in shorter], seed)
    for i, trace in zip(shorter, traces, strict=True):
        found[i] = replace(rollouts[i], trace=trace, reward=policy.score(rollouts[i].problem, trace))
    return found
