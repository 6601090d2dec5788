"""The figures of backtracking: J against tokens, votes and streams, and where backtracks go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrt_lib.measure.stats import over_seeds
from mrt_lib.plots import LABELS, SERIES

Runs = Sequence[Mapping[str, np.ndarray]]
# A backtrack from a wrong attempt goes before its first mistake, to it, or past it.
TARGETS = {"before the mistake": "#9ecae1", "the right line": "#157f6b", "past the mistake": "#e6e6e6"}


def draw_accuracy(
    frame: pd.DataFrame, context: int, arms: Sequence[str], start: str = "warm_start"
) -> Figure:
    """J against tokens, one panel for each arm, each over the same grey band of what it started from.

    Args:
        frame: rows arm, metric, x, value, low, high, seeds, as in `data/results/backtracking.csv`.
        context: tokens at the end of the training context.
        arms: names of the arms, two panels in a row.
        start: name of what all of them started from.
    """
    rows = (len(arms) + 1) // 2
    size = (8.2, 0.6 + 2.5 * rows)
    figure, axes = plt.subplots(rows, 2, figsize=size, sharex=True, sharey=True, squeeze=False)
    curves = frame[frame.metric == "J_tokens"]
    for ax, arm in zip(axes.flat, arms, strict=False):
        for name, grey in ((start, True), (arm, False)):
            own = curves[curves.arm == name]
            colour, dash, marker = ("#777777", "--", "") if grey else SERIES[name]
            ax.fill_between(own.x, own.low, own.high, color=colour, alpha=0.22, lw=0)
            every = max(1, len(own) // 8)
            label = LABELS.get(name, name)
            ax.plot(own.x, own.value, dash, color=colour, marker=marker, markevery=every, label=label)
        ax.axvline(context, color="#333333", lw=1, ls=":")
        ax.set(title=LABELS.get(arm, arm), xlim=(curves.x.min(), curves.x.max()), ylim=(0, None))
        ax.set_xticks([50, 100, 150, 200])
    axes[0, 0].text(context + 3, 0.015, "end of the training context", fontsize=9, color="#333333")
    axes[0, 0].text(130, 0.2, "dashed: the warm start", fontsize=9, color="#333333")
    figure.supxlabel("tokens: prompt, thought, stop text, answer", fontsize=12)
    figure.supylabel("J, probability of a right answer", fontsize=12)
    return figure


def draw_budgets(frame: pd.DataFrame, arms: Sequence[str]) -> Figure:
    """Accuracy against tokens of votes and of one long stream, one panel for each arm.

    Args:
        frame: as in `draw_accuracy`.
        arms: names of the arms.
    """
    figure, axes = plt.subplots(1, len(arms), figsize=(4.1 * len(arms), 3.4), sharey=True, squeeze=False)
    looks = {"maj": ("#c4661f", "--", "h", "majority of 1, 2, 4, 8 thoughts")}
    looks["stream"] = ("#173a63", "-", "o", "one stream of 1, 2, 4, 8 contexts")
    for ax, arm in zip(axes[0], arms, strict=True):
        for metric, (colour, dash, marker, label) in looks.items():
            own = frame[(frame.arm == arm) & (frame.metric == metric)]
            ends = [own.value - own.low, own.high - own.value]
            ax.errorbar(
                own.x, own.value, ends, color=colour, ls=dash, marker=marker, capsize=3, lw=1.6, label=label
            )
        ax.set(
            title=LABELS.get(arm, arm), xlabel="tokens sampled for a problem", xscale="log", ylim=(0, None)
        )
        ax.set_xticks([50, 100, 200, 400], ["50", "100", "200", "400"])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("accuracy")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def draw_backtracks(runs: Mapping[str, Runs]) -> Figure:
    """Left: which line the backtracks name. Right: the rise of J by a backtrack (paper, Figure 16).

    Args:
        runs: by arm, one mapping for each seed with "way_line", "way_right", "way_before" and "way_after",
            one entry for each backtrack from a wrong attempt.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 1.4 + 0.45 * len(runs)), sharey=True)
    for row, own in enumerate(runs.values()):
        _stack(left, row, own)
        rise = [float(np.mean(run["way_after"] - run["way_before"])) for run in own]
        found = over_seeds(np.mean, np.array(rise), seed=0, axes=("seeds",))
        ends = [[found.value - found.low], [found.high - found.value]]
        right.errorbar(found.value, row, xerr=ends, fmt="o", color="#173a63", capsize=4, ms=6)
    left.set_yticks(range(len(runs)), [LABELS.get(arm, arm) for arm in runs])
    left.set(xlabel="share of the backtracks", xlim=(0, 1))
    right.set(xlabel="mean rise of J by a backtrack", xlim=(0, None))
    left.invert_yaxis()
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles[:3], labels[:3], loc="outside upper center", ncols=3)
    return figure


def _stack(ax: Axes, row: int, runs: Runs) -> None:
    """One bar of the shares of `TARGETS`, means over seeds, with the intervals of its inner borders."""
    ahead = [np.sign(run["way_line"] - run["way_right"]) for run in runs]
    start = 0.0
    for side, (label, colour) in zip((-1, 0, 1), TARGETS.items(), strict=True):
        border = np.array([np.mean(own <= side) for own in ahead])
        found = over_seeds(np.mean, border, seed=0, axes=("seeds",))
        look = {"color": colour, "edgecolor": "#222222", "lw": 0.6, "hatch": "" if side else "//"}
        ax.barh(row, found.value - start, 0.66, left=start, label=label, **look)
        if side < 1:
            ends = [[found.value - found.low], [found.high - found.value]]
            ax.errorbar(found.value, row, xerr=ends, color="#111111", capsize=3, lw=1.3)
        start = found.value
