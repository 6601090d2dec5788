"""Pictures that one chapter each draws: packed sequences, searches, credits, recipes, the roadmap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from mrt_lib.arms import Rollout
from mrt_lib.measure.packing import TRUNK, PackedTrace, collate
from mrt_lib.measure.stats import Interval
from mrt_lib.plots import SERIES, VALUE_COLOURS, draw_curves, shade_regret

# The credits of chapter 03: colour, dash, marker.
CREDITS: dict[str, tuple[str, str, str]] = {
    "outcome only": (SERIES["grpo"][0], ":", "s"),
    "own progress": (SERIES["sampled"][0], "--", "D"),
    "log-progress": ("#3a9679", "-.", "^"),
    "regret-to-go": (SERIES["exact"][0], "-", "o"),
    "outcome + own progress": ("#7a6a9a", "-.", "v"),
    "regret-to-go, weighted": ("#8a8a8a", "-", "x"),
    "BRPO": ("#6b4e16", "--", "P"),
}


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


def draw_decisions(credits: Sequence[np.ndarray], names: Sequence[str], title: str, ax: Axes) -> Axes:
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
    rollouts: Sequence[Rollout], advantages: Sequence[np.ndarray], title: str, ax: Axes, size: float
) -> AxesImage:
    """A group token by token: colour is the advantage, up to `size` in either direction, hatched below 0; the
    number is J after the episode."""
    width = max(map(len, advantages))
    grid = np.full((len(rollouts), width), np.nan)
    for row, own in zip(grid, advantages, strict=True):
        row[: len(own)] = own
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


def label_mask(ax: Axes, packed: PackedTrace, starts: Sequence[int]) -> None:
    """Names beside a drawn mask: the prompt, the episodes that begin at `starts`, the branches."""
    for number, (begin, end) in enumerate(pairwise((0, *starts))):
        name = f"episode {number - 1}" if number else "prompt"
        ax.text(end + 0.3, (begin + end) / 2 - 0.5, name, va="center", fontsize=9)
    for b in range(int(packed.branch.max()) + 1):
        rows = np.flatnonzero(packed.branch.numpy() == b)
        ax.text(len(packed), rows.mean(), f"branch {b}", va="center", fontsize=9)


def draw_credits(values: Sequence[float], labels: Sequence[str], paid: Mapping[str, Sequence[float]]) -> None:
    """One trace's values on top; below, a panel for each credit with what every episode is paid."""
    _, axes = plt.subplot_mosaic([["J"] * len(paid), list(paid)], figsize=(8.2, 4.6))
    axes["J"].plot(values, "o-", color=SERIES["base"][0])
    axes["J"].set(xlabel="prefix j, finished episodes", ylabel="value J, probability", ylim=(0, 1.25))
    axes["J"].set_title("One trace, its values")
    for j, text in enumerate(labels):
        axes["J"].annotate(text, (j, values[j]), (0, 8), textcoords="offset points", ha="center")
    for name, credit in paid.items():
        ax, bits, at = axes[name], "log" in name, np.arange(len(credit))
        hatch = ["//" if c < 0 else "" for c in credit]
        ax.bar(at, credit, color=CREDITS[name][0], edgecolor="#222222", hatch=hatch)
        ax.axhline(0, color="#222222", lw=0.8)
        ax.set(xlabel="episode", ylabel="bits" if bits else "probability", xticks=at, title=name)
        ax.set_ylim((-1.3, 2.3) if bits else (-0.25, 1.1))


def draw_advantages(
    outcomes: Mapping[str, np.ndarray],
    shaped: np.ndarray,
    rules: Mapping[str, Callable[[np.ndarray], np.ndarray]],
) -> None:
    """A row of panels for each rule, a column for each group: the advantages of outcome plus `shaped`."""
    _, axes = plt.subplots(len(rules), len(outcomes), figsize=(8.2, 4.3), sharex=True, sharey="row")
    looks = {0.0: (SERIES["base"][0], "", "wrong"), 1.0: ("#c9daee", "//", "right")}
    for row, (rule, advantage) in zip(axes, rules.items(), strict=True):
        for ax, (group, outcome) in zip(row, outcomes.items(), strict=True):
            heights = advantage(outcome + shaped)
            for right in np.unique(outcome):
                colour, hatch, label = looks[float(right)]
                at = np.flatnonzero(outcome == right)
                ax.bar(at + 1, heights[at], color=colour, hatch=hatch, edgecolor="#222222", label=label)
            ax.axhline(0, color="#222222", lw=0.8)
            if ax in axes[0]:
                ax.set_title(group)
        row[0].set_ylabel(f"advantage,\n{rule}")
    for ax in axes[-1]:
        ax.set(xlabel="rollout", xticks=range(1, len(shaped) + 1))
    axes[0, 0].set_ylim(-0.7, 0.7)
    axes[1, 0].set_ylim(-1.8, 1.8)
    axes[0, -1].legend(loc="upper left", title="outcome", alignment="left")


def draw_ratios(
    counts: Sequence[int], found: Sequence[Interval], line: float, xlabel: str, ylabel: str, label: str
) -> Axes:
    """Ratios with intervals against counts, both axes logarithmic, and the law √(count / line)."""
    ax = plt.subplots()[1]
    ends = np.array([0.7 * min(counts), 1.5 * max(counts)])
    ax.plot(ends, np.sqrt(ends / line), "--", color="#222222", lw=1.2, label="coin formula, grows as √G")
    at = np.array([i.value for i in found])
    bars = [at - [i.low for i in found], [i.high for i in found] - at]
    ax.errorbar(counts, at, bars, fmt="s", color=SERIES["sampled"][0], capsize=4, label=label)
    ax.axhline(1, color="#777777", ls=":", label="signal as large as noise")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel, xlim=ends)
    ax.set_xticks(counts, [str(c) for c in counts])
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_ylim(0.6 * at.min(), 1.8 * at.max())
    ax.legend(loc="upper left")
    return ax


def draw_fans(
    ax: Axes, thinking: pd.DataFrame, fans: Sequence[tuple[Sequence[float], Sequence[float]]], title: str
) -> None:
    """A curve of thinking on with its band, and at each of its points what more answers there would bring."""
    colour, _, marker = SERIES["base"]
    ax.fill_between(thinking.x, thinking.low, thinking.high, color=colour, alpha=0.18, lw=0)
    ax.plot(thinking.x, thinking.value, f"{marker}-", color=colour, label="think on", ms=6)
    for number, (tokens, heights) in enumerate(fans):
        label = None if number else "stop and vote over 1, 2, 4, 8 answers"
        ax.plot(tokens, heights, "s--", ms=3, lw=1.2, color="#a3420b", label=label)
    ax.set_title(title)


def draw_scatter(ax: Axes, exact: np.ndarray, sampled: np.ndarray, answers: int, title: str) -> None:
    """Sampled values against exact ones, jittered up and down by at most 0.02, and the binomial band."""
    grid = np.linspace(0, 1, 200)
    spread = 1.96 * np.sqrt(grid * (1 - grid) / answers)
    look = {"color": "#999999", "alpha": 0.25, "lw": 0, "label": "1.96 binomial s.d."}
    ax.fill_between(grid, grid - spread, grid + spread, **look)
    ax.plot(grid, grid, "--", color="#111111", lw=1)
    jitter = np.random.default_rng(0).uniform(-0.02, 0.02, len(exact))
    colour, _, marker = SERIES["sampled"]
    ax.plot(exact, sampled + jitter, marker, color=colour, ms=3, alpha=0.5, label="one prefix")
    ax.set(xlabel="exact value", ylabel=f"value from {answers} answers", title=title)
    ax.set(xlim=(-0.04, 1.04), ylim=(-0.06, 1.06))
    ax.legend(loc="lower right")


def draw_errors(counts: Sequence[int], found: Sequence[Interval], law: np.ndarray, xlabel: str) -> Axes:
    """Errors of a sampled value with intervals, and what the binomial law predicts; both axes logarithmic."""
    ax = plt.subplots(figsize=(6, 3.6))[1]
    colour, _, marker = SERIES["sampled"]
    ax.plot(counts, law, "--", color="#111111", label="binomial prediction")
    ax.vlines(counts, [e.low for e in found], [e.high for e in found], color=colour, lw=2)
    ax.plot(counts, [e.value for e in found], marker, color=colour, label="sampled, measured")
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="root mean square error of $J$")
    ticks = [0.05, 0.1, 0.2, 0.4]
    ax.set_xticks(counts, [str(c) for c in counts])
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.legend()
    return ax


def draw_tree(ax: Axes) -> None:
    """Seven candidates, two trials and an answer: which trial or answer settles each candidate."""
    depth = {4: 2, 2: 1, 6: 1, 1: 0, 3: 0, 5: 0, 7: 0}  # candidate: trials left when it is reached
    for parent, child in ((4, 2), (4, 6), (2, 1), (2, 3), (6, 5), (6, 7)):
        ax.plot([parent, child], [depth[parent], depth[child]], color="#9a9a9a", lw=1, zorder=1)
        middle, verdict = (depth[parent] + depth[child]) / 2, "low" if child > parent else "high"
        place = {"ha": "center", "va": "center", "backgroundcolor": "white", "fontsize": 9}
        ax.text((parent + child) / 2, middle, verdict, **place)
    for candidate, left in depth.items():
        shape, colour = ("round", "#d7e6f4") if left else ("square", "#f6ecd2")
        box = {"boxstyle": shape, "fc": colour, "ec": "#333333"}
        ax.text(
            candidate, left, f"{'try' if left else 'answer'} {candidate}", ha="center", va="center", bbox=box
        )
    ax.set(xlim=(0.3, 7.7), ylim=(-0.45, 2.4), xticks=[], yticks=[0, 1, 2], ylabel="trials left")
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def draw_bandits(
    toy: Mapping[str, np.ndarray], averages: pd.DataFrame, best: tuple[float, float], title: str
) -> None:
    """Left: two learners on one bandit, the first's regret; right: many; `best`: the best machine's."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    pulls, names = np.arange(len(next(iter(toy.values())))), list(toy)
    for name, size in zip(names, (7, 3.5), strict=True):
        colour, dash, marker = SERIES[name]
        left.plot(pulls, toy[name], dash, color=colour, marker=marker, ms=size)
    shade_regret(left, pulls, np.full(len(pulls), best[0]), toy[names[0]])
    place = {"ha": "center", "va": "center", "backgroundcolor": "white", "fontsize": 10}
    left.text(1.7, 0.65, "regret of\nexploring first", **place)
    left.set(xlabel="pulls", ylabel="value J of committing now", ylim=(0.45, 0.9), title="the toy bandit")
    draw_curves(averages, "pulls", "", title, right)
    for ax, height, end in ((left, best[0], pulls[-1]), (right, best[1], averages.x.max())):
        ax.axhline(height, color="#9a9a9a", ls="--", lw=1)
        ax.text(end, height + 0.02, "best machine", ha="right", color="#666666")
    right.legend(loc="lower right", bbox_to_anchor=(1.0, 0.05))
