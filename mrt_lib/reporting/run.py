"""`mrt_lib.report`: one call from a reasoner and problems to an overthinking report."""

import reprlib
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from mrt_lib.adapters import portable
from mrt_lib.files import claim, digest, weights_digest
from mrt_lib.measure.progress import check_positive
from mrt_lib.measure.prover import exact_prover
from mrt_lib.provenance import provenance
from mrt_lib.reasoner import Reasoner
from mrt_lib.reporting.measured import Overthinking
from mrt_lib.reporting.observation import Options, observe
from mrt_lib.reporting.overthinking import measure
from mrt_lib.tasks import check_golds, read_problems, task_of
from mrt_lib.tasks.base import Problem, Task, read_jsonl
from mrt_lib.thoughts.templates import encode
from mrt_lib.thoughts.traces import Trace


def report(
    reasoner: Reasoner | str | Path,
    problems: str | Path | Sequence[Problem],
    task: Task | None = None,
    *,
    folder: str | Path | None = None,
    rollouts: int = 4,
    thinking_tokens: int | None = None,
    branches: int = 8,
    answer_tokens: int | None = None,
    temperature: float = 1.0,
    budgets: Sequence[int] | None = None,
    seed: int = 0,
    top_p: float = 1.0,
    top_k: int = 0,
    engine: str = "transformers",
    thoughts: str | Path | Sequence[Trace] | None = None,
) -> Overthinking:
    """How many of a reasoner's tokens are wasted? Measured on problems with known answers::

        import mrt_lib
        from mrt_lib.tasks import read_problems
        problems = read_problems("data/problems/root_search_31/test.jsonl")[:8]
        found = mrt_lib.report("data/models/base", problems, folder=folder, rollouts=2, thinking_tokens=44)
        print(found.number("wasted_share").value)

    The reasoner thinks about every problem, is forced to answer after every episode of every thought, and
    J, the probability that it is right, is read off at each of those places: exactly where that is
    possible (`mrt_lib.measure.prover.exact_prover`), else from the forced answers.

    Args:
        reasoner: or its folder or hub name, loaded in float32 with the first template that fits.
        problems: at least 2, or a JSONL file of them (`mrt_lib.tasks.read_problems`).
        task: grades the answers; None for the known task that the problems name.
        folder: gets report.html, report.json and the thoughts. The same call with the same folder goes on
            where an earlier one was interrupted. None saves nothing.
        rollouts, thinking_tokens, branches, answer_tokens, temperature, seed, top_p, top_k: how thoughts and
            answers are sampled, see `Options`; from 8 branches on, votes go up to 8 (the paper's number).
            With top_p or top_k J is sampled.
        budgets: tokens at which regret is taken; None for 1/4, 1/2, 1 and 2 times the mean cost of a
            whole thought. Give them in order to compare two reasoners.
        engine: of a reasoner that is loaded. thoughts: that are there already, see `given_thoughts`.

    ValueError, before anything is generated: fewer than 2 problems or the same twice, no gold answer or one
    that the task calls wrong, an option out of range, a folder of another run; later from `probe`.
    FileNotFoundError: no such model or file. BlockingIOError: another process has the folder.
    """
    options = Options(rollouts, thinking_tokens, branches, answer_tokens, temperature, seed, top_p, top_k)
    if isinstance(budgets, int | str):
        raise ValueError(f"budgets must be a list of whole numbers, got {budgets!r}")
    budgets = [check_positive("a budget", tokens) for tokens in budgets] if budgets else None
    problems = read_problems(problems) if isinstance(problems, str | Path) else list(problems)
    task = check_problems(problems, task)
    reasoner = reasoner if isinstance(reasoner, Reasoner) else Reasoner.load(reasoner, engine=engine)
    if thoughts is not None:
        thoughts = given_thoughts(reasoner, problems, thoughts)
        longest = max(1, *(len(trace.thought_ids) for trace in thoughts))
        options = replace(options, rollouts=len(thoughts) // len(problems), thinking_tokens=longest)
    thinking, answer = options.fit(reasoner, problems)
    options = replace(options, thinking_tokens=thinking, answer_tokens=answer)
    whole = top_p == 1 and top_k == 0
    prover = exact_prover(reasoner, task, problems, temperature) if whole else None
    settings = {
        "weights": weights_digest(reasoner.model),
        "task": task.name,
        "template": reasoner.template.name,
        "engine": type(reasoner.engine).__name__,
        "values": "sampled" if prover is None else "exact",
        **asdict(options),
    }
    own = settings | reasoner.asked(task, problems)
    if thoughts is not None:
        own["thoughts"] = digest(*(repr(trace) for trace in thoughts))
    with nullcontext() if folder is None else claim(folder, own):
        observation = observe(reasoner, task, problems, options, prover, folder, True, thoughts)
        # Of a folder the last part alone, so that a report that is passed on shows no paths.
        name = portable(reasoner.name)
        about = {"model": (name if "@" in name else Path(name).name) or "the model"}
        own = {"problems": len(problems), "mean_answer_tokens": observation.answer_tokens}
        settings = about | settings | own
        optimum = task.optimal_values(max(1, *(t.n_episodes for t in observation.evaluation.traces)))
        found = measure(observation, settings, provenance(), optimum, budgets)
        if folder is not None:
            from mrt_lib.reporting.page import write_report

            write_report(found, folder)
    return found


def check_problems(problems: Sequence[Problem], task: Task | None) -> Task:
    """`mrt_lib.tasks.task_of`; ValueError also for problems that `report` refuses."""
    if len(problems) < 2:
        raise ValueError(f"a report needs at least 2 problems for its intervals, got {len(problems)}")
    task = task_of(problems, task)
    for name in ("id", "question"):
        text, times = Counter(getattr(p, name) for p in problems).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{times} problems have the {name} {reprlib.repr(text)}; give each problem once")
    check_golds(task, problems)
    return task


def given_thoughts(
    reasoner: Reasoner, problems: Sequence[Problem], thoughts: str | Path | Sequence[Trace]
) -> list[Trace]:
    """Traces, or those of a JSONL file with "problem" (an id), "thought" (text) and, if it is so, "finished":
    true, in the order of the problems; ValueError unless each problem has as many."""
    own = {problem.id: reasoner.prompt(problem.question) for problem in problems}
    if isinstance(thoughts, str | Path):
        traces = []
        for where, row in read_jsonl(thoughts):
            if row.get("problem") not in own or not isinstance(row.get("thought"), str):
                raise ValueError(f"{where}: needs the id of a problem as 'problem', a text as 'thought'")
            if (end := reasoner.template.think_end) and end in row["thought"]:
                raise ValueError(f"{where}: a thought ends before its {end!r}; say finished: true instead")
            ids = encode(reasoner.tokenizer, row["thought"])
            asked, ended = own[row["problem"]], bool(row.get("finished"))
            traces.append(Trace(row["problem"], asked, ids, reasoner.cut(ids), ended))
        thoughts = traces
    times = Counter(trace.problem_id for trace in thoughts)
    if set(times) != {problem.id for problem in problems} or len(set(times.values())) > 1:
        raise ValueError("give as many thoughts about each problem, and about no others")
    if any(trace.prompt_ids != own[trace.problem_id] for trace in thoughts):
        raise ValueError("the thoughts were about other prompts than this reasoner's template writes")
    return [trace for problem in problems for trace in thoughts if trace.problem_id == problem.id]
