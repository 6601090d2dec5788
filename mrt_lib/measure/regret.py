"""Regret: how far a trace stays below a comparator while it spends its budget.

J_j is the value after j finished episodes. Over episodes, regret is a sum (paper, Definition 4.1); over
tokens it is the area above the curve of value against tokens spent (paper, Figure 9; `regret.ipynb` of the
released code). That curve starts at (0, 0), is straight between its points and stays flat after the last.

Tokens are those spent at each prefix (prompt, prefix, stop text and the mean length of one answer), finite,
at least 0 and never falling, shape (k + 1,); values J_0 .. J_k are probabilities of the same shape; a budget
C0 is a whole number of tokens, at least 1. Every function raises ValueError for anything else. Two slips of
the released analysis code are not reproduced; notebook 02 shows them.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from mrt_lib.measure.progress import check_positive, check_values, kept_values
from mrt_lib.measure.stats import Interval, bootstrap

VOTES = (1, 2, 4, 8)


def cumulative_regret(values: ArrayLike, episodes: int, comparator: ArrayLike = 1.0) -> float:
    """Sum over j = 0 .. episodes - 1 of comparator_j - J_j of one trace, in episodes (paper, Definition 4.1).

    A trace of fewer `episodes`, a whole number >= 1, keeps its last value. `comparator`: its value after j
    episodes, one number (1 is the oracle) or at least `episodes` of them, `task.optimal_values(episodes)`.
    """
    episodes = check_positive("episodes", episodes)
    best = check_values(comparator, "comparator", ndim=min(np.ndim(comparator), 1))
    if best.ndim and len(best) < episodes:
        raise ValueError(f"comparator must be one number or at least {episodes}, got {len(best)}")
    return float(np.sum((best[:episodes] if best.ndim else best) - kept_values(values, episodes)))


def area(tokens: ArrayLike, values: ArrayLike, budget: int) -> float:
    """Area below the curve of value against tokens, from 0 to `budget`, in tokens (paper, Figure 9)."""
    x, y = _curve(tokens, values)
    budget = check_positive("budget", budget)
    inside = x <= budget
    return float(np.trapezoid([*y[inside], np.interp(budget, x, y)], [*x[inside], budget]))


def normalised_regret(
    tokens: ArrayLike, values: ArrayLike, budget: int, comparator: tuple[ArrayLike, ArrayLike] | None = None
) -> float:
    """Area between the comparator and the curve up to `budget`, over `budget` (paper, Figure 9).

    In [0, 1] against the oracle, which is right at every budget (`comparator` None); in [-1, 1] against the
    (tokens, values) of another curve.
    """
    own = area(tokens, values, budget)
    best = budget if comparator is None else area(*comparator, budget)
    return (best - own) / budget


def value_at(tokens: ArrayLike, values: ArrayLike, budgets: ArrayLike) -> np.ndarray:
    """The curve of `area` at `budgets` (tokens, >= 0), in their shape; at a tie the last prefix counts."""
    at = np.asarray(budgets, dtype=float)
    if not np.all(np.isfinite(at) & (at >= 0)):
        raise ValueError(f"budgets must be finite and at least 0, got {budgets!r}")
    return np.asarray(np.interp(at, *_curve(tokens, values)))


def vote_regret(majorities: ArrayLike, boundaries: int, gap: int = 5) -> float:
    """Regret against the model's own best: going on where stopping to vote is better.

    Appendix E of the paper, in the released code `regret_additional.ipynb`. From one boundary to the next,
    `gap` episodes on, "think" is the straight line of maj@1. "Vote" spends the same on more answers instead,
    one for each episode: from maj@1 at abscissa 1 through maj@2 and maj@4 towards maj@8, up to abscissa
    1 + gap (6: halfway from maj@4 to maj@8). The optimum is the larger of the two at each abscissa.

    Args:
        majorities: maj@1, @2, @4, @8 at each boundary of one trace, shape (k + 1, 4).
        boundaries: how many of the trace's k gaps to use at most, at least 1.
        gap: episodes between two boundaries, 1 to 7.

    (area of optimum - area of think) / area of optimum, in [0, 1]; nan where the optimum's area is 0 (nothing
    to lose), so average traces with `np.nanmean`.
    """
    used = check_values(majorities, "majorities", ndim=2)[: check_positive("boundaries", boundaries) + 1]
    if used.shape[1] != len(VOTES):
        raise ValueError(f"majorities must have the columns maj@{VOTES}, got shape {used.shape}")
    if check_positive("gap", gap) > VOTES[-1] - 1:
        raise ValueError(f"gap must be at most {VOTES[-1] - 1}, as votes end at maj@{VOTES[-1]}; got {gap}")
    x = np.array([*(n for n in VOTES if n <= gap), 1 + gap])
    vote = np.array([np.interp(x, VOTES, row) for row in used[:-1]]).reshape(-1, len(x))
    think = used[:-1, :1] + (x - 1) / gap * np.diff(used[:, :1], axis=0)
    best, own = (np.trapezoid(curve, x).sum() for curve in (np.maximum(vote, think), think))
    return float((best - own) / best) if best > 0 else math.nan


def tokens_to_accuracy(budgets: ArrayLike, accuracy: ArrayLike, target: float) -> float:
    """Tokens at which a mean curve first reaches `target`, by linear interpolation; inf if never.

    A curve that starts at or above the target, in (0, 1], reaches it at the first budget, an upper bound.
    `budgets`: tokens, strictly rising from above 0, and mean `accuracy` at each, both of shape (b,).
    """
    x, y = np.asarray(budgets, dtype=float), check_values(accuracy, "accuracy")
    if x.ndim != 1 or not np.isfinite(x).all() or np.any(np.diff(x, prepend=0) <= 0):
        raise ValueError(f"budgets must be finite and rise strictly from above 0, got {budgets!r}")
    if len(x) != len(y):
        raise ValueError(f"need one accuracy per budget, got {len(y)} for {len(x)} budgets")
    if not 0 < target <= 1:
        raise ValueError(f"target must be an accuracy in (0, 1], got {target}")
    if not (y >= target).any():
        return math.inf
    first = int(np.argmax(y >= target))
    return float(np.interp(target, y[max(first - 1, 0) : first + 1], x[max(first - 1, 0) : first + 1]))


def token_efficiency(
    budgets: ArrayLike, accuracy_a: ArrayLike, accuracy_b: ArrayLike, target: float, seed: int
) -> Interval:
    """How many times more tokens b needs than a for the same mean accuracy (paper, Figures 7 and 8).

    The accuracies are those on each of the same 2 or more problems, shape (problems, b); `budgets` and
    `target` are as in `tokens_to_accuracy`. tokens_b / tokens_a with its 95% paired bootstrap interval over
    problems: inf where only a reaches the target, 0 where only b does, nan where neither does (such resamples
    open both ends).
    """
    a, b = check_values(accuracy_a, "accuracy_a", 2), check_values(accuracy_b, "accuracy_b", 2)

    def ratio(a: np.ndarray, b: np.ndarray) -> float:
        tokens_b = tokens_to_accuracy(budgets, b.mean(axis=0), target)
        return tokens_b / tokens_to_accuracy(budgets, a.mean(axis=0), target)

    found = bootstrap(ratio, a, b, seed=seed)
    return replace(found, low=max(found.low, 0.0))


def _curve(tokens: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both axes of the curve, from (0, 0)."""
    x, y = np.asarray(tokens, dtype=float), check_values(values)
    if x.shape != y.shape:
        raise ValueError(f"need one token count per value, got shapes {x.shape} and {y.shape}")
    x = np.append(0.0, x)
    if not np.isfinite(x).all() or np.any(np.diff(x) < 0):
        raise ValueError(f"tokens must be finite, at least 0 and never fall, got {tokens!r}")
    return x, np.append(0.0, y)
