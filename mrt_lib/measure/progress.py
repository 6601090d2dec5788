"""Progress of episodes, the credit that it earns them, and the places from where on a thought gains nothing.

Values J_0 .. J_k, shape (k + 1,), are probabilities and belong to the prefixes c_0 .. c_k of one trace: J_j
is the meta-prover's value after j finished episodes. Episode z_e leads from c_e to c_{e+1}. Every function
of values raises ValueError if they are empty, not one-dimensional, not finite or outside [0, 1].
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def progress(values: ArrayLike) -> np.ndarray:
    """Progress r_e = J_{e+1} - J_e of every episode (paper, Definition 6.1), in [-1, 1], shape (k,)."""
    return np.diff(check_values(values))


def log_progress(log_values: ArrayLike) -> np.ndarray:
    """Information gain log J_{e+1} - log J_e of every episode, in nats, shape (k,).

    ValueError unless the log values (natural logarithms) have shape (k + 1,) and are finite and at most 0:
    J = 0 has no logarithm, so take an exact prover's values, or a floor.
    """
    logs = np.asarray(log_values, dtype=float)
    if logs.ndim != 1 or not logs.size or not np.all(np.isfinite(logs) & (logs <= 0)):
        raise ValueError(f"log_values must be finite, at most 0 and of shape (k + 1,), got {log_values!r}")
    return np.diff(logs)


def regret_to_go(values: ArrayLike, horizon: int) -> np.ndarray:
    r"""Mean of J_j - J_e over the horizon that is left, j = e+1 .. horizon, for every episode e.

    A shorter trace keeps its last value: J_j = J_k for j > k. What comes after the horizon does not
    count: those episodes earn 0. In terms of progress this is
    sum_{e <= i < horizon} (horizon - i) r_i / (horizon - e): an early gain counts in every later prefix.

    It is the policy gradient of normalised regret over episodes, 1 - mean_{j=1..horizon} J_j, with the
    meta-prover held fixed, which notebook 03 derives. The exact gradient weighs episode e by
    (horizon - e) / horizon; left out, as policy gradients usually leave out their discount, every prefix
    counts alike. Stopping earns 0, so it needs no term. AnytimeReasoner (arXiv 2505.13438) pays each token
    the return-to-go of the same area, less a baseline of its own.

    In [-1, 1], shape (k,). ValueError also unless the horizon, in episodes, is a whole number >= 1.
    """
    gains = progress(values)
    left = np.maximum(check_positive("horizon", horizon) - np.arange(len(gains)), 0)
    return np.cumsum((left * gains)[::-1])[::-1] / np.maximum(left, 1)


def to_tokens(per_episode: ArrayLike, boundaries: ArrayLike) -> np.ndarray:
    """One number per thought token: that of the token's episode, shape (boundaries[-1],), (0,) if k is 0.

    Both have shape (k,); `boundaries`, the thought tokens at the end of each episode, must be whole and rise
    strictly from above 0. Else ValueError.
    """
    numbers, ends = np.asarray(per_episode, dtype=float), np.asarray(boundaries, dtype=int)
    if numbers.ndim != 1 or numbers.shape != ends.shape:
        raise ValueError(f"need one number per episode, got shapes {numbers.shape} and {ends.shape}")
    lengths = np.diff(ends, prepend=0)
    if np.any(lengths < 1) or not np.array_equal(ends, boundaries):
        raise ValueError(f"boundaries must be whole and rise strictly from above 0, got {boundaries!r}")
    return np.repeat(numbers, lengths)


def known_from(values: ArrayLike, threshold: float = 0.5) -> int | None:
    """The first prefix from which J stays at `threshold`, in (0, 1], or above; None if it ends below.

    Above 1/2 the right answer beats all rivals together, so a vote of enough answers is sure to be right:
    from there on, thinking can add certainty and no knowledge. Make values that are shares of sampled answers
    `piecewise_constant` first, here and in `useful_until`: a lucky draw late in a thought looks like a gain.
    """
    own = check_values(values)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a probability in (0, 1], got {threshold}")
    below = np.flatnonzero(own < threshold)
    first = int(below[-1]) + 1 if below.size else 0
    return first if first < len(own) else None


def useful_until(values: ArrayLike, margin: float = 0.05) -> int:
    """Number of episodes up to the last useful one: the first prefix that no later one beats by more
    than `margin`, in [0, 1). Stopping there would have lost at most `margin` against any later stop.

    A gain that comes in small steps counts as a whole; a recovery from a slump is no gain.
    """
    own = check_values(values)
    if not 0 <= margin < 1:
        raise ValueError(f"margin must be a difference of probabilities in [0, 1), got {margin}")
    best_from_here = np.maximum.accumulate(own[::-1])[::-1]
    return int(np.argmax(best_from_here <= own + margin))


def piecewise_constant(values: ArrayLike, answers: int) -> np.ndarray:
    """Values from samples, `answers` of them at every prefix, as few stretches of constant J as they allow.

    The cut into stretches maximises the binomial log-likelihood minus log(number of answers) / 2 for each
    stretch (BIC with its level as parameter), found by dynamic programming over all cuts. So a change of
    J counts once the answers on both sides, taken together, make it plausible; smaller ones are missed.
    What comes back is the mean of every prefix's stretch, shape (k + 1,).
    """
    own, n = check_values(values), check_positive("answers", answers)
    right = np.append(0.0, np.cumsum(own * n))
    penalty = math.log(n * len(own)) / 2
    cost, start = np.zeros(len(own) + 1), np.zeros(len(own) + 1, dtype=int)
    for end in range(1, len(own) + 1):
        drawn = n * (end - np.arange(end))
        share = np.clip((right[end] - right[:end]) / drawn, 1e-12, 1 - 1e-12)
        entropy = -share * np.log(share) - (1 - share) * np.log1p(-share)
        total = cost[:end] + penalty + entropy * drawn
        start[end] = np.argmin(total)
        cost[end] = total[start[end]]
    summed, levels, end = right / n, np.empty(len(own)), len(own)
    while end:
        first = start[end]
        levels[first:end] = np.clip((summed[end] - summed[first]) / (end - first), 0, 1)
        end = first
    return levels


def kept_values(values: ArrayLike, prefixes: int) -> np.ndarray:
    """J_0 .. of so many prefixes, shape (prefixes,); a shorter trace keeps its last value."""
    own = check_values(values)
    return own[np.minimum(np.arange(prefixes), len(own) - 1)]


def check_values(values: ArrayLike, name: str = "values", ndim: int = 1) -> np.ndarray:
    """`values` as floats; ValueError unless non-empty, `ndim`-dimensional and all in [0, 1]."""
    array = np.asarray(values, dtype=float)
    if array.ndim != ndim or not array.size:
        raise ValueError(f"{name} must be a non-empty array of {ndim} dimension(s), got shape {array.shape}")
    outside = ~((array >= 0) & (array <= 1))
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{name} must be probabilities in [0, 1], got {array[where]} at index {where}")
    return array


def check_positive(name: str, number: int) -> int:
    """`number` as an int; ValueError unless it is a whole number of at least 1."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {number!r}")
    return int(number)
