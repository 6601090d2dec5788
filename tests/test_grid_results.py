"""Numbers of the field side by side, from made-up runs with known answers; its tables from real ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments import grid, grid_results, run
from experiments.grid_effects import write_effects
from experiments.grid_plan import GRID, SCORE, UNTRAINED, GridRun
from experiments.grid_results import numbers, on_weak, rivals, write_results
from experiments.load import ArmRuns

SEEDS, PROBLEMS = 5, 6
# J after five episodes; the untrained model has .1.
LEVELS = dict.fromkeys(GRID, 0.3) | {
    "grpo": 0.2,
    "grpo_exact": 0.4,
    "mrt_regret_to_go": 0.5,
    "mrt_progress": 0.35,
    "brpo": 0.45,
    "mig": 0.5,
    "mrt_online_4": 0.15,
}


def made_up(arm, level, seeds=SEEDS):
    rng = np.random.default_rng(len(arm))
    noise = rng.normal(0, 1e-3, (seeds, PROBLEMS, 1))
    ramp = np.minimum(np.arange(17), 5) / 5
    arrays = {
        "value": 0.1 + (level - 0.1) * ramp + noise - noise.mean(),
        "regret_oracle": np.full((seeds, PROBLEMS, 5), 1 - level) + noise - noise.mean(),
        "thought_tokens": np.full((seeds, PROBLEMS), 50.0 if arm == "dler" else 100.0),
    }
    one = UNTRAINED if arm == "untrained" else GridRun(arm, None, 1e-3, 0)
    return ArmRuns(one, list(range(seeds)), [{SCORE: level}] * seeds, arrays, {})


FOUND = {"untrained": made_up("untrained", 0.1, 1)} | {arm: made_up(arm, J) for arm, J in LEVELS.items()}


def test_the_bars():
    got = {name: interval for name, interval, _ in (*numbers(FOUND), *rivals(FOUND), *on_weak(FOUND))}
    exact, sampled = 0.25 + 0.35 + 0.4 + 0.4, 0.05 + 3 * 0.2
    for name, value in {
        "grpo_gain": 0.1,
        "gain_ratio_hard": 4.0,
        "gain_ratio_hard_paper": 2.0,  # mrt_offline, whose validation is the better of the paper's two
        "gain_ratio_hard_exact_outcome": 3.0,
        "credit_over_exact_outcome": 4 / 3,
        "best_vs_brpo_gain": 4 / 3.5,
        "exact_vs_sampled_gain": exact / sampled,
        "regret_margin_vs_best_rival": 0.0,  # MIG has as much
        "brpo_least_lead": 0.05,  # after one episode: a fifth of .25
        "dler_length": 0.5,
        "dler_lead": 0.1,
        "gain_ratio_weak": 4.0,
    }.items():
        assert got[name].value == pytest.approx(value, abs=2e-2), name
        assert got[name].low <= got[name].value <= got[name].high, name


def test_each_effect_is_a_difference_of_two_arms(tmp_path):
    write_effects(FOUND, tmp_path / "effects.csv")
    table = pd.read_csv(tmp_path / "effects.csv").set_index(["part", "arm", "episodes"])
    assert len(table) == 2 * (16 + 6 + 5)
    for row, value in {
        ("gain", "grpo", 5): 0.1,
        ("credit", "mrt_regret_to_go", 5): 0.1,
        ("credit", "mrt_progress", 10): -0.05,
        ("values", "mrt_progress", 5): 0.2,
        ("values", "grpo_exact", 10): 0.2,
    }.items():
        assert table.loc[row, "value"] == pytest.approx(value, abs=5e-3), row
        assert table.loc[row, "low"] <= table.loc[row, "value"] <= table.loc[row, "high"]
    assert set(table.seeds) == {SEEDS}


def test_arms_that_are_not_there_yet_are_left_out():
    few = {arm: FOUND[arm] for arm in ("untrained", "grpo", "mrt_regret_to_go")}
    assert {name for name, *_ in numbers(few)} == {
        "grpo_gain",
        "gain_ratio_hard",
        "gain_ratio_hard_difference",
    }
    assert list(rivals(few)) == list(numbers({"untrained": FOUND["untrained"]})) == []


def test_tables_of_a_run_in_miniature(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(run, "VALIDATE_EVERY", 1)
    monkeypatch.setattr(grid, "RUNS", tmp_path / "runs")
    monkeypatch.setattr("experiments.measure._some", lambda task, split, _: task.problems[split][:2])
    own = GridRun("grpo", True, 1e-3, 0, steps=1)
    monkeypatch.setattr(grid_results, "chosen", lambda arm, _: own if arm == "grpo" else None)
    for one in (UNTRAINED, own, *(replace(own, seed=n) for n in (1, 2))):
        assert not (tmp_path / "grid.csv").exists()
        grid.execute(one)
        write_results(tmp_path / "runs", tmp_path, tmp_path / "summary.json")
    table = pd.read_csv(tmp_path / "grid.csv")
    assert set(table.arm) == {"untrained", "grpo"}
    assert {"pass_at_k", "J_root_search_31_far", "regret_oracle"} <= set(table.metric)
    passed = table[(table.arm == "grpo") & (table.metric == "pass_at_k")].value
    assert len(passed) == 10
    assert passed.is_monotonic_increasing
    assert set(pd.read_csv(tmp_path / "grid_training.csv").seed) == {0, 1, 2}
