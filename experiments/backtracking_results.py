"""Table, figure and headline numbers of the backtracking runs (claims C13 to C16)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.backtracking_measure import BUDGET, TIMES, TOKEN_GRID
from experiments.backtracking_plan import ARMS, RUNS, SCHEMES, SEEDS, BacktrackingRun, facts, seed_runs
from experiments.headline import ratio_of_gains
from experiments.records import read_arrays, write_table
from experiments.statistics import difference, fewer_tokens
from mrt_lib.measure.stats import means_over_seeds, over_seeds
from tools.summary import SUMMARY, record

COMMAND = "python -m experiments.backtracking"
TABLE = Path("data/results/backtracking.csv")
MRT_RL = ("mrt_backtrack", "mrt_regret_to_go")
ORDER = ("untrained", "warm_start", "rise", "star", "mrt_star", "grpo", *MRT_RL)


@dataclass(frozen=True)
class Tested:
    """The tested seeds of one arm: run.json of each, arrays stacked over seeds, backtracks by seed."""

    arm: str
    facts: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]
    ways: list[dict[str, np.ndarray]]


def complete_seeds() -> list[int]:
    """The seeds that every warm start and every arm has; the tables and numbers use these alone."""
    grids = [seed_runs(arm) for arm in (*SCHEMES, *ARMS)]
    return [seed for seed in SEEDS if all(grids) and all(own[seed].done() for own in grids)]


def runs_of(arm: str) -> list[BacktrackingRun]:
    """The runs of an arm at the complete seeds; "untrained" has one run."""
    return [run for run in seed_runs(arm) if run.arm == "untrained" or run.seed in complete_seeds()]


def read(arm: str) -> Tested | None:
    """An arm at the complete seeds; None if there is none."""
    runs = runs_of(arm)
    found = [facts(run) for run in runs]
    if not runs or not all(found):
        return None
    arrays = [read_arrays(run.name, RUNS) for run in runs]
    names = [name for name in arrays[0] if not name.startswith("way_")]
    ways = [{n.removeprefix("way_"): own[n] for n in own if n.startswith("way_")} for own in arrays]
    return Tested(arm, [f for f in found if f], {n: np.stack([a[n] for a in arrays]) for n in names}, ways)


def write_results(path: Path = SUMMARY) -> None:
    """Write the table, and from two complete seeds on the numbers."""
    found = {arm: own for arm in ORDER if (own := read(arm))}
    if found:
        write_table(pd.concat([_rows(own) for own in found.values()]), TABLE)
    if set(ORDER) <= set(found) and len(complete_seeds()) > 1:
        _headline(found, path)


def best_mrt(found: dict[str, Tested], arms: tuple[str, ...] = MRT_RL) -> Tested:
    """The MRT arm with the highest validation J over its seeds."""
    return found[max(arms, key=lambda arm: float(np.mean([f["validation_J"] for f in found[arm].facts])))]


def _headline(found: dict[str, Tested], path: Path) -> None:
    best, grpo, rise, warm = best_mrt(found), found["grpo"], found["rise"], found["warm_start"]
    star, mrt_star = found["star"], found["mrt_star"]

    def nested(name: str, unit: str, statistic: Callable[..., float], *samples: np.ndarray) -> None:
        record(f"i4.{name}", over_seeds(statistic, *samples, seed=0), unit, COMMAND, path)

    saved = partial(fewer_tokens, grid=TOKEN_GRID, budget=BUDGET)
    for name, own, rival in (
        ("backtracking_token_efficiency", best, grpo),
        ("backtracking_token_efficiency_star", mrt_star, star),
        ("backtracking_token_efficiency_star_vs_rise", mrt_star, rise),
        ("backtracking_token_efficiency_vs_rise", best, rise),
    ):
        nested(name, "times fewer tokens", saved, own.arrays["at_tokens"], rival.arrays["at_tokens"])
    start = at_budget(warm)
    gains = {arm: at_budget(own) for arm, own in found.items() if arm in ORDER[3:]}
    for arm, value in gains.items():
        nested(f"backtracking_gain_{arm}", "probability", difference, value, start)
    nested("backtracking_gain_ratio", "times the gain", ratio_of_gains, gains[best.arm], gains["grpo"], start)
    pair = (gains["mrt_star"], gains["star"], start)
    nested("backtracking_gain_ratio_star", "times the gain", ratio_of_gains, *pair)
    streams, votes = (best.arrays[name][..., TIMES.index(4)] for name in ("stream_right", "maj_right"))
    nested("backtracking_linearised_vs_parallel_4x", "probability", difference, streams, votes)
    spent = [best.arrays[name] for name in ("stream_right", "stream_tokens", "maj_right", "maj_tokens")]
    nested("backtracking_linearised_vs_parallel_4x_spent", "probability", lead_at_spent_tokens, *spent)

    def seeds(name: str, unit: str, own: list[float], rival: list[float]) -> None:
        record(f"i4.{name}", over_seeds(difference, own, rival, seed=0, axes=("seeds",)), unit, COMMAND, path)

    seeds("backtrack_gain_difference", "probability", mean_gain(best), mean_gain(grpo))
    seeds("backtrack_gain_difference_star", "probability", mean_gain(mrt_star), mean_gain(warm))
    paid = found["mrt_backtrack"]
    seeds("backtrack_gain_difference_paid", "probability", mean_gain(paid), mean_gain(grpo))
    seeds("backtrack_right_line_difference_paid", "share", right_lines(paid), right_lines(warm))
    seeds("backtrack_right_line_difference", "share", right_lines(best), right_lines(warm))
    seeds("backtrack_right_line_difference_grpo", "share", right_lines(grpo), right_lines(warm))
    losses = {arm: [loss(run) for run in runs_of(arm)] for arm in SCHEMES}
    seeds("warm_start_loss_backtrack_minus_rise", "nats per token", losses["warm_start"], losses["rise"])
    seeds("warm_start_loss_backtrack_minus_star", "nats per token", losses["warm_start"], losses["star_data"])


def at_budget(own: Tested) -> np.ndarray:
    """J at the end of the training context, on the straight line between two points of `TOKEN_GRID`.

    Shape (seeds, problems).
    """

    def at(curve: np.ndarray) -> float:
        return float(np.interp(BUDGET, TOKEN_GRID, curve))

    return np.apply_along_axis(at, -1, own.arrays["at_tokens"])


def lead_at_spent_tokens(
    right: np.ndarray, tokens: np.ndarray, votes: np.ndarray, vote_tokens: np.ndarray
) -> float:
    """Accuracy of streams of 4 contexts minus that of votes with the tokens that the streams really spent.

    Args:
        right, tokens: of streams of 1, 2, 4 and 8 contexts, shape (seeds, problems, 4).
        votes, vote_tokens: of majorities of 1, 2, 4 and 8; on the straight lines between them.
    """
    at = TIMES.index(4)
    spent, price = tokens[..., at].mean(), vote_tokens.mean((0, 1))
    return float(right[..., at].mean() - np.interp(spent, price, votes.mean((0, 1))))


def mean_gain(own: Tested) -> list[float]:
    """Mean J after minus J before of the backtracks of each seed."""
    return [float(np.mean(ways["after"] - ways["before"])) for ways in own.ways]


def right_lines(own: Tested) -> list[float]:
    """Share of the backtracks to the right line, of each seed."""
    return [float(np.mean(ways["line"] == ways["right"])) for ways in own.ways]


def loss(run: BacktrackingRun) -> float:
    """Mean loss over the second half of a warm start, in nats per learnt token."""
    log = pd.read_csv(run.folder / "log.csv.gz").loss
    return float(log[len(log) // 2 :].mean())


def _rows(own: Tested) -> pd.DataFrame:
    """Curves of one arm with 95% intervals: J by attempt and by token; accuracy of votes and of streams."""
    a, frames = own.arrays, []
    spent = {name: a[f"{name}_tokens"].mean((0, 1)) for name in ("maj", "stream")}
    for metric, x, values in (
        ("J_attempts", range(a["value"].shape[-1]), a["value"]),
        ("J_tokens", TOKEN_GRID, a["at_tokens"]),
        ("maj", spent["maj"], a["maj_right"]),
        ("stream", spent["stream"], a["stream_right"]),
    ):
        found = means_over_seeds(values, seed=0)
        frame = pd.DataFrame({"x": list(x), "value": [f.value for f in found]})
        frame["low"], frame["high"] = [f.low for f in found], [f.high for f in found]
        frames.append(frame.assign(arm=own.arm, metric=metric, seeds=len(values)))
    return pd.concat(frames)[["arm", "metric", "x", "value", "low", "high", "seeds"]]
