"""The figures of backtracking: accuracy against tokens, and what backtracks are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrt_lib.plots import LABELS, SERIES, draw_curves


def draw_accuracy(frame: pd.DataFrame, context: int, best: str) -> Figure:
    """Left: J against tokens for every arm. Right: votes and one long stream, for GRPO and the best MRT arm.

    Args:
        frame: rows arm, metric, x, value, low, high, seeds, as in `data/results/backtracking.csv`.
        context: tokens at the end of the training context.
        best: name of the MRT arm in the right panel.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.6, 4.6), sharey=True)
    curves = frame[frame.metric == "J_tokens"].rename(columns={"arm": "series"})
    thin = curves[curves.x.isin(sorted(curves.x.unique())[::6])]
    draw_curves(thin, "tokens: prompt, thought, stop text, answer", "value J, probability", ax=left)
    left.axvline(context, color="#555555", lw=1, ls=":")
    left.text(context + 2, 0.01, "training context", fontsize=8, color="#555555")
    for arm in ("grpo", best):
        for metric, dash, words in (("maj", ":", "majority of k"), ("stream", "-", "one stream")):
            _budgets(right, frame[(frame.arm == arm) & (frame.metric == metric)], arm, dash, words)
    right.set(xlabel="tokens sampled", ylabel="accuracy", xscale="log", ylim=(0, 1.12 * frame.high.max()))
    right.set_xticks([50, 100, 200, 400], ["50", "100", "200", "400"])
    right.minorticks_off()
    for ax in (left, right):
        if ax.get_legend():
            ax.get_legend().remove()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=9)
    right.legend(fontsize=8, loc="upper left")
    return figure


def draw_ways_back(gains: Mapping[str, Sequence[float]], ax: Axes) -> Axes:
    """Histogram of J(after) - J(before) for each arm, as a share of its backtracks (paper, Figure 16).

    Args:
        gains: by arm, one number in [-1, 1] for each backtrack, all seeds together.
        ax: where to draw.
    """
    edges = np.array([-1, -0.02, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0])
    names = ["worse", "none", "to .02", "to .05", "to .1", "to .2", "to .4", "more"]
    width = 0.8 / len(gains)
    for i, (arm, own) in enumerate(gains.items()):
        share = np.histogram(np.asarray(own), edges)[0] / max(1, len(own))
        colour, _, _ = SERIES[arm]
        at = np.arange(len(names)) + (i - (len(gains) - 1) / 2) * width
        hatch = ("", "//", "..", "xx")[i % 4]
        label = f"{LABELS.get(arm, arm)}: mean {np.mean(own):+.3f}"
        ax.bar(
            at, share, width, color=colour, edgecolor="#222222", lw=0.5, hatch=hatch, label=label, alpha=0.85
        )
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel="rise of J by a way back", ylabel="share of the ways back")
    ax.legend(fontsize=9)
    return ax


def _budgets(ax: Axes, rows: pd.DataFrame, arm: str, dash: str, words: str) -> None:
    colour, _, marker = SERIES[arm]
    label = f"{LABELS.get(arm, arm)}: {words}"
    ax.plot(rows.x, rows.value, dash, color=colour, marker=marker, label=label)
    ax.fill_between(rows.x, rows.low, rows.high, color=colour, alpha=0.15, lw=0)
