"""MRT: a stale prefix, then stop or go on (the paper's own arm); or credit for every episode.

    MRTOffline  prefix c_j from an earlier snapshot of the policy, cut after a random number j of episodes;
                half of the group is forced to answer at c_j, half thinks on and answers; R_i in {0, 1}
                (section 6, Algorithm 2)
                baseline "group":        A_i = (R_i - mean R) / std R over both halves
                baseline "termination":  A_i = R_i - mean R of the forced half, for the other half alone

In the mixed group, going on earns on average half its progress (J_k - J_j) / 2 and stopping loses as much:
the progress bonus is implicit. "termination" is the recipe in the released code's README.

    A(token of z_e) = (R_i - mean_group R) [/ std_group R] + alpha * (C_e - mean_group C_e)

    MRTExact    J_j = p(right answer | c_j, forced text), every prefix in one packed pass;  R_i = J_k
    MRTOnline   J_j = mean correctness of G forced answers at c_j;  R_i in {0, 1}  (the authors' own re-run)

C_e is the episode's own progress J_{e+1} - J_e (paper, Definition 6.1), its information gain (the same of
log J), or regret-to-go, a variant of the credit of AnytimeReasoner (arXiv 2505.13438), which optimised the
same area before. The re-run's normalisation of C_e is not published; here it is centred in the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mrt_lib.arms.base import Policy, Rollout, repeat, stream
from mrt_lib.arms.credit import RULES, groups, outcome_alone, outcome_and_progress, spread
from mrt_lib.arms.outcome import valued_rollouts
from mrt_lib.engines.base import check_numbers
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.traces import Trace


class _Paid:
    rule: str
    alpha: float
    scale: bool
    branches: int | None = None

    def __post_init__(self) -> None:
        check_numbers(self, alpha=0, branches=1)
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {self.rule!r}")

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """Think and value every prefix, exactly or by sampling, with which goes a sampled answer."""
        return valued_rollouts(policy, problems, group, seed, self.branches)

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:
        """Outcome for every token, the decision's credit for its own tokens."""
        return outcome_and_progress(rollouts, self.rule, self.alpha, horizon, self.scale)


@dataclass(frozen=True)
class MRTExact(_Paid):
    """`rule` of credit, see `episode_credits`; `alpha`: its weight; `scale`: divide the outcome's advantage
    by the group's standard deviation."""

    rule: str
    alpha: float
    scale: bool = True


@dataclass(frozen=True)
class MRTOnline(_Paid):
    """How to pay progress: `branches` is G, forced answers per prefix; the rest as in `MRTExact`."""

    branches: int = 4
    alpha: float = 1.0
    rule: str = "progress"
    scale: bool = True


@dataclass(frozen=True)
class MRTOffline:
    """`baseline`: see above; `scale`: divide by the group's standard deviation ("group" only)."""

    baseline: Literal["group", "termination"] = "group"
    scale: bool = True

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.baseline not in ("group", "termination"):
            raise ValueError(f"baseline must be group or termination, got {self.baseline!r}")

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """One stale prefix per problem; the first half of its group stops there, the rest goes on."""
        prefixes = repeat(stale_prefixes(policy, problems, seed), group)
        goes_on = [i % group >= group // 2 for i in range(len(prefixes))]
        return continued_rollouts(policy, repeat(problems, group), prefixes, goes_on, group, seed)

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:  # noqa: ARG002
        """The same advantage for every token that the policy wrote after the prefix."""
        if self.baseline == "group":
            return outcome_alone(rollouts, self.scale)
        advantages = np.zeros(len(rollouts))
        for members in groups(rollouts):
            stopped = np.mean([rollouts[i].reward for i in members if rollouts[i].stopped])
            for i in members:
                if not rollouts[i].stopped:
                    advantages[i] = rollouts[i].reward - stopped
        return [spread(r, a) for r, a in zip(rollouts, advantages, strict=True)]


def stale_prefixes(policy: Policy, problems: Sequence[Problem], seed: int) -> list[Trace]:
    """A thought of the stale policy for each problem, cut after 0 .. k - 1 of its k episodes."""
    rng = np.random.default_rng(stream(seed, 2))
    traces = policy.think(problems, stream(seed, 0), stale=True)
    return [cut(t, int(rng.integers(max(1, t.n_episodes)))) for t in traces]


def cut(trace: Trace, j: int) -> Trace:
    """The unfinished trace that holds the first j episodes."""
    size = ([0, *trace.boundaries])[j]
    ids, log_probs = trace.thought_ids[:size], trace.thought_log_probs[:size]
    own = trace.problem_id, trace.prompt_ids, ids, trace.boundaries[:j]
    return Trace(*own, finished=False, thought_log_probs=log_probs)


def continued_rollouts(
    policy: Policy,
    problems: Sequence[Problem],
    prefixes: Sequence[Trace],
    goes_on: Sequence[bool],
    group: int,
    seed: int,
) -> list[Rollout]:
    """From each prefix, think on or not, then answer."""
    chosen = [i for i, on in enumerate(goes_on) if on]
    traces = list(prefixes)
    for i, longer in zip(chosen, policy.extend([prefixes[i] for i in chosen], stream(seed, 3)), strict=True):
        traces[i] = longer
    answered = policy.answer(traces, stream(seed, 1))
    return [
        Rollout(p, t, i // group, policy.score(p, t), given=len(prefix.thought_ids), stopped=not on)
        for i, (p, t, prefix, on) in enumerate(zip(problems, answered, prefixes, goes_on, strict=True))
    ]
