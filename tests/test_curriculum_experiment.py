"""The plan of the curriculum experiment, its numbers on made-up runs, its figure, a run in miniature."""

from dataclasses import asdict, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from experiments import curriculum, curriculum_plan, curriculum_results, measure
from experiments.curriculum_plan import (
    ARMS,
    SEEDS,
    THOUGHT_TOKENS,
    TRAININGS,
    CurriculumRun,
    plan,
    seed_runs,
)
from experiments.curriculum_results import COLUMNS, TABLE, numbers, trained, write_results
from experiments.figures import draw_curriculum
from experiments.load import arm_runs
from experiments.plan import STEPS, TASKS, TUNING_SEED, chosen
from experiments.records import read_arrays, read_facts, write_run
from experiments.run import MODELS, make_trainer
from mrt_lib import Reasoner, plots
from mrt_lib.engines import Sampling
from mrt_lib.files import sha256
from tools.summary import read_summary

SHIPPED_RUNS = sorted(path.parent.name for path in curriculum_plan.RUNS.glob("*/run.json"))
PROBLEMS = 207  # as many as the main set, with which they are compared
REGRET = {"only_2": 0.1, "only_8": 0.3, "2_then_8": {"grpo": 0.15, "mrt_regret_to_go": 0.25}}


def made_up_noise(seed):
    return np.random.default_rng(seed).uniform(0, 0.5, (PROBLEMS, 1))


def made_up(folder, *runs):
    """Regrets as above plus the same noise in all; J after 16 episodes is 1 - regret of a problem."""
    for run in runs:
        own = REGRET[run.training]
        regret = made_up_noise(run.seed) + (own[run.arm] if isinstance(own, dict) else own)
        arrays = {"regret_oracle": np.repeat(regret, 5, 1), "value": np.repeat(1 - regret, 17, 1)}
        write_run(folder / run.name, {"policy_tokens": 100 + 2 * run.seed}, [], arrays)


def test_every_budget_has_the_setting_that_was_tuned_and_seeds_come_one_by_one():
    runs = plan()
    assert len({run.name for run in runs}) == len(runs) == len(ARMS) * len(TRAININGS) * len(SEEDS)
    assert [run.seed for run in runs] == [seed for seed in SEEDS for _ in range(6)]
    for run in runs:
        best = chosen(run.arm)
        assert (run.knob, run.rate) == (best.knob, best.rate)


@pytest.mark.parametrize(
    ("training", "steps"), [("only_2", [273]), ("only_8", [102]), ("2_then_8", [136, 51])]
)
def test_trainings_generate_the_same_tokens(training, steps):
    stages = CurriculumRun("grpo", True, 1e-3, 0, training).stages
    assert [stage.stop - stage.start for stage in stages] == steps
    tokens = [n * THOUGHT_TOKENS[stage.episodes] for n, stage in zip(steps, stages, strict=True)]
    assert tokens == pytest.approx([STEPS * THOUGHT_TOKENS[4] / len(stages)] * len(stages), rel=0.01)


def test_the_base_thinks_as_long_as_the_plan_assumes():
    reasoner = Reasoner.load(MODELS / "base")
    problems = TASKS[curriculum.TASK].problems["train"][::5]
    for episodes, tokens in THOUGHT_TOKENS.items():
        sampling = Sampling(measure.EPISODE_TOKENS * episodes, 1.0, seed=3)
        lengths = [len(thought.thought_ids) for thought in reasoner.think(problems, sampling)]
        assert np.mean(lengths) == pytest.approx(tokens, abs=4 * np.std(lengths) / len(lengths) ** 0.5)


@pytest.mark.parametrize("arm", ARMS)
def test_runs_differ_from_the_main_set_in_nothing_but_steps_and_stages(arm):
    best = chosen(arm)
    main = make_trainer(replace(best, seed=3))
    for run in seed_runs(3):
        if run.arm == arm:
            own = curriculum.make_trainer(run)
            assert replace(own.config, steps=main.config.steps, stages=()) == main.config
            assert own.arm == main.arm


def test_the_short_measurement_gives_the_numbers_of_the_long_one(monkeypatch):
    monkeypatch.setattr(measure, "_some", lambda task, split, at_least: task.problems["validation"][:3])
    reasoner, task = Reasoner.load(MODELS / "base"), TASKS[curriculum.TASK]
    whole, part = (
        measure.test(reasoner, task, tuple(TASKS.values()), forced=True),
        measure.test_thoughts(reasoner, task),
    )
    assert (
        list(part)
        == list(whole)[:8]
        == [
            *("value", "at_tokens", "regret_oracle", "regret_optimum"),
            *("thought_tokens", "episodes", "finished", "negative"),
        ]
    )
    assert all(np.array_equal(part[name], whole[name]) for name in part)


def test_numbers_of_made_up_runs_with_known_regrets(tmp_path):
    made_up(tmp_path, *seed_runs(0), *seed_runs(1), *seed_runs(2)[1:-1])
    write_results(tmp_path, tmp_path / "table.csv", tmp_path / "summary.json")
    found = read_summary(tmp_path / "summary.json")
    expected = {"curriculum_regret_grpo": -0.15, "curriculum_regret_mrt_regret_to_go": -0.05}
    expected |= {f"short_vs_long_regret_{arm}": -0.2 for arm in ARMS}
    expected |= {"curriculum_J16_grpo": 0.15, "curriculum_J16_mrt_regret_to_go": 0.05}
    expected |= {"curriculum_on_mrt_minus_on_grpo": 0.1}
    halves = {f"i4.half_vs_twice_regret_{arm}" for arm in ARMS}
    assert set(found) == {f"i4.{name}" for name in expected} | halves
    for name, value in expected.items():
        row = found[f"i4.{name}"]
        assert (row["low"], row["value"], row["high"]) == pytest.approx([value] * 3, abs=1e-6)
        assert row["n"] == 2
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == 2 * 4 * (17 + 5)
    assert set(table.seeds) == {2}
    assert set(table[table.training != "only_4"].tokens) == {101}
    grpo = arm_runs("grpo")
    noise = np.mean([made_up_noise(seed).mean() for seed in (0, 1)])
    main = grpo.only([0, 1])["regret_oracle"].mean()
    half = found["i4.half_vs_twice_regret_grpo"]["value"]
    assert half == pytest.approx(main - (REGRET["only_8"] + noise), abs=1e-5)
    row = table[(table.arm == "grpo") & (table.training == "only_4") & (table.x == 4)].iloc[0]
    assert row.value == pytest.approx(grpo.only([0, 1])["value"][..., 4].mean(), abs=1e-5)
    assert row.tokens == pytest.approx(np.mean([f["policy_tokens"] for f in grpo.facts[:2]]), abs=1)


def test_one_seed_makes_a_table_and_none_makes_nothing(tmp_path):
    made_up(tmp_path, *seed_runs(0)[1:-1])
    write_results(tmp_path, tmp_path / "table.csv", tmp_path / "summary.json")
    assert not (tmp_path / "table.csv").exists()
    made_up(tmp_path, seed_runs(0)[0])
    write_results(tmp_path, tmp_path / "table.csv", tmp_path / "summary.json")
    table = pd.read_csv(tmp_path / "table.csv")
    assert (set(table.arm), set(table.seeds)) == ({"grpo"}, {1})
    assert not (tmp_path / "summary.json").exists()


def test_the_figure_has_a_panel_for_each_arm_and_a_line_for_each_budget(tmp_path):
    made_up(tmp_path, *seed_runs(0), *seed_runs(1))
    write_results(tmp_path, tmp_path / "table.csv", tmp_path / "summary.json")
    plots.use_style()
    figure = draw_curriculum(pd.read_csv(tmp_path / "table.csv"))
    labels = ["optimum", "2 episodes", "4 episodes", "8 episodes", "2, then 8 episodes"]
    assert [[line.get_label() for line in ax.lines] for ax in figure.axes] == [labels, labels]
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "GRPO, seeds: 2",
        "MRT, regret-to-go, seeds: 2",
    ]
    assert figure.axes[0].lines[4].get_ydata()[16] == pytest.approx(
        figure.axes[0].lines[3].get_ydata()[16] + 0.15, abs=1e-5
    )
    plt.close(figure)


def test_a_run_writes_its_records(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_some", lambda task, split, at_least: task.problems["validation"][:3])
    monkeypatch.setattr(curriculum_plan, "STEPS", 2)
    monkeypatch.setattr(curriculum, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(curriculum, "RUNS", tmp_path / "runs")
    run = CurriculumRun("mrt_regret_to_go", 2.0, 1e-3, 7, "2_then_8")
    for own in (run, replace(run, seed=TUNING_SEED)):
        curriculum.execute(own)
        facts = read_facts(own.name, tmp_path / "runs")
        assert CurriculumRun(**facts["run"]) == own
        assert facts["config"]["stages"] == [asdict(stage) for stage in own.stages]
        assert 32 * 3 * 11 < facts["thought_tokens"] <= facts["policy_tokens"] <= 32 * (2 * 23 + 89)
    assert read_arrays(run.name, tmp_path / "runs")["value"].shape == (3, 17)
    assert not (tmp_path / "runs" / own.name / "arrays.npz").exists()


def test_every_shipped_run_is_complete_and_from_the_shipped_reasoner():
    planned, base = plan(), sha256("data/models/base/model.safetensors")
    for name in SHIPPED_RUNS:
        facts = read_facts(name, curriculum_plan.RUNS)
        run = CurriculumRun(**facts["run"])
        assert run.name == name
        assert run in planned, name
        assert facts["config"]["stages"] == [asdict(stage) for stage in run.stages], name
        assert facts["base_sha256"] == base, name
        assert facts["provenance"]["commit"] != "unknown", name


def test_recorded_numbers_and_table_follow_from_the_raw_runs():
    found = trained()
    if not found:
        pytest.skip("not measured yet")
    rows = [row for key, own in found.items() for row in curriculum_results._rows(*key, own)]
    rebuilt = pd.DataFrame(rows, columns=COLUMNS)
    pd.testing.assert_frame_equal(rebuilt, pd.read_csv(TABLE), rtol=1e-4, check_dtype=False)
    summary = read_summary()
    for name, (interval, _) in numbers(found).items():
        assert summary[f"i4.{name}"]["value"] == pytest.approx(interval.value, rel=1e-6)
