"""The training loop: resuming, refusing, logging, stopping."""

import csv
import json
import math
import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mrt_lib.arms import GRPO, GRPOExact, MRTExact, MRTOffline, Rollout
from mrt_lib.arms.base import repeat
from mrt_lib.files import load_checkpoint, save_checkpoint, write_csv
from mrt_lib.thoughts.traces import Trace, load_traces
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.guards import deferred_interrupt
from mrt_lib.training.loop import run
from mrt_lib.training.losses import LossConfig
from tests.small_training import CASES, TASK, case, ending, same_bits, trainer

COLUMNS = {"step", "learning_rate", "reward", "value", "progress", "regret", "thought_tokens", "episodes"}
COLUMNS |= {"credited_tokens", "idle_tokens"}
COLUMNS |= {"finished", "silent_groups", "entropy", "advantage", "loss", "clip_share", "kl", "grad_norm"}
COLUMNS |= {
    "policy_tokens",
    "prover_tokens",
    "generate_seconds",
    "prove_seconds",
    "update_seconds",
    "seconds",
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stop_after(step):
    def report(log):
        if len(log) == step:
            raise RuntimeError("lights out")

    return report


@pytest.mark.parametrize("name", CASES)
def test_a_run_resumed_in_its_middle_ends_in_the_same_bits(name, tmp_path):
    done = case(name).config.checkpoint_every
    log = run(case(name), tmp_path / "straight")
    assert all(any(row["grad_norm"] > 0 for row in half) for half in (log[:done], log[done:]))
    with pytest.raises(RuntimeError, match="lights out"):
        run(case(name), tmp_path / "resumed", stop_after(done))
    half = ending(tmp_path / "resumed")
    assert len(half["log"]) == done
    run(case(name), tmp_path / "resumed")
    straight, resumed = ending(tmp_path / "straight"), ending(tmp_path / "resumed")
    assert same_bits(straight, resumed)
    assert not same_bits(straight["learner"]["trained"], half["learner"]["trained"])


def test_a_finished_run_is_not_run_again(tmp_path):
    first = run(trainer(GRPOExact(), steps=1), tmp_path)
    assert run(trainer(GRPOExact(), steps=1), tmp_path, stop_after(1)) == first


def test_the_seed_decides_the_run(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        run(trainer(GRPOExact(), steps=1, seed=seed), tmp_path / name)
    a, b = (ending(tmp_path / name)["log"][0] for name in "ab")
    assert a["value"] != b["value"]


def test_another_run_in_the_same_folder_is_refused_by_name(tmp_path):
    run(trainer(GRPOExact(), steps=1), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for arm, changes, name in (
        (GRPOExact(), {"steps": 2}, "steps"),
        (GRPOExact(), {"steps": 1, "seed": 3, "loss": LossConfig("grpo")}, "loss, seed"),
        (GRPOExact(), {"steps": 1, "lora": None}, "lora"),
        (GRPOExact(scale=False), {"steps": 1}, "arm"),
        (MRTExact("progress", 0.0), {"steps": 1}, "arm"),
    ):
        with pytest.raises(ValueError, match=f"holds a run with another {name}; use a new folder"):
            run(trainer(arm, **changes), tmp_path)
    with pytest.raises(ValueError, match="holds a run with another problems; use a new folder"):
        run(trainer(GRPOExact(), problems=TASK.problems["train"][5:10], steps=1), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert json.loads(before["config.json"])["arm"] == {"class": "GRPOExact", "scale": True}


@pytest.mark.parametrize("arm", [GRPO(), MRTExact("progress", 1.0), MRTOffline()], ids=repr)
def test_a_budget_inside_the_first_episode_is_refused(arm):
    with pytest.raises(ValueError, match="thinking_tokens=5 is less than one episode, raise it"):
        trainer(arm, thinking_tokens=5).step()


def test_a_budget_of_exactly_one_episode_trains():
    row = trainer(GRPO(), thinking_tokens=11).step()
    assert row["episodes"] == pytest.approx(1, abs=0.1)


def test_nothing_to_train_on_or_with():
    with pytest.raises(ValueError, match="no problems to train on"):
        trainer(GRPO(), problems=[])
    with pytest.raises(ValueError, match=r"`collect` must give a list of 16 rollouts, .*; got 0 items"):
        trainer(SimpleNamespace(collect=lambda *_: [], credit=lambda *_: [])).step()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": 1}, "a group of 1 has nothing to be compared with"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"prompts": 0}, "prompts must be a whole number of at least 1, got 0"),
        ({"snapshot_every": 0}, "snapshot_every must be a whole number of at least 1"),
        ({"updates": 5, "prompts": 4}, "5 updates cannot share 4 problems"),
        ({"lora": None, "loss": LossConfig(kl=0.1)}, "the KL term needs LoRA"),
    ],
)
def test_configurations_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)


def test_the_log_file_has_every_column_and_every_step(tmp_path):
    log = run(trainer(MRTExact("progress", 1.0), steps=2, checkpoint_every=1), tmp_path)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == COLUMNS
    assert [{name: float(text) for name, text in row.items()} for row in rows] == log
    first = log[0]
    assert [row["step"] for row in log] == [0, 1]
    assert first["value"] == first["reward"] == pytest.approx(0.15, abs=0.12)
    assert 0 < first["regret"] < 1
    assert 0 < first["entropy"] < math.log(146)
    assert 1 <= first["episodes"] <= 24
    assert first["thought_tokens"] * 16 <= first["policy_tokens"] <= (first["thought_tokens"] + 1) * 16
    assert first["prover_tokens"] > 0 < first["prove_seconds"]
    assert first["generate_seconds"] + first["prove_seconds"] + first["update_seconds"] <= first["seconds"]


def test_an_arm_without_values_logs_nan_for_them(tmp_path):
    row = trainer(GRPO()).step()
    assert {name for name, number in row.items() if math.isnan(number)} == {"value", "progress", "regret"}
    assert row["prover_tokens"] == row["prove_seconds"] == 0


@dataclass(frozen=True)
class Explosive(GRPOExact):
    """Advantages that are finite here and infinite in single precision."""

    def credit(self, rollouts, horizon):
        return [np.full(r.tokens, 1e300) for r in rollouts]


def test_a_step_that_is_not_finite_keeps_its_traces(tmp_path):
    broken = trainer(Explosive())
    before = {name: p.detach().clone() for name, p in broken.learner.trained().items()}
    with pytest.raises(FloatingPointError, match="loss"):
        run(broken, tmp_path)
    assert load_traces(tmp_path / "failed_step.parquet") == [r.trace for r in broken.rollouts]
    assert not broken.log
    assert not (tmp_path / "checkpoint.pt").exists()
    assert all(torch.equal(before[name], p) for name, p in broken.learner.trained().items())


def test_advantages_that_are_not_finite_are_refused():
    arm = SimpleNamespace(
        collect=GRPOExact().collect, credit=lambda rs, _: [np.full(r.tokens, np.nan) for r in rs]
    )
    with pytest.raises(ValueError, match="finite advantages"):
        trainer(arm).step()


@pytest.mark.parametrize(("n", "prompts"), [(5, 2), (3, 7), (4, 4)])
def test_every_problem_is_drawn_once_per_round_in_a_new_order(n, prompts):
    drawn, trace = [], Trace("q", [5, 6], [20, 21], [1, 2], False, thought_log_probs=[-1.0, -1.0])

    def collect(_policy, problems, group, _seed):
        drawn.extend(problems)
        return [Rollout(p, trace, i // group, 0.0) for i, p in enumerate(repeat(problems, group))]

    silent = SimpleNamespace(collect=collect, credit=lambda rs, _: [np.zeros(r.tokens) for r in rs])
    running = trainer(silent, TASK.problems["train"][:n], steps=99, prompts=prompts)
    while len(drawn) < 3 * n:
        running.step()
    rounds = [[p.id for p in drawn[i * n : (i + 1) * n]] for i in range(3)]
    assert [Counter(ids) for ids in rounds] == [Counter(p.id for p in running.problems)] * 3
    assert len({tuple(ids) for ids in rounds}) > 1


@pytest.fixture
def usual():
    """Python's own answer to Ctrl-C, also where pytest runs in a background that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_until_it_is_asked_for(usual):
    with deferred_interrupt() as raise_interrupt:
        raise_interrupt()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            raise_interrupt()
    assert signal.getsignal(signal.SIGINT) is usual


def test_a_second_interrupt_does_not_wait(usual):
    with deferred_interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is usual


def test_other_threads_train_without_signals():
    done = []

    def body():
        with deferred_interrupt() as raise_interrupt:
            raise_interrupt()
            done.append(True)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "state.pt"
    assert load_checkpoint(path, torch.device("cpu")) is None
    save_checkpoint(path, {"step": 1})
    monkeypatch.setattr(torch, "save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path, torch.device("cpu")) == {"step": 1}


def test_csv_has_the_union_of_all_columns(tmp_path):
    write_csv(tmp_path / "log.csv", [{"a": 1.0}, {"a": 2.0, "b": 0.5}])
    assert (tmp_path / "log.csv").read_text().split() == ["a,b", "1.0,", "2.0,0.5"]
