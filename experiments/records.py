"""Raw records of a run: run.json, log.csv.gz and arrays.npz in a folder of its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mrt_lib.files import whole, write_json

RUNS, SCRATCH = Path("data/results/runs"), Path("build/experiments")
TOTALS = ("policy_tokens", "prover_tokens", "generate_seconds", "prove_seconds", "update_seconds", "seconds")


def write_run(
    folder: Path,
    facts: Mapping[str, Any],
    log: Sequence[Mapping[str, float]],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """run.json comes last: a folder that has it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    if log:
        rounded = [{key: float(f"{x:.6g}") for key, x in row.items()} for row in log]
        packing = {"method": "gzip", "mtime": 0}  # the same log is the same file
        with whole(folder / "log.csv.gz") as temporary:
            pd.DataFrame(rounded).to_csv(temporary, index=False, compression=packing)
    if arrays:
        with whole(folder / "arrays.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **{n: _shrink(a) for n, a in arrays.items()})
    write_json(folder / "run.json", dict(facts))


def read_facts(name: str, runs: Path = RUNS) -> dict[str, Any] | None:
    """run.json of a complete run, or None."""
    path = runs / name / "run.json"
    return json.loads(path.read_text()) if path.exists() else None


def read_arrays(name: str, runs: Path = RUNS) -> dict[str, np.ndarray]:
    """The per-problem arrays of a run that touched the test problems."""
    with np.load(runs / name / "arrays.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _shrink(array: np.ndarray) -> np.ndarray:
    """Floats as float32."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """A table as CSV with six digits, whole or not at all."""
    with whole(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")
