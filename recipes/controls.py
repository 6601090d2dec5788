"""Controls: what is left of MRT when its idea is taken out, one part at a time.

    shuffled progress:  the centred credits of `mrt_exact` swapped at random among all decisions of
                        the batch: the same bonus, at the wrong episodes
    same prefixes:      the stale prefixes of `mrt_offline`, but all rollouts think on and only the
                        outcome is compared: more starting points, no progress
    imitate all:        as much fine-tuning as STaR's, on all that was sampled

The fourth control, alpha = 0, is `mrt_exact` itself; it equals `grpo_exact`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_lib.arms import MRTExact, Policy, Rollout
from mrt_lib.arms.base import repeat
from mrt_lib.arms.credit import centre_by_episode, episode_credits, group_advantages, outcome_alone, spread
from mrt_lib.arms.mrt import continued_rollouts, stale_prefixes
from mrt_lib.arms.star import STaR
from mrt_lib.tasks.base import Problem


@dataclass(frozen=True)
class ShuffledProgress(MRTExact):
    """`mrt_exact` with its credits shuffled."""

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:
        """Outcome for every token, somebody's credit for each decision's tokens."""
        outcomes = group_advantages([r.reward for r in rollouts], rollouts, self.scale)
        own = [episode_credits(r, self.rule, horizon) for r in rollouts]
        shuffled = _shuffled(centre_by_episode(own, rollouts))
        return [spread(r, a, self.alpha * c) for r, a, c in zip(rollouts, outcomes, shuffled, strict=True)]


@dataclass(frozen=True)
class PrefixOutcome:
    """`mrt_offline` without its stopping half; `scale` as in GRPO."""

    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """One stale prefix per problem, from which the whole group thinks on."""
        prefixes = repeat(stale_prefixes(policy, problems, seed), group)
        return continued_rollouts(
            policy, repeat(problems, group), prefixes, [True] * len(prefixes), group, seed
        )

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """As in GRPO."""
        return outcome_alone(rollouts, self.scale)


@dataclass(frozen=True)
class ImitateAll(STaR):
    """Control: no filter, so what is learnt is what the policy does anyway."""

    def keep(self, policy: Policy, rollouts: Sequence[Rollout], seed: int) -> list[Rollout]:  # noqa: ARG002
        """Everything."""
        return list(rollouts)


def _shuffled(credits: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All numbers in random order, in arrays of the same lengths; the numbers themselves are the seed."""
    joined = np.concatenate(credits)
    seed = np.frombuffer(joined.tobytes(), dtype=np.uint32)
    np.random.default_rng(seed).shuffle(joined)
    return np.split(joined, np.cumsum([len(c) for c in credits])[:-1])
