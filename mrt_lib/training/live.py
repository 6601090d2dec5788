"""Training watched while it goes on: a figure redrawn in place and a bar with the time that is left.

Both go to `mrt_lib.train` as `reports`. Outside a notebook the figure does nothing: the same code runs there.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mrt_lib.plots import LABELS, SERIES

Log = Sequence[Mapping[str, float]]
Report = Callable[[Log], None]


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
