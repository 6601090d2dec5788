"""Arms that pay the outcome: GRPO, GRPO with a noiseless outcome, GRPO with a price on tokens.

    A_i = (R_i - mean_group R) / std_group R      for every token of rollout i

    GRPO           R_i = 1 if the answer is right, else 0       (DeepSeekMath, arXiv 2402.03300, section 4.1)
    GRPOExact      R_i = J_k of the whole trace, its expectation    (control: what a noiseless outcome gives)
    LengthPenalty  R_i = 1[right] - weight * (thought tokens / thinking budget) * (1, or 1[right])

`scale=False` leaves the division out (Dr. GRPO, arXiv 2503.20783, section 3.2). What MRT with exact values
gains over `GRPOExact` is due to its credit, not to the prover's precision. The length penalty is a baseline
of the paper (Table 1), which does not print its formula; charging correct answers only follows Arora &
Zanette (arXiv 2502.04463), whose aim is the shortest correct trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, repeat, stream, with_traces
from mrt_lib.arms.credit import outcome_alone
from mrt_lib.engines.base import check_numbers
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class GRPO:
    """`scale`: divide by the group's standard deviation."""

    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think and answer."""
        return outcome_rollouts(policy, problems, group, seed)

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """The same advantage for every token of a rollout."""
        return outcome_alone(rollouts, self.scale)


@dataclass(frozen=True)
class GRPOExact(GRPO):
    """`scale` as in GRPO."""

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think; the reward is the exact value of the whole trace."""
        return valued_rollouts(policy, problems, group, seed)


@dataclass(frozen=True)
class LengthPenalty:
    """`weight`: price of the whole budget; `correct_only`: wrong answers are free; `scale` as in GRPO."""

    weight: float
    correct_only: bool = True
    scale: bool = True

    def __post_init__(self) -> None:
        check_numbers(self, weight=0)

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think, answer, charge."""
        paid = []
        for r in outcome_rollouts(policy, problems, group, seed):
            tokens, charged = len(r.trace.thought_ids), r.reward if self.correct_only else 1.0
            price = self.weight * charged * tokens / policy.thinking.max_new_tokens
            paid.append(replace(r, reward=r.reward - price))
        return paid

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """As in GRPO."""
        return outcome_alone(rollouts, self.scale)


def outcome_rollouts(policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
    """`group` thoughts per problem, each with a sampled answer and its 0/1 reward."""
    repeated = repeat(problems, group)
    traces = policy.answer(policy.think(repeated, stream(seed, 0)), stream(seed, 1))
    return [
        Rollout(p, t, i // group, policy.score(p, t))
        for i, (p, t) in enumerate(zip(repeated, traces, strict=True))
    ]


def valued_rollouts(
    policy: Policy, problems: Sequence[Problem], group: int, seed: int, branches: int | None = None
) -> list[Rollout]:
    """`group` thoughts per problem with values of every prefix.

    Exact ones: no answer is sampled, the reward is J_k. Or from `branches` forced answers each: the reward is
    that of a sampled answer.
    """
    if branches is not None:
        rollouts = outcome_rollouts(policy, problems, group, seed)
        own = [r.problem for r in rollouts], [r.trace for r in rollouts]
        return with_traces(rollouts, policy.sampled_values(*own, branches, stream(seed, 2)))
    repeated = repeat(problems, group)
    traces = policy.exact_values(repeated, policy.think(repeated, stream(seed, 0)))
    return [
        Rollout(p, t, i // group, t.values[-1]) for i, (p, t) in enumerate(zip(repeated, traces, strict=True))
    ]
