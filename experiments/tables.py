"""Tidy tables of all arms: `data/results/arms.csv`, `training.csv`, `tuning.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.load import ArmRuns, arm_runs, logs, tuning_frame
from experiments.measure import EPISODES, OTHER_EPISODES, REGRET_BUDGETS, TOKEN_GRID, VOTES
from experiments.plan import ARMS, PLENTY, STEPS
from experiments.records import RUNS, TOTALS, write_table
from mrt_lib.measure.stats import means_over_seeds
from mrt_lib.measure.voting import majority_at_k

TABLES = Path("data/results")
COLUMNS = ["arm", "base", "task", "steps", "rollouts", "metric", "x", "value", "low", "high", "seeds"]
LOGGED = ("step", "tokens", "wall", "thought_tokens", "episodes", "entropy", "silent_groups", "seconds")


def every_arm() -> list[ArmRuns]:
    """All arms, bases and lengths that have a tested run."""
    settings: list[dict[str, Any]] = [{}, {"base": "weak"}, {"base": "strong"}, PLENTY, {"steps": 3 * STEPS}]
    found = [arm_runs(arm, **setting) for setting in settings for arm in ("untrained", *ARMS)]
    return list({arm.run.name: arm for arm in found if arm is not None}.values())


def write_tables() -> None:
    """Rebuild every table from the raw runs."""
    arms = every_arm()
    rows = [row for arm in arms for row in arm_rows(arm)]
    write_table(pd.DataFrame(rows, columns=COLUMNS), TABLES / "arms.csv")
    write_table(tuning_frame(), TABLES / "tuning.csv")
    trained = [logs(arm) for arm in arms if arm.run.steps]
    if trained:
        frame = pd.concat(trained, ignore_index=True)
        columns = ["arm", "base", "task", "steps", "rollouts", "seed", *LOGGED]
        columns += [f"validation_J{k}" for k in (1, 2, 4, 8)]
        write_table(frame.dropna(subset="validation_J4")[columns], TABLES / "training.csv")


def arm_rows(arm: ArmRuns, runs: Path = RUNS) -> Iterator[tuple]:
    """Every metric of an arm with its interval over seeds and problems; of totals, the range over seeds.

    Seconds are steps x the median step of a seed, and their value is the median seed's: the machine was
    not always idle.
    """
    run = arm.run
    own = (run.arm, run.base, run.task, run.steps, run.prompts * run.group)
    for metric, xs, array in _metrics(arm):
        for x, found in zip(xs, means_over_seeds(array, seed=0), strict=True):
            yield (*own, metric, x, found.value, found.low, found.high, len(array))
    log = logs(arm, runs).groupby("seed") if run.steps else None
    for name in TOTALS:
        if log is not None and name.endswith("seconds"):
            values = (run.steps * log[name].median()).tolist()
        else:
            values = [fact[name] for fact in arm.facts]
        yield (*own, name, np.nan, float(np.median(values)), min(values), max(values), len(arm.seeds))


def _metrics(arm: ArmRuns) -> Iterator[tuple[str, Sequence[float], np.ndarray]]:
    """Name, abscissae and values, shape (seeds, problems, abscissae)."""
    arrays, episodes = arm.arrays, range(EPISODES + 1)
    yield "J", episodes, arrays["value"]
    yield "search", episodes, arrays["search"]
    yield "J_at_tokens", TOKEN_GRID, arrays["at_tokens"]
    if arm.forced:
        yield "forced_J", episodes, arm.forced["forced_value"]
        yield "forced_J_at_tokens", TOKEN_GRID, arm.forced["forced_at_tokens"]
        yield "forced_regret_oracle", REGRET_BUDGETS, arm.forced["forced_regret_oracle"]
    for comparator in ("oracle", "optimum"):
        yield f"regret_{comparator}", REGRET_BUDGETS, arrays[f"regret_{comparator}"]
    for name in (name for name in arrays if name.startswith("value_")):
        yield name.replace("value", "J"), range(OTHER_EPISODES + 1), arrays[name]
    for name in ("thought_tokens", "episodes", "finished", "negative"):
        yield name, [np.nan], arrays[name][..., None]
    for part, whole in (("judgement_error", "prefixes"), ("arithmetic", "format"), ("verdict", "format")):
        yield part, [np.nan], (arrays[part] / np.maximum(arrays[whole], 1))[..., None]
    accuracy, tokens = majority(arrays)
    votes = range(1, VOTES + 1)
    yield "maj_at_k", votes, accuracy
    yield "maj_tokens", votes, tokens[..., None] * np.array(votes)


def majority(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """maj@1 .. maj@10, shape (seeds, problems, 10), and mean tokens of one vote, (seeds, problems)."""
    seeds, problems, _ = arrays["votes"].shape
    accuracy = np.empty((seeds, problems, VOTES))
    for s in range(seeds):
        for p in range(problems):
            answers = [str(a) if a else "" for a in arrays["votes"][s, p]]
            gold = str(arrays["gold"][s, p])
            accuracy[s, p] = [majority_at_k(answers, gold, k) for k in range(1, VOTES + 1)]
    return accuracy, arrays["vote_tokens"].astype(float).mean(2)
