"""MRT (RL) for backtracking: a backtrack is paid for what it is worth (paper, section 8 and Figure 13).

    z_0            first attempt, sampled once for the whole group: given, not learnt
    z_1, z_2, ...  backtracks and redone attempts: on-policy, with an answer in the end
    R_i = outcome + alpha * sum over backtracks of (J after - J before)
    A_i = (R_i - mean R) / std R     for every token after z_0

One scalar for the rollout, as in the paper; what differs from GRPO is that rollouts are compared on what they
make of the same first attempt, and that a backtrack counts before it is known whether the redo succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from mrt_lib.arms.base import Policy, Rollout, repeat, stream, with_traces
from mrt_lib.arms.credit import outcome_alone
from mrt_lib.arms.mrt import continued_rollouts, cut
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import decode
from mrt_lib.thoughts.traces import Trace
from recipes.backtracking.text import is_backtrack


@dataclass(frozen=True)
class MRTBacktrack:
    """`alpha`: weight of the information gain; `scale`: divide by the group's standard deviation."""

    alpha: float = 1.0
    scale: bool = True

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """One first attempt for each problem, from which the whole group thinks on; exact values."""
        first = [cut(t, min(1, t.n_episodes)) for t in policy.think(problems, stream(seed, 0))]
        prefixes, repeated = repeat(first, group), repeat(problems, group)
        rollouts = continued_rollouts(policy, repeated, prefixes, [True] * len(prefixes), group, seed)
        valued = policy.exact_values(repeated, [r.trace for r in rollouts])
        return [self._paid(policy, r) for r in with_traces(rollouts, valued)]

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """As in GRPO, of the reward with the information gain in it."""
        return outcome_alone(rollouts, self.scale)

    def _paid(self, policy: Policy, rollout: Rollout) -> Rollout:
        gain = sum(information_gains(policy.reasoner.tokenizer, rollout.trace))
        return replace(rollout, reward=rollout.reward + self.alpha * gain)


def information_gains(tokenizer: PreTrainedTokenizerBase, trace: Trace) -> list[float]:
    """J after minus J before of every backtrack in a valued trace."""
    gains = np.diff(trace.values)
    texts = (decode(tokenizer, trace.episode(j)) for j in range(trace.n_episodes))
    return [float(gain) for gain, text in zip(gains, texts, strict=True) if is_backtrack(text)]
