"""Figures from tidy DataFrames, in one palette that survives greyscale print; and training watched live."""

import html
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mrt_lib.measure.stats import bootstrap

Log = Sequence[Mapping[str, float]]
Report = Callable[[Log], None]
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
    """Rows series, x, value, low, high: means of `samples` (units, points) at `x`, 95% bootstrap interval."""
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
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if frame.series.nunique() > 1:
        ax.legend()
    return ax


def shade_regret(
    ax: Axes, x: ArrayLike, comparator: np.ndarray, value: np.ndarray, label: str = "regret"
) -> None:
    """Fill the area between a comparator and a value curve, both (points,)."""
    ax.fill_between(x, value, comparator, label=label, color="#e07b39", alpha=0.25, hatch="//", lw=0)


def value_html(pieces: Sequence[str], values: Sequence[float]) -> str:
    """Text pieces, one per line, on a background that darkens with their value in [0, 1]."""
    lines = []
    for piece, value in zip(pieces, values, strict=True):
        colour = VALUE_COLOURS(float(value))
        ink = "#ffffff" if sum(colour[:3]) < 1.5 else "#111111"
        style = f"background:{to_hex(colour)};color:{ink};padding:2px 8px;font-family:monospace"
        lines.append(f'<div style="{style}">J = {value:.2f} &nbsp; {html.escape(piece)}</div>')
    return '<div style="max-width:46em;border:1px solid #ccc">' + "".join(lines) + "</div>"


class LivePlot:
    """One panel per column of the log, one line per run, all in one figure; `logs`: every run's so far."""

    def __init__(self, columns: Mapping[str, str], steps: int, window: int = 1, every: float = 3.0) -> None:
        """`columns`: column of the log to the label of its axis; `steps`: of the longest run.

        Lines show the mean of `window` steps, single steps are faint dots; `every`: fewest seconds between
        two pictures, because a picture takes a fraction of one.
        """
        self.columns, self.steps, self.window, self.every = dict(columns), steps, window, every
        self.logs: dict[str, Log] = {}
        self._handle: Any = None
        self._drawn = -every

    def watch(self, name: str) -> Report:
        """The `report` of one run, with a bar of its own; arms have their known look (`plots.SERIES`)."""
        bar = step_bar(self.steps, name)

        def report(log: Log) -> None:
            self.logs[name] = log
            if not in_notebook():
                return
            bar(log)
            if len(log) >= self.steps or time.monotonic() - self._drawn >= self.every:
                self._show()

        return report

    def figure(self) -> Figure:
        """The figure as it stands."""
        figure = plt.Figure(figsize=(2.8 * len(self.columns), 2.9), layout="constrained")
        axes = figure.subplots(1, len(self.columns), squeeze=False)[0]
        often = max(1, self.steps // 8)
        for ax, (column, label) in zip(axes, self.columns.items(), strict=True):
            for i, (name, log) in enumerate(self.logs.items()):
                colour, dash, marker = SERIES.get(name) or (f"C{i}", "-", "o")
                steps = [row["step"] + 1 for row in log]
                values = pd.Series([row.get(column, float("nan")) for row in log], dtype=float)
                if self.window > 1:
                    ax.plot(steps, values, ".", color=colour, ms=3, alpha=0.3)
                mean = values.rolling(self.window, min_periods=1).mean()
                (line,) = ax.plot(steps, mean, dash, color=colour, marker=marker, ms=5, lw=1.6)
                line.set(label=LABELS.get(name, name), markevery=often)
            ax.set(xlabel="step", ylabel=label, xlim=(0, self.steps + 1))
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        return figure

    def _show(self) -> None:
        from IPython.display import Image, display

        image = io.BytesIO()
        self.figure().savefig(image, format="png")
        self._drawn = time.monotonic()
        show = self._handle.update if self._handle else partial(display, display_id=True)
        self._handle = show(Image(image.getvalue())) or self._handle


def step_bar(steps: int, name: str) -> Report:
    """A `report` that shows a progress bar over the steps of one run, with the time that is left."""
    from tqdm.auto import tqdm

    bar: Any = None

    def report(log: Log) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=steps, initial=len(log) - 1, desc=LABELS.get(name, name), unit="step")
        bar.update(len(log) - bar.n)
        if len(log) >= steps:
            bar.close()

    return report


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process, so that there is somewhere to draw."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
