"""Tables and headline numbers of the field side by side: `grid*.csv`, `grid.*`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.grid_effects import FEWEST_SEEDS, TWINS, write_effects
from experiments.grid_plan import BUDGET, GRID, ON_WEAK, RUNS, SCORE, UNTRAINED, chosen
from experiments.headline import gain_ratio, paired, ratio_of_gains
from experiments.load import ArmRuns, logs, setting_runs
from experiments.records import write_table
from experiments.statistics import difference
from experiments.tables import COLUMNS, arm_rows
from mrt_lib.measure.stats import Interval, means_over_seeds, over_seeds
from mrt_lib.measure.voting import pass_at_k
from tools.summary import SUMMARY, record

TABLES = Path("data/results")
COMMAND = "python -m experiments.grid"
MRT = ("mrt_regret_to_go", "mrt_progress", "mrt_log_progress")
PAPER = ("mrt_online_4", "mrt_offline")
RIVALS = ("brpo", "igpo", "mig", "dler", "s_grpo", "length_penalty", "grpo", "grpo_exact")
VOTES = range(1, 11)
RATIO, PROBABILITY, REGRET = "times the gain", "probability", "normalised regret"
Found = Iterator[tuple[str, Interval, str]]


def by_arm(runs: Path = RUNS, base: str = "base") -> dict[str, ArmRuns]:
    """Arm to its tested seeds from one base, "untrained" among them; arms with too few are left out."""
    arms = GRID if base == "base" else ON_WEAK
    settings = {"untrained": UNTRAINED} | {arm: best for arm in arms if (best := chosen(arm, runs))}
    found = {arm: setting_runs(replace(own, base=base), runs) for arm, own in settings.items()}
    return {
        arm: own
        for arm, own in found.items()
        if own and (arm == "untrained" or len(own.seeds) >= FEWEST_SEEDS)
    }


def write_results(runs: Path = RUNS, tables: Path = TABLES, summary: Path = SUMMARY) -> None:
    """Tables and numbers of the arms that have `FEWEST_SEEDS` seeds."""
    found, weak = by_arm(runs), by_arm(runs, "weak")
    if len(found) < 2:
        return
    every = [*found.values(), *weak.values()]
    rows = [row for own in every for row in (*arm_rows(own, runs), *_pass_rows(own))]
    write_table(pd.DataFrame(rows, columns=COLUMNS), tables / "grid.csv")
    write_effects(found, tables / "grid_effects.csv")
    trained = [logs(own, runs) for own in every if own.run.steps]
    kept = ["arm", "base", "seed", "step", "tokens", "silent_groups", "thought_tokens", SCORE]
    frame = pd.concat(trained, ignore_index=True).dropna(subset=SCORE)
    write_table(frame[kept], tables / "grid_training.csv")
    for name, interval, unit in (*numbers(found), *rivals(found), *on_weak(weak)):
        record(f"grid.{name}", interval, unit, COMMAND, summary)


def _pass_rows(own: ArmRuns) -> Iterator[tuple]:
    """pass@k of the sampled answers at the training budget, over seeds and problems."""
    right = (own.arrays["votes"] == own.arrays["gold"][..., None]).sum(-1)
    n, run = own.arrays["votes"].shape[-1], own.run
    array = np.array([[[pass_at_k(n, int(r), k) for k in VOTES] for r in seed] for seed in right])
    for k, mean in zip(VOTES, means_over_seeds(array, seed=0), strict=True):
        about = run.arm, run.base, run.task, run.steps, run.prompts * run.group
        yield (*about, "pass_at_k", k, mean.value, mean.low, mean.high, len(array))


def numbers(found: dict[str, ArmRuns]) -> Found:
    """What the bars of the comparison ask, after as many episodes as in training."""
    start = found["untrained"]
    ours, paper = _best(found, MRT), _best(found, PAPER)
    if _common(found, "grpo", "grpo"):
        value = found["grpo"].arrays["value"][..., BUDGET]
        base = np.broadcast_to(start.arrays["value"][0, :, BUDGET], value.shape)
        yield "grpo_gain", over_seeds(difference, value, base, seed=0), PROBABILITY
    for name, own, rival in (
        ("gain_ratio_hard", ours, "grpo"),
        ("gain_ratio_hard_paper", paper, "grpo"),
        ("gain_ratio_hard_exact_outcome", "grpo_exact", "grpo"),
        ("credit_over_exact_outcome", ours, "grpo_exact"),
        ("best_vs_brpo_gain", ours, "brpo"),
    ):
        if _common(found, own, rival):
            yield name, gain_ratio(found[own], found[rival], start, BUDGET), RATIO
            yield f"{name}_difference", _lead(found[own], found[rival]), PROBABILITY
    if all(_common(found, *pair) for pair in TWINS.items()):
        seeds = _seeds(found, [*TWINS, *TWINS.values()])
        exact, sampled = (
            np.concatenate([found[arm].only(seeds)["value"][..., BUDGET] for arm in arms], axis=1)
            for arms in (TWINS, TWINS.values())
        )
        base = np.tile(start.arrays["value"][0, :, BUDGET], (len(seeds), len(TWINS)))
        yield "exact_vs_sampled_gain", over_seeds(ratio_of_gains, exact, sampled, base, seed=0), RATIO
    others = [arm for arm in RIVALS if _common(found, ours, arm)]
    if len(others) == len(RIVALS):
        seeds = _seeds(found, [ours, *others])
        regrets = (found[arm].only(seeds)["regret_oracle"] for arm in (ours, *others))
        yield "regret_margin_vs_best_rival", over_seeds(_least_lead, *regrets, seed=0), REGRET


def rivals(found: dict[str, ArmRuns]) -> Found:
    """What the rivals' papers claim, against tuned GRPO: above it everywhere, or shorter without loss."""
    if _common(found, "brpo", "grpo"):
        pair = (values[..., 1 : 2 * BUDGET] for values in paired(found["brpo"], found["grpo"], "value"))
        yield "brpo_least_lead", over_seeds(_least_gain, *pair, seed=0), PROBABILITY
    for arm in ("dler", "s_grpo"):
        if _common(found, arm, "grpo"):
            lengths = paired(found[arm], found["grpo"], "thought_tokens")
            yield f"{arm}_length", over_seeds(_ratio, *lengths, seed=0), "times GRPO's tokens"
            yield f"{arm}_lead", _lead(found[arm], found["grpo"], -1), PROBABILITY


def on_weak(found: dict[str, ArmRuns]) -> Found:
    """The headline ratios from the weak base."""
    for name, own, rival in (
        ("gain_ratio_weak", "mrt_regret_to_go", "grpo"),
        ("credit_over_exact_outcome_weak", "mrt_regret_to_go", "grpo_exact"),
        ("best_vs_brpo_gain_weak", "mrt_regret_to_go", "brpo"),
    ):
        if "untrained" in found and _common(found, own, rival):
            yield name, gain_ratio(found[own], found[rival], found["untrained"], BUDGET), RATIO


def _best(found: dict[str, ArmRuns], arms: Sequence[str]) -> str:
    """The arm with the highest validation J over its seeds; the first where none has any."""
    here = [arm for arm in arms if arm in found]
    return max(here, key=lambda arm: np.mean([f[SCORE] for f in found[arm].facts]), default=arms[0])


def _common(found: dict[str, ArmRuns], own: str, rival: str) -> bool:
    """Both arms have enough seeds in common."""
    return {own, rival} <= found.keys() and len(_seeds(found, [own, rival])) >= FEWEST_SEEDS


def _seeds(found: dict[str, ArmRuns], arms: Iterable[str]) -> list[int]:
    """The seeds that all of these arms have."""
    return sorted(set.intersection(*(set(found[arm].seeds) for arm in arms)))


def _lead(arm: ArmRuns, rival: ArmRuns, episodes: int = BUDGET) -> Interval:
    pair = (values[..., episodes] for values in paired(arm, rival, "value"))
    return over_seeds(difference, *pair, seed=0)


def _ratio(own: np.ndarray, other: np.ndarray) -> float:
    return float(own.mean() / other.mean())


def _least_gain(own: np.ndarray, other: np.ndarray) -> float:
    return float((own.mean((0, 1)) - other.mean((0, 1))).min())


def _least_lead(own: np.ndarray, *others: np.ndarray) -> float:
    """Regret of the best rival at each budget minus the arm's own, the least over budgets."""
    best = np.min([other.mean((0, 1)) for other in others], axis=0)
    return float((best - own.mean((0, 1))).min())
