"""Stages of a training run: which are refused, which budget a step has, and that resuming keeps the bits."""

import json

import pytest
import torch

from mrt_lib.arms import GRPO, MRTExact
from mrt_lib.training.config import Stage, TrainConfig
from mrt_lib.training.loop import run
from mrt_lib.training.losses import LossConfig
from tests.small_training import ending, same_bits, trainer

SHORT_LONG = (Stage(0, 3, 11, 1), Stage(3, 6, 33, 3))
SETTINGS = {"steps": 6, "checkpoint_every": 2, "stages": SHORT_LONG}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stages(*ranges):
    return tuple(Stage(start, stop, 22, 2) for start, stop in ranges)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (
            [(0, 5), (3, 9)],
            r"stage 1 \(from step 3\) overlaps what comes before it; it must start at 5",
        ),
        (
            [(0, 2), (2, 4), (6, 9)],
            r"stage 2 \(from step 6\) leaves out steps before it; it must start at 4",
        ),
        ([(4, 9), (0, 4)], r"stage 0 \(from step 4\) leaves out steps before it; it must start at 0"),
        ([(0, 4), (4, 8)], r"the last stage of a run of 9 steps must stop at 9, not at 8"),
        ([(0, 10)], r"the last stage of a run of 9 steps must stop at 9, not at 10"),
    ],
)
def test_stages_that_do_not_follow_each_other_are_refused(ranges, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(steps=9, stages=stages(*ranges))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((3, 3, 22, 2), "from step 3 to step 3 has no steps"),
        ((-1, 3, 22, 2), "from step -1 to step 3 has no steps"),
        ((0, 3, 0, 2), "stage: thinking_tokens must be a whole number of at least 1, got 0"),
        ((0, 3, 22, 0), "stage: episodes must be a whole number of at least 1, got 0"),
    ],
)
def test_a_stage_that_makes_no_sense(fields, message):
    with pytest.raises(ValueError, match=message):
        Stage(*fields)


def test_every_step_has_the_budget_of_its_stage():
    config = TrainConfig(**SETTINGS)
    assert [config.budget(step).thinking_tokens for step in range(6)] == [11, 11, 11, 33, 33, 33]
    whole = TrainConfig(steps=2, thinking_tokens=24, episodes=2)
    assert whole.budget(0) == whole.budget(1) == Stage(0, 2, 24, 2)


def test_thoughts_keep_within_the_budget_of_their_stage():
    running = trainer(GRPO(), **SETTINGS)
    longest = []
    for _ in range(5):
        running.step()
        longest.append(max(len(r.trace.thought_ids) for r in running.rollouts))
    assert max(longest[:3]) <= 11 < min(longest[3:])
    assert max(longest) <= 33


class Horizons(MRTExact):
    """Keeps the horizons that it is given."""

    seen = ()

    def credit(self, rollouts, horizon):
        type(self).seen += (horizon,)
        return super().credit(rollouts, horizon)


def test_regret_and_credit_are_those_of_the_stage():
    running = trainer(Horizons("regret_to_go", 1.0), steps=2, stages=(Stage(0, 1, 22, 2), Stage(1, 2, 22, 4)))
    for episodes in (2, 4):
        row = running.step()
        values = [r.trace.values for r in running.rollouts]
        kept = [[own[min(j, len(own) - 1)] for j in range(1, episodes + 1)] for own in values]
        assert row["regret"] == pytest.approx(1 - sum(map(sum, kept)) / (16 * episodes))
        assert Horizons.seen[-1] == episodes


@pytest.mark.parametrize("normalisation", [pytest.param("dapo", marks=pytest.mark.slow), "dr_grpo"])
def test_one_stage_is_a_run_of_that_budget(normalisation, tmp_path):
    plain = {"steps": 2, "thinking_tokens": 22, "episodes": 2, "loss": LossConfig(normalisation)}
    run(trainer(MRTExact("regret_to_go", 1.0), **plain), tmp_path / "plain")
    staged = {**plain, "thinking_tokens": 44, "episodes": 4, "stages": (Stage(0, 2, 22, 2),)}
    run(trainer(MRTExact("regret_to_go", 1.0), **staged), tmp_path / "staged")
    assert same_bits(ending(tmp_path / "plain"), ending(tmp_path / "staged"))


@pytest.mark.parametrize("stop", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_run_resumed_across_a_stage_boundary_ends_in_the_same_bits(stop, tmp_path):
    def lights_out(log):
        if len(log) == stop - 1:
            raise RuntimeError("lights out")

    def start():
        return trainer(MRTExact("regret_to_go", 1.0), **SETTINGS)

    run(start(), tmp_path / "straight")
    with pytest.raises(RuntimeError, match="lights out"):
        run(start(), tmp_path / "resumed", lights_out)
    assert len(ending(tmp_path / "resumed")["log"]) == stop - 1
    run(start(), tmp_path / "resumed")
    assert same_bits(ending(tmp_path / "straight"), ending(tmp_path / "resumed"))
    again = start()
    run(again, tmp_path / "resumed")
    assert again.policy.thinking.max_new_tokens == 33


def test_stages_are_part_of_a_run_and_readable_in_its_configuration(tmp_path):
    run(trainer(GRPO(), steps=1, stages=(Stage(0, 1, 22, 2),)), tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())["stages"]
    assert saved == [{"start": 0, "stop": 1, "thinking_tokens": 22, "episodes": 2}]
    with pytest.raises(ValueError, match="holds a run with another stages; use a new folder"):
        run(trainer(GRPO(), steps=1, stages=(Stage(0, 1, 33, 3),)), tmp_path)
