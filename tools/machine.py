"""What this machine is used for, said before anything long: the GPU or not, which preset, how many hours."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mrt_lib.provenance import installed

if TYPE_CHECKING:  # the set-up cell loads nothing heavy
    from mrt_lib.reasoner import Reasoner
    from mrt_lib.tasks.base import Problem
    from mrt_lib.training.config import TrainConfig
    from mrt_lib.training.presets import Preset

# The smallest computation that needs a kernel of the GPU's own kind.
PROBE = "import torch\nif torch.cuda.is_available(): (torch.zeros(8, device='cuda') + 1).sum().item()"
PROBE_TOKENS = 16
BRANCHES = 4


def hide_unusable_gpu() -> None:
    """Where PyTorch cannot compute on the GPU, as on a P100 that it lacks code for, take the CPU and say so.

    Tried in a process of its own, because a process that has looked at its GPUs goes on seeing them. One that
    computes on them already is left alone.
    """
    torch = sys.modules.get("torch")
    if shutil.which("nvidia-smi") is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return
    if torch and torch.cuda.is_initialized():
        return
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    if done.returncode:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        reasons = [line for line in done.stderr.splitlines() if "rror: " in line]
        reason = (reasons or done.stderr.splitlines() or ["no reason given"])[0]
        print(f"The CPU is used: PyTorch cannot compute on this GPU ({reason}). A T4 or newer would do.")


def choose() -> Preset:
    """The preset for this machine and what is installed on it; prints which one, and why."""
    from mrt_lib.training.presets import preset_for_this_machine

    preset = preset_for_this_machine()
    print(why(preset))
    return preset


def why(preset: Preset) -> str:
    """One or two sentences: what was chosen on this machine, and for which reason."""
    import torch

    from mrt_lib.engines.vllm_engine import TESTED
    from mrt_lib.models import hardware_dtype
    from mrt_lib.training.presets import choose_preset

    if not torch.cuda.is_available():
        apple = torch.backends.mps.is_available()
        seen = "an Apple GPU, which nothing here was tested on" if apple else "no GPU that PyTorch can use"
        text = f"Preset cpu, for the models of this course, because there is {seen}."
        return "{} A large model would take {}: {}.".format(text, *hardware_dtype())
    capability, total = torch.cuda.get_device_capability(), torch.cuda.mem_get_info()[1]
    number = f"{capability[0]}.{capability[1]}"
    card = f"{torch.cuda.get_device_name()} ({total / 2**30:.0f} GiB, compute capability {number})"
    if preset.name == "cpu":
        need = "larger ones need 14 GiB and capability 7.5"
        return f"Preset cpu, for the models of this course, on {card}: {need}."
    text = f"Preset {preset.name} on {card}: {preset.dtype}, sampled with {preset.engine}."
    if (larger := choose_preset(capability, total, vllm=True)) != preset:
        here = f"vLLM {found}" if (found := installed("vllm")) else "no vLLM"
        text += f" The card has room for {larger.name}, but that needs vllm{TESTED}, and here is {here}."
    return text


def forecast(reasoner: Reasoner, problems: Sequence[Problem], config: TrainConfig, reported: int = 0) -> str:
    """A sentence that says about how many hours a training will take, by two short measurements.

    Args:
        reasoner: as it will be trained.
        problems: some of them; the first one's prompt is read.
        config: of the training.
        reported: thoughts of reports, of twice the training's length, beside it.
    """
    read, write = pace(reasoner, problems, config)
    rollouts = config.group * (config.prompts or len(problems))
    step = _seconds(read, write, rollouts, config.thinking_tokens, config, learnt=True)
    report = _seconds(read, write, reported, 2 * config.thinking_tokens, config, learnt=False)
    total = config.steps * step + report
    return (
        f"About {_duration(total)} at most on this machine: {config.steps} steps of {_duration(step)} and "
        f"{_duration(report)} of reports, if every thought uses its budget. A run that is stopped goes on."
    )


def pace(reasoner: Reasoner, problems: Sequence[Problem], config: TrainConfig) -> tuple[float, float]:
    """Seconds to read one token of a thought, and to write one more token of a whole batch of thoughts."""
    from mrt_lib.engines.base import Sampling

    prompt = reasoner.prompt(problems[0].question)
    thought = (prompt * math.ceil(config.thinking_tokens / len(prompt)))[: config.thinking_tokens]
    generate = reasoner.engine.generate
    generate([prompt], Sampling(1))  # the first call also prepares
    started = time.perf_counter()
    generate([prompt + thought], Sampling(1))
    read = (time.perf_counter() - started) / (len(prompt) + len(thought))
    started = time.perf_counter()
    written = generate([prompt] * _rows(config, len(problems)), Sampling(PROBE_TOKENS))
    return read, (time.perf_counter() - started) / max(len(found.token_ids) for found in written)


def _rows(config: TrainConfig, problems: int) -> int:
    """Thoughts that are sampled at once."""
    fit = max(1, config.generation_batch_tokens // config.thinking_tokens)
    return min(config.group * (config.prompts or problems), fit)


def _seconds(
    read: float, write: float, rollouts: int, thinking: int, config: TrainConfig, learnt: bool
) -> float:
    """Sampling, forced answers after every episode and, to learn from them, four passes over the thoughts."""
    batch = max(1, config.generation_batch_tokens // thinking)
    prefixes = rollouts * (config.episodes + 1)
    sampled = math.ceil(rollouts / batch) * thinking * write
    forced = (
        prefixes * thinking / 2 * read + math.ceil(prefixes * BRANCHES / batch) * config.answer_tokens * write
    )
    return sampled + forced + (4 * rollouts * thinking * read if learnt else 0.0)


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
