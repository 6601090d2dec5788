"""Table and headline numbers of the training budgets, from seeds of which every run is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.curriculum_plan import ARMS, RUNS, SEEDS, seed_runs
from experiments.load import arm_runs
from experiments.measure import EPISODES, REGRET_BUDGETS
from experiments.records import read_arrays, read_facts, write_table
from experiments.statistics import difference
from mrt_lib.measure.stats import Interval, means_over_seeds, over_seeds
from tools.summary import SUMMARY, record

TABLE = Path("data/results/curriculum.csv")
COLUMNS = ["arm", "training", "metric", "x", "value", "low", "high", "seeds", "tokens"]
COMMAND = "python -m experiments.curriculum"
MAIN = "only_4"


@dataclass(frozen=True)
class Trained:
    """One arm with one training.

    Attributes:
        value: J after 0 .. 16 episodes, shape (seeds, problems, 17).
        regret_oracle: normalised regret at `REGRET_BUDGETS`, shape (seeds, problems, 5).
        tokens: that the policy wrote in training, mean over seeds.
    """

    value: np.ndarray
    regret_oracle: np.ndarray
    tokens: int


def complete_seeds(arm: str, runs: Path = RUNS) -> list[int]:
    """Seeds with every training of an arm, that of the main set included."""
    main = own.seeds if (own := arm_runs(arm)) else []
    by_seed = {seed: [run for run in seed_runs(seed) if run.arm == arm] for seed in SEEDS}
    return [seed for seed, own in by_seed.items() if seed in main and all(run.done(runs) for run in own)]


def trained(runs: Path = RUNS) -> dict[tuple[str, str], Trained]:
    """Arm and training to what it did on the arm's complete seeds; arms without one are left out."""
    found = {}
    for arm, seeds in ((arm, seeds) for arm in ARMS if (seeds := complete_seeds(arm, runs))):
        for training in ("only_2", MAIN, "only_8", "2_then_8"):
            found[arm, training] = _main(arm, seeds) if training == MAIN else _own(arm, training, seeds, runs)
    return found


def _main(arm: str, seeds: list[int]) -> Trained:
    runs = arm_runs(arm)
    tokens = [facts["policy_tokens"] for s, facts in zip(runs.seeds, runs.facts, strict=True) if s in seeds]
    arrays = runs.only(seeds)
    return Trained(arrays["value"], arrays["regret_oracle"], round(np.mean(tokens)))


def _own(arm: str, training: str, seeds: list[int], runs: Path) -> Trained:
    names = [r.name for s in seeds for r in seed_runs(s) if (r.arm, r.training) == (arm, training)]
    arrays = [read_arrays(name, runs) for name in names]
    value, regret = (np.stack([own[key] for own in arrays]) for key in ("value", "regret_oracle"))
    tokens = [read_facts(name, runs)["policy_tokens"] for name in names]
    return Trained(value, regret, round(np.mean(tokens)))


def write_results(runs: Path = RUNS, table: Path = TABLE, summary: Path = SUMMARY) -> None:
    """The table from one complete seed of an arm on, its `i4.*` from two on."""
    found = trained(runs)
    if not found:
        return
    frame = pd.DataFrame([row for key, own in found.items() for row in _rows(*key, own)], columns=COLUMNS)
    write_table(frame, table)
    for name, (interval, unit) in numbers(found).items():
        record(f"i4.{name}", interval, unit, COMMAND, summary)


def _rows(arm: str, training: str, own: Trained) -> Iterator[tuple]:
    for metric, xs, array in (
        ("J", range(EPISODES + 1), own.value),
        ("regret_oracle", REGRET_BUDGETS, own.regret_oracle),
    ):
        for x, mean in zip(xs, means_over_seeds(array, seed=0), strict=True):
            yield arm, training, metric, x, mean.value, mean.low, mean.high, len(array), own.tokens


def numbers(found: dict[tuple[str, str], Trained]) -> dict[str, tuple[Interval, str]]:
    """Headline numbers of arms with two seeds, with units; intervals over seeds and problems, paired."""

    def regrets(arm: str, *trainings: str) -> list[np.ndarray]:
        return [found[arm, training].regret_oracle.mean(-1) for training in trainings]

    regret, result = "normalised regret", {}
    several = [arm for arm in ARMS if (arm, MAIN) in found and len(found[arm, MAIN].value) > 1]
    for arm in several:
        result[f"curriculum_regret_{arm}"] = _nested(difference, *regrets(arm, "2_then_8", "only_8")), regret
        result[f"short_vs_long_regret_{arm}"] = _nested(difference, *regrets(arm, "only_2", "only_8")), regret
        twice = _nested(difference, *regrets(arm, MAIN, "only_8"))
        result[f"half_vs_twice_regret_{arm}"] = twice, regret
        last = [found[arm, training].value[..., EPISODES] for training in ("2_then_8", "only_8")]
        result[f"curriculum_J{EPISODES}_{arm}"] = _nested(difference, *last), "probability"
    if len({len(found[arm, MAIN].value) for arm in several}) == 1 and len(several) == len(ARMS):
        grpo, mrt = (regrets(arm, "2_then_8", "only_8") for arm in ARMS)
        result["curriculum_on_mrt_minus_on_grpo"] = _nested(_difference_of_effects, *mrt, *grpo), regret
    return result


def _difference_of_effects(own: np.ndarray, other: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return difference(own, other) - difference(a, b)


def _nested(statistic: Callable[..., float], *samples: np.ndarray) -> Interval:
    return over_seeds(statistic, *samples, seed=0)
