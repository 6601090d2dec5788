"""Confidence intervals over problems, and over training seeds and problems.

Samples are paired: unit i of every sample is the same problem (or seed), so they are resampled
together. A difference between two arms is `bootstrap(lambda a, b: a.mean() - b.mean(), a, b, seed=0)`.

Over ten seeds or more the intervals are percentile bootstraps. Of fewer a bootstrap sees too little spread
(with 3 seeds its 95% cover about 80%), so `over_seeds` then takes `crossed_t`.

The bootstraps take the `seed` of their own generator (the same seed gives the same bits), the `level`
of confidence in (0, 1), and the number of `resamples`, at least 2 / (1 - level). They raise ValueError for
another level, too few resamples, no sample, or too few or unequal units.

The ends are order statistics of the resampled statistic, rounded outwards and never interpolated, so an
infinite end ("never reaches this accuracy") stays infinite. A resample on which the statistic is undefined
(nan) may hide any number: it counts as -inf for the low end and as inf for the high end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FEW_SEEDS = 10


@dataclass(frozen=True)
class Interval:
    """A statistic of the samples themselves with its confidence interval, whose open ends are -inf and inf.

    `n`: number of independent units behind it (problems, or seeds if nested).
    """

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
    axes: tuple[str, ...] = ("units",),
) -> Interval:
    """Percentile bootstrap over the first axis of `samples`, or over more, each resampled on its own.

    Args:
        statistic: called as `statistic(*samples)`, gives one number, infinite or nan allowed.
        *samples: arrays of shape (n, ...) with the same n >= 2 units, in the same order.
        axes: what the resampled axes are, in words.
    """
    arrays = _paired(samples, axes)
    _check_level(level, resamples)
    rng = np.random.default_rng(seed)
    shape = arrays[0].shape[: len(axes)]
    draws = (np.ix_(*(rng.integers(n, size=n) for n in shape)) for _ in range(resamples))
    estimates = np.array([float(statistic(*(array[drawn] for array in arrays))) for drawn in draws])
    return Interval(float(statistic(*arrays)), *_ends(estimates, level), len(arrays[0]))


def over_seeds(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    seed: int,
    axes: tuple[str, ...] = ("seeds", "problems"),
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Over training seeds and problems, crossed: samples of shape (seeds, problems, ...).

    Every seed meets the same problems, as every trained model meets the same test set: a bootstrap draws
    seeds and, apart from them, problems; below 10 seeds `crossed_t` answers. The interval's `n` is the
    number of seeds. With `axes=("seeds",)` the samples have one number, or more, for every seed.
    """
    if len(_paired(samples, axes)[0]) < FEW_SEEDS:
        return crossed_t(statistic, *samples, axes=axes, level=level)
    return bootstrap(statistic, *samples, seed=seed, axes=axes, level=level, resamples=resamples)


def crossed_t(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    axes: tuple[str, ...] = ("seeds", "problems"),
    level: float = 0.95,
) -> Interval:
    """A t interval whose variance is the sum of the jackknife's over each axis, open if one is not finite.

    What seeds and problems do not explain is in both parts, so it errs to the wide side. Degrees of freedom
    after Satterthwaite. Arguments and errors as for `bootstrap`.
    """
    arrays = _paired(samples, axes)
    _check_level(level)
    value, parts = float(statistic(*arrays)), []
    for axis, n in enumerate(arrays[0].shape[: len(axes)]):
        left = np.array([float(statistic(*(np.delete(a, i, axis) for a in arrays))) for i in range(n)])
        if not np.isfinite([value, *left]).all():
            return Interval(value, -np.inf, np.inf, len(arrays[0]))
        parts.append(((n - 1) / n * np.sum((left - np.mean(left)) ** 2), n - 1))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / n for part, n in parts) if variance else 1.0
    half = _t_quantile((1 + level) / 2, freedom) * math.sqrt(variance)
    return Interval(value, value - half, value + half, len(arrays[0]))


def means_over_seeds(
    samples: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 2000
) -> list[Interval]:
    """`over_seeds` of the mean, for many quantities measured on the same seeds and problems.

    `samples` are finite, of shape (seeds, problems, quantities). With one seed the interval is over problems
    alone, at least two.
    """
    array = np.asarray(samples, dtype=float)
    seeds, problems, quantities = array.shape
    if problems < 2:
        raise ValueError(f"an interval needs at least 2 problems, got samples of shape {array.shape}")
    if 1 < seeds < FEW_SEEDS:
        return [crossed_t(np.mean, array[..., q], level=level) for q in range(quantities)]
    _check_level(level, resamples)
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n for n in (seeds, problems)]
    estimates = np.einsum("rs,spq,rp->rq", weights[0], array, weights[1], optimize=True)
    n, means = seeds if seeds > 1 else problems, array.mean((0, 1))
    return [Interval(float(m), *_ends(e, level), n) for m, e in zip(means, estimates.T, strict=True)]


def _paired(samples: tuple[ArrayLike, ...], axes: tuple[str, ...]) -> list[np.ndarray]:
    """The samples as arrays; ValueError unless they share these axes, each of two units or more."""
    arrays = [np.asarray(sample) for sample in samples]
    if not arrays:
        raise ValueError("no sample to resample; give at least one array")
    shapes = [array.shape[: len(axes)] for array in arrays]
    if len(shapes[0]) < len(axes) or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"samples must share the axes ({', '.join(axes)}), got shapes {shapes}")
    if min(shapes[0]) < 2:
        raise ValueError(f"need at least 2 {' and 2 '.join(axes)} to see any spread, got {shapes[0]}")
    return arrays


def _t_quantile(level: float, freedom: float) -> float:
    """Quantile above 1/2 of Student's t, whose density in arctan(t / sqrt(freedom)) is a cosine's power."""
    angles = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2))
    return math.sqrt(freedom) * math.tan(np.interp(2 * level - 1, mass / mass[-1], angles))


def _check_level(level: float, resamples: float = math.inf) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level}")
    if resamples < (least := math.ceil(round(2 / (1 - level), 6))):
        raise ValueError(f"level {level} needs at least {least} resamples, got {resamples}")


def _ends(estimates: np.ndarray, level: float) -> tuple[float, float]:
    outside = math.floor((1 - level) / 2 * (len(estimates) - 1))
    low, high = (np.sort(np.where(np.isnan(estimates), end, estimates)) for end in (-np.inf, np.inf))
    return float(low[outside]), float(high[len(high) - 1 - outside])
