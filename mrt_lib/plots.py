"""Figures from tidy DataFrames, in one palette that survives greyscale print."""

from __future__ import annotations

import html
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex

from mrt_lib.measure.packing import TRUNK, PackedTrace, attention_mask
from mrt_lib.measure.stats import bootstrap

# What a series looks like in every figure: name to (colour, dash, marker). A series keeps its look; lightness
# falls along the palette, so that the order stays readable without colour. Others may be added.
SERIES: dict[str, tuple[str, str, str]] = {
    "oracle": ("#9a9a9a", ":", ""),
    "optimum": ("#111111", "--", ""),
    "base": ("#2f6db3", "-", "o"),
    "weak": ("#8cc5e3", "-", "v"),
    "strong": ("#173a63", "-", "^"),
    "sampled": ("#e07b39", "-", "s"),
    "exact": ("#173a63", "-", "o"),
    "grpo": ("#b33951", "-", "s"),
    "mrt": ("#157f6b", "-", "D"),
    "think on": ("#2f6db3", "-", ""),
    "maj@2": ("#e3b23c", "-", "<"),
    "maj@4": ("#c4661f", "-", ">"),
    "maj@8": ("#6b2d0e", "-", "d"),
}
# What it is called there, where its name alone is terse.
LABELS: dict[str, str] = {"grpo": "GRPO", "mrt": "MRT"} | {f"maj@{k}": f"vote of {k}" for k in (2, 4, 8)}
VALUE_COLOURS = sns.color_palette("ch:s=1.9,r=-.2,light=.97,dark=.35", as_cmap=True)


def use_style() -> None:
    """The look of every figure: white, few grid lines, sizes that read on a phone and on a screen."""
    sns.set_theme(style="whitegrid", context="notebook", palette=[c for c, _, _ in SERIES.values()])
    plt.rcParams |= {
        "figure.figsize": (7.0, 4.0),
        "figure.dpi": 110,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titleweight": "bold",
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "grid.alpha": 0.4,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }


def curve_frame(
    name: str, x: Sequence[float] | np.ndarray, samples: np.ndarray, seed: int = 0
) -> pd.DataFrame:
    """Means over units with 95% bootstrap intervals, as rows series, x, value, low, high.

    Args:
        name: of the series.
        x: (points,) abscissae.
        samples: (units, points) one row per problem.
    """
    found = [bootstrap(np.mean, samples[:, i], seed=seed, resamples=500) for i in range(len(x))]
    rows = [(name, at, i.value, i.low, i.high) for at, i in zip(x, found, strict=True)]
    return pd.DataFrame(rows, columns=["series", "x", "value", "low", "high"])


def draw_curves(
    frame: pd.DataFrame, xlabel: str, ylabel: str, title: str = "", ax: Axes | None = None
) -> Axes:
    """Lines with shaded intervals for a frame of `curve_frame` rows; unknown series get spare colours."""
    ax = ax or plt.gca()
    spare = iter(sns.color_palette("dark"))
    for name, rows in frame.groupby("series", sort=False):
        colour, dash, marker = SERIES.get(str(name)) or (to_hex(next(spare)), "-", "o")
        few, label = len(rows) <= 40, LABELS.get(str(name), str(name))
        ax.plot(rows.x, rows.value, dash, color=colour, marker=marker if few else "", ms=5, label=label)
        ax.fill_between(rows.x, rows.low, rows.high, color=colour, alpha=0.18, lw=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_title(title)
    if frame.series.nunique() > 1:
        ax.legend()
    return ax


def shade_regret(
    ax: Axes,
    x: Sequence[float] | np.ndarray,
    comparator: np.ndarray,
    value: np.ndarray,
    label: str = "regret",
) -> None:
    """Fill the area between a comparator and a value curve, both (points,)."""
    look: dict = {"facecolor": "#e07b39", "edgecolor": "#e07b39", "alpha": 0.25, "hatch": "//", "lw": 0}
    ax.fill_between(x, value, comparator, label=label, **look)


def draw_mask(packed: PackedTrace, labels: Sequence[str], ax: Axes | None = None) -> Axes:
    """Who sees whom in a packed sequence: rows read columns; trunk, forced text and answers apart."""
    ax = ax or plt.gca()
    kind = np.where(packed.branch.numpy() == TRUNK, 1, np.where(packed.leaf.numpy() == -1, 2, 3))
    picture = np.where(attention_mask(packed).numpy(), kind[None, :], 0)
    colours = ["#ffffff", SERIES["base"][0], SERIES["sampled"][0], SERIES["mrt"][0]]
    ax.imshow(picture, cmap=ListedColormap(colours), vmin=0, vmax=3, interpolation="nearest")
    ticks = np.arange(len(labels))
    ax.set_xticks(ticks, labels, rotation=90, fontsize=6)
    ax.set_yticks(ticks, labels, fontsize=6)
    ax.set_xticks(ticks - 0.5, minor=True)
    ax.set_yticks(ticks - 0.5, minor=True)
    ax.grid(visible=False, which="major")
    ax.grid(which="minor", color="#dddddd", lw=0.4)
    ax.tick_params(which="both", length=0)
    ax.set(xlabel="token that is read", ylabel="token that reads")
    return ax


def draw_intervals(
    intervals: Sequence[tuple[int, int]], root: int, candidates: int, ax: Axes | None = None
) -> Axes:
    """The interval that is left after each episode as a shrinking bar; the root as a line."""
    ax = ax or plt.gca()
    for j, (low, high) in enumerate(intervals):
        size = max(0, high - low + 1)
        colour = VALUE_COLOURS(1 / size if size else 0.0)
        ax.barh(j, size, left=low - 0.5, height=0.7, color=colour, edgecolor="#333333", lw=0.6)
    ax.axvline(root, color=SERIES["grpo"][0], lw=1.5, label=f"root {root}")
    ax.set(xlim=(0.4, candidates + 0.6), xlabel="candidates that are left", ylabel="after episode")
    ax.set_yticks(range(len(intervals)))
    ax.invert_yaxis()
    ax.legend(loc="lower right")
    return ax


def value_html(pieces: Sequence[str], values: Sequence[float]) -> str:
    """Text pieces, one per line, on a background that darkens with their value in [0, 1]."""
    lines = []
    for piece, value in zip(pieces, values, strict=True):
        background = to_hex(VALUE_COLOURS(float(value)))
        ink = "#ffffff" if sum(VALUE_COLOURS(float(value))[:3]) < 1.5 else "#111111"
        style = f"background:{background};color:{ink};padding:2px 8px;font-family:monospace"
        lines.append(f'<div style="{style}">J = {value:.2f} &nbsp; {html.escape(piece)}</div>')
    return '<div style="max-width:46em;border:1px solid #ccc">' + "".join(lines) + "</div>"
