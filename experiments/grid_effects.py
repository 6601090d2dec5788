"""Which part matters: `grid_effects.csv`, differences in J between pairs of arms that differ in one part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.grid_plan import BUDGET, GRID
from experiments.headline import paired
from experiments.load import ArmRuns
from experiments.records import write_table
from experiments.statistics import difference
from mrt_lib.measure.stats import over_seeds

CREDITS = ("mrt_progress", "mrt_log_progress", "brpo", "mrt_regret_to_go", "igpo", "mig")
# The same credit from exact values and from sampled ones.
TWINS = {"mrt_progress": "mrt_online_4", "brpo": "brpo_4", "mrt_regret_to_go": "mrt_regret_to_go_4"}
TWINS |= {"mig": "mig_4"}
FEWEST_SEEDS = 3  # of two an interval says nothing
COLUMNS = ["part", "arm", "rival", "episodes", "value", "low", "high", "seeds"]


def pairs() -> Iterator[tuple[str, str, str]]:
    """Part, arm and rival: what an arm gains; credit at fixed values; values at fixed credit."""
    for arm in GRID:
        yield "gain", arm, "untrained"
    for arm in CREDITS:
        yield "credit", arm, "grpo_exact"
    for exact, sampled in {**TWINS, "grpo_exact": "grpo"}.items():
        yield "values", exact, sampled


def write_effects(found: dict[str, ArmRuns], path: Path) -> None:
    """One row for each pair of measured arms, after as many episodes as in training and after twice as many.

    Args:
        found: arm to its tested seeds, "untrained" among them.
        path: of the table.
    """
    rows = []
    for part, arm, rival in pairs():
        for episodes in (BUDGET, 2 * BUDGET):
            own, other = _samples(found, arm, rival, episodes)
            if len(own) >= FEWEST_SEEDS:
                lead = over_seeds(difference, own, other, seed=0)
                rows.append((part, arm, rival, episodes, lead.value, lead.low, lead.high, lead.n))
    if rows:
        write_table(pd.DataFrame(rows, columns=COLUMNS), path)


def _samples(found: dict[str, ArmRuns], arm: str, rival: str, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """J of both, (seeds, problems): seeds that both have; the untrained model's for every seed."""
    if arm not in found or rival not in found:
        return np.empty((0, 0)), np.empty((0, 0))
    if rival == "untrained":
        own, start = (found[name].arrays["value"][..., episodes] for name in (arm, rival))
        return own, np.broadcast_to(start[0], own.shape)
    own, other = paired(found[arm], found[rival], "value")
    return own[..., episodes], other[..., episodes]
