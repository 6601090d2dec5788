"""The figures of the field side by side, from `grid_effects.csv` and `grid.csv`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.grid_plan import BUDGET
from experiments.palette import LABELS, SERIES
from mrt_lib import plots

CREDIT = {
    "mrt_progress": "own progress",
    "mrt_log_progress": "log-progress",
    "brpo": "BRPO",
    "mrt_regret_to_go": "regret-to-go",
    "igpo": "IGPO",
    "mig": "MIG",
    "grpo_exact": "outcome alone",
}
SHADES = {BUDGET: ("#173a63", "o"), 2 * BUDGET: ("#e07b39", "s")}


def draw_gains(effects: pd.DataFrame) -> Axes:
    """Gain over the base of every measured arm, sorted; right of each bar its number of seeds."""
    rows = effects[(effects.part == "gain") & (effects.episodes == BUDGET)].sort_values("value")
    ax = plt.subplots(figsize=(7.6, 0.9 + 0.34 * len(rows)))[1]
    for y, row in enumerate(rows.itertuples()):
        ax.barh(y, row.value, color=SERIES[row.arm][0], alpha=0.75, edgecolor="#222222", lw=0.6)
        ends = [[row.value - row.low], [row.high - row.value]]
        ax.errorbar(row.value, y, xerr=ends, color="#111111", capsize=3, lw=1.3)
        ax.text(max(row.high, 0), y, f"  {row.seeds}", va="center", fontsize=9)
    ax.axvline(0, color="#222222", lw=0.8)
    ax.set_yticks(range(len(rows)), [LABELS[arm] for arm in rows.arm])
    ax.set_xlabel(f"gain in J after {BUDGET} episodes over the base, probability (right: seeds)")
    ax.grid(visible=False, axis="y")
    return ax


def draw_effects(effects: pd.DataFrame) -> Figure:
    """Left what a credit adds to the exact outcome, right what exact values add to the same credit."""
    parts = {
        "credit": "credit at exact values:\nJ minus that of GRPO with the exact outcome",
        "values": "exact values at fixed credit:\nJ minus that with sampled values",
    }
    figure, axes = plt.subplots(1, 2, figsize=(9.2, 3.8), sharex=True)
    for ax, (part, title) in zip(axes, parts.items(), strict=True):
        _draw_part(ax, effects[effects.part == part])
        ax.set(xlabel="difference in J, probability", title=title)
    axes[0].legend(loc="best", title="J after")
    return figure


def _draw_part(ax: Axes, rows: pd.DataFrame) -> None:
    arms = [arm for arm in CREDIT if arm in set(rows.arm)]
    for shift, (episodes, (colour, marker)) in zip((-0.14, 0.14), SHADES.items(), strict=True):
        own = rows[rows.episodes == episodes].set_index("arm").loc[arms]
        ends = [own.value - own.low, own.high - own.value]
        look = {"color": colour, "marker": marker, "ls": "", "capsize": 3, "lw": 1.3}
        ax.errorbar(own.value, np.arange(len(arms)) + shift, xerr=ends, label=f"{episodes} episodes", **look)
    ax.axvline(0, color="#222222", lw=0.8)
    ax.set_yticks(range(len(arms)), [CREDIT[arm] for arm in arms])
    ax.set_ylim(len(arms) - 0.5, -0.5)


def draw_paid(paid: dict[str, np.ndarray], names: list[str]) -> Figure:
    """What every credit pays each episode of a few thoughts.

    Args:
        paid: credit's name to its advantages, shape (thoughts, episodes).
        names: of the thoughts.
    """
    figure, axes = plt.subplots(2, -(-len(paid) // 2), figsize=(9.2, 4.8), sharex=True)
    looks = [("#173a63", "o-"), ("#e07b39", "s--"), ("#3a9679", "^:")]
    for ax, (credit, advantages) in zip(axes.flat, paid.items(), strict=False):
        for name, own, (colour, look) in zip(names, advantages, looks, strict=True):
            ax.plot(own, look, color=colour, label=name)
        ax.axhline(0, color="#222222", lw=0.8)
        ax.set(title=credit, xticks=range(advantages.shape[1]))
    for ax in axes[-1]:
        ax.set_xlabel("episode")
    for ax in axes[:, 0]:
        ax.set_ylabel("advantage")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(names))
    return figure


def draw_curves(grid: pd.DataFrame, arms: list[str], optimum: np.ndarray) -> Axes:
    """J after every episode of some arms, the base and the optimal policy.

    Args:
        grid: rows of `grid.csv`.
        arms: names.
        optimum: J of the optimal policy after 0, 1, .. episodes.
    """
    known = pd.DataFrame({"series": "optimum", "x": np.arange(len(optimum)), "value": optimum})
    rows = grid[(grid.metric == "J") & (grid.base == "base") & grid.arm.isin(["untrained", *arms])]
    frame = pd.concat([known, rows.rename(columns={"arm": "series"})])
    ax = plots.draw_curves(frame, "episodes of thought", "value J, probability")
    ax.axvline(BUDGET, color="#555555", lw=1, ls=":")
    ax.text(BUDGET + 0.1, 0.02, "budget in training", fontsize=9, color="#555555")
    ax.set(xlim=(0, len(optimum) - 1), ylim=(0, 1.03))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
