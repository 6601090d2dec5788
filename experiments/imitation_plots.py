"""The figures of imitation, of warm starts and of training budgets, from recorded numbers and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.palette import LABELS, SERIES

Summary = Mapping[str, Mapping[str, Any]]
BASES = {"": "main base", "_weak": "weak base", "_strong": "strong base"}
LEADS = {"short_vs_long": "only_2", "curriculum": "2_then_8", "half_vs_twice": "only_4"}


def draw_imitation(summary: Summary, arms: Sequence[str]) -> Figure:
    """Gain in J after four episodes by imitation, one panel for each base that has been run."""
    bases = {end: name for end, name in BASES.items() if f"i4.star_gain{end}" in summary}
    figure, axes = plt.subplots(1, len(bases), figsize=(8.6, 2.6), sharex=True, sharey=True, squeeze=False)
    for ax, (end, name) in zip(axes[0], bases.items(), strict=True):
        for row, arm in enumerate(arms):
            found = summary.get(f"i4.{arm}_gain{end}")
            if found:
                _interval(ax, row, found, SERIES[arm][0], SERIES[arm][2])
            else:
                ax.text(0.02, row, "not run", va="center", fontsize=9, color="#555555")
        ax.axvline(0, color="#222222", lw=0.8)
        ax.set_title(name)
    axes[0, 0].set_yticks(range(len(arms)), [LABELS[arm] for arm in arms])
    figure.supxlabel("gain in J after 4 episodes over the untrained base", fontsize=12)
    return figure


def draw_warm_losses(losses: Mapping[str, np.ndarray], step_tokens: int) -> Figure:
    """Loss of the warm starts, each of shape (seeds, steps): means and the range over seeds, smoothed.

    Right: the second half again, for those that end below a tenth of a nat.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.4))
    for arm, own in losses.items():
        smooth = np.array([np.convolve(log, np.ones(5) / 5, mode="valid") for log in own])
        thousand = (np.arange(smooth.shape[1]) + 3) * step_tokens / 1000
        colour, dash, marker = SERIES[arm]
        label, half = f"{LABELS[arm]} ({len(own)} seeds)", smooth.shape[1] // 2
        for ax, start in ((left, 0), (right, half)):
            if start and smooth[:, half:].max() > 0.1:
                continue
            x, mean = thousand[start:], smooth[:, start:].mean(0)
            ax.plot(x, mean, dash, color=colour, marker=marker, markevery=6, label=label)
            low, high = smooth[:, start:].min(0), smooth[:, start:].max(0)
            ax.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    left.set(xlabel="thousand tokens read", ylabel="loss, nats per learnt token", ylim=(0, None))
    right.set(xlabel="thousand tokens read", title="the two lowest, second half")
    left.legend(fontsize=9)
    return figure


def draw_training_budgets(summary: Summary, arms: Sequence[str]) -> Figure:
    """Regret of every training budget minus that of training with eight episodes, claim C12."""
    figure, ax = plt.subplots(figsize=(7.4, 2.9))
    for shift, arm in zip((-0.14, 0.14), arms, strict=True):
        for row, lead in enumerate(LEADS):
            _interval(ax, row + shift, summary[f"i4.{lead}_regret_{arm}"], SERIES[arm][0], SERIES[arm][2])
        ax.plot([], [], SERIES[arm][2], color=SERIES[arm][0], label=LABELS[arm])
    ax.axvline(0, color="#222222", lw=1)
    ax.set_yticks(range(len(LEADS)), [LABELS[training] for training in LEADS.values()])
    ax.set(xlabel="regret minus that of 8 episodes (left of the line: less regret)", ylim=(2.5, -0.5))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _interval(ax: Axes, row: float, found: Mapping[str, Any], colour: str, marker: str) -> None:
    ends = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
    ax.errorbar(found["value"], row, xerr=ends, fmt=marker, color=colour, capsize=3, ms=8, mec="#222222")
