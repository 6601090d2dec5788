"""MRT with exact values: what per-episode credit can do once the prover's noise is gone.

    J_j = p(right answer | c_j, forced text), every prefix in one packed pass
    A(token of z_e) = (J_k - mean J_k) [/ std] + alpha * (C_e - mean_group C_e)

C_e is the episode's own progress (paper, Definition 6.1), its information gain (the same of log J),
or regret-to-go, the policy gradient of normalised regret (derived in `mrt_lib.measure.progress`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import Policy, Rollout
from mrt_lib.arms.credit import outcome_and_progress
from mrt_lib.arms.grpo_exact import valued_rollouts
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class MRTExact:
    """How to pay progress.

    Attributes:
        rule: credit rule, see `episode_credits`.
        alpha: weight of the progress term.
        scale: divide the outcome's advantage by the group's standard deviation.
    """

    rule: str
    alpha: float
    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think and value every prefix exactly."""
        return valued_rollouts(policy, problems, group, seed)

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:
        """Outcome for every token, the decision's credit for its own tokens."""
        return outcome_and_progress(rollouts, self.rule, self.alpha, horizon, self.scale)
