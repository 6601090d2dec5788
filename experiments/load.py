"""The committed runs as arrays and tidy frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.plan import (
    ARMS,
    GROUP,
    ON_WEAK,
    PROMPTS,
    Run,
    chosen,
    chosen_on_weak,
    tuning_runs,
    weak_grid,
)
from experiments.records import RUNS, read_arrays, read_facts


@dataclass(frozen=True)
class ArmRuns:
    """The tested runs of one tuned arm on one base.

    Attributes:
        run: the tuned setting; its seed means nothing.
        seeds: seeds done, rising.
        facts: run.json of each.
        arrays: name to (seeds, problems, ...).
        forced: the same under budget forcing, which only some of the seeds have.
    """

    run: Run
    seeds: list[int]
    facts: list[dict[str, Any]]
    arrays: dict[str, np.ndarray]
    forced: dict[str, np.ndarray]

    def only(self, seeds: list[int]) -> dict[str, np.ndarray]:
        """The arrays of some of the seeds, in that order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return {name: array[rows] for name, array in self.arrays.items()}


def arm_runs(arm: str, runs: Path = RUNS, **setting: Any) -> ArmRuns | None:
    """All tested seeds of an arm with the setting that was tuned, on the weak base there; None without any.

    Args:
        arm: its name.
        runs: folder of the records.
        **setting: fields of `Run` that differ from its defaults, such as base or task.
    """
    best = Run("untrained", None, 0.0, 0) if arm == "untrained" else chosen(arm, runs)
    if arm in ON_WEAK and setting.get("base") == "weak":
        best = chosen_on_weak(arm, runs)
    if best is None:
        return None
    if arm == "untrained":
        setting |= {"steps": 0, "prompts": PROMPTS, "group": GROUP}
    return setting_runs(replace(best, **setting), runs)


def setting_runs(setting: Run, runs: Path = RUNS) -> ArmRuns | None:
    """All tested seeds of this setting, or None if there is none."""
    found = [run for n in range(100) if (run := replace(setting, seed=n)).done(runs)]
    if not found:
        return None
    arrays = [read_arrays(run.name, runs) for run in found]
    names = dict.fromkeys(name for own in arrays for name in own)
    stacked = {name: np.stack([own[name] for own in arrays if name in own]) for name in names}
    forced = {name: stacked.pop(name) for name in names if name.startswith("forced_")}
    facts = [read_facts(run.name, runs) or {} for run in found]
    return ArmRuns(found[0], [run.seed for run in found], facts, stacked, forced)


def logs(arm: ArmRuns, runs: Path = RUNS) -> pd.DataFrame:
    """The training logs of an arm's seeds with the columns arm, base, task, seed, rollouts, tokens, wall.

    `tokens` is a running sum. `wall` counts every step at the arm's median seconds per step, because the
    machine was not always idle.
    """
    frames = []
    for seed, facts in zip(arm.seeds, arm.facts, strict=True):
        frame = pd.read_csv(runs / Run(**facts["run"]).name / "log.csv.gz")
        frame = frame.assign(arm=arm.run.arm, base=arm.run.base, task=arm.run.task, seed=seed)
        frame["rollouts"], frame["steps"] = arm.run.prompts * arm.run.group, arm.run.steps
        frame["tokens"] = frame.policy_tokens.cumsum()
        frames.append(frame)
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(wall=(joined.step + 1) * joined.seconds.median())


def tuning_frame(runs: Path = RUNS) -> pd.DataFrame:
    """Every tuning run that is done: arm, base, knob, rate, validation J after 4 episodes, chosen or not."""
    grids = {arm: tuning_runs(arm, runs) for arm, spec in ARMS.items() if spec.knobs}
    rows = []
    for run in [run for grid in grids.values() for run in grid] + weak_grid():
        if facts := read_facts(run.name, runs):
            best = (chosen_on_weak if run.base == "weak" else chosen)(run.arm, runs)
            picked = best is not None and (best.knob, best.rate) == (run.knob, run.rate)
            rows.append((run.arm, run.base, str(run.knob), run.rate, facts["validation_J4"], picked))
    return pd.DataFrame(rows, columns=["arm", "base", "knob", "learning_rate", "validation_J4", "chosen"])
