"""Table and headline numbers of the trained language model, from made-up runs with known answers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments import words_results
from experiments.records import write_run
from experiments.words_plan import TESTED, UNTRAINED, chosen, tuning_runs
from experiments.words_results import BUDGETS, by_arm, pass_at_k, write_results
from tools.summary import read_summary

PROBLEMS, ROLLOUTS = 3, 4
# J after every episode of a trained model of each arm; the untrained one stays at .2.
LEVELS = {"grpo": 0.4, "grpo_exact": 0.5, "mrt_regret_to_go": 0.6, "mrt_online_4": 0.3}


def made_up(folder, run, level):
    """Records of a run whose J is `level` at every prefix and problem, 20 tokens an episode."""
    shape = (PROBLEMS, ROLLOUTS)
    arrays = {}
    for family in (family for families in TESTED.values() for family in families):
        arrays[f"values_{family.name}"] = np.full((*shape, 9), level + 0.001 * run.seed)
        arrays[f"tokens_{family.name}"] = np.tile(70 + 20 * np.arange(9), (*shape, 1))
        arrays[f"finished_{family.name}"] = np.ones(shape, dtype=bool)
    write_run(folder / run.name, {"validation_J4": level}, [], arrays)


@pytest.fixture
def runs(tmp_path):
    made_up(tmp_path, UNTRAINED, 0.2)
    for arm, level in LEVELS.items():
        for _ in range(2):
            for run in tuning_runs(arm, tmp_path):
                write_run(tmp_path / run.name, {"validation_J4": 0.1}, [], {})
        for seed in range(2):
            made_up(tmp_path, replace(chosen(arm, tmp_path), seed=seed), level)
    return tmp_path


def test_the_headline_numbers(runs, tmp_path):
    table, summary = tmp_path / "words.csv", tmp_path / "summary.json"
    write_results(runs, table, summary)
    found = {name.removeprefix("lm."): row for name, row in read_summary(summary).items()}
    ratios = {"gain_ratio": 2.0, "gain_ratio_paper": 0.5, "gain_ratio_exact_outcome": 1.5}
    ratios |= {"credit_over_exact_outcome": 4 / 3, "gain_ratio_difference": 0.2}
    for name, value in (ratios | {"edge_gain": 0.4, "hard_gain": 0.4, "unseen_family_gain": 0.4}).items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-2), name
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name
        assert found[name]["n"] == 2
    # From 70 tokens on MRT leads by .2; before it both curves rise to their J in a straight line.
    assert found["regret_margin_vs_grpo"]["value"] == pytest.approx(0.2 * (1 - 35 / BUDGETS[0]), rel=1e-2)
    frame = pd.read_csv(table)
    own = frame[(frame.arm == "grpo") & (frame.problems == "unseen") & (frame.metric == "J")]
    assert own.value.tolist() == pytest.approx([0.4005] * 9)
    assert set(frame.problems) == set(TESTED)
    assert frame.notna().all(axis=None) or set(frame[frame.isna().any(axis=1)].metric) == {"finished"}


def test_without_two_common_seeds_there_is_a_table_and_no_ratio(tmp_path):
    made_up(tmp_path, UNTRAINED, 0.2)
    write_results(tmp_path, tmp_path / "words.csv", tmp_path / "summary.json")
    assert set(pd.read_csv(tmp_path / "words.csv").arm) == {"untrained"}
    assert read_summary(tmp_path / "summary.json") == {}
    assert by_arm(tmp_path / "nothing") == {}


def test_without_runs_nothing_is_written(tmp_path):
    write_results(tmp_path / "none", tmp_path / "words.csv", tmp_path / "summary.json")
    assert list(tmp_path.iterdir()) == []


def test_pass_at_k_by_hand():
    values = np.array([1.0, 0.0, 0.5, 0.5])
    pairs = [1, 1, 1, 0.5, 0.5, 0.75]
    np.testing.assert_allclose(pass_at_k(values), [0.5, np.mean(pairs), 1.0])
    assert words_results.KS == (1, 2, 4)
