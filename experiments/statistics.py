"""Statistics that several experiments bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mrt_lib.measure.regret import tokens_to_accuracy


def difference(own: ArrayLike, rival: ArrayLike) -> float:
    """Mean of `own` minus mean of `rival`, of any shapes."""
    return float(np.mean(own) - np.mean(rival))


def fewer_tokens(own: np.ndarray, rival: np.ndarray, grid: Sequence[int], budget: int) -> float:
    """`budget` over the tokens after which `own` has the J that `rival` has there; 0 if it never has.

    Args:
        own, rival: J at the tokens of `grid`, shape (seeds, problems, budgets).
        grid: tokens, rising.
        budget: tokens, within the grid.
    """
    target = float(np.interp(budget, grid, rival.mean((0, 1))))
    return budget / tokens_to_accuracy(grid, own.mean((0, 1)), target)
