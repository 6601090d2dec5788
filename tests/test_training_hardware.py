"""Training on the hardware at hand: number formats, memory, a dashboard for those who ask."""

import subprocess
import sys

import pytest
import torch

from mrt_lib.arms import GRPO, MRTExact
from mrt_lib.reasoner import Reasoner
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Trainer, run
from tests.small_training import SETTINGS, TASK, trainer


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_base_trains(dtype):
    half = Trainer(
        Reasoner.load("data/models/strong", dtype=dtype),
        TASK,
        TASK.problems["train"][:5],
        MRTExact("progress", 1.0),
        TrainConfig(**SETTINGS),
    )
    row = half.step()
    assert row["grad_norm"] > 0
    assert half.learner.sampler.dtype == getattr(torch, dtype)


@pytest.mark.slow
def test_what_does_not_fit_in_memory_says_what_to_reduce(tmp_path):
    """A process that may use 2 GiB more samples 16,384 rollouts at once."""
    program = f"""
import resource, torch
torch.set_num_threads(1)
from tests.small_training import trainer
from mrt_lib.arms import GRPO
from mrt_lib.training.loop import run
large = trainer(GRPO(), group=8192, generation_batch_tokens=10**7)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, -1))
run(large, {str(tmp_path)!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("MemoryError: step 0 does not fit in memory; reduce micro_batch_tokens")


def test_a_dashboard_is_three_lines_of_ones_own(tmp_path):
    """As docs/troubleshooting.md shows it: any callable may watch the log."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tmp_path)

    def board(log):
        for name, number in log[-1].items():
            writer.add_scalar(name, number, int(log[-1]["step"]))

    log = run(trainer(GRPO(), steps=2), tmp_path / "run", board)
    writer.flush()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    rewards = [(event.step, event.value) for event in events.Scalars("reward")]
    assert rewards == [(row["step"], pytest.approx(row["reward"])) for row in log]
