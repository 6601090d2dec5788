"""A training run small enough for tests, also in processes that get killed."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import peft  # noqa: F401  imported here once for all processes
import torch
from transformers import Qwen3ForCausalLM  # noqa: F401

from mrt_lib.arms import GRPO, MRTExact, MRTOffline, MRTOnline, MRTSTaR, STaR
from mrt_lib.files import load_checkpoint
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.training.config import Imitation, TrainConfig
from mrt_lib.training.loop import Trainer, run
from mrt_lib.training.lora import LoraSettings
from mrt_lib.training.losses import LossConfig

TASK = RootSearch(31)
SETTINGS = {
    "steps": 4,
    "prompts": 2,
    "group": 8,
    "thinking_tokens": 24,
    "learning_rate": 1e-2,
    "warmup": 1,
    "micro_batch_tokens": 2048,
    "lora": LoraSettings(rank=4, alpha=16),
    "snapshot_every": 2,
    "checkpoint_every": 2,
}
# MRT offline resumes after step 3 with the snapshot of step 2, which no later step takes again.
CASES = {
    "mrt_exact": (MRTExact("regret_to_go", 1.0), {"loss": LossConfig(kl=0.1)}),
    "mrt_offline": (MRTOffline(), {"steps": 6, "checkpoint_every": 3}),
    "mrt_online": (MRTOnline(branches=2), {"loss": LossConfig("dr_grpo"), "updates": 2}),
    "grpo_full": (GRPO(), {"lora": None, "learning_rate": 1e-3, "loss": LossConfig("grpo")}),
}
# What an arm that imitates learns from a collection; its steps are iterations.
IMITATING = {"steps": 2, "prompts": None, "group": 4, "imitation": Imitation(4, 100)}
IMITATIONS = {
    "star": (STaR(), IMITATING),
    "mrt_star_rank": (MRTSTaR("rank"), IMITATING),
    "mrt_star_cut": (MRTSTaR("cut"), IMITATING),
}


def trainer(arm, problems=TASK.problems["train"][:5], **changes):
    """On the strong reasoner, so that most groups have a right answer and a signal."""
    config = TrainConfig(**{**SETTINGS, **changes})
    return Trainer(Reasoner.load("data/models/strong"), TASK, problems, arm, config)


def case(name, **changes):
    arm, settings = (CASES | IMITATIONS)[name]
    return trainer(arm, **{**settings, **changes})


def ending(folder):
    """Everything that a finished run left behind, but for its timings."""
    state = load_checkpoint(Path(folder) / "checkpoint.pt", torch.device("cpu"))
    state["log"] = [{k: v for k, v in row.items() if "seconds" not in k} for row in state["log"]]
    return state


def same_bits(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_bits(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same_bits, a, b))
    return a == b or (a != a and b != b)


def start_run(folder, name, changes, weapon=None):
    """A process of its own that trains; the other end of its pipe gets every step's number."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(folder, name, changes, weapon, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _run(folder, name, changes, weapon, pipe):
    torch.set_num_threads(1)
    if weapon:
        _arm_against_itself(*weapon)
    try:
        run(case(name, **changes), folder, lambda log: pipe.send(len(log)))
    except KeyboardInterrupt:
        sys.exit(130)


def _arm_against_itself(moment, number):
    """SIGKILL at the n-th renaming, right before or right after it, or in the middle of the n-th save."""
    replace, save, count = os.replace, torch.save, {"replace": 0, "save": 0}

    def deadly_replace(source, target):
        count["replace"] += 1
        if (moment, number) == ("before", count["replace"]):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if (moment, number) == ("after", count["replace"]):
            os.kill(os.getpid(), signal.SIGKILL)

    def deadly_save(state, file):
        count["save"] += 1
        save(state, file)
        if (moment, number) == ("half", count["save"]):
            file.flush()
            os.truncate(file.name, Path(file.name).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace, torch.save = deadly_replace, deadly_save
