"""What a reasoner does on a set of problems: its thoughts, J at every prefix, the answers forced there.

The work goes through the problems in chunks, each with random streams of its own, so a run that was cut
short goes on with its next chunk and ends in the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrt_lib.arms.base import repeat, stream
from mrt_lib.engines.base import Engine, Sampling
from mrt_lib.measure.evaluation import Evaluation, tokens_spent
from mrt_lib.measure.prover import ExactProver, Prover, SampledProver, right_answer_ids
from mrt_lib.provenance import write_json
from mrt_lib.rollouts import think
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.templates import BOX, Template, merged_ends
from mrt_lib.thoughts.traces import Trace, load_traces, save_traces

CHUNK = 64  # thoughts

Answers = list[list[list[str]]]


@dataclass(frozen=True)
class Observation:
    """Thoughts with values and forced answers, `evaluation.rollouts` for each problem.

    Attributes:
        evaluation: valued traces, and what each of their prefixes costs.
        answers: sampled answers by trace, prefix and branch. Every right answer reads as the problem's
            gold answer, so that they vote together; "" where none could be read.
        exact: J is exact; otherwise the share of right ones among these answers.
        answer_tokens: mean tokens of an answer.
    """

    evaluation: Evaluation
    answers: Answers
    exact: bool
    answer_tokens: float

    @property
    def branches(self) -> int:
        """Answers per prefix."""
        return len(self.answers[0][0])

    def problem(self, i: int) -> Problem:
        """The problem of trace i."""
        return self.evaluation.problems[i // self.evaluation.rollouts]

    def right(self, i: int) -> np.ndarray:
        """Which answers of trace i are right, as 0 and 1, shape (k + 1, branches)."""
        return (np.array(self.answers[i]) == self.problem(i).answer).astype(float)


def exact_prover(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    task: Task,
    problems: Sequence[Problem],
    temperature: float = 1.0,
) -> ExactProver | None:
    """The prover that gives J exactly; None where J has to be sampled.

    J is exact if the task lists the right answers of every problem, the forced text leads straight into
    the answer, and the tokenizer ends an answer in one way only (`merged_ends`).

    Raises:
        ValueError: a problem lists no right answer, or one that the tokenizer cannot write.
    """
    listed = leads_to_answer(template) and all(task.answers(p) is not None for p in problems)
    if not listed or merged_ends(tokenizer, template):
        return None
    for problem in problems:
        right_answer_ids(tokenizer, template, task, problem)
    return ExactProver(model, tokenizer, template, task, temperature)


def leads_to_answer(template: Template) -> bool:
    """Whether the answer follows the forced text at once, without prose before its box."""
    return not template.boxed_answer or template.forced_answer.endswith(BOX)


def observe(
    engine: Engine,
    prover: Prover | None,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    task: Task,
    problems: Sequence[Problem],
    rollouts: int,
    sampling: Sampling,
    branches: int = 8,
    answer_tokens: int = 32,
    folder: str | Path | None = None,
    progress: bool = False,
) -> Observation:
    """Think, force answers at every prefix, and value it.

    Args:
        engine: writes thoughts and answers.
        prover: gives J; None takes the share of right forced answers.
        tokenizer: of the engine's model.
        template: its prompt and forced text.
        task: grades the answers.
        problems: each once.
        rollouts: thoughts per problem.
        sampling: `max_new_tokens` is the thinking budget; answers are sampled at the same temperature.
        branches: answers per prefix.
        answer_tokens: most tokens of an answer.
        folder: of this very run (see `mrt_lib.training.guards.claim`): every chunk is saved there, and those that
            are there are read. None keeps nothing.
        progress: show a bar over the problems.

    Raises:
        ValueError: no problems, fewer than one rollout or branch, a prompt without room in the model's
            context, or a damaged or foreign file in the folder.
    """
    from tqdm.auto import tqdm

    if not problems or rollouts < 1:
        raise ValueError(f"need problems and rollouts >= 1, got {len(problems)} and {rollouts}")
    step = max(1, CHUNK // rollouts)
    chunks = [repeat(problems[i : i + step], rollouts) for i in range(0, len(problems), step)]
    done: list[_Chunk] = []
    with tqdm(total=len(problems), desc="measure", unit="problem", disable=not progress) as bar:
        for c, chunk in enumerate(chunks):
            found = _read(folder, c, chunk)
            if found is None:
                drawn = replace(sampling, seed=stream(sampling.seed, 2 * c))
                traces = think(engine, tokenizer, template, chunk, drawn)
                drawn = replace(sampling, max_new_tokens=answer_tokens, seed=stream(sampling.seed, 2 * c + 1))
                forced = SampledProver(engine, tokenizer, template, task, branches, drawn)
                found = _write(folder, c, _valued(prover, forced, chunk, traces))
            done.append(found)
            bar.update(len(chunk) // rollouts)
    return _joined(done, tokenizer, template, problems, rollouts, prover is not None)


@dataclass(frozen=True)
class _Chunk:
    """Valued traces, their answers, and how many tokens those have in all."""

    traces: list[Trace]
    answers: Answers
    answer_tokens: int


def _valued(
    prover: Prover | None, forced: SampledProver, problems: list[Problem], traces: list[Trace]
) -> _Chunk:
    drawn = forced.answers(problems, traces)
    texts = [
        [[problem.answer if a.right else a.text for a in prefix] for prefix in prefixes]
        for problem, prefixes in zip(problems, drawn, strict=True)
    ]
    if prover is None:
        values = [[sum(a.right for a in prefix) / len(prefix) for prefix in prefixes] for prefixes in drawn]
    else:
        values = [v.value.tolist() for v in prover.values(problems, traces)]
    valued = [replace(t, values=v) for t, v in zip(traces, values, strict=True)]
    return _Chunk(valued, texts, sum(a.tokens for prefixes in drawn for prefix in prefixes for a in prefix))


def _joined(
    chunks: list[_Chunk],
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    problems: Sequence[Problem],
    rollouts: int,
    exact: bool,
) -> Observation:
    traces = [trace for chunk in chunks for trace in chunk.traces]
    answers = [prefixes for chunk in chunks for prefixes in chunk.answers]
    count = sum(len(prefix) for prefixes in answers for prefix in prefixes)
    mean = sum(chunk.answer_tokens for chunk in chunks) / count
    tokens = [tokens_spent(tokenizer, template, trace, mean) for trace in traces]
    return Observation(Evaluation(list(problems), rollouts, traces, tokens), answers, exact, mean)


def _write(folder: str | Path | None, number: int, chunk: _Chunk) -> _Chunk:
    """The traces come last: where they are, the chunk is whole."""
    if folder is not None:
        path = _path(folder, number)
        write_json(path.with_suffix(".json"), {"answers": chunk.answers, "tokens": chunk.answer_tokens})
        save_traces(path, chunk.traces)
    return chunk


def _read(folder: str | Path | None, number: int, problems: list[Problem]) -> _Chunk | None:
    if folder is None or not (path := _path(folder, number)).exists():
        return None
    traces = load_traces(path)
    if [t.problem_id for t in traces] != [p.id for p in problems]:
        raise ValueError(f"{path} holds thoughts about other problems; use a new folder")
    written: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return _Chunk(traces, written["answers"], written["tokens"])


def _path(folder: str | Path, number: int) -> Path:
    return Path(folder) / "thoughts" / f"{number:04d}.parquet"
