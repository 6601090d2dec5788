"""GRPO with the outcome replaced by its expectation: a control for noiseless rewards.

    R_i = J_k of the finished trace (exact), instead of one 0/1 draw from it

What MRT with exact values gains over this arm is due to its credit, not to the prover's precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, repeat, stream
from mrt_lib.arms.credit import outcome_alone
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class GRPOExact:
    """`scale`: divide by the group's standard deviation."""

    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think; the reward is the exact value of the whole trace."""
        return valued_rollouts(policy, problems, group, seed)

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """As in GRPO."""
        return outcome_alone(rollouts, self.scale)


def valued_rollouts(policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
    """`group` thoughts per problem with exact values; no answer is sampled, the reward is J_k."""
    repeated = repeat(problems, group)
    traces = policy.exact_values(repeated, policy.think(repeated, stream(seed, 0)))
    return [
        Rollout(p, t, i // group, t.values[-1]) for i, (p, t) in enumerate(zip(repeated, traces, strict=True))
    ]
