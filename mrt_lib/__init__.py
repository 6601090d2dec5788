"""Meta reinforcement fine-tuning: episodes, meta-prover, progress, regret."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mrt_lib.engines.base import Engine
    from mrt_lib.measured import Overthinking
    from mrt_lib.tasks.base import Problem, Task
    from mrt_lib.templates import Template

__version__ = "0.1.0"


def report(
    model: str | Path | tuple[PreTrainedModel, PreTrainedTokenizerBase],
    problems: str | Path | Sequence[Problem],
    task: Task | None = None,
    template: Template | None = None,
    *,
    folder: str | Path | None = None,
    rollouts: int = 4,
    thinking_tokens: int | None = None,
    branches: int = 8,
    answer_tokens: int | None = None,
    temperature: float = 1.0,
    budgets: Sequence[int] | None = None,
    seed: int = 0,
    engine: Engine | None = None,
) -> Overthinking:
    """How many of a reasoning model's tokens are wasted? Measured on problems with known answers.

    The model thinks about every problem, is forced to answer after every episode of every thought, and
    J, the probability that it is right, is read off at each of those places: exactly where that is
    possible (`mrt_lib.observation.exact_prover`), else from the forced answers.

    Args:
        model: a folder with a model, loaded in float32, or a model and its tokenizer.
        problems: at least 2, or a JSONL file of them (`mrt_lib.tasks.read_problems`).
        task: grades the answers; None for the shipped task that the problems name.
        template: the text around the model's thoughts; None for the testbed's.
        folder: gets report.html, report.json and the thoughts. The same call with the same folder goes on
            where an earlier one was interrupted. None saves nothing.
        rollouts: thoughts per problem.
        thinking_tokens: most tokens of a thought; None for what the context leaves, at most 8192.
        branches: answers forced at every prefix; from 8 on, votes go up to 8 (the paper's number).
        answer_tokens: most tokens of an answer; None for 32 where the forced text leads straight into the
            answer, else 1024.
        temperature: of thoughts and answers.
        budgets: tokens at which regret is taken; None for 1/4, 1/2, 1 and 2 times the mean cost of a
            whole thought. Give them in order to compare two models.
        seed: of all sampling.
        engine: generates, with the same weights; None for Transformers.

    Returns:
        All numbers with their intervals; `mrt_lib.report_page.write_report` saves them as a page.

    Raises:
        ValueError: before anything is generated: fewer than 2 problems or the same twice, no gold answer
            or one that the task calls wrong, a template that does not fit the tokenizer, thoughts that do
            not fit the context, an option out of range, or a folder that holds another run.
        FileNotFoundError: no such model or problem file.
    """
    from mrt_lib.reporting import Options, run

    options = Options(rollouts, thinking_tokens, branches, answer_tokens, temperature, seed)
    return run(model, problems, task, template, options, budgets, engine, folder)
