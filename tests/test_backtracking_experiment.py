"""The plan of the backtracking experiment, its numbers on made-up runs, and runs in miniature."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments import backtracking, backtracking_plan, backtracking_results
from experiments.backtracking_measure import BUDGET, TIMES, TOKEN_GRID
from experiments.backtracking_plan import (
    ARMS,
    RL_RATES,
    SCHEMES,
    SEEDS,
    STAR,
    STAR_RATES,
    BacktrackingRun,
    chosen,
    plan,
    seed_runs,
    warm,
)
from experiments.backtracking_results import (
    ORDER,
    complete_seeds,
    lead_at_spent_tokens,
    read,
    write_results,
)
from experiments.plan import TUNING_SEED
from experiments.records import read_facts, write_run
from experiments.statistics import fewer_tokens
from mrt_lib.files import sha256
from tools.summary import read_summary

SHIPPED_RUNS = sorted(path.parent.name for path in backtracking_plan.RUNS.glob("*/run.json"))
# J at the end of the training context; it is reached by a straight line from 0.
J = dict.fromkeys(ORDER, 0.2) | {
    "grpo": 0.4,
    "mrt_backtrack": 0.5,
    "mrt_regret_to_go": 0.8,
    "star": 0.3,
    "mrt_star": 0.4,
}
KNEE = max(tokens for tokens in TOKEN_GRID if tokens < BUDGET)
LOSS = {"warm_start": 0.1, "rise": 0.3, "star_data": 0.2}


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A folder of runs in which the second rate is best."""
    for module in (backtracking_plan, backtracking_results):
        monkeypatch.setattr(module, "RUNS", tmp_path)
    monkeypatch.setattr(backtracking_results, "TABLE", tmp_path / "table.csv")
    return tmp_path


def tune():
    for arm in ARMS:
        for run, score in zip(backtracking_plan.tuning_runs(arm), (0.3, 0.5, 0.4, 0.1), strict=True):
            write_run(run.folder, {"validation_J": score}, [], {})


def arrays(value):
    """Records of a model whose J rises straight to `value` just before the training context ends."""
    curve = value * np.minimum(1, (np.array(TOKEN_GRID) - TOKEN_GRID[0]) / (KNEE - TOKEN_GRID[0]))
    four, ways = np.full((3, len(TIMES)), value), np.array([value, value])
    return {
        "value": np.full((3, 9), value),
        "at_tokens": np.tile(curve, (3, 1)),
        **{f"{name}_{what}": four for name in ("maj", "stream") for what in ("right", "tokens")},
        **{f"way_{name}": ways for name in ("problem", "after", "redone", "line")},
        "way_before": np.zeros(2),
        "way_right": np.array([value, 9.0]),
    }


def test_four_rates_are_tried_for_every_arm_and_nothing_starts_before_its_tuning(made_up):
    assert chosen("grpo") is None
    assert seed_runs("grpo") == []
    tune()
    runs = plan()
    assert len({run.name for run in runs}) == len(runs)
    assert len(runs) == 2 + len(ARMS) * 4 + len(SEEDS) * (len(SCHEMES) + len(ARMS))
    rates = {run.arm: run.rate for run in runs if run.arm in ARMS and not run.tuning}
    assert rates == {arm: (STAR_RATES if arm in STAR else RL_RATES)[1] for arm in ARMS}
    assert [run.arm for run in runs if not run.tested and not run.tuning] == ["star_data"] * len(SEEDS)
    assert BacktrackingRun("star", 1e-3, 3).warm_start == warm(3)


def test_numbers_of_runs_with_known_curves(made_up):
    tune()
    for run in plan():
        if not run.tuning:
            facts = {"validation_J": J.get(run.arm, 0.0), "run": {}}
            log = [{"loss": 9.0}, {"loss": LOSS[run.arm]}] if run.warms else []
            write_run(run.folder, facts, log, arrays(J[run.arm]) if run.tested else {})
    write_results(made_up / "summary.json")
    found = {name.removeprefix("i4."): row for name, row in read_summary(made_up / "summary.json").items()}
    assert found["backtracking_token_efficiency"]["n"] == len(SEEDS)
    # Half of the way up to 0.8, grid of two tokens: GRPO's 0.4.
    half = (TOKEN_GRID[0] + KNEE) / 2
    assert found["backtracking_token_efficiency"]["value"] == pytest.approx(BUDGET / half, rel=1e-3)
    assert found["backtracking_gain_ratio"]["value"] == pytest.approx(3, rel=1e-4)
    assert found["backtracking_gain_ratio_star"]["value"] == pytest.approx(2, rel=1e-4)
    assert found["backtracking_gain_grpo"]["value"] == pytest.approx(0.2)
    assert found["backtrack_gain_difference"]["value"] == pytest.approx(0.4)
    assert found["backtrack_right_line_difference"]["value"] == pytest.approx(0)
    assert found["warm_start_loss_backtrack_minus_rise"]["value"] == pytest.approx(-0.2)
    assert found["backtracking_linearised_vs_parallel_4x"]["value"] == pytest.approx(0)
    assert found["backtracking_linearised_vs_parallel_4x_spent"]["value"] == pytest.approx(0, abs=1e-6)
    table = pd.read_csv(made_up / "table.csv")
    assert set(table.arm) == set(ORDER)
    assert set(table.metric) == {"J_attempts", "J_tokens", "maj", "stream"}


def test_a_seed_counts_only_when_every_run_of_it_is_there(made_up):
    tune()
    for run in plan():
        if run.seed == 0 or (run.seed == 1 and run.arm != "grpo"):
            facts, log = {"validation_J": 0.1}, [{"loss": 0.1}] if run.warms else []
            write_run(run.folder, facts, log, arrays(0.4) if run.tested else {})
    assert complete_seeds() == [0]
    assert len(read("star").facts) == 1
    write_results(made_up / "summary.json")
    assert pd.read_csv(made_up / "table.csv").seeds.eq(1).all()
    assert not (made_up / "summary.json").exists()


def test_a_stream_is_compared_with_votes_at_the_tokens_that_it_spent():
    prices, right = np.full((2, 3, 4), (10.0, 20.0, 40.0, 80.0)), np.full((2, 3, 4), (0.1, 0.2, 0.4, 0.8))
    # The stream of 4 contexts spent 30 tokens, where votes are halfway from .2 to .4.
    assert lead_at_spent_tokens(right + 0.1, prices - 10, right, prices) == pytest.approx(0.5 - 0.3)


def test_an_arm_that_never_gets_there_saves_no_token():
    low, high = (np.tile(arrays(v)["at_tokens"], (2, 1, 1)) for v in (0.2, 0.5))
    assert fewer_tokens(low, high, TOKEN_GRID, BUDGET) == 0
    assert fewer_tokens(high, high, TOKEN_GRID, BUDGET) == pytest.approx(1, rel=0.02)
    assert np.interp(BUDGET, TOKEN_GRID, high[0, 0]) == pytest.approx(0.5)


@pytest.mark.parametrize("arm", [pytest.param("rise", marks=pytest.mark.slow), "mrt_backtrack", "mrt_star"])
def test_a_run_writes_its_records(arm, made_up, monkeypatch):
    monkeypatch.setattr(backtracking_plan, "SCRATCH", made_up / "scratch")
    monkeypatch.setattr(backtracking, "SCRATCH", made_up / "scratch")
    monkeypatch.setattr(backtracking, "RL_STEPS", 2)
    monkeypatch.setattr(backtracking, "ITERATIONS", 1)
    monkeypatch.setattr(
        backtracking, "WARM", replace(backtracking.WARM, steps=2, warmup=1, checkpoint_every=2)
    )
    monkeypatch.setattr(backtracking, "STAR_STEPS", 2)
    for split in ("train", "validation"):
        monkeypatch.setitem(backtracking.TASK.problems, split, backtracking.TASK.problems[split][:20])
    run = BacktrackingRun(arm, 1e-3, TUNING_SEED)
    backtracking.execute(run)
    facts = read_facts(run.name, made_up)
    assert BacktrackingRun(**facts["run"]) == run
    assert facts["base_sha256"] == sha256(backtracking.BASE / "model.safetensors")
    assert 0 < facts["validation_J"] < 1
    start = run if run.warms else run.warm_start
    assert (start.model_folder / "model.safetensors").is_file()


def test_every_shipped_run_is_in_the_plan_and_from_the_shipped_reasoner():
    planned, base = plan(), sha256(backtracking.BASE / "model.safetensors")
    for name in SHIPPED_RUNS:
        facts = read_facts(name, backtracking_plan.RUNS)
        run = BacktrackingRun(**facts["run"])
        assert run.name == name
        assert run in planned, name
        assert facts["base_sha256"] == base, name
