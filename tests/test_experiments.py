"""The plan of the experiments, and that the committed tables follow from the committed raw runs."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments import plan
from experiments.headline import best_arm, gain_ratio
from experiments.load import arm_runs
from experiments.plan import (
    ARMS,
    FINE_RATES,
    FINE_SEEDS,
    RATES,
    TUNING_SEED,
    Run,
    chosen,
    chosen_on_weak,
    fine_tuning,
    finely_chosen,
    tuning_runs,
)
from experiments.records import RUNS, read_arrays, read_facts, write_run
from experiments.run import MODELS, make_trainer
from experiments.tables import every_arm, majority
from mrt_lib.files import sha256
from tools.summary import read_summary

SHIPPED_RUNS = sorted(path.parent.name for path in RUNS.glob("*/run.json"))


def write_tuning(folder, scores):
    for run, score in scores.items():
        write_run(folder / run.name, {"validation_J4": score}, [], {})


def test_tuning_tries_three_rates_and_then_the_other_knob_at_the_best(tmp_path):
    rates = [Run("grpo", True, rate, TUNING_SEED) for rate in RATES]
    assert tuning_runs("grpo", tmp_path) == rates
    write_tuning(tmp_path, dict(zip(rates, (0.3, 0.5, 0.4), strict=True)))
    others = [replace(rates[1], knob=knob) for knob in (False, "sequence_mean")]
    assert tuning_runs("grpo", tmp_path) == [*rates, *others]
    assert chosen("grpo", tmp_path) is None


@pytest.mark.parametrize(("other", "knob"), [(0.6, False), (0.4, True)])
def test_the_highest_validation_value_is_chosen(tmp_path, other, knob):
    rates = [Run("grpo", True, rate, TUNING_SEED) for rate in RATES]
    write_tuning(tmp_path, dict(zip(rates, (0.3, 0.5, 0.4), strict=True)))
    write_tuning(tmp_path, {tuning_runs("grpo", tmp_path)[3]: other, tuning_runs("grpo", tmp_path)[4]: 0.1})
    assert (chosen("grpo", tmp_path).knob, chosen("grpo", tmp_path).rate) == (knob, RATES[1])
    assert chosen("length_penalty_1", tmp_path).knob == knob


def tuned(folder, arm, best=1):
    """The first tuning of an arm, done: its rates, then its other knobs, which are worse."""
    scores = [0.1, 0.1, 0.1]
    scores[best] = 0.5
    write_tuning(folder, dict(zip(tuning_runs(arm, folder), scores, strict=True)))
    write_tuning(folder, dict.fromkeys(tuning_runs(arm, folder)[3:], 0.2))


def test_the_fine_tuning_takes_the_best_mean_of_three_seeds(tmp_path):
    assert fine_tuning("grpo", tmp_path) == []
    tuned(tmp_path, "grpo")
    rates = fine_tuning("grpo", tmp_path)
    assert [own[0].rate for own in rates] == list(FINE_RATES)
    assert all([run.seed for run in own] == list(FINE_SEEDS) for own in rates)
    for own, scores in zip(rates, ([0.9, 0, 0], [0.4, 0.4, 0.4], [0, 0.5, 0.6], [0.3] * 3), strict=True):
        write_tuning(tmp_path, dict(zip(own, scores, strict=True)))
    knobs = fine_tuning("grpo", tmp_path)[len(rates) :]
    assert [(own[0].knob, own[0].rate) for own in knobs] == [(False, 7e-4), ("sequence_mean", 7e-4)]
    assert finely_chosen("grpo", tmp_path) is None
    write_tuning(tmp_path, dict.fromkeys(knobs[0], 0.41) | dict.fromkeys(knobs[1], 0.3))
    best = finely_chosen("grpo", tmp_path)
    assert (best.knob, best.rate, best.arm) == (False, 7e-4, "grpo")


def test_a_choice_that_a_control_of_the_rate_has_already_goes_by_its_name(tmp_path):
    tuned(tmp_path, "grpo", best=1)
    tuned(tmp_path, "mrt_regret_to_go", best=0)
    weak = [replace(run, base="weak") for run in tuning_runs("grpo", tmp_path)]
    write_tuning(tmp_path, dict(zip(weak, (0.6, 0.5, 0.1, 0.2, 0.2), strict=True)))
    best = chosen_on_weak("grpo", tmp_path)
    assert (best.arm, best.base, best.rate) == ("grpo_at_mrt_rate", "weak", 7e-4)
    assert chosen_on_weak("grpo_exact", tmp_path) is None


def test_no_run_is_planned_twice_and_no_test_seed_is_a_tuning_seed():
    runs = plan.plan()
    assert len({run.name for run in runs}) == len(runs)
    assert not any(run.tuning for run in runs if run.seed < TUNING_SEED)


def test_every_arm_has_its_own_knobs_or_takes_over_tuned_ones():
    for arm, spec in ARMS.items():
        assert len(spec.knobs) == (0 if spec.like else 3), arm
        assert not spec.like or ARMS[spec.like].knobs, arm


def test_runs_differ_in_nothing_but_arm_rate_and_seed():
    a, b = (make_trainer(Run(arm, True, 1e-3, seed=3)).config for arm in ("grpo", "grpo_exact"))
    assert a == b


def test_every_shipped_run_is_complete_and_from_the_shipped_reasoner():
    bases = {name: sha256(MODELS / name / "model.safetensors") for name in ("base", "weak", "strong")}
    for name in SHIPPED_RUNS:
        facts = read_facts(name)
        assert Run(**facts["run"]).name == name
        assert facts["base_sha256"] == bases[facts["run"]["base"]], name
        assert facts["provenance"]["commit"] != "unknown", name
        if facts["run"]["seed"] < TUNING_SEED:
            values = read_arrays(name)["value"]
            assert 0 <= values.min() <= values.max() <= 1, name


@pytest.mark.skipif(not SHIPPED_RUNS, reason="no runs yet")
def test_the_committed_table_follows_from_the_raw_runs():
    table = pd.read_csv("data/results/arms.csv")
    arms = {(a.run.arm, a.run.base, a.run.task, a.run.steps): a for a in every_arm()}
    for row in table[(table.metric == "J") & (table.x == 4)].itertuples():
        arm = arms[row.arm, row.base, row.task, row.steps]
        assert len(arm.seeds) == row.seeds
        assert arm.arrays["value"][..., 4].mean() == pytest.approx(row.value, abs=1e-5)


def test_the_headline_gain_follows_from_the_raw_runs():
    row = read_summary().get("i2.gain_ratio_train_budget")
    if row is None:
        pytest.skip("not measured yet")
    found = gain_ratio(best_arm(), arm_runs("grpo"), arm_runs("untrained"), 4)
    assert found.value == pytest.approx(row["value"], rel=1e-6)
    assert (found.low, found.high) == pytest.approx((row["low"], row["high"]), rel=1e-6)


def test_majority_votes_of_one_are_plain_accuracy():
    votes = np.array([[[3, 3, 5, 0, 3, 3, 1, 2, 3, 3]]])
    arrays = {"votes": votes, "gold": np.array([[3]]), "vote_tokens": np.full((1, 1, 10), 40)}
    accuracy, tokens = majority(arrays)
    assert accuracy[0, 0, 0] == pytest.approx(0.6)
    assert accuracy[0, 0, 9] == 1
    assert tokens[0, 0] == 40


def test_records_are_json_and_arrays_without_pickle(tmp_path):
    write_run(tmp_path / "x", {"a": 1}, [{"step": 0.0, "b": 1 / 3}], {"value": np.array([[0.25]])})
    assert json.loads((tmp_path / "x" / "run.json").read_text()) == {"a": 1}
    assert read_arrays("x", tmp_path)["value"] == pytest.approx(0.25)
