"""Pictures that one chapter each draws: who sees whom in a packed sequence, what a search has left."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from mrt_lib.measure.packing import TRUNK, PackedTrace, collate
from mrt_lib.plots import SERIES, VALUE_COLOURS


def attention_mask(packed: PackedTrace) -> torch.Tensor:
    """(tokens, tokens) boolean: may the row's token see the column's token?"""
    mask = torch.ones(len(packed), len(packed), dtype=torch.bool).tril()
    batch = collate([packed])
    mask[packed.trunk_length :] = batch.mask(0, batch.branch_ids.shape[1])[0, 0]
    return mask


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
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks - 0.5, minor=True)
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
