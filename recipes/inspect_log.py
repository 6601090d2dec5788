"""A report's thoughts as an Inspect log and as JSON: the values and forced answers after every episode.

    reasoner = Reasoner.load("data/models/base")
    found = mrt_lib.report(reasoner, problems, folder="build/before")
    write_log(reasoner, problems, "build/before")        # then: inspect view --log-dir build/before

The log needs Inspect (`pip install inspect_ai`), the JSON nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrt_lib import Reasoner
from mrt_lib.files import write_json
from mrt_lib.tasks import Problem
from mrt_lib.thoughts.templates import decode
from mrt_lib.thoughts.traces import load_traces


def rows(reasoner: Reasoner, problems: Sequence[Problem], folder: str | Path) -> list[dict[str, Any]]:
    """One row for each thought of a report: its episodes, and after 0 .. k of them J and the forced answers.

    Every right answer reads as the gold answer, "" stands where none could be read. FileNotFoundError for a
    folder without a whole report; KeyError for a thought about another problem.
    """
    own = {problem.id: problem for problem in problems}
    (Path(folder) / "report.json").stat()
    found: list[dict[str, Any]] = []
    times: dict[str, int] = {}
    for chunk in sorted((Path(folder) / "thoughts").glob("*.parquet")):
        answers = json.loads(chunk.with_suffix(".json").read_text(encoding="utf-8"))["answers"]
        for trace, forced in zip(load_traces(chunk), answers, strict=True):
            problem = own[trace.problem_id]
            times[problem.id] = times.get(problem.id, 0) + 1
            row = {"problem": problem.id, "question": problem.question, "gold": problem.answer}
            row |= {"thought": times[problem.id], "finished": trace.finished, "ends": trace.boundaries}
            texts = [decode(reasoner.tokenizer, trace.episode(j)) for j in range(trace.n_episodes)]
            found.append(row | {"episodes": texts, "values": trace.values, "forced_answers": forced})
    return found


def write_values(reasoner: Reasoner, problems: Sequence[Problem], folder: str | Path) -> Path:
    """The rows as values.json in the report's folder."""
    write_json(path := Path(folder) / "values.json", rows(reasoner, problems, folder))
    return path


def write_log(reasoner: Reasoner, problems: Sequence[Problem], folder: str | Path) -> Path:
    """The rows as thoughts.eval in the report's folder: a sample for each thought, scored by its last J."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    model, samples = report["settings"]["model"], []
    for row in rows(reasoner, problems, folder):
        thought, answer = "\n".join(row["episodes"]), row["forced_answers"][-1][0]
        values = ", ".join(f"{value:.2f}" for value in row["values"])
        told = [ChatMessageUser(content=row["question"]), ChatMessageAssistant(content=thought, model=model)]
        score = Score(value=row["values"][-1], answer=answer, explanation=f"J after every episode: {values}")
        one = {"id": row["problem"], "epoch": row["thought"], "input": row["question"], "target": row["gold"]}
        output = ModelOutput.from_content(model, f"{thought}\n{answer}")
        samples.append(EvalSample(**one, messages=told, output=output, scores={"J": score}, metadata=row))
    made, task = report["provenance"]["date"], report["settings"]["task"]
    data = EvalDataset(name=task, samples=len(problems))
    config = EvalConfig(epochs=report["settings"]["rollouts"])
    spec = EvalSpec(
        created=made, task=task, dataset=data, model=model, config=config, metadata=report["settings"]
    )
    path = Path(folder) / "thoughts.eval"
    write_eval_log(EvalLog(status="success", eval=spec, samples=samples), str(path))
    return path
