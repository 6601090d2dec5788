"""What others pay for: the rivals of 2025-26 as arms. What their texts leave open, and what differs, is said.

    BRPO   AnytimeReasoner (arXiv 2505.13438): S budgets, here the ends of the first S = horizon episodes,
           with prior P; J_s is the value there, a shorter thought keeping its last;  R_s = sum_{j>=s} P_j J_j
           A(token of z_s) = R_s - [s V1_s + (S - s) V2_s] / S,  not divided by a standard deviation
           V1_s = (sum_{i<s} 2^i J_i / sum_{i<s} 2^i) sum_{j>=s} P_j, 0 for s = 0;    V2_s = group mean of R_s
           A(answer) = its score - J at its prefix.  Theirs learns the answers forced at all budgets, this one
           that at the thought's end; their budgets lie at equal distances in tokens.
    IGPO   (arXiv 2510.14967): a turn earns the rise of the gold answer's probability, the last the outcome:
           A(token of z_e) = J_k - J_e + R, the end and the answer R, each minus the group's mean at the
           same turn.  Theirs takes the geometric mean of the probabilities of the answer's tokens.
    MIG    (arXiv 2602.01034): A = outcome + alpha max(0, J_{e+1} - max_{j<=e} J_j): gain over a watermark.
           Their normalisation is not known here; the gain is centred as MRT's credits are.
    DLER   (arXiv 2510.15110): R = 1 if right and ended within the budget, else 0;  A = R - group mean,
           divided by the deviation over the batch's mixed groups.  Theirs also refills silent groups.
    SGRPO  S-GRPO (arXiv 2505.07686): one thought, an answer forced at random exits and at its end; the i-th
           exit (i = 0, 1, ..) earns 2^-i if right, else 0;  A = R - mean over the exits of the thought.
           Exits are ends of episodes here, each taken once; if there are too few, the end is answered again.
           Whether i counts exits or right exits is not clear from what could be read: `counts` offers both.

`branches`: forced answers per prefix; None for exact values, with R = J_k and no sampled answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, repeat, stream
from mrt_lib.arms.credit import centre_by_episode, group_advantages, groups, outcome_alone, spread
from mrt_lib.arms.mrt import cut
from mrt_lib.arms.outcome import outcome_rollouts, valued_rollouts
from mrt_lib.engines.base import check_numbers
from mrt_lib.measure.progress import check_values, kept_values
from mrt_lib.tasks.base import Problem

PRIORS, BASELINES = ("uniform", "linear", "base"), ("mixed", "v1only", "v2only", "none")


@dataclass(frozen=True, kw_only=True)
class _Valued:
    branches: int | None = None

    def __post_init__(self) -> None:
        check_numbers(self, branches=1, alpha=0)

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think and value every prefix."""
        return valued_rollouts(policy, problems, group, seed, self.branches)


@dataclass(frozen=True)
class BRPO(_Valued):
    """`prior` of the budgets: "uniform", "linear" in the budget, or "base", the last alone."""

    prior: str = "uniform"
    baseline: str = "mixed"

    def __post_init__(self) -> None:
        if self.prior not in PRIORS or self.baseline not in BASELINES:
            raise ValueError(
                f"prior must be one of {', '.join(PRIORS)} and baseline one of {', '.join(BASELINES)}, "
                f"got {self.prior!r} and {self.baseline!r}"
            )
        super().__post_init__()

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:
        """Return-to-go over the budgets minus the baseline; 0 after the horizon."""
        values = np.stack([kept_values(r.trace.values, horizon + 1)[1:] for r in rollouts])
        prior = _prior(self.prior, horizon)
        to_go = _reverse_sums(prior * values)
        segments, v1, v2 = np.arange(horizon), _own_past(values) * _reverse_sums(prior), np.empty_like(to_go)
        for members in groups(rollouts):
            v2[members] = to_go[members].mean(0)
        mixed = (segments * v1 + (horizon - segments) * v2) / horizon
        baseline = {"mixed": mixed, "v1only": v1, "v2only": v2, "none": np.zeros_like(v1)}[self.baseline]
        return [
            _by_turn(r, own, r.reward - r.trace.values[-1])
            for r, own in zip(rollouts, to_go - baseline, strict=True)
        ]


@dataclass(frozen=True)
class IGPO(_Valued):
    """Return-to-go of the rise in the gold answer's probability."""

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """What a turn and those after it earn, minus the group's mean at the same turn."""
        earned = []
        for r in rollouts:
            values = check_values(r.trace.values)
            earned.append(np.append(values[-1] - values[:-1], 0.0) + r.reward)
        centred = centre_by_episode(earned, rollouts)
        return [_by_turn(r, own, own[-1]) for r, own in zip(rollouts, centred, strict=True)]


@dataclass(frozen=True)
class MIG(_Valued):
    """`alpha`: weight of the gain over the watermark; `scale`: divide the outcome by its deviation."""

    alpha: float = 1.0
    scale: bool = True

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """Outcome for every token, an episode's gain for its own."""
        outcomes = group_advantages([r.reward for r in rollouts], rollouts, self.scale)
        gains = []
        for r in rollouts:
            watermark = np.maximum.accumulate(check_values(r.trace.values))
            gains.append(np.append(np.diff(watermark), np.zeros(int(r.trace.finished))))
        centred = centre_by_episode(gains, rollouts)
        return [spread(r, a, self.alpha * c) for r, a, c in zip(rollouts, outcomes, centred, strict=True)]


@dataclass(frozen=True)
class DLER:
    """Plain truncation: what did not end within the thinking budget earns nothing."""

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think, answer; right and ended earns 1."""
        rollouts = outcome_rollouts(policy, problems, group, seed)
        return [replace(r, reward=r.reward * r.trace.finished) for r in rollouts]

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """The same advantage for every token of a rollout."""
        advantages = group_advantages([r.reward for r in rollouts], rollouts, scale=False)
        mixed = [i for members in groups(rollouts) if advantages[members].any() for i in members]
        unit = float(advantages[mixed].std()) if mixed else 1.0
        return [spread(r, a / unit) for r, a in zip(rollouts, advantages, strict=True)]


@dataclass(frozen=True)
class SGRPO:
    """`counts`: "exits" pays the i-th exit 2^-i; "right" the i-th right one."""

    counts: Literal["exits", "right"] = "exits"

    def __post_init__(self) -> None:
        if self.counts not in ("exits", "right"):
            raise ValueError(f"counts must be exits or right, got {self.counts!r}")

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """One thought per problem, answered at up to `group` - 1 random exits, else at its end."""
        rng = np.random.default_rng(stream(seed, 2))
        traces, stopped = [], []
        for trace in policy.think(problems, stream(seed, 0)):
            inside = np.arange(1, trace.n_episodes)
            exits = np.sort(rng.choice(inside, min(len(inside), group - 1), replace=False))
            traces += [*(cut(trace, j) for j in exits), *[trace] * (group - len(exits))]
            stopped += [i < len(exits) for i in range(group)]
        answered = zip(repeat(problems, group), policy.answer(traces, stream(seed, 1)), stopped, strict=True)
        return self.decayed(
            [Rollout(p, t, i // group, policy.score(p, t), stopped=s) for i, (p, t, s) in enumerate(answered)]
        )

    def decayed(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """The rollouts with 2^-i of their reward."""
        paid = list(rollouts)
        for members in groups(rollouts):
            right = np.array([rollouts[i].reward for i in members])
            counted = right if self.counts == "right" else np.array([rollouts[i].stopped for i in members])
            for i, reward in zip(members, right * 0.5 ** (np.cumsum(counted) - counted), strict=True):
                paid[i] = replace(rollouts[i], reward=float(reward))
        return paid

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """The same advantage for every token up to an exit and of its answer."""
        return outcome_alone(rollouts, scale=False)


def _prior(name: str, horizon: int) -> np.ndarray:
    budgets = np.arange(1.0, horizon + 1)
    weights = {"uniform": np.ones(horizon), "linear": budgets, "base": budgets == horizon}[name]
    return weights / weights.sum()


def _reverse_sums(numbers: np.ndarray) -> np.ndarray:
    """Sums from each place of the last axis to its end."""
    return np.cumsum(numbers[..., ::-1], axis=-1)[..., ::-1]


def _own_past(values: np.ndarray) -> np.ndarray:
    """Mean of a thought's values before each budget, each weighing twice its predecessor; 0 at the first."""
    weights = 2.0 ** np.arange(values.shape[1])
    before = np.cumsum(weights * values, axis=1) / np.cumsum(weights)
    return np.concatenate([np.zeros((len(values), 1)), before[:, :-1]], axis=1)


def _by_turn(rollout: Rollout, earned: np.ndarray, answer: float) -> np.ndarray:
    """What each episode and the end earned (nothing: 0) and what the answer earned, for their tokens."""
    turns = rollout.trace.n_episodes + rollout.trace.finished
    own = np.append(earned, np.zeros(turns))[:turns]
    advantages = spread(rollout, 0.0, own)
    advantages[rollout.tokens - len(rollout.trace.answer_ids) :] = answer
    return advantages
