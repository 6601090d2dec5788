"""The loss is the mean over learnt tokens; a killed run ends in the same bits as a straight one."""

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mrt_lib.training.supervised import Example, FinetuneConfig, finetune, warmup_cosine
from recipes.root_search.base import RECIPES, build_model, build_tokenizer, demonstrations

TOKENIZER = build_tokenizer()
CONFIG = FinetuneConfig(steps=6, learning_rate=1e-3, warmup=2, micro_batch_tokens=400, checkpoint_every=2)
RUN = """
import sys, torch
from tests.test_finetuning import CONFIG, small_run
torch.set_num_threads(1)
print("started", flush=True)
small_run(sys.argv[1], report=lambda row: print("step", int(row["step"]), flush=True))
print("finished", flush=True)
"""


def small_run(folder, config=CONFIG, report=lambda _: None):
    model = build_model(TOKENIZER, seed=1)
    log = finetune(
        model, lambda step: demonstrations(TOKENIZER, RECIPES["base"], 0, step)[:8], config, folder, report
    )
    torch.save(model.state_dict(), Path(folder) / "end.pt")
    return model, log


def test_loss_is_the_mean_over_learnt_tokens(tmp_path):
    examples = [Example([5, 20, 21, 1], [False, True, True, True]), Example([5, 30, 1], [False, False, True])]
    model = build_model(TOKENIZER, seed=0)
    with torch.no_grad():
        rows = [model(torch.tensor([e.ids])).logits[0].log_softmax(-1) for e in examples]
    expected = -(rows[0][0, 20] + rows[0][1, 21] + rows[0][2, 1] + rows[1][1, 1]) / 4
    for tokens in (1, 1000):
        config = FinetuneConfig(steps=1, learning_rate=0.0, micro_batch_tokens=tokens)
        log = finetune(build_model(TOKENIZER, seed=0), lambda _: examples, config, tmp_path / str(tokens))
        assert log[0]["loss"] == pytest.approx(float(expected), abs=1e-5)
        assert log[0]["tokens"] == 7


def test_nothing_to_learn_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no example of this step has a token to learn"):
        finetune(build_model(TOKENIZER, 0), lambda _: [Example([5, 1], [True, False])], CONFIG, tmp_path)


def test_learning_rate_warms_up_and_decays():
    rates = [warmup_cosine(step, 100, 10, peak=1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert warmup_cosine(0, 100, 0, peak=1.0) == 1.0


def test_training_learns(tmp_path):
    _, log = small_run(tmp_path, replace(CONFIG, steps=20))
    assert log[-1]["loss"] < log[0]["loss"] - 1


@pytest.mark.slow
def test_killed_run_ends_in_the_same_bits(tmp_path):
    small_run_process(tmp_path / "straight", kill_at=None)
    small_run_process(tmp_path / "killed", kill_at=3)
    assert not (tmp_path / "killed" / "end.pt").exists()
    small_run_process(tmp_path / "killed", kill_at=None)
    straight, killed = (
        torch.load(tmp_path / n / "end.pt", weights_only=True) for n in ("straight", "killed")
    )
    assert all(torch.equal(straight[name], killed[name]) for name in straight)


def small_run_process(folder: Path, kill_at: int | None) -> None:
    folder.mkdir(exist_ok=True)
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", RUN, str(folder)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.split() == ["step", str(kill_at)]:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.wait(120)
    assert process.returncode == (0 if kill_at is None else -signal.SIGKILL)
