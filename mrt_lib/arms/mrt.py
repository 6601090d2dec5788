"""MRT with credit for every episode, from exact values or from sampled branches.

    A(token of z_e) = (R_i - mean_group R) [/ std_group R] + alpha * (C_e - mean_group C_e)

    MRTExact    J_j = p(right answer | c_j, forced text), every prefix in one packed pass;  R_i = J_k
    MRTOnline   J_j = mean correctness of G forced answers at c_j;  R_i in {0, 1}  (the authors' own re-run)

C_e is the episode's own progress J_{e+1} - J_e (paper, Definition 6.1), its information gain (the same of
log J), or regret-to-go, the policy gradient of normalised regret (derived in `mrt_lib.measure.progress`).
The re-run's own normalisation of C_e is not published; here it is centred per episode index within the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, stream, with_traces
from mrt_lib.arms.credit import outcome_and_progress
from mrt_lib.arms.outcome import outcome_rollouts, valued_rollouts
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


@dataclass(frozen=True)
class MRTOnline:
    """How to pay progress: `branches` is G, forced answers per prefix; the rest as in `MRTExact`."""

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
        """Outcome for every token, the decision's credit for its own tokens."""
        return outcome_and_progress(rollouts, self.rule, self.alpha, horizon, self.scale)
