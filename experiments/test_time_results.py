"""The table `data/results/test_time.csv` and the numbers `i4.*`, from the raw rows of the methods."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.records import read_arrays, read_facts, write_table
from mrt_lib.measure.stats import Interval, bootstrap, means_over_seeds
from mrt_lib.test_time import Outcome
from tools.summary import record

ROWS, TABLE = Path("data/results/test_time"), Path("data/results/test_time.csv")
MODELS = ("base", "grpo", "mrt_regret_to_go")
MRT = MODELS[-1]
KS = (1, 2, 3, 4, 6, 8, 12, 16)
KINDS = tuple(field.name for field in fields(Outcome))
COMMAND = "python -m experiments.test_time"


def write_results() -> None:
    """Rebuild the table and record the numbers, once all models are done."""
    if any(read_facts(name, ROWS) is None for name in MODELS):
        return
    write_table(table(), TABLE)
    for name, (found, unit) in numbers().items():
        record(f"i4.{name}", found, unit, COMMAND)


def table(rows: Path = ROWS) -> pd.DataFrame:
    """Accuracy with its interval over problems and mean tokens, for every model, method and knob."""
    frames = []
    for name in MODELS:
        for key, array in read_arrays(name, rows).items():
            own = dict(zip(KINDS, array.mean(1).tolist(), strict=True))
            accuracy = means_over_seeds(array[0][None, :, None], seed=0)[0]
            where = dict(zip(("model", "method", "knob"), (name, *key.split(":")), strict=True))
            ends = {"low": accuracy.low, "high": accuracy.high, "tokens": float(_tokens(array).mean())}
            frames.append({**where, "accuracy": own.pop("right"), **ends, **own})
    return pd.DataFrame(frames)


def numbers(rows: Path = ROWS) -> dict[str, tuple[Interval, str]]:
    """The headline numbers of PROTOCOL.md with their units."""
    base, mrt = read_arrays("base", rows), read_arrays(MRT, rows)
    stream, votes = mrt["linearised:4"], [mrt[f"maj_at_k:{k}"] for k in KS]
    right, spent = np.stack([v[0] for v in votes], axis=1), np.stack([_tokens(v) for v in votes], axis=1)
    equal_tokens = (stream[0], _tokens(stream), right, spent)
    one, many = mrt["pass_at_k:1"], base["maj_at_k:8"]
    share = (one[0], _tokens(one), many[0], _tokens(many))
    return {
        "linearised_vs_parallel_4x": (
            bootstrap(lead, stream[0], right[:, KS.index(4)], seed=0),
            "probability",
        ),
        "linearised_vs_parallel_4x_spent": (
            bootstrap(lead_at_equal_tokens, *equal_tokens, seed=0),
            "probability",
        ),
        "one_trace_vs_base_maj8_tokens": (bootstrap(share_of_tokens, *share, seed=0), "share of the tokens"),
    }


def lead(a: np.ndarray, b: np.ndarray) -> float:
    """Difference of mean accuracies."""
    return float(a.mean() - b.mean())


def lead_at_equal_tokens(
    right: np.ndarray, tokens: np.ndarray, votes: np.ndarray, spent: np.ndarray
) -> float:
    """Mean accuracy minus that of votes, shape (problems, K), at the same mean tokens."""
    return float(right.mean() - np.interp(tokens.mean(), spent.mean(0), votes.mean(0)))


def share_of_tokens(right: np.ndarray, tokens: np.ndarray, others: np.ndarray, spent: np.ndarray) -> float:
    """Mean tokens as a share of the others'; infinite for a lower accuracy."""
    return float(tokens.mean() / spent.mean()) if right.mean() >= others.mean() else float("inf")


def _tokens(rows: np.ndarray) -> np.ndarray:
    """policy + prover + verifier, shape (problems,)."""
    return rows[[KINDS.index(kind) for kind in ("policy", "prover", "verifier")]].sum(0)
