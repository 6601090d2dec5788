"""The figures of an overthinking report."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mrt_lib.reporting.measured import Overthinking
from mrt_lib.plots import SERIES
from mrt_lib.plots import draw_curves, shade_regret, value_html

USEFUL, WASTED = SERIES["strong"][0], "#e8a07a"
SHOWN = 60  # thoughts in a figure
KNOWN: dict[str, Any] = {"marker": "o", "ls": "", "mfc": "w", "mec": "k", "ms": 4}
ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3}


def draw_accuracy(found: Overthinking, ax: Axes | None = None) -> Axes:
    """J within a budget of tokens, the optimum where it is known, and the regret between them."""
    ax = ax or plt.gca()
    think = _series(found.frame("accuracy"), "think on", "tokens")
    best = _series(found.frame("optimum_accuracy"), "optimum", "tokens")
    if best.empty:
        best = think.assign(series="oracle", value=1.0)
    best = best.assign(low=best.value, high=best.value)
    draw_curves(
        pd.concat([best, think]),
        "tokens (prompt, thought, stop text, answer)",
        "J (probability of a right answer)",
        ax=ax,
    )
    shade_regret(ax, think.x, best.value, think.value)
    ax.set(xlim=(0, think.x.max()), ylim=(0, 1.02))
    ax.legend(**ABOVE)
    return ax


def draw_thoughts(found: Overthinking, ax: Axes | None = None) -> Axes:
    """Thoughts as bars, longest on top: up to the last gain, after it, and where the answer is known.

    At most 60, evenly spaced by length.
    """
    ax = ax or plt.gca()
    rows = found.thoughts_frame().sort_values(["tokens", "useful"])
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, SHOWN).round().astype(int))].reset_index()
    after = rows.tokens - rows.useful
    ax.barh(rows.index, rows.useful, height=0.85, color=USEFUL, lw=0)
    ax.barh(rows.index, after, left=rows.useful, height=0.85, color=WASTED, hatch="////", ec="w", lw=0)
    ax.plot(rows.known, rows.index, **KNOWN)
    ax.set(xlabel="thought tokens", ylabel="thoughts, by length", ylim=(-0.7, len(rows) - 0.3))
    ax.set_xlim(left=-0.01 * rows.tokens.max())
    ax.set_yticks([])
    ax.grid(visible=False, axis="y")
    handles = [
        Patch(color=USEFUL, label="up to the last gain"),
        Patch(facecolor=WASTED, hatch="////", edgecolor="w", label="after it"),
        *ax.plot([], [], **KNOWN, label="answer known from here on"),
    ]
    ax.legend(handles=handles, **ABOVE)
    return ax


def draw_votes(found: Overthinking, ax: Axes | None = None) -> Axes:
    """Stopping after each episode to vote, against thinking on for the tokens that the vote costs.

    The interval is that of the largest vote.
    """
    ax = ax or plt.gca()
    gains = found.frame("vote_gain")
    smaller = gains.votes < gains.votes.max()
    gains.loc[smaller, "low"] = gains.loc[smaller, "high"] = gains.value[smaller]
    lines = [_series(rows, f"maj@{k}", "episode") for k, rows in gains.groupby("votes") if k > 1]
    ax.axhline(0, color="#111111", lw=1)
    draw_curves(pd.concat(lines), "stop after so many episodes and vote", "gain in J over thinking on", ax=ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(**ABOVE)
    return ax


def example_html(found: Overthinking) -> str:
    """The example, episode by episode, on a background that darkens with J."""
    return value_html(found.example.lines, found.example.values)


def _series(frame: pd.DataFrame, name: str, x: str) -> pd.DataFrame:
    """Rows for `draw_curves`."""
    named = frame.assign(series=name, x=frame.get(x))
    return named.reindex(columns=["series", "x", "value", "low", "high"])
