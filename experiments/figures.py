"""The figures of the README and the docs, from the raw runs: `docs/figures/*.png`."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import backtracking_results, curriculum_results
from experiments.headline import best_arm
from experiments.load import ArmRuns, arm_runs, logs
from experiments.measure import EPISODES
from experiments.palette import LABELS, SERIES
from experiments.plan import BUDGETS, ON_WEAK
from experiments.records import RUNS
from experiments.test_time_plots import draw_four
from experiments.test_time_results import TABLE
from mrt_lib import plots
from mrt_lib.measure.stats import Interval, means_over_seeds, over_seeds
from mrt_lib.tasks import RootSearch
from recipes.backtracking.plots import draw_accuracy
from tools.pictures import smaller_png

FIGURES = Path("docs/figures")
TASK = RootSearch(31)
BUDGET = BUDGETS[TASK.name]


def write_figures() -> None:
    """Redraw every figure whose runs are there."""
    if TABLE.exists():
        plots.use_style()
        _save(draw_four(pd.read_csv(TABLE)), "test_time.png")
    write_curriculum_figure()
    write_backtracking_figure()
    base, best = arm_runs("untrained"), best_arm()
    rivals = [arm for name in ("grpo", "grpo_exact") if (arm := arm_runs(name))]
    if not (base and best and rivals):
        return
    plots.use_style()
    _save(draw_values([base, *rivals, best]), "training_values.png")
    if weak := [arm for name in ON_WEAK if (arm := arm_runs(name, base="weak"))]:
        _save(draw_learning(weak), "training_weak.png")


def write_curriculum_figure() -> None:
    """Redraw the figure of the training budgets if their table is there."""
    if curriculum_results.TABLE.exists():
        plots.use_style()
        _save(draw_curriculum(pd.read_csv(curriculum_results.TABLE)), "curriculum.png")


def write_backtracking_figure() -> None:
    """Redraw the figure of the backtracking arms if all of them are there."""
    found = {arm: own for arm in backtracking_results.ORDER if (own := backtracking_results.read(arm))}
    if set(backtracking_results.ORDER) <= set(found):
        plots.use_style()
        frame = pd.read_csv(backtracking_results.TABLE)
        arms = ("mrt_star", "grpo", *backtracking_results.MRT_RL)
        _save(draw_accuracy(frame, backtracking_results.BUDGET, arms), "backtracking.png")


def draw_curriculum(frame: pd.DataFrame) -> Figure:
    """J against episodes for every training budget, one panel for each arm.

    Args:
        frame: rows as in `data/results/curriculum.csv`.
    """
    arms = frame.arm.unique()
    figure, axes = plt.subplots(1, len(arms), figsize=(4.3 * len(arms), 4.4), sharey=True)
    values = frame[frame.metric == "J"].rename(columns={"training": "series"})
    for ax, arm in zip(axes, arms, strict=True):
        lines = pd.concat([_optimum(), values[values.arm == arm]])
        title = f"{LABELS[arm]}, seeds: {lines.seeds.max():.0f}"
        plots.draw_curves(lines, "episodes of thought", "value J, probability", title, ax)
        ax.set(xlim=(0, EPISODES), ylim=(0, 1.03), xticks=range(0, EPISODES + 1, 4))
        ax.label_outer()
        ax.get_legend().remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _optimum() -> pd.DataFrame:
    optimum = {"series": "optimum", "x": np.arange(EPISODES + 1), "value": TASK.optimal_values(EPISODES)}
    return pd.DataFrame(optimum)


def draw_values(arms: list[ArmRuns]) -> Figure:
    """J against episodes."""
    frames = [_optimum()]
    for arm in arms:
        found = means_over_seeds(arm.arrays["value"], seed=0)
        frames.append(_frame(arm, list(range(EPISODES + 1)), found))
    figure, ax = plt.subplots(figsize=(7.6, 3.8))
    plots.draw_curves(pd.concat(frames), "episodes of thought", "value J, probability", ax=ax)
    ax.axvline(BUDGET, color="#555555", lw=1, ls=":")
    ax.text(BUDGET + 0.1, 0.02, "budget in training", fontsize=9, color="#555555")
    ax.set(xlim=(0, EPISODES), ylim=(0, 1.03), xticks=range(0, EPISODES + 1, 4))
    _legend(ax, arms)
    return figure


def draw_gains(base: ArmRuns, arms: list[ArmRuns]) -> Figure:
    """Gain over the base at the training budget, sorted, with the number of seeds."""
    start = base.arrays["value"][0, :, BUDGET]
    leads = [arm.arrays["value"][..., BUDGET] - start for arm in arms]
    found = [means_over_seeds(lead[..., None], seed=0)[0] for lead in leads]
    gains = sorted(zip(found, arms, strict=True), key=lambda pair: pair[0].value)
    figure, ax = plt.subplots(figsize=(7.6, 0.7 + 0.34 * len(gains)))
    for row, (gain, arm) in enumerate(gains):
        colour = SERIES[arm.run.arm][0]
        ax.barh(row, gain.value, color=colour, alpha=0.75, edgecolor="#222222", lw=0.6)
        ends = [[gain.value - gain.low], [gain.high - gain.value]]
        ax.errorbar(gain.value, row, xerr=ends, color="#111111", capsize=3, lw=1.3)
        ax.text(max(gain.high, 0), row, f"  {len(arm.seeds)}", va="center", fontsize=9)
    ax.axvline(0, color="#222222", lw=0.8)
    ax.set_yticks(range(len(gains)), [LABELS[arm.run.arm] for _, arm in gains])
    ax.set_xlabel(f"gain in J after {BUDGET} episodes over the base (right: seeds)")
    ax.grid(visible=False, axis="y")
    return figure


def draw_learning(arms: list[ArmRuns], runs: Path = RUNS) -> Figure:
    """Validation J against the tokens that the policy wrote in training."""
    figure, ax = plt.subplots(figsize=(7.6, 3.8))
    frames = []
    for arm in arms:
        marks = [rows for _, rows in logs(arm, runs).dropna(subset="validation_J4").groupby("step")]
        found = [_over_seeds(rows.validation_J4.to_numpy()) for rows in marks]
        frames.append(_frame(arm, [rows.tokens.mean() / 1000 for rows in marks], found))
    label = f"validation J after {BUDGET} episodes"
    plots.draw_curves(pd.concat(frames), "thousand tokens written in training", label, ax=ax)
    ax.set_xlim(left=0)
    _legend(ax, arms)
    return figure


def _over_seeds(values: np.ndarray) -> Interval:
    """Mean over seeds; of one seed without an interval."""
    if len(values) > 1:
        return over_seeds(np.mean, values, seed=0, axes=("seeds",))
    return Interval(float(values[0]), float("nan"), float("nan"), 1)


def _frame(arm: ArmRuns, x: list[float], found: list[Interval]) -> pd.DataFrame:
    rows = [(arm.run.arm, at, f.value, f.low, f.high) for at, f in zip(x, found, strict=True)]
    return pd.DataFrame(rows, columns=["series", "x", "value", "low", "high"])


def _legend(ax: Axes, arms: list[ArmRuns]) -> None:
    """At the right, with the number of seeds of each trained arm."""
    seeds = {LABELS[arm.run.arm]: f" ({len(arm.seeds)} seeds)" for arm in arms if arm.run.steps}
    handles, labels = ax.get_legend_handles_labels()
    texts = [label + seeds.get(label, "") for label in labels]
    ax.legend(handles, texts, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _save(figure: Figure, name: str) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
    FIGURES.mkdir(parents=True, exist_ok=True)
    (FIGURES / name).write_bytes(smaller_png(file.getvalue()))
