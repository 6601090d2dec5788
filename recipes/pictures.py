"""Pictures that one chapter each draws: a packed sequence, a search, a paid group, the paper's recipe."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from mrt_lib.arms import Rollout
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


def draw_credits(credits: Sequence[np.ndarray], names: Sequence[str], title: str, ax: Axes) -> Axes:
    """What every decision of each trace of a group earns, as numbers on a grid coloured by sign and size."""
    grid = np.full((len(credits), max(map(len, credits))), np.nan)
    for row, own in zip(grid, credits, strict=True):
        row[: len(own)] = own
    size = np.nanmax(np.abs(grid))
    ax.imshow(grid, cmap="PuOr_r", vmin=-1.6 * size, vmax=1.6 * size, aspect="auto")
    for (i, e), credit in np.ndenumerate(grid):
        if not np.isnan(credit):
            ax.text(e, i, f"{credit:+.2f}", ha="center", va="center", fontsize=9)
    ax.set(title=title, xlabel="decision", xticks=range(grid.shape[1]))
    ax.set_yticks(range(len(names)), names)
    ax.grid(visible=False)
    return ax


def draw_paid(
    rollouts: Sequence[Rollout], advantages: Sequence[np.ndarray], title: str, ax: Axes
) -> AxesImage:
    """A group token by token: colour is the advantage, hatched below 0; the number is J after the episode."""
    width = max(map(len, advantages))
    grid = np.full((len(rollouts), width), np.nan)
    for row, own in zip(grid, advantages, strict=True):
        row[: len(own)] = own
    size = max(1.0, float(np.nanmax(np.abs(grid))))
    extent = (0, width, len(rollouts), 0)
    picture = ax.imshow(grid, cmap="PuOr_r", vmin=-size, vmax=size, aspect="auto", extent=extent)
    for i, rollout in enumerate(rollouts):
        ends = [0, *rollout.trace.boundaries]
        for left, right, value in zip(ends, ends[1:], rollout.trace.values[1:], strict=False):
            if grid[i, left] < 0:
                bar = Rectangle((left, i), right - left, 1, fill=False, hatch="//", edgecolor="#777777", lw=0)
                ax.add_patch(bar)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.75}
            ax.text(
                (left + right) / 2, i + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=8, bbox=box
            )
    ax.set(title=title, xlabel="token that the policy wrote")
    ax.set_yticks(np.arange(len(rollouts)) + 0.5, [f"{i + 1}" for i in range(len(rollouts))])
    ax.grid(visible=False)
    return picture


def draw_branches(rewards: Sequence[float], stopped: Sequence[bool], ax: Axes | None = None) -> Axes:
    """The paper's RL recipe: one stale prefix, from which half of a group stops and half goes on."""
    ax = ax or plt.gca()
    middle = (len(rewards) - 1) / 2
    ax.plot([0, 3], [middle, middle], color="#555555", lw=5, solid_capstyle="butt")
    ax.text(1.5, middle - 0.25, "prefix $c_j$, by the stale policy", ha="center", fontsize=9)
    for row, (reward, stop) in enumerate(zip(rewards, stopped, strict=True)):
        colour, dash = (SERIES["grpo"][0], "--") if stop else (SERIES["mrt"][0], "-")
        end = 4.2 if stop else 6.2
        ax.plot([3, 3.8, end], [middle, row, row], dash, color=colour, lw=1.8)
        what = "answers at once" if stop else "thinks on, then answers"
        ax.text(end + 0.1, row, f"{what}: R = {reward:g}", va="center", fontsize=9)
    ax.set(xlim=(0, 9.4), ylim=(len(rewards) - 0.4, -0.6))
    ax.axis("off")
    return ax


def draw_lora(ax: Axes | None = None) -> Axes:
    """W, the two thin factors that learn, and the merged matrix that samples."""
    ax = ax or plt.gca()
    blocks = [
        (0.0, 0.0, 2.0, 2.0, "W\nfrozen", "#dddddd", ""),
        (3.0, 0.0, 0.5, 2.0, "B", SERIES["mrt"][0], "//"),
        (3.7, 1.5, 2.0, 0.5, "A", SERIES["mrt"][0], "//"),
        (7.4, 0.0, 2.0, 2.0, "merged W'\nsamples", "#c9daee", ""),
    ]
    for x, y, width, height, text, colour, hatch in blocks:
        look = {"facecolor": colour, "edgecolor": "#222222", "hatch": hatch, "alpha": 0.55 if hatch else 1.0}
        ax.add_patch(Rectangle((x, y), width, height, **look))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if hatch else None
        ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", bbox=box)
    for x, text in ((2.45, r"$+\;\frac{\alpha}{r}$"), (6.65, "=")):
        ax.text(x, 1.0, text, ha="center", va="center", fontsize=16)
    line = {"arrowstyle": "-", "color": "#222222"}
    ax.annotate("rank r", (3.25, 0), (3.25, -0.45), ha="center", arrowprops=line)
    ax.text(4.7, 0.85, "the only numbers\nthat learn", ha="center", va="center", fontsize=10)
    ax.set(xlim=(-0.2, 9.6), ylim=(-0.6, 2.2), aspect="equal")
    ax.axis("off")
    return ax


# Of a notebook: column, row, what it is about; then which it leads to.
ROADMAP = {
    "00": (0, 1, "watch a\nmodel think", ("01",)),
    "01": (1, 1, "why it is\nmeta-RL", ("02",)),
    "02": (2, 1, "measure\nregret", ("03", "07")),
    "03": (3, 1, "pay\nprogress", ("04", "06")),
    "04": (4, 1, "train with\nGRPO and MRT", ("05", "08", "90")),
    "05": (5, 1, "your own\nmodel", ()),
    "06": (4, 2, "STaR and\nbacktracking", ()),
    "07": (3, 0, "votes and\nlonger thoughts", ()),
    "08": (5, 2, "which claims\nhold here", ()),
    "90": (5, 0, "appendix:\nthe evidence", ()),
}


def draw_roadmap(ax: Axes | None = None) -> Axes:
    """The notebooks as boxes, with arrows to those that build on them."""
    ax = ax or plt.subplots(figsize=(9.6, 3.4))[1]
    box = {"boxstyle": "round,pad=0.4", "facecolor": "#e8eef6", "edgecolor": "#333333"}
    look = {"ha": "center", "va": "center", "fontsize": 9, "bbox": box}
    drawn = {n: ax.text(x, y, f"{n}\n{text}", **look) for n, (x, y, text, _) in ROADMAP.items()}
    for number, (x, y, _, leads) in ROADMAP.items():
        for other in leads:
            ends = {"patchA": drawn[number].get_bbox_patch(), "patchB": drawn[other].get_bbox_patch()}
            line = {"arrowstyle": "->", "color": "#555555", **ends}
            ax.annotate("", ROADMAP[other][:2], (x, y), arrowprops=line)
    ax.set(xlim=(-0.5, 5.5), ylim=(-0.5, 2.5))
    ax.axis("off")
    return ax
