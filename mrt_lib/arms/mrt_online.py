"""MRT with per-episode credit from sampled branches (the authors' own re-run, "MRT-online").

    J_j = mean correctness of G forced answers at c_j, for every boundary of an on-policy trace
    A(token of z_e) = (R_i - mean R) / std R + alpha * (C_e - mean_group C_e)

with R the 0/1 outcome and C_e the episode's credit, progress J_{e+1} - J_e by default. The re-run's
own normalisation of C_e is not published; here it is centred per episode index within the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, stream, with_traces
from mrt_lib.arms.credit import outcome_and_progress
from mrt_lib.arms.grpo import outcome_rollouts
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class MRTOnline:
    """How to pay progress.

    Attributes:
        branches: G, forced answers per prefix.
        alpha: weight of the progress term.
        rule: credit rule, see `episode_credits`.
        scale: divide the outcome's advantage by the group's standard deviation.
    """

    branches: int = 4
    alpha: float = 1.0
    rule: str = "progress"
    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think, answer, and value every prefix by sampling."""
        rollouts = outcome_rollouts(policy, problems, group, seed)
        traces = policy.sampled_values(
            [r.problem for r in rollouts], [r.trace for r in rollouts], self.branches, stream(seed, 2)
        )
        return with_traces(rollouts, traces)

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:
        """Outcome for every token, progress for the episode's own tokens."""
        return outcome_and_progress(rollouts, self.rule, self.alpha, horizon, self.scale)
