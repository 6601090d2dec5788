"""Training on the hardware at hand: number formats, memory, a dashboard for those who ask."""

import subprocess
import sys

import pytest
import torch
from mrt_lib.training.boards import tensorboard

from mrt_lib.arms import GRPO, MRTExact
from mrt_lib.reasoner import load_reasoner
from mrt_lib.thoughts.templates import TESTBED
from mrt_lib.training.loop import TrainConfig, Trainer, train
from tests.small_training import SETTINGS, TASK, trainer


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_base_trains(dtype):
    model, tokenizer = load_reasoner("data/models/strong", dtype)
    config = TrainConfig(**SETTINGS)
    half = Trainer(
        model, tokenizer, TESTBED, TASK, TASK.problems["train"][:5], MRTExact("progress", 1.0), config
    )
    row = half.step()
    assert row["grad_norm"] > 0
    assert half.learner.sampler.dtype == getattr(torch, dtype)


def test_what_does_not_fit_in_memory_says_what_to_reduce(tmp_path):
    """A process that may use 2 GiB more samples 16,384 rollouts at once."""
    program = f"""
import resource, torch
torch.set_num_threads(1)
from tests.small_training import trainer
from mrt_lib.arms import GRPO
from mrt_lib.training.loop import train
large = trainer(GRPO(), group=8192, generation_batch_tokens=10**7)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, -1))
train(large, {str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("MemoryError: step 0 does not fit in memory; reduce micro_batch_tokens")


def test_tensorboard_gets_every_number_of_every_step(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stop(log):
        if len(log) == 2:
            raise RuntimeError("lights out")

    config = {"steps": 3, "checkpoint_every": 1}
    with pytest.raises(RuntimeError, match="lights out"):
        train(trainer(GRPO(), **config), tmp_path, tensorboard(tmp_path), stop)
    log = train(trainer(GRPO(), **config), tmp_path, tensorboard(tmp_path))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == log[0].keys() - {"step"}
    rewards = [(event.step, event.value) for event in events.Scalars("reward")]
    assert rewards == [(row["step"], pytest.approx(row["reward"])) for row in log]
