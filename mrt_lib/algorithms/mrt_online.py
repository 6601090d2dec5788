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

from mrt_lib.algorithms.base import Policy, Rollout, stream, with_traces
from mrt_lib.algorithms.credit import centre_by_episode, episode_credits, group_advantages, spread
from mrt_lib.algorithms.grpo import outcome_rollouts
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class MRTOnline:
    """How to pay progress.

    Attributes:
        branches: G, forced answers per prefix.
        alpha: weight of the progress term.
        rule: credit rule, see `episode_credits`.
        budget: in episodes, for regret-to-go.
        scale: divide the outcome's advantage by the group's standard deviation.
    """

    branches: int = 4
    alpha: float = 1.0
    rule: str = "progress"
    budget: int = 4
    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think, answer, and value every prefix by sampling."""
        rollouts = outcome_rollouts(policy, problems, group, seed)
        traces = policy.sampled_values(
            [r.problem for r in rollouts], [r.trace for r in rollouts], self.branches, stream(seed, 2)
        )
        return with_traces(rollouts, traces)

    def credit(self, rollouts: Sequence[Rollout]) -> list[np.ndarray]:
        """Outcome for every token, progress for the episode's own tokens."""
        return outcome_and_progress(rollouts, self.rule, self.alpha, self.budget, self.scale)


def outcome_and_progress(
    rollouts: Sequence[Rollout], rule: str, alpha: float, budget: int, scale: bool
) -> list[np.ndarray]:
    """Group advantage of the reward plus alpha times the centred credit of each decision."""
    outcomes = group_advantages([r.reward for r in rollouts], rollouts, scale)
    credits = centre_by_episode([episode_credits(r, rule, budget) for r in rollouts], rollouts)
    return [spread(r, a, alpha * c) for r, a, c in zip(rollouts, outcomes, credits, strict=True)]
