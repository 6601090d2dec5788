"""Does a run fit? A dry step at its largest shapes says so, on whatever device is there."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from mrt_lib.arms.base import Rollout
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.loop import Trainer
from mrt_lib.training.updates import token_row, update

EXTRA = "; then thinking_tokens, prompts x group, or take a smaller model"


@dataclass(frozen=True)
class Phase:
    """A part of a step: what it does to so many rollouts at once, most of them, and what makes it smaller."""

    name: str
    work: Callable[[int], object]
    most: int
    knob: str


def check_fits(trainer: Trainer, free: Callable[[], int] | None = None) -> dict[str, int]:
    """Run each phase of a step with the longest prompt, thought and answer, at 1, 2, 4 .. rollouts at once.

    Nothing is learnt and nothing is drawn. Growing in steps, it stops before the machine does.

    Args:
        free: gives the bytes that are free now; None asks the device.

    Returns:
        Most bytes in use in each phase: on a GPU those allocated there, on a CPU the process's peak so far.

    Raises:
        MemoryError: a phase does not fit; names it, what it took so far, what is free, and what to reduce.
    """
    found, start = {}, _peak()
    for phase in _phases(trainer, _longest(trainer)):
        copies, tried = 1, 0
        while tried < phase.most:
            try:
                phase.work(copies)
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, RuntimeError) and "memory" not in str(error):
                    raise
                raise _too_large(phase, copies, str(error).splitlines()[0]) from error
            found[phase.name], tried, copies = _peak(), copies, min(2 * copies, phase.most)
            taken, left = found[phase.name] - start, (free or free_bytes)()
            if taken > left and tried < phase.most:
                gib = f"{taken / 2**30:.2f} GiB more than the models so far, {left / 2**30:.2f} GiB free"
                raise _too_large(phase, copies, gib)
        start = max(start, found[phase.name])
    trainer.optimizer.zero_grad(set_to_none=True)
    return found


def free_bytes() -> int:
    """Free memory of the first GPU, or the machine's."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    import psutil

    return psutil.virtual_memory().available


def _too_large(phase: Phase, copies: int, detail: str) -> MemoryError:
    return MemoryError(
        f"{phase.name} with {copies} of {phase.most} rollouts at once does not fit into memory ({detail}): "
        f"reduce {phase.knob}{EXTRA}"
    )


def _phases(trainer: Trainer, rollout: Rollout) -> list[Phase]:
    config, policy, trace = trainer.config, trainer.policy, rollout.trace
    size = len(trace.prompt_ids) + len(trace.thought_ids) + len(trace.answer_ids)

    def generate(copies: int) -> object:
        # A whole thought is read at once, then goes on for two tokens: its keys and values, and more.
        full, two = trace.prompt_ids + trace.thought_ids, replace(policy.answering, max_new_tokens=2)
        return policy.reasoner.engine.generate([full] * copies, two)

    def prove(copies: int) -> object:
        return policy.prover.values([rollout.problem] * copies, [trace] * copies)

    def learn(copies: int) -> object:
        row = token_row(policy.reasoner, rollout, np.ones(rollout.tokens))
        frozen = torch.optim.SGD(trainer.learner.trained().values(), lr=0.0)
        return update(trainer.learner, frozen, [row] * copies, [0] * copies, replace(config, updates=1), size)

    def phase(name: str, work: Callable[[int], object], knob: str, setting: str) -> Phase:
        all_of_them = config.group * (config.prompts or len(trainer.problems))
        return Phase(name, work, min(all_of_them, max(1, getattr(config, setting) // size)), knob)

    phases = []
    if trainer.engine is None:  # an engine with memory of its own has taken it when it was loaded
        phases.append(phase("generating", generate, "generation_batch_tokens", "generation_batch_tokens"))
    if policy.task.answers(rollout.problem) is not None:
        phases.append(phase("proving", prove, "prover_batch_tokens", "prover_batch_tokens"))
    knob = "micro_batch_tokens, or set gradient_checkpointing"
    return [*phases, phase("updating", learn, knob, "micro_batch_tokens")]


def _longest(trainer: Trainer) -> Rollout:
    """A rollout as long as any can be, of the longest question; its thought is the prompt, repeated."""
    config = trainer.config
    prompts = [trainer.base.prompt(p.question) for p in trainer.problems]
    i = max(range(len(prompts)), key=lambda i: len(prompts[i]))
    tokens = max(stage.thinking_tokens for stage in (*config.stages, config.budget(0)))
    thought = (prompts[i] * (1 + tokens // len(prompts[i])))[:tokens]
    ends = np.unique(np.linspace(0, tokens, min(config.episodes, tokens) + 1).astype(int))[1:].tolist()
    answer = (thought * config.answer_tokens)[: config.answer_tokens]
    logs = {"thought_log_probs": [-1.0] * tokens, "answer_log_probs": [-1.0] * len(answer)}
    trace = Trace(trainer.problems[i].id, prompts[i], thought, ends, False, answer, **logs)
    return Rollout(trainer.problems[i], trace, group=0, reward=0.0)


def _peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
