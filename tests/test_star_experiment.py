"""The plan of the STaR experiment, its headline numbers on made-up runs, and one run in miniature."""

import numpy as np
import pytest

from experiments import measure, star
from experiments.load import arm_runs
from experiments.plan import RATES, TUNING_SEED
from experiments.records import read_facts, write_run
from experiments.run import MODELS
from experiments.star import (
    ARMS,
    BASES,
    READINGS,
    SEEDS,
    StarRun,
    chosen,
    headline_reading,
    plan,
    tuning_runs,
)
from mrt_lib.files import sha256
from tools.summary import read_summary

SHIPPED_RUNS = sorted(path.parent.name for path in star.RUNS.glob("*/run.json"))
GAINS = {"star": 0.1, "mrt_star_rank": 0.3, "mrt_star_cut": 0.2, "imitate_all": 0.0}
UNTRAINED = {base: arm_runs("untrained", base=base).arrays["value"][0] for base in BASES}


def tune(folder):
    """Tuning runs in which the second rate is best and "rank" the better reading."""
    for arm in ARMS:
        for run, score in zip(tuning_runs(arm), (0.3, 0.5, 0.4), strict=True):
            write_run(folder / run.name, {"validation_J4": score + GAINS[arm]}, [], {})


def test_the_best_of_three_rates_is_chosen_for_every_base_and_seed(tmp_path):
    assert plan(tmp_path) == [StarRun(arm, rate, TUNING_SEED) for arm in ARMS for rate in RATES]
    assert chosen("star", tmp_path) is None
    assert headline_reading(tmp_path) is None
    tune(tmp_path)
    runs = plan(tmp_path)
    assert len({run.name for run in runs}) == len(runs) == len(ARMS) * (3 + len(BASES) * len(SEEDS))
    assert {run.rate for run in runs if not run.tuning} == {RATES[1]}
    assert headline_reading(tmp_path) == "mrt_star_rank"


def test_headline_numbers_of_runs_with_known_gains(tmp_path):
    tune(tmp_path)
    for run in plan(tmp_path):
        if not run.tuning and run.base != "strong":
            write_run(tmp_path / run.name, {}, [], {"value": UNTRAINED[run.base] + GAINS[run.arm]})
    star.write_headline(tmp_path, tmp_path / "summary.json")
    found = read_summary(tmp_path / "summary.json")
    assert len(found) == 2 * (len(ARMS) + 2 + len(star.READINGS))
    for end in ("", "_weak"):
        assert found[f"i4.mrt_star_gain_ratio{end}"]["value"] == pytest.approx(3, rel=1e-4)
        assert found[f"i4.mrt_star_cut_gain_ratio{end}"]["value"] == pytest.approx(2, rel=1e-4)
        assert found[f"i4.mrt_star_gain_difference{end}"]["low"] == pytest.approx(0.2, rel=1e-4)
        assert all(
            found[f"i4.{arm}_gain{end}"]["value"] == pytest.approx(GAINS[arm], abs=1e-6) for arm in ARMS
        )


def test_runs_of_all_arms_differ_in_nothing_but_the_arm():
    first, *others = (star.make_trainer(StarRun(arm, 1e-3, 3)).identity for arm in ARMS)
    assert all({**own, "arm": first["arm"]} == first for own in others)
    assert len({str(own["arm"]) for own in (first, *others)}) == len(ARMS)


def test_a_run_writes_its_records(tmp_path, monkeypatch):
    make = star.make_trainer

    def small(run):
        trainer = make(run)
        trainer.problems = trainer.problems[:20]
        return trainer

    monkeypatch.setattr(star, "make_trainer", small)
    monkeypatch.setattr(measure, "_some", lambda task, split, at_least: task.problems["validation"][:20])
    monkeypatch.setattr(star, "ITERATIONS", 1)
    monkeypatch.setattr(star, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(star, "RUNS", tmp_path / "runs")
    run = StarRun("mrt_star_cut", 1e-3, TUNING_SEED, "strong", steps=2)
    star.execute(run)
    facts = read_facts(run.name, tmp_path / "runs")
    assert StarRun(**facts["run"]) == run
    assert facts["learnt_tokens"] == 2 * star.STEP_TOKENS
    assert 0 < facts["validation_J4"] < 1


def test_every_shipped_run_is_complete_and_from_the_shipped_reasoner():
    planned, bases = plan(), {name: sha256(MODELS / name / "model.safetensors") for name in BASES}
    for name in SHIPPED_RUNS:
        facts = read_facts(name, star.RUNS)
        run = StarRun(**facts["run"])
        assert run.name == name
        assert run in planned, name
        assert facts["base_sha256"] == bases[run.base], name
        assert facts["learnt_tokens"] == star.ITERATIONS * star.STEPS * star.STEP_TOKENS, name


def test_the_recorded_ratio_follows_from_the_raw_runs():
    row = read_summary().get("i4.mrt_star_gain_ratio")
    if row is None:
        pytest.skip("not measured yet")
    found = star.values(("star", *READINGS), "base")
    own, plain = found[headline_reading()].mean(), found["star"].mean()
    start = np.mean(UNTRAINED["base"][:, 4])
    assert row["value"] == pytest.approx((own - start) / (plain - start), rel=1e-6)
