"""Seeded percentile bootstrap over problems, and over training seeds and problems.

Samples are paired: unit i of every sample is the same problem (or seed), so they are resampled
together. A difference between two arms is `bootstrap(lambda a, b: a.mean() - b.mean(), a, b, seed=0)`.

All three functions take the `seed` of their own generator (the same seed gives the same bits), the `level`
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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


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
    arrays = [np.asarray(sample) for sample in samples]
    if not arrays:
        raise ValueError("no sample to resample; give at least one array")
    shapes = [array.shape[: len(axes)] for array in arrays]
    if len(shapes[0]) < len(axes) or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"samples must share the axes ({', '.join(axes)}), got shapes {shapes}")
    if min(shapes[0]) < 2:
        raise ValueError(f"need at least 2 {' and 2 '.join(axes)} to see any spread, got {shapes[0]}")
    _check_level(level, resamples)
    rng = np.random.default_rng(seed)
    draws = (np.ix_(*(rng.integers(n, size=n) for n in shapes[0])) for _ in range(resamples))
    estimates = np.array([float(statistic(*(array[drawn] for array in arrays))) for drawn in draws])
    return Interval(float(statistic(*arrays)), *_ends(estimates, level), len(arrays[0]))


def bootstrap_nested(
    statistic: Callable[..., float], *samples: ArrayLike, seed: int, **options: Any
) -> Interval:
    """`bootstrap` over training seeds and problems, crossed: samples of shape (seeds, problems, ...).

    A resample draws seeds and, apart from them, problems: every drawn seed meets the same drawn
    problems, as every trained model meets the same test set. The interval's `n` is the number of seeds.
    """
    return bootstrap(statistic, *samples, seed=seed, axes=("seeds", "problems"), **options)


def bootstrap_means(
    samples: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 2000
) -> list[Interval]:
    """`bootstrap_nested` of the mean, for many quantities measured on the same seeds and problems.

    `samples` are finite, of shape (seeds, problems, quantities). With one seed the interval is over problems
    alone, at least two.
    """
    array = np.asarray(samples, dtype=float)
    seeds, problems, _ = array.shape
    if problems < 2:
        raise ValueError(f"a bootstrap needs at least 2 problems, got samples of shape {array.shape}")
    _check_level(level, resamples)
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n for n in (seeds, problems)]
    estimates = np.einsum("rs,spq,rp->rq", weights[0], array, weights[1], optimize=True)
    n, means = seeds if seeds > 1 else problems, array.mean((0, 1))
    return [Interval(float(m), *_ends(e, level), n) for m, e in zip(means, estimates.T, strict=True)]


def _check_level(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, such as 0.95, got {level}")
    if resamples < (least := math.ceil(round(2 / (1 - level), 6))):
        raise ValueError(f"level {level} needs at least {least} resamples, got {resamples}")


def _ends(estimates: np.ndarray, level: float) -> tuple[float, float]:
    outside = math.floor((1 - level) / 2 * (len(estimates) - 1))
    low, high = (np.sort(np.where(np.isnan(estimates), end, estimates)) for end in (-np.inf, np.inf))
    return float(low[outside]), float(high[len(high) - 1 - outside])
