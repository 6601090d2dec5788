"""GRPO: only the last answer is paid.

    A_i = (R_i - mean_group R) / std_group R,   R_i = 1 if the answer is right, else 0

for every token of rollout i (DeepSeekMath, arXiv 2402.03300, section 4.1). `scale=False` leaves the
division out (Dr. GRPO, arXiv 2503.20783, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, repeat, stream
from mrt_lib.arms.credit import outcome_alone
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


def outcome_rollouts(policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
    """`group` thoughts per problem, each with a sampled answer and its 0/1 reward."""
    repeated = repeat(problems, group)
    traces = policy.answer(policy.think(repeated, stream(seed, 0)), stream(seed, 1))
    return [
        Rollout(p, t, i // group, policy.score(p, t))
        for i, (p, t) in enumerate(zip(repeated, traces, strict=True))
    ]
