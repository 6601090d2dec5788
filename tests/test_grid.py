"""The plan of the comparison of the field's methods, and its two-step run in miniature."""

from dataclasses import replace

import numpy as np
import pytest

from experiments import grid, grid_plan, run
from experiments.grid_plan import (
    GRID,
    RATES,
    SCORE,
    SEEDS,
    UNTRAINED,
    WAVES,
    GridRun,
    chosen,
    contenders,
    plan,
    tuning,
)
from experiments.records import read_arrays, read_facts, write_run
from mrt_lib.tasks import SHIPPED
from mrt_lib.tasks.root_search import OFFSETS


def tuned(folder, arm, best=1):
    """All tuning runs of an arm, the rate of index `best` on top."""
    for _ in range(2):
        for i, setting in enumerate(tuning(arm, folder)):
            for one in setting:
                write_run(folder / one.name, {SCORE: 0.5 if i == best else 0.1}, [], {})


def test_every_arm_is_tried_with_five_settings_and_three_seeds(tmp_path):
    for arm in GRID:
        tuned(tmp_path, arm)
        found = tuning(arm, tmp_path)
        assert len({(own[0].knob, own[0].rate) for own in found}) == len(found) == 5, arm
        assert all(one.tuning for own in found for one in own)
        assert (chosen(arm, tmp_path).rate, chosen(arm, tmp_path).knob) == (RATES[1], GRID[arm].knobs[0])
    dler = tuning("dler", tmp_path)
    assert [(own[0].knob, own[0].rate) for own in dler[3:]] == [("sequence_mean", 1e-3), ("own", 7e-4)]


def test_every_arm_is_in_one_wave_and_no_run_is_planned_twice(tmp_path):
    assert sorted(arm for wave in WAVES for arm in wave) == sorted(GRID)
    for arm in GRID:
        tuned(tmp_path, arm)
    names = [one.name for one in plan(tmp_path)]
    assert len(set(names)) == len(names) == 2 + 16 * (5 * 3 + 5) + 6 * 5


def test_more_seeds_are_for_arms_that_touch_the_best_ones_interval(tmp_path):
    rng = np.random.default_rng(0)
    means = dict.fromkeys(GRID, 0.3) | {"brpo": 0.7095, "igpo": 0.71, "grpo": 0.6}
    assert contenders(tmp_path) == []
    for arm, mean in means.items():
        tuned(tmp_path, arm)
        for seed in SEEDS:
            values = np.full((40, 17), mean) + rng.normal(0, 0.02, (40, 1))
            write_run(tmp_path / replace(chosen(arm, tmp_path), seed=seed).name, {}, [], {"value": values})
    assert contenders(tmp_path) == ["brpo", "igpo"]
    assert sum(one.seed >= len(SEEDS) and not one.tuning for one in plan(tmp_path)) == 10


def test_far_offsets_are_functions_that_no_base_has_seen():
    far = grid.FarOffsets(31)
    assert far.name == "root_search_31_far"
    assert not {p.facts["b"] for p in far.problems["test"]} & set(OFFSETS)
    digits = {len(p.question.split("=")[1].split("b")[0].split()) for p in far.problems["test"]}
    assert digits == {4}
    assert far not in SHIPPED


@pytest.mark.parametrize("arm", ["brpo_4", "s_grpo"])
def test_an_arm_of_the_grid_trains_and_is_tested_on_everything(tmp_path, monkeypatch, arm):
    monkeypatch.setattr(run, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(run, "VALIDATE_EVERY", 1)
    monkeypatch.setattr(grid, "RUNS", tmp_path)
    monkeypatch.setattr("experiments.measure._some", lambda task, split, _: task.problems[split][:2])
    one = GridRun(arm, GRID[arm].knobs[0], 1e-3, 0, steps=1)
    grid.execute(one)
    facts, arrays = read_facts(one.name, tmp_path), read_arrays(one.name, tmp_path)
    assert 0 <= facts[SCORE] <= 1
    assert facts["run"]["task"] == "root_search_63"
    edges = {f"value_{task.name}" for task in grid.OTHERS if task.name != "root_search_63"}
    assert edges <= set(arrays)


def test_the_untrained_run_is_scored_too(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(grid, "RUNS", tmp_path)
    monkeypatch.setattr("experiments.measure._some", lambda task, split, _: task.problems[split][:2])
    grid.execute(UNTRAINED)
    assert UNTRAINED.done(tmp_path)
    assert grid_plan.SCORE in read_facts(UNTRAINED.name, tmp_path)
