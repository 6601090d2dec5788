"""Does a run fit? A dry step at its largest shapes says so, on whatever device is there."""

import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mrt_lib.arms.base import Rollout
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.loop import Trainer
from mrt_lib.training.updates import token_row, update


def check_fits(trainer: Trainer, free: Callable[[], int] | None = None) -> dict[str, int]:
    """Run each phase of a step with the longest prompt, thought and answer, at 1, 2, 4 .. rollouts at once.

    Nothing is learnt or drawn. `free` gives the bytes that are free now; None asks the device. Gives the most
    bytes in use in each phase: on a GPU those allocated, on a CPU the process's peak so far. MemoryError
    names the phase that does not fit, what it took, what is free, and what to reduce.
    """
    config, rollout, found, start = trainer.config, _longest(trainer), {}, _peak()
    trace, everything = rollout.trace, config.group * (config.prompts or len(trainer.problems))
    size = len(trace.prompt_ids) + len(trace.thought_ids) + len(trace.answer_ids)
    for name, (knob, work) in _phases(trainer, rollout, size).items():
        most, copies, tried = min(everything, max(1, getattr(config, knob) // size)), 1, 0
        while tried < most:
            try:
                work(copies)
                found[name], tried, copies = _peak(), copies, min(2 * copies, most)
                taken, left = found[name] - start, (free or free_bytes)()
                if taken > left and tried < most:
                    used = f"{taken / 2**30:.2f} GiB more than the models so far"
                    raise MemoryError(f"{used}, {left / 2**30:.2f} GiB free")
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, RuntimeError) and "memory" not in str(error):
                    raise
                instead = ", or set gradient_checkpointing" if name == "updating" else ""
                why = f"rollouts at once does not fit into memory ({str(error).splitlines()[0]})"
                way = f"reduce {knob}{instead}; then thinking_tokens, prompts x group, or the model"
                raise MemoryError(f"{name} with {copies} of {most} {why}: {way}") from error
        start = max(start, found[name])
    trainer.optimizer.zero_grad(set_to_none=True)
    return found


def free_bytes() -> int:
    """Free memory of the first GPU, or the machine's."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    import psutil

    return psutil.virtual_memory().available


def _phases(trainer: Trainer, rollout: Rollout, size: int) -> dict[str, tuple[str, Callable[[int], object]]]:
    """By name: the setting that bounds its tokens, and what it does to so many rollouts at once."""
    policy, trace, learner = trainer.policy, rollout.trace, trainer.learner
    row = token_row(policy.reasoner, rollout, np.ones(rollout.tokens))
    still = torch.optim.SGD(learner.trained().values(), lr=0.0)
    # A whole thought is read at once, then goes on for two tokens: its keys and values, and more.
    full, two = trace.prompt_ids + trace.thought_ids, replace(policy.answering, max_new_tokens=2)
    once = replace(trainer.config, updates=1)
    phases: dict[str, tuple[str, Callable[[int], object]]] = {}
    if trainer.engine is None:  # an engine with memory of its own has taken it when it was loaded
        generate = policy.reasoner.engine.generate
        phases["generating"] = (
            "generation_batch_tokens",
            lambda n: generate([full[i:] + full[:i] for i in range(n)], two),  # equal ones are read once
        )
    if policy.task.answers(rollout.problem) is not None:
        prove = policy.prover.values
        phases["proving"] = "prover_batch_tokens", lambda n: prove([rollout.problem] * n, [trace] * n)
    phases["updating"] = (
        "micro_batch_tokens",
        lambda n: update(learner, still, [row] * n, [0] * n, once, size),
    )
    return phases


def _longest(trainer: Trainer) -> Rollout:
    """A rollout as long as any can be, of the longest question; its thought is the prompt, repeated."""
    config = trainer.config
    prompts = [trainer.base.prompt(p.question) for p in trainer.problems]
    i = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    tokens, episodes = config.longest.thinking_tokens, config.longest.episodes
    thought = (prompts[i] * (1 + tokens // len(prompts[i])))[:tokens]
    ends = np.unique(np.linspace(0, tokens, min(episodes, tokens) + 1).astype(int))[1:].tolist()
    answer = (thought * config.answer_tokens)[: config.answer_tokens]
    logs = [-1.0] * tokens, [-1.0] * len(answer)
    trace = Trace(trainer.problems[i].id, prompts[i], thought, ends, False, answer, *logs)
    return Rollout(trainer.problems[i], trace, group=0, reward=0.0)


def _peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what the parent had when it started this process
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
