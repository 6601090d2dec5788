"""The figures of test-time methods: accuracy against everything that they spend, calibration, one choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.palette import LABELS, SERIES
from mrt_lib.measure.stats import bootstrap
from mrt_lib.test_time import Outcome

# The four that a first look needs, one of each kind: longer, wider and two that choose.
FOUR = ("linearised", "maj_at_k", "best_of_n_own", "beam_own")
WORDS = {
    "pass_at_k": "pass@k (a bound: needs an oracle)",
    "maj_at_k": "majority vote",
    "maj_at_k_weighted": "majority vote, weighted",
    "best_of_n_own": "best of N by own value",
    "best_of_n_verifier": "best of N by the verifier",
    "beam_own": "beam search by own value",
    "beam_verifier": "beam search by the verifier",
    "budget_forcing": "budget forcing",
    "stop_and_vote": "stop early, then vote",
    "linearised": "one long stream",
    "linearised_window_1": "one long stream, one episode kept",
    "linearised_window_3": "one long stream, three episodes kept",
}


def draw_four(frame: pd.DataFrame) -> Figure:
    """Accuracy with intervals against tokens for `FOUR`, one panel for each model.

    Args:
        frame: rows model, method, knob, accuracy, low, high, tokens, as in `data/results/test_time.csv`.
    """
    models = frame.model.unique()
    figure, axes = plt.subplots(1, len(models), figsize=(3.3 * len(models), 3.9), sharey=True, squeeze=False)
    for ax, model in zip(axes[0], models, strict=True):
        for method in FOUR:
            own = frame[(frame.model == model) & (frame.method == method)].sort_values("tokens")
            colour, dash, marker = SERIES[method]
            ends = [own.accuracy - own.low, own.high - own.accuracy]
            look = {"color": colour, "ls": dash, "marker": marker, "mec": "#222222", "capsize": 2, "lw": 1.6}
            ax.errorbar(own.tokens, own.accuracy, ends, label=WORDS[method], **look)
        ax.set(title=LABELS.get(model, model), xlabel="tokens per problem", xscale="log", ylim=(0, 1.02))
        ax.set_xticks([50, 100, 200, 400], ["50", "100", "200", "400"])
        ax.minorticks_off()
    axes[0, 0].set_ylabel("accuracy")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def draw_calibration(found: Mapping[str, Mapping[str, Any]], fewest: int = 5) -> Figure:
    """Share that was right against the probability that the verifier stated, one panel for each model.

    Args:
        found: by model and part ("answered", "prefixes"), its bins with "count", "stated" and "found".
        fewest: thoughts of a bin that is drawn; bars are 95% Wilson intervals.
    """
    figure, axes = plt.subplots(1, len(found), figsize=(3.1 * len(found), 3.6), sharey=True, squeeze=False)
    looks = {"answered": ("whole thoughts", "o", "#173a63"), "prefixes": ("prefixes", "^", "#e07b39")}
    for ax, (model, parts) in zip(axes[0], found.items(), strict=True):
        ax.plot([0, 1], [0, 1], "--", color="#777777", lw=1)
        for part, (label, marker, colour) in looks.items():
            bins = pd.DataFrame(parts[part]["bins"])
            bins = bins[bins["count"] >= fewest]
            ends = np.abs(_wilson(bins.found, bins["count"]) - bins.found.to_numpy())
            ax.errorbar(
                bins.stated, bins.found, ends, fmt=marker, color=colour, mec="#222222", capsize=3, label=label
            )
        ax.set(title=LABELS.get(model, model), xlabel="stated probability", ylim=(-0.02, 1.02))
    axes[0, 0].set_ylabel("share that was right")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def draw_choice(
    question: str, values: Sequence[float], outcomes: Mapping[str, Outcome], problems: int, i: int
) -> Figure:
    """Left: J after every episode of one thought. Right: what each option gives.

    Args:
        question: of problem `i`.
        values: J_0 .. J_k of its thought.
        outcomes: of each option on the `problems`, asked again and again in that order.
        problems: how many there are.
        i: index of this one.
    """
    figure = plt.Figure(figsize=(8.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(range(len(values)), values, color=SERIES["base"][0], marker="o")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set(xlabel="stopped after episode", ylabel="J", ylim=(-0.02, 1.02), title=question)
    names = []
    for row, (name, found) in enumerate(outcomes.items()):
        tries = found.right.reshape(-1, problems)
        mean = bootstrap(np.mean, tries.mean(0), seed=0)
        ends = [[mean.value - mean.low], [mean.high - mean.value]]
        labels = ("mean over the problems, 95% interval", "this problem") if not row else ("", "")
        right.barh(row, mean.value, 0.6, color="#c9d6e4", xerr=ends, capsize=3, label=labels[0])
        right.plot(tries[:, i].mean(), row, "D", color="#173a63", ms=9, label=labels[1])
        names.append(f"{name}\n{found.tokens.mean():.0f} tokens, {tries[:, i].sum():g} of {len(tries)} right")
    right.set_yticks(range(len(names)), names, fontsize=9)
    right.set(xlim=(-0.02, 1.02), xlabel="share of the tries that were right")
    right.invert_yaxis()
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=9)
    return figure


def method_table(frame: pd.DataFrame, problems: int) -> pd.DataFrame:
    """Every method in words with its setting, mean count right, interval and tokens, by model.

    Args:
        frame: as in `draw_four`.
        problems: how many test problems are behind each accuracy.
    """
    own = frame.assign(model=frame.model.map(lambda m: LABELS.get(m, m)), method=frame.method.map(WORDS))
    count = (own.accuracy * problems).round(1).map("{:g}".format)
    interval = [f"{r.accuracy:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in own.itertuples()]
    own = own.assign(right=count, accuracy=interval, tokens=own.tokens.round().astype(int))
    named = own.rename(columns={"knob": "setting", "right": f"right of {problems}"})
    columns = ["method", "setting", "model", f"right of {problems}", "accuracy", "tokens"]
    return named[columns].sort_values(["method", "setting"], kind="stable")


def _wilson(share: pd.Series, n: pd.Series) -> np.ndarray:
    """Ends of the 95% Wilson interval of a share, shape (2, bins)."""
    z, p, n = 1.96, share.to_numpy(), n.to_numpy()
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.array([middle - half, middle + half]) / (1 + z**2 / n)
