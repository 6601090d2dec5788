"""Where a thought knows its answer, and from where on it gains nothing more.

Both are places in a row of values J_0 .. J_k and so move with every accident in it: one lucky draw
late in the thought looks like a gain. Values from sampled answers are therefore first made
`piecewise_constant`; exact values are taken as they are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mrt_lib.measure.progress import check_positive, check_values


def known_from(values: ArrayLike, threshold: float = 0.5) -> int | None:
    """The first prefix from which J stays at `threshold` or above to the end; None if it ends below.

    Above 1/2 the right answer beats all rivals together, so a vote of enough answers is sure to be
    right: from there on, thinking can add certainty and no knowledge.

    Args:
        values: J_0 .. J_k, probabilities, shape (k + 1,).
        threshold: in (0, 1].

    Raises:
        ValueError: values or threshold out of range.
    """
    own = check_values(values)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a probability in (0, 1], got {threshold}")
    below = np.flatnonzero(own < threshold)
    first = int(below[-1]) + 1 if below.size else 0
    return first if first < len(own) else None


def useful_until(values: ArrayLike, margin: float = 0.05) -> int:
    """Number of episodes up to the last useful one: the first prefix that no later one beats by more
    than `margin`. Stopping there would have lost at most `margin` against any later stop.

    A gain that comes in small steps counts as a whole; a recovery from a slump is no gain.

    Args:
        values: J_0 .. J_k, probabilities, shape (k + 1,).
        margin: difference of probabilities in [0, 1).

    Raises:
        ValueError: values or margin out of range.
    """
    own = check_values(values)
    if not 0 <= margin < 1:
        raise ValueError(f"margin must be a difference of probabilities in [0, 1), got {margin}")
    best_from_here = np.maximum.accumulate(own[::-1])[::-1]
    return int(np.argmax(best_from_here <= own + margin))


def piecewise_constant(values: ArrayLike, answers: int) -> np.ndarray:
    """Values from samples as stretches of constant J, as few as the answers allow.

    The cut into stretches maximises the binomial log-likelihood minus log(number of answers) / 2 for each
    stretch (BIC with its level as parameter), found by dynamic programming over all cuts. So a change of
    J counts once the answers on both sides, taken together, make it plausible; smaller ones are missed.

    Args:
        values: shares of right answers at the prefixes of one trace, shape (k + 1,).
        answers: number of answers behind each.

    Returns:
        The mean of every prefix's stretch, shape (k + 1,).

    Raises:
        ValueError: values outside [0, 1], or answers no whole number >= 1.
    """
    own, n = check_values(values), check_positive("answers", answers)
    right = np.append(0.0, np.cumsum(own * n))
    penalty = math.log(n * len(own)) / 2
    cost, start = np.zeros(len(own) + 1), np.zeros(len(own) + 1, dtype=int)
    for end in range(1, len(own) + 1):
        drawn = n * (end - np.arange(end))
        total = cost[:end] + penalty + _surprise((right[end] - right[:end]) / drawn) * drawn
        start[end] = np.argmin(total)
        cost[end] = total[start[end]]
    return _levels(right / n, start)


def _surprise(share: np.ndarray) -> np.ndarray:
    """Entropy in nats of draws that are right with this probability."""
    inside = np.clip(share, 1e-12, 1 - 1e-12)
    return -inside * np.log(inside) - (1 - inside) * np.log1p(-inside)


def _levels(summed: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Means between the cuts that lead to the end."""
    levels, end = np.empty(len(start) - 1), len(start) - 1
    while end:
        first = start[end]
        levels[first:end] = np.clip((summed[end] - summed[first]) / (end - first), 0, 1)
        end = first
    return levels
