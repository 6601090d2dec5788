"""The headline numbers of the training experiments, `i2.*` in the summary."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from experiments.load import ArmRuns, arm_runs, logs
from experiments.measure import REGRET_BUDGETS, TOKEN_GRID
from experiments.statistics import fewer_tokens
from mrt_lib.measure.stats import Interval, over_seeds
from tools.summary import record

COMMAND = "make results"
EXACT_RULES = ("mrt_regret_to_go", "mrt_log_progress", "mrt_progress")
TRAIN_BUDGET = 4


def best_arm() -> ArmRuns | None:
    """The MRT arm with the highest validation J after 4 episodes over its seeds."""
    found = [arm for rule in EXACT_RULES if (arm := arm_runs(rule))]
    return max(found, key=lambda arm: float(np.mean([f["validation_J4"] for f in arm.facts])), default=None)


def write_headline() -> None:
    """Record every headline number whose arms have at least two common seeds."""
    best, grpo, exact = best_arm(), arm_runs("grpo"), arm_runs("grpo_exact")
    base = arm_runs("untrained")
    if not (best and grpo and exact and base):
        return
    for name, arm, rival, k in (
        ("gain_ratio_train_budget", best, grpo, TRAIN_BUDGET),
        ("gain_ratio_2x", best, grpo, 2 * TRAIN_BUDGET),
        ("gain_ratio_vs_grpo_exact", best, exact, TRAIN_BUDGET),
    ):
        _record(name, gain_ratio(arm, rival, base, k), "times the gain")
    _record("gain_ratio_bound", largest_ratio(grpo, base, TRAIN_BUDGET), "times the gain")
    for name in ("weak", "strong"):
        own, rival, start = (arm_runs(arm, base=name) for arm in (best.run.arm, "grpo", "untrained"))
        if own and rival and start:
            _record(f"gain_ratio_{name}_base", gain_ratio(own, rival, start, TRAIN_BUDGET), "times the gain")
    _record("J4_best", _nested(lambda a: a.mean(), best.arrays["value"][..., TRAIN_BUDGET]), "probability")
    _record("J4_grpo", _nested(lambda a: a.mean(), grpo.arrays["value"][..., TRAIN_BUDGET]), "probability")
    _record(
        "J4_grpo_exact", _nested(lambda a: a.mean(), exact.arrays["value"][..., TRAIN_BUDGET]), "probability"
    )
    _record("token_efficiency", token_efficiency(best, grpo), "times fewer tokens")
    _record("regret_margin_min_over_budgets", regret_margin(best, grpo, base), "normalised regret")
    _record("gain_ratio_equal_time", equal_time_ratio(best, grpo, base), "times the gain")
    _record("tokens_to_grpo_best", tokens_to_best(best, grpo), "share of GRPO's tokens")
    share = np.array([f["prove_seconds"] / f["seconds"] for f in best.facts])
    _record("exact_share_of_step", _by_seed(np.mean, share), "share of a step")


def gain_ratio(arm: ArmRuns, rival: ArmRuns, base: ArmRuns, episodes: int) -> Interval:
    """Gain of one arm over base, divided by the gain of another; paired over seeds and problems."""
    a, b = paired(arm, rival, "value")
    start = np.broadcast_to(base.arrays["value"][0, :, episodes], a.shape[:2])
    return _nested(ratio_of_gains, a[..., episodes], b[..., episodes], start)


def largest_ratio(rival: ArmRuns, base: ArmRuns, episodes: int) -> Interval:
    """The gain ratio that an arm with J = 1 on every problem would have against the rival."""
    value = rival.arrays["value"][..., episodes]
    start = np.broadcast_to(base.arrays["value"][0, :, episodes], value.shape)
    return _nested(ratio_of_gains, np.ones_like(value), value, start)


def token_efficiency(arm: ArmRuns, rival: ArmRuns) -> Interval:
    """Tokens that the rival needs for its J at the training budget, divided by the arm's for that J."""
    fewer = partial(fewer_tokens, grid=TOKEN_GRID, budget=REGRET_BUDGETS[2])
    return _nested(fewer, *paired(arm, rival, "at_tokens"))


def regret_margin(arm: ArmRuns, rival: ArmRuns, base: ArmRuns) -> Interval:
    """The smallest lead in normalised regret over the better of rival and base, over all budgets."""
    a, b = paired(arm, rival, "regret_oracle")
    start = np.broadcast_to(base.arrays["regret_oracle"][0], a.shape)

    def margin(a: np.ndarray, b: np.ndarray, start: np.ndarray) -> float:
        own, other, untrained = a.mean((0, 1)), b.mean((0, 1)), start.mean((0, 1))
        return float((np.minimum(other, untrained) - own).min())

    return _nested(margin, a, b, start)


def equal_time_ratio(arm: ArmRuns, rival: ArmRuns, base: ArmRuns) -> Interval:
    """Ratio of validation gains at the moment when the faster of the two runs ended, per seed."""
    seeds = [s for s in arm.seeds if s in rival.seeds]
    own, other = logs(arm), logs(rival)
    start = float(base.facts[0]["validation_J4"])

    def at_equal_time(seed: int) -> tuple[float, float]:
        frames = [f[f.seed == seed] for f in (own, other)]
        moment = min(f.wall.max() for f in frames)
        points = [f.dropna(subset="validation_J4") for f in frames]
        a, b = (np.interp(moment, p.wall, p.validation_J4) for p in points)
        return float(a), float(b)

    pairs = np.array([at_equal_time(seed) for seed in seeds])
    return _by_seed(ratio_of_gains, pairs[:, 0], pairs[:, 1], np.full(len(seeds), start))


def tokens_to_best(arm: ArmRuns, rival: ArmRuns, read: bool = False) -> Interval:
    """Of the tokens that the rival generated up to its best validation J, the share that the arm needs.

    `read`: with those that the prover read or sampled.
    """
    seeds = [s for s in arm.seeds if s in rival.seeds]
    frames = [logs(a) for a in (arm, rival)]
    if read:
        frames = [f.assign(tokens=f.tokens + f.groupby("seed").prover_tokens.cumsum()) for f in frames]
    own, other = (frame.dropna(subset="validation_J4") for frame in frames)

    def share(seed: int) -> float:
        a, b = own[own.seed == seed], other[other.seed == seed]
        best = b.loc[b.validation_J4.idxmax()]
        reached = a[a.validation_J4 >= best.validation_J4]
        return float(reached.tokens.min() / best.tokens) if len(reached) else float("inf")

    shares = np.array([share(seed) for seed in seeds])
    return _by_seed(np.mean, shares)


def paired(arm: ArmRuns, rival: ArmRuns, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of both for the seeds that both have."""
    seeds = [s for s in arm.seeds if s in rival.seeds]
    return arm.only(seeds)[name], rival.only(seeds)[name]


def ratio_of_gains(arm: ArrayLike, rival: ArrayLike, base: ArrayLike) -> float:
    """Mean gain of the arm over the base / mean gain of the rival."""
    own, other, start = (float(np.mean(values)) for values in (arm, rival, base))
    return (own - start) / (other - start)


def _nested(statistic: Callable[..., float], *samples: np.ndarray) -> Interval:
    return over_seeds(statistic, *samples, seed=0)


def _by_seed(statistic: Callable[..., float], *samples: np.ndarray) -> Interval:
    return over_seeds(statistic, *samples, seed=0, axes=("seeds",))


def _record(name: str, found: Interval, unit: str) -> None:
    record(f"i2.{name}", found, unit, COMMAND)
