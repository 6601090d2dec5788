"""GRPO with a price on tokens, the paper's "length penalty" baseline (Table 1).

    R_i = 1[right] - weight * (thought tokens / thinking budget) * (1, or 1[right])

The paper does not print its formula; charging correct answers only follows Arora & Zanette
(arXiv 2502.04463), whose aim is the shortest correct trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrt_lib.arms.base import Policy, Rollout
from mrt_lib.arms.credit import outcome_alone
from mrt_lib.arms.grpo import outcome_rollouts
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class LengthPenalty:
    """`weight`: price of the whole budget; `correct_only`: wrong answers are not charged."""

    weight: float
    correct_only: bool = True
    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think, answer, charge."""
        budget = policy.thinking.max_new_tokens
        return [
            replace(r, reward=r.reward - self._price(r, budget))
            for r in outcome_rollouts(policy, problems, group, seed)
        ]

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """As in GRPO."""
        return outcome_alone(rollouts, self.scale)

    def _price(self, rollout: Rollout, budget: int) -> float:
        charged = rollout.reward if self.correct_only else 1.0
        return self.weight * charged * len(rollout.trace.thought_ids) / budget
