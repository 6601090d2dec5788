"""What every task gives: problems with a gold answer, a verifier and, where they exist,
the finite set of right answers and the value of the optimal policy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mrt_lib.files import write_text


@dataclass(frozen=True)
class Problem:
    """One question with its gold answer.

    Attributes:
        id: unique within a task; splits are made from its hash.
        task: name that `mrt_lib.tasks.get_task` knows.
        question: the text that a template puts into the prompt.
        answer: the gold answer as text.
        facts: the numbers and names that the question was made from.
    """

    id: str
    task: str
    question: str
    answer: str
    facts: Mapping[str, int | str] = field(default_factory=dict)


class Task(Protocol):
    """A family of problems with a verifier."""

    @property
    def name(self) -> str:
        """The name under which `get_task` finds this task."""

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems drawn with replacement from one split."""

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 if the answer is right, else 0.0; never raises on model output."""

    def answers(self, problem: Problem) -> tuple[str, ...] | None:
        """Every right answer as text, or None where there are too many to list."""

    def optimal_values(self, episodes: int) -> np.ndarray | None:
        """Best possible value after 0..`episodes` episodes, shape (episodes + 1,), or None."""


class ListedTask(Task, Protocol):
    """A task whose problems are listed."""

    @property
    def problems(self) -> dict[str, list[Problem]]:
        """All its problems by split."""


def write_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write problems as JSONL; the file appears whole or not at all."""
    write_text(path, "".join(json.dumps(asdict(p)) + "\n" for p in problems))


def read_problems(path: str | Path) -> list[Problem]:
    """Read problems from JSONL.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not UTF-8, a line is not JSON, a field is missing, unknown, empty or
            of the wrong type, or an id stands twice; file, line and field are named.
    """
    problems: dict[str, Problem] = {}
    for where, row in read_jsonl(path):
        problem = _problem(where, row)
        if problem.id in problems:
            raise ValueError(f"{where}: field 'id' repeats {problem.id!r}")
        problems[problem.id] = problem
    return list(problems.values())


def read_jsonl(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of a JSONL file with its "file:line".

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or a line that is not one JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no problem file at {path}; `make problems` writes the shipped ones")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{path}:{number}", _row(f"{path}:{number}", line)


def select(problems: Sequence[Problem], n: int, rng: np.random.Generator) -> list[Problem]:
    """`n` different problems in random order; ValueError if there are fewer."""
    if not 0 < n <= len(problems):
        raise ValueError(f"cannot select {n} of {len(problems)} problems; ask for 1..{len(problems)}")
    return [problems[i] for i in rng.permutation(len(problems))[:n]]


def _row(where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected one JSON object per line, got {type(row).__name__}")
    return row


def _problem(where: str, row: dict[str, Any]) -> Problem:
    known = {f.name for f in fields(Problem)}
    if unknown := sorted(set(row) - known):
        raise ValueError(f"{where}: unknown field {unknown[0]!r}; the fields are {sorted(known)}")
    for name in ("id", "task", "question", "answer"):
        if name not in row:
            raise ValueError(f"{where}: field {name!r} is missing")
        if not isinstance(row[name], str) or not row[name]:
            raise ValueError(f"{where}: field {name!r} must be a non-empty string, got {row[name]!r}")
    facts = row.get("facts", {})
    if not isinstance(facts, dict) or not all(isinstance(v, int | str) for v in facts.values()):
        raise ValueError(f"{where}: field 'facts' must map names to numbers or strings, got {facts!r}")
    return Problem(**row)
