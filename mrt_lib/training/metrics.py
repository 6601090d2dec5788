"""What a training step's rollouts were like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrt_lib.arms.base import Rollout
from mrt_lib.arms.credit import groups


def describe(rollouts: Sequence[Rollout], horizon: int) -> dict[str, float]:
    """Means over rollouts; nan where an arm measures no values.

    Returns:
        reward: of the outcome.
        value: J_k, at the end of the thought.
        progress: J_k - J_0.
        regret: 1 minus the mean of J_1 .. J_horizon, a finished trace keeping its last value.
        thought_tokens, episodes, finished: length of the thought; share that ended itself.
        silent_groups: share of groups whose rollouts all have the same reward.
        entropy: minus the mean log-probability of the sampled tokens, in nats.
    """
    traces = [r.trace for r in rollouts]
    values = [np.asarray(t.values) for t in traces if t.values]
    kept = [v[np.minimum(np.arange(1, horizon + 1), len(v) - 1)] for v in values]
    rewards = [[rollouts[i].reward for i in members] for members in groups(rollouts)]
    sampled = [lp for t in traces for lp in (*t.thought_log_probs, *t.answer_log_probs)]
    return {
        "reward": _mean([r.reward for r in rollouts]),
        "value": _mean([v[-1] for v in values]),
        "progress": _mean([v[-1] - v[0] for v in values]),
        "regret": 1 - _mean(kept),
        "thought_tokens": _mean([len(t.thought_ids) for t in traces]),
        "episodes": _mean([t.n_episodes for t in traces]),
        "finished": _mean([t.finished for t in traces]),
        "silent_groups": _mean([len(set(own)) == 1 for own in rewards]),
        "entropy": -_mean(sampled),
    }


def _mean(numbers: Sequence[float] | np.ndarray | list) -> float:
    return float(np.mean(numbers)) if len(numbers) else float("nan")
