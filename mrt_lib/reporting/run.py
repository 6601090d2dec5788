"""From a model and problems to an overthinking report, with everything checked before the first token."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrt_lib.engines.base import Engine, Sampling
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.training.guards import claim, weights_digest
from mrt_lib.reporting.measured import Overthinking
from mrt_lib.reporting.observation import exact_prover, leads_to_answer, observe
from mrt_lib.reporting.overthinking import measure
from mrt_lib.measure.progress import check_positive
from mrt_lib.reasoner import load_reasoner
from mrt_lib.reporting.page import write_report
from mrt_lib.provenance import provenance
from mrt_lib.tasks import get_task
from mrt_lib.tasks.base import Problem, Task, read_problems
from mrt_lib.thoughts.templates import TEMPLATES, TESTBED, Template, check_tokenizer, encode, encode_prompt

LONGEST_THOUGHT = 8192  # tokens, where the context would allow more
SHORT_ANSWER, LONG_ANSWER = 32, 1024  # tokens of an answer in place, or at the end of some prose

Reasoner = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@dataclass(frozen=True)
class Options:
    """How a report samples; see `mrt_lib.report`."""

    rollouts: int
    thinking_tokens: int | None
    branches: int
    answer_tokens: int | None
    temperature: float
    seed: int

    def __post_init__(self) -> None:
        least = {"rollouts": 1, "thinking_tokens": 1, "branches": 2, "answer_tokens": 1}
        for name, bound in least.items():
            if (given := getattr(self, name)) is not None and given < bound:
                raise ValueError(f"{name} must be at least {bound}, got {given}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


def run(
    model: str | Path | Reasoner,
    problems: str | Path | Sequence[Problem],
    task: Task | None,
    template: Template | None,
    options: Options,
    budgets: Sequence[int] | None,
    engine: Engine | None,
    folder: str | Path | None,
) -> Overthinking:
    """See `mrt_lib.report`."""
    budgets = [check_positive("a budget", tokens) for tokens in budgets] if budgets else None
    problems = read_problems(problems) if isinstance(problems, str | Path) else list(problems)
    task = check_problems(problems, task)
    reasoner, tokenizer = load_reasoner(model) if isinstance(model, str | Path) else model
    template = choose_template(tokenizer, template)
    thinking, answer = fit(options, reasoner, tokenizer, template, problems)
    options = replace(options, thinking_tokens=thinking, answer_tokens=answer)
    engine = engine or TransformersEngine(reasoner)
    prover = exact_prover(reasoner, tokenizer, template, task, problems, options.temperature)
    settings = {
        "weights": weights_digest(reasoner),
        "task": task.name,
        "template": template.name,
        "engine": type(engine).__name__,
        "values": "sampled" if prover is None else "exact",
        **asdict(options),
    }
    if folder is not None:
        own = settings | {"template": asdict(template), "problems": _digest(problems)}
        claim(Path(folder), json.loads(json.dumps(own)))
    observation = observe(
        engine,
        prover,
        tokenizer,
        template,
        task,
        problems,
        options.rollouts,
        Sampling(thinking, temperature=options.temperature, seed=options.seed),
        options.branches,
        answer,
        folder,
        progress=True,
    )
    longest = max(t.n_episodes for t in observation.evaluation.traces)
    settings = {"model": _name(model), "problems": len(problems), **settings}
    settings["mean_answer_tokens"] = observation.answer_tokens
    optimum = task.optimal_values(max(1, longest))
    found = measure(observation, tokenizer, settings, provenance(), optimum, budgets)
    if folder is not None:
        write_report(found, folder)
    return found


def check_problems(problems: Sequence[Problem], task: Task | None) -> Task:
    """The task of these problems, the given one or the one that they name.

    Raises:
        ValueError: fewer than two problems, the same one twice, problems of several tasks or of an unknown
            one, or a gold answer that is missing or that the task's own verifier calls wrong.
    """
    if len(problems) < 2:
        raise ValueError(f"a report needs at least 2 problems for its intervals, got {len(problems)}")
    for name in ("id", "question"):
        text, times = Counter(getattr(p, name) for p in problems).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{times} problems have the {name} {text!r}; give each problem once")
    named = sorted({p.task for p in problems})
    if task is None and len(named) > 1:
        raise ValueError(f"the problems belong to the tasks {named}; report on one task at a time")
    try:
        task = task or get_task(named[0])
    except ValueError as error:
        raise ValueError(
            f"{error}; for a task of your own give task=, see mrt_lib.tasks.from_callable"
        ) from None
    for problem in problems:
        if not problem.answer:
            raise ValueError(f"problem {problem.id!r} has no gold answer, so its J and votes are undefined")
        if not task.score(problem, problem.answer):
            raise ValueError(
                f"task {task.name!r} calls the gold answer {problem.answer!r} of {problem.id!r} wrong; "
                "give the task that these problems belong to"
            )
    return task


def choose_template(tokenizer: PreTrainedTokenizerBase, template: Template | None) -> Template:
    """The given template, or the testbed's; ValueError with the known ones that fit if it does not."""
    chosen = template or TESTBED
    try:
        check_tokenizer(tokenizer, chosen)
    except ValueError as error:
        fitting = [name for name, known in TEMPLATES.items() if _fits(tokenizer, known)]
        raise ValueError(
            f"{error}. Of the known ones {fitting or 'none'} fit this tokenizer: give "
            "template=mrt_lib.thoughts.templates.get_template(name), or a Template with the model's own texts"
        ) from None
    return chosen


def fit(
    options: Options,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    problems: Sequence[Problem],
) -> tuple[int, int]:
    """Most tokens of a thought and of an answer, defaults filled in.

    Raises:
        ValueError: a question that the tokenizer cannot write, or prompt, thought, stop text and answer
            that do not fit into the model's context together.
    """
    short = leads_to_answer(template)
    answer = options.answer_tokens or (SHORT_ANSWER if short else LONG_ANSWER)
    stops = (template.finished_answer, template.separator + template.forced_answer)
    around = max(len(encode(tokenizer, text)) for text in stops) + answer
    prompt = max(_prompt_tokens(tokenizer, template, p) for p in problems)
    context = model.config.max_position_embeddings
    room = context - prompt - around
    thinking = options.thinking_tokens or max(1, min(LONGEST_THOUGHT, room))
    if thinking > room:
        way = (
            f"thinking_tokens can be at most {room}" if room > 0 else "shorten the questions or answer_tokens"
        )
        raise ValueError(
            f"the longest prompt ({prompt} tokens), thinking_tokens={thinking}, stop text and answer "
            f"({around}) exceed the model's context of {context}; {way}"
        )
    return thinking, answer


def _prompt_tokens(tokenizer: PreTrainedTokenizerBase, template: Template, problem: Problem) -> int:
    try:
        return len(encode_prompt(tokenizer, template, problem.question))
    except ValueError as error:
        raise ValueError(f"problem {problem.id!r}: {error}") from None


def _fits(tokenizer: PreTrainedTokenizerBase, template: Template) -> bool:
    try:
        check_tokenizer(tokenizer, template)
    except ValueError:
        return False
    return True


def _name(model: str | Path | Reasoner) -> str:
    """The last part of the folder's name, so that a report that is passed on shows no paths."""
    folder = model if isinstance(model, str | Path) else model[0].config.name_or_path
    return Path(folder or "").name or "the model"


def _digest(problems: Sequence[Problem]) -> str:
    texts = json.dumps([(p.id, p.question, p.answer) for p in problems])
    return f"{len(problems)}, {hashlib.sha256(texts.encode()).hexdigest()[:16]}"
