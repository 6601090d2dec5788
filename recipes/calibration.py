"""Whether stated probabilities come true: reliability, expected calibration error, AUC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mrt_lib.measure.stats import Interval, bootstrap


@dataclass(frozen=True)
class Bin:
    """Statements of similar probability: their number, their mean, and the share that came true."""

    count: int
    stated: float
    found: float


@dataclass(frozen=True)
class Calibration:
    """Of statements about several traces of each problem.

    Attributes:
        bins: of equal width over [0, 1], the empty ones left out.
        ece: mean distance of stated and found over the bins, weighted by their counts. Noise alone makes it
            positive, and a resampled one larger.
        auc: probability that a right trace gets a higher number than a wrong one, ties 1/2; nan where all
            are right or all wrong.
        brier: mean squared distance from the outcome.
    """

    bins: tuple[Bin, ...]
    ece: Interval
    auc: Interval
    brier: Interval


def calibration(stated: ArrayLike, right: ArrayLike, bins: int = 10, seed: int = 0) -> Calibration:
    """Calibration with 95% bootstrap intervals over problems.

    Args:
        stated: probabilities, shape (problems, traces), at least 2 problems.
        right: 0 or 1, the same shape.
        bins: at least 1.
        seed: of the bootstrap.

    Raises:
        ValueError: shapes differ, a number is no probability, or `bins` < 1.
    """
    p, y = np.asarray(stated, dtype=float), np.asarray(right, dtype=float)
    if p.shape != y.shape or p.ndim != 2:
        raise ValueError(f"stated and right must both be (problems, traces), got {p.shape} and {y.shape}")
    if not ((p >= 0) & (p <= 1)).all() or not np.isin(y, (0, 1)).all():
        raise ValueError("stated must be probabilities in [0, 1], and right 0 or 1")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")

    def error(p: np.ndarray, y: np.ndarray) -> float:
        return sum(b.count * abs(b.stated - b.found) for b in reliability(p, y, bins)) / p.size

    return Calibration(
        reliability(p, y, bins),
        bootstrap(error, p, y, seed=seed),
        bootstrap(area_under_roc, p, y, seed=seed),
        bootstrap(lambda p, y: float(((p - y) ** 2).mean()), p, y, seed=seed),
    )


def reliability(stated: np.ndarray, right: np.ndarray, bins: int) -> tuple[Bin, ...]:
    """The bins that hold a statement, rising; probability 1 belongs to the last."""
    place = np.minimum((stated * bins).astype(int), bins - 1)
    chosen = [place == i for i in range(bins)]
    return tuple(
        Bin(int(c.sum()), float(stated[c].mean()), float(right[c].mean())) for c in chosen if c.any()
    )


def area_under_roc(stated: np.ndarray, right: np.ndarray) -> float:
    """Area under the ROC curve, from ranks."""
    good, bad = stated[right == 1], np.sort(stated[right == 0])
    if not good.size or not bad.size:
        return float("nan")
    below = [np.searchsorted(bad, good, side) for side in ("left", "right")]
    return float(np.mean(below) / len(bad))
