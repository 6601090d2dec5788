"""STaR: imitate what ended right (arXiv 2203.14465; the baseline of the paper's open-ended STaR runs).

    for it in 1..I:                                                     (paper, Algorithm 1 without progress)
        for x in D:
            sample traces z = z_0 .. z_{k-1} and answers a from the current policy
            keep (z, a) if a is right
        supervised fine-tuning of the policy on what was kept

An arm that imitates has `keep` in the place of `credit`. `ImitateAll` is the control: as much fine-tuning on
all that was sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrt_lib.arms.base import Policy, Rollout
from mrt_lib.arms.grpo import outcome_rollouts
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
class ImitateAll(STaR):
    """Control: no filter, so what is learnt is what the policy does anyway."""

    def keep(self, policy: Policy, rollouts: Sequence[Rollout], seed: int) -> list[Rollout]:  # noqa: ARG002
        """Everything."""
        return list(rollouts)
