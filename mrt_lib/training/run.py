"""`mrt_lib.train`: one call from a reasoner and problems to a trained reasoner."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from mrt_lib.arms.base import Arm, ImitationArm
from mrt_lib.files import claim
from mrt_lib.measure.prover import right_answer_ids
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import check_golds, get_task, read_problems, task_of
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Row, Trainer, run
from mrt_lib.training.memory import check_fits
from mrt_lib.training.presets import preset_for_this_machine


def train(
    reasoner: Reasoner | str | Path,
    problems: Task | str | Path | Sequence[Problem],
    arm: Arm | ImitationArm,
    folder: str | Path,
    config: TrainConfig | None = None,
    *,
    task: Task | None = None,
    reports: Sequence[Callable[[list[Row]], None]] = (),
) -> list[Row]:
    """Train a reasoner with an arm, on the machine at hand; the same call goes on where one was interrupted::

        import mrt_lib
        from mrt_lib import GRPO, Reasoner, TrainConfig
        reasoner = Reasoner.load("data/models/base")
        log = mrt_lib.train(reasoner, "root_search_31", GRPO(), folder, TrainConfig(steps=2))

    Args:
        reasoner: or its folder or hub name. Its model is taken over and has the trained weights in the end;
            `reasoner.save` keeps them. An engine other than Transformers samples during training.
        problems: a task or the name of a known one, whose training problems are taken; or problems, or a
            JSONL file of them.
        arm: what is paid, see `mrt_lib.arms`.
        folder: gets config.json, log.csv, checkpoint.pt and the checkpoint before that one.
        config: None for the preset of this machine.
        task: grades the answers, where `problems` are given by themselves and name no known task.
        reports: called with the log after every step, such as those of `mrt_lib.plots`.

    Gives a row per step, with the columns of `Trainer.step`.

    Raises:
        ValueError, TypeError: before anything is generated: no problems, one without a gold answer, the
            folder of another run, an arm without `credit` or `keep`, a question longer than the context.
        BlockingIOError: another process trains in this folder; it is named.
        OSError: a file could not be written, such as on a full disk; what was there before is still there.
        MemoryError: a step does not fit, found out by a dry one before the first; says what to reduce.
        FloatingPointError: loss or gradient is not finite.
    """
    reasoner = reasoner if isinstance(reasoner, Reasoner) else Reasoner.load(reasoner)
    preset = preset_for_this_machine().config
    task, chosen = _training_problems(problems, task, (config or preset).seed)
    room = reasoner.room(chosen, preset.answer_tokens)
    if config is None and room is not None:
        preset = replace(preset, thinking_tokens=max(1, min(preset.thinking_tokens, room)))
    config = config or preset
    reasoner.check_room(chosen, config.longest.thinking_tokens, config.answer_tokens)
    _check_golds(reasoner, task, chosen, config.answer_tokens)
    trainer = Trainer(reasoner, task, chosen, arm, config)
    with claim(folder, trainer.identity):
        if not (Path(folder) / "checkpoint.pt").exists():
            check_fits(trainer)
        log = run(trainer, folder, *reports)
    trainer.trained()
    return log


def _training_problems(
    problems: Task | str | Path | Sequence[Problem], task: Task | None, seed: int
) -> tuple[Task, list[Problem]]:
    """The task, and its training problems (1024 drawn ones where it lists none) or those given."""
    if isinstance(problems, str) and not problems.endswith(".jsonl"):
        problems = get_task(problems)
    if isinstance(problems, str | Path):
        problems = read_problems(problems)
    if not hasattr(problems, "sample"):
        chosen = list(cast(Sequence[Problem], problems))
        return task_of(chosen, task), chosen
    own = cast(Task, problems)
    if task is not None:
        raise ValueError(f"task= goes with problems given by themselves; {own.name} grades its own")
    listed = getattr(own, "problems", None)
    return own, listed["train"] if listed else own.sample(np.random.default_rng(seed), 1024, "train")


def _check_golds(reasoner: Reasoner, task: Task, problems: Sequence[Problem], answer_tokens: int) -> None:
    """ValueError if a gold answer of the first hundred is wrong, or longer than an answer may be."""
    check_golds(task, problems[:100])
    for problem in problems[:100]:
        if reasoner.template.leads_to_answer and task.answers(problem) is not None:
            shortest = min(map(len, right_answer_ids(reasoner, task, problem)))
            if shortest > answer_tokens:
                needs = f"the answer to {problem.id!r} has {shortest} tokens with its end"
                raise ValueError(f"{needs}, so answer_tokens={answer_tokens} can never be right; raise it")
