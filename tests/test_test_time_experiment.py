"""The experiment of the test-time methods: its table and numbers follow from the raw rows; its figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from experiments import test_time_results as results
from experiments.palette import SERIES
from experiments.records import read_facts, write_run
from experiments.test_time import methods
from experiments.test_time_plots import FOUR, WORDS, draw_four
from mrt_lib import plots
from mrt_lib.files import sha256
from tools.summary import read_summary

DONE = all(read_facts(name, results.ROWS) for name in results.MODELS)
shipped = pytest.mark.skipif(not DONE, reason="not run yet")


def rows(right, policy, prover=0.0):
    """Two problems, all with the same tokens."""
    spent = np.zeros((len(results.KINDS), 2))
    spent[0], spent[2], spent[3], spent[5] = right, policy, prover, 1000
    return spent


@pytest.fixture
def folder(tmp_path):
    votes = {f"maj_at_k:{k}": rows([0.5, 0.1 * min(k, 5)], 10 * k) for k in results.KS}
    mrt = votes | {"linearised:4": rows([1, 0.5], 22, 3), "pass_at_k:1": rows([0.5, 0.5], 12)}
    for name in results.MODELS:
        write_run(tmp_path / name, {}, [], mrt)
    return tmp_path


def test_numbers_by_hand(folder):
    found = results.numbers(folder)
    assert found["linearised_vs_parallel_4x"][0].value == pytest.approx(0.75 - 0.45)
    # 25 tokens are halfway between 2 and 3 votes; what was read again does not count
    assert found["linearised_vs_parallel_4x_spent"][0].value == pytest.approx(0.75 - 0.375)
    assert found["one_trace_vs_base_maj8_tokens"][0].value == pytest.approx(12 / 80)


def test_fewer_tokens_are_no_gain_at_a_lower_accuracy():
    ones = np.ones(2)
    assert results.share_of_tokens(0.4 * ones, 10 * ones, 0.5 * ones, 40 * ones) == float("inf")
    assert results.share_of_tokens(0.5 * ones, 10 * ones, 0.5 * ones, 40 * ones) == 0.25


def test_the_table_has_a_row_for_every_method_and_knob(folder):
    frame = results.table(folder)
    assert len(frame) == 3 * (len(results.KS) + 2)
    row = frame[(frame.model == "base") & (frame.method == "linearised")].iloc[0]
    assert (row.knob, row.accuracy, row.tokens, row.reread) == ("4", 0.75, 25, 1000)


def test_methods_that_are_drawn_have_a_look_and_no_two_are_the_same_run():
    keys = [(name, knob) for name, knob, _, _ in methods(None)]
    assert len(set(keys)) == len(keys)
    known = {name.split(" x")[0] for name in SERIES}
    assert {name for name, _ in keys} - known == {"linearised_window_1", "linearised_window_3"}


def test_the_figure_draws_four_methods_for_every_model():
    keys = [
        ("maj_at_k", "1"),
        ("maj_at_k", "4"),
        ("beam_own", "1x4"),
        ("beam_own", "2x4"),
        ("linearised", "4"),
    ]
    keys += [("linearised", "4"), ("best_of_n_own", "4"), ("stop_and_vote", "2x8"), ("pass_at_k", "4")]
    frame = pd.DataFrame(keys, columns=["method", "knob"]).assign(low=0.1, high=0.9, accuracy=0.5)
    frame["tokens"] = range(20, 20 + len(keys))
    plots.use_style()
    figure = draw_four(pd.concat([frame.assign(model=name) for name in ("base", "grpo")]))
    assert [len(ax.containers[1].lines[0].get_xdata()) for ax in figure.axes] == [2, 2]
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["base", "GRPO"]
    words = [text.get_text() for text in figure.legends[0].texts]
    assert sorted(words) == sorted(WORDS[method] for method in FOUR)
    plt.close(figure)


@shipped
def test_the_committed_table_follows_from_the_raw_rows():
    shipped_table = pd.read_csv(results.TABLE)
    rebuilt = results.table().astype({"knob": str})
    pd.testing.assert_frame_equal(rebuilt, shipped_table, rtol=1e-4, check_dtype=False)


@shipped
def test_the_recorded_numbers_follow_from_the_raw_rows():
    summary = read_summary()
    for name, (found, unit) in results.numbers().items():
        row = summary[f"i4.{name}"]
        assert (row["value"], row["low"], row["high"]) == pytest.approx((found.value, found.low, found.high))
        assert row["unit"] == unit


@shipped
def test_rows_come_from_the_shipped_weights():
    folders = {"base": "base/model", "verifier": "verifier/adapter_model"}
    for name in results.MODELS:
        facts = read_facts(name, results.ROWS)
        for source, digest in facts["weights_sha256"].items():
            weights = folders.get(source, f"adapters/{source}/adapter_model")
            assert digest == sha256(f"data/models/{weights}.safetensors"), name
        assert facts["provenance"]["commit"] != "unknown", name
        assert list(facts["kinds"]) == list(results.KINDS), name
