"""The figure of test-time methods: accuracy against everything that they spend."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.palette import LABELS, SERIES
from mrt_lib.plots import draw_curves


def draw_test_time(frame: pd.DataFrame) -> Figure:
    """One panel for each model, one line for each method through its knobs; tokens on a log scale.

    Args:
        frame: rows model, method, knob, accuracy, low, high, tokens, as in `data/results/test_time.csv`. Of
            a knob "4x8" the 8 names a line of its own where it varies. Methods without a look of their own
            in `mrt_lib.plots.SERIES` are left out.
    """
    models = frame.model.unique()
    figure, axes = plt.subplots(1, len(models), figsize=(4.3 * len(models), 5.2), sharey=True, squeeze=False)
    lines = _lines(frame)
    for ax, model in zip(axes[0], models, strict=True):
        draw_curves(
            lines[lines.model == model], "tokens per problem", "accuracy", LABELS.get(model, model), ax
        )
        ax.set(xscale="log", ylim=(0, 1.02))
        ax.set_xticks([25, 50, 100, 200, 400, 800, 1600])
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.minorticks_off()
        ax.label_outer()
        if ax.get_legend():
            ax.get_legend().remove()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=1 + len(models))
    return figure


def _lines(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows model, series, x, value, low, high, along each line."""
    second = frame.knob.astype(str).str.extract(r"x(\d+)$")[0]
    varies = second.groupby(frame.method).transform("nunique") > 1
    named = frame.assign(series=frame.method.where(~varies, frame.method + " x" + second))
    known = named[named.series.isin(list(SERIES))]
    return known.rename(columns={"tokens": "x", "accuracy": "value"}).sort_values("x", kind="stable")
