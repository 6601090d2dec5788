"""Table and headline numbers of the trained language model, at every number of seeds that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.headline import ratio_of_gains
from experiments.records import read_arrays, read_facts, write_table
from experiments.statistics import difference, fewer_tokens
from experiments.words_plan import BUILD, EPISODES, RUNS, TESTED, UNTRAINED, chosen
from mrt_lib.measure.regret import normalised_regret, value_at
from mrt_lib.measure.stats import Interval, means_over_seeds, over_seeds
from recipes.words.search import Family
from tools.summary import SUMMARY, record

TABLE = Path("data/results/words.csv")
COLUMNS = ["arm", "problems", "metric", "x", "value", "low", "high", "seeds"]
COMMAND = "python -m experiments.words"
# Tokens of prompt, thought, stop text and answer: about one, two, four and seven episodes when untrained.
BUDGETS = (90, 110, 150, 210)
CREDIT = ("mrt_regret_to_go", "mrt_progress")
PAPER = ("mrt_online_4", "mrt_offline")
KS = (1, 2, 4)


@dataclass(frozen=True)
class Tested:
    """The tested runs of one arm, by seed, with what was recorded of each."""

    facts: dict[int, dict[str, Any]]
    arrays: dict[int, dict[str, np.ndarray]]

    def of(self, name: str, families: Sequence[Family], seeds: Iterable[int] | None = None) -> np.ndarray:
        """An array of the problems of these families, shape (seeds, problems, rollouts, ...)."""
        chosen_ones = [self.arrays[seed] for seed in seeds or self.arrays]
        return np.stack([np.concatenate([own[f"{name}_{f.name}"] for f in families]) for own in chosen_ones])

    @property
    def validated(self) -> float:
        """Mean validation J after four episodes over the seeds."""
        return float(np.mean([facts["validation_J4"] for facts in self.facts.values()]))


def by_arm(runs: Path = RUNS) -> dict[str, Tested]:
    """Arm to its tested seeds, the untrained model among them; arms without any are left out."""
    settings = {"untrained": UNTRAINED} | {arm: best for arm in BUILD if (best := chosen(arm, runs))}
    found = {}
    for arm, setting in settings.items():
        done = {n: name for n in range(10) if read_facts(name := replace(setting, seed=n).name, runs)}
        if done:
            facts = {n: read_facts(name, runs) or {} for n, name in done.items()}
            found[arm] = Tested(facts, {n: read_arrays(name, runs) for n, name in done.items()})
    return found


def write_results(runs: Path = RUNS, table: Path = TABLE, summary: Path = SUMMARY) -> None:
    """The table from the first tested run on, and `lm.*` from two common seeds on."""
    found = by_arm(runs)
    if not found:
        return
    rows = [row for arm, own in found.items() for row in _rows(arm, own)]
    write_table(pd.DataFrame(rows, columns=COLUMNS), table)
    for name, interval, unit in numbers(found):
        record(f"lm.{name}", interval, unit, COMMAND, summary)


def _rows(arm: str, own: Tested) -> Iterator[tuple]:
    for problems, families in TESTED.items():
        values, tokens = own.of("values", families), own.of("tokens", families)
        for metric, xs, array in (
            ("J", range(values.shape[-1]), values.mean(2)),
            ("tokens", range(values.shape[-1]), tokens.mean(2)),
            ("J_at_tokens", BUDGETS, at_tokens(tokens, values)),
            ("regret", BUDGETS, regret(tokens, values)),
            ("pass_at_k", KS, pass_at_k(values[..., EPISODES])),
            ("finished", [np.nan], own.of("finished", families).mean(2)[..., None]),
        ):
            for x, mean in zip(xs, means_over_seeds(array, seed=0), strict=True):
                yield arm, problems, metric, x, mean.value, mean.low, mean.high, len(array)


def pass_at_k(values: np.ndarray) -> np.ndarray:
    """Chance that one of k thoughts' answers is right, from J of shape (..., rollouts); (..., `KS`)."""
    rollouts = range(values.shape[-1])
    missed = [[np.prod(1 - values[..., list(some)], -1) for some in combinations(rollouts, k)] for k in KS]
    return np.stack([1 - np.mean(own, axis=0) for own in missed], axis=-1)


def at_tokens(tokens: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean J at `BUDGETS`, shape (seeds, problems, budgets)."""
    return _over_rollouts(lambda t, v: value_at(t, v, BUDGETS), tokens, values)


def regret(tokens: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean normalised regret against the oracle up to `BUDGETS`, shape (seeds, problems, budgets)."""
    return _over_rollouts(lambda t, v: [normalised_regret(t, v, b) for b in BUDGETS], tokens, values)


def _over_rollouts(read: Callable[..., Any], tokens: np.ndarray, values: np.ndarray) -> np.ndarray:
    flat = (array.reshape(-1, array.shape[-1]) for array in (tokens, values))
    return np.array([read(t, v) for t, v in zip(*flat, strict=True)]).reshape(*values.shape[:3], -1).mean(2)


def numbers(found: dict[str, Tested]) -> Iterator[tuple[str, Interval, str]]:
    """The headline numbers whose arms have two common seeds; in-distribution unless the name says more."""
    ours, paper = _best(found, CREDIT), _best(found, PAPER)
    for name, own, rival in (
        ("gain_ratio", ours, "grpo"),
        ("gain_ratio_paper", paper, "grpo"),
        ("gain_ratio_exact_outcome", "grpo_exact", "grpo"),
        ("credit_over_exact_outcome", ours, "grpo_exact"),
    ):
        if seeds := _common(found, own, rival):
            J = [found[arm].of("values", TESTED["in"], seeds)[..., EPISODES].mean(2) for arm in (own, rival)]
            yield name, _crossed(ratio_of_gains, *J, _start(found, "in", seeds)), "times the gain"
            yield f"{name}_difference", _crossed(difference, *J), "probability"
    if seeds := _common(found, ours, "grpo"):
        both = [
            [found[arm].of(name, TESTED["in"], seeds) for name in ("tokens", "values")]
            for arm in (ours, "grpo")
        ]
        fewer = partial(fewer_tokens, grid=BUDGETS, budget=BUDGETS[-2])
        yield "token_efficiency", _crossed(fewer, *(at_tokens(*own) for own in both)), "times fewer tokens"
        leads = _crossed(_least_lead, *(regret(*own) for own in both))
        yield "regret_margin_vs_grpo", leads, "normalised regret"
        for problems, name in (("edge", "edge"), ("hard", "hard"), ("unseen", "unseen_family")):
            J = found[ours].of("values", TESTED[problems], seeds)[..., EPISODES].mean(2)
            yield f"{name}_gain", _crossed(difference, J, _start(found, problems, seeds)), "probability"


def _best(found: dict[str, Tested], arms: Sequence[str]) -> str:
    """The arm with the highest validation J over its seeds; the first where none has any."""
    return max((arm for arm in arms if arm in found), key=lambda arm: found[arm].validated, default=arms[0])


def _common(found: dict[str, Tested], own: str, rival: str) -> list[int]:
    """The seeds of both arms, if there are two of them and the untrained model was tested."""
    if not {own, rival, "untrained"} <= found.keys():
        return []
    seeds = sorted(found[own].arrays.keys() & found[rival].arrays.keys())
    return seeds if len(seeds) > 1 else []


def _start(found: dict[str, Tested], problems: str, seeds: Sequence[int]) -> np.ndarray:
    """The untrained model's J, the same for every seed."""
    J = found["untrained"].of("values", TESTED[problems])[..., EPISODES].mean(2)
    return np.repeat(J, len(seeds), axis=0)


def _least_lead(own: np.ndarray, rival: np.ndarray) -> float:
    return float((rival.mean((0, 1)) - own.mean((0, 1))).min())


def _crossed(statistic: Callable[..., float], *samples: np.ndarray) -> Interval:
    return over_seeds(statistic, *samples, seed=0)
