"""From rewards and values to one advantage per token; and a batch of rollouts in numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mrt_lib.arms.base import Rollout
from mrt_lib.measure.progress import (
    check_values,
    kept_values,
    log_progress,
    progress,
    regret_to_go,
    to_tokens,
)

RULES = ("progress", "log_progress", "regret_to_go")


def group_advantages(rewards: Sequence[float], rollouts: Sequence[Rollout], scale: bool) -> np.ndarray:
    """Reward minus the mean of its group, divided by the group's standard deviation if `scale`.

    As in GRPO (DeepSeekMath, section 4.1); without the division as in Dr. GRPO. Shape (rollouts,).
    """
    all_rewards = np.asarray(rewards, dtype=float)
    advantages = np.empty_like(all_rewards)
    for members in groups(rollouts):
        own = all_rewards[members]
        unit = own.std(ddof=1) + 1e-4 if scale and len(own) > 1 else 1.0
        advantages[members] = (own - own.mean()) / unit
    return advantages


def episode_credits(rollout: Rollout, rule: str, horizon: int) -> np.ndarray:
    """Credit of every decision of a trace: each episode and, if the thought ended itself, its end.

    An end earns 0: it changes no value. Shape (k,) or (k + 1,). ValueError for an unknown rule, and unless
    the trace's values J_0 .. J_k are there and in [0, 1].

    Args:
        rule: "progress" (paper, Definition 6.1), "log_progress" (J floored at 1e-6) or "regret_to_go".
        horizon: in episodes, for regret-to-go.
    """
    values = check_values(rollout.trace.values)
    if rule == "progress":
        credits = progress(values)
    elif rule == "log_progress":
        credits = log_progress(np.log(np.maximum(values, 1e-6)))
    elif rule == "regret_to_go":
        credits = regret_to_go(values, horizon)
    else:
        raise ValueError(f"credit must be progress, log_progress or regret_to_go, got {rule!r}")
    return np.append(credits, 0.0) if rollout.trace.finished else credits


def centre_by_episode(credits: Sequence[np.ndarray], rollouts: Sequence[Rollout]) -> list[np.ndarray]:
    """Each credit minus the mean credit that the group earned with its decision of the same index."""
    centred = list(credits)
    for members in groups(rollouts):
        table = np.full((len(members), max(len(credits[i]) for i in members)), np.nan)
        for row, i in zip(table, members, strict=True):
            row[: len(credits[i])] = credits[i]
        mean = np.nanmean(table, axis=0)
        for i in members:
            centred[i] = credits[i] - mean[: len(credits[i])]
    return centred


def spread(rollout: Rollout, outcome: float, decisions: np.ndarray | None = None) -> np.ndarray:
    """One advantage per token of the rollout, shape (tokens,).

    The outcome's advantage goes to every token, a decision's to the tokens of its episode or to the
    tokens that end the thought.
    """
    trace = rollout.trace
    advantages = np.full(rollout.tokens, float(outcome))
    if decisions is not None:
        k, n = trace.n_episodes, len(trace.thought_ids)
        advantages[:n] += to_tokens(decisions[:k], trace.boundaries)
        advantages[n : n + trace.end_tokens] += decisions[k:]
    return advantages


def outcome_and_progress(
    rollouts: Sequence[Rollout], rule: str, alpha: float, horizon: int, scale: bool
) -> list[np.ndarray]:
    """Group advantage of the reward plus alpha times the centred credit of each decision."""
    outcomes = group_advantages([r.reward for r in rollouts], rollouts, scale)
    credits = centre_by_episode([episode_credits(r, rule, horizon) for r in rollouts], rollouts)
    return [spread(r, a, alpha * c) for r, a, c in zip(rollouts, outcomes, credits, strict=True)]


def outcome_alone(rollouts: Sequence[Rollout], scale: bool) -> list[np.ndarray]:
    """Group advantage of the reward for every token of a rollout (GRPO)."""
    advantages = group_advantages([r.reward for r in rollouts], rollouts, scale)
    return [spread(r, a) for r, a in zip(rollouts, advantages, strict=True)]


def groups(rollouts: Sequence[Rollout]) -> list[list[int]]:
    """Indices of the rollouts of each group."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, rollout in enumerate(rollouts):
        members[rollout.group].append(i)
    return list(members.values())


def mixed_groups(rollouts: Sequence[Rollout]) -> list[bool]:
    """For each group whether its rewards differ; in the others, silent ones, an outcome teaches nothing."""
    return [len({rollouts[i].reward for i in members}) > 1 for members in groups(rollouts)]


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
    values = [t.values for t in traces if t.values]
    kept = [kept_values(v, horizon + 1)[1:] for v in values]
    sampled = [lp for t in traces for lp in (*t.thought_log_probs, *t.answer_log_probs)]
    return {
        "reward": _mean([r.reward for r in rollouts]),
        "value": _mean([v[-1] for v in values]),
        "progress": _mean([v[-1] - v[0] for v in values]),
        "regret": 1 - _mean(kept),
        "thought_tokens": _mean([len(t.thought_ids) for t in traces]),
        "episodes": _mean([t.n_episodes for t in traces]),
        "finished": _mean([t.finished for t in traces]),
        "silent_groups": _mean([not own for own in mixed_groups(rollouts)]),
        "entropy": -_mean(sampled),
    }


def _mean(numbers: Sequence) -> float:
    return float(np.mean(numbers)) if len(numbers) else float("nan")
