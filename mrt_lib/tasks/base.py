"""What every task gives: problems with a gold answer, a verifier and, where they exist, the finite set of
right answers and the value of the optimal policy. A task of one's own from functions; problem files."""

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mrt_lib.files import write_text

NO_GOLDS = ("", "n/a", "nan", "null", "none")  # what a table writes where there is no gold


@dataclass(frozen=True)
class Problem:
    """One question, which a template puts into the prompt, with its gold answer as text.

    `id`: unique within a task; `task`: a name that `mrt_lib.tasks.get_task` knows; `facts`: the numbers and
    names that the question was made from.
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


Sample = Callable[[np.random.Generator, int, str], Iterable[Problem | tuple[str, str]]]
Score = Callable[[Problem, str], float]
Answers = Callable[[Problem], Iterable[str]]


def from_callable(sample: Sample, score: Score, answers: Answers | None = None, name: str = "custom") -> Task:
    """Your own task::

        from mrt_lib import from_callable

        def sums(rng, n, split):
            pairs = rng.integers(10, 100, size=(n, 2))
            return [(f"{a} + {b} = ?", str(a + b)) for a, b in pairs]

        task = from_callable(
            sums,
            score=lambda problem, text: text.strip() == problem.answer,
            answers=lambda problem: [problem.answer],  # only if they can be listed: J is then exact
        )

    Args:
        sample: (rng, n, split) to n problems, each a `Problem` or a pair of question and gold answer.
            Keep the splits apart there.
        score: (problem, answer text) to 1 or True if right, 0 or False if wrong, for any text.
        answers: problem to every right answer as text; leave it out where there are too many to list.
    """
    return CallableTask(sample, score, answers, name)


@dataclass(frozen=True)
class CallableTask:
    """What `from_callable` makes."""

    draw: Sample
    grade: Score
    listing: Answers | None
    name: str

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems; ValueError unless the user's function gives `n` sound ones."""
        problems = [self._problem(item) for item in self.draw(rng, n, split)]
        if len(problems) != n:
            raise ValueError(f"{self.name}: sample gave {len(problems)} problems, {n} were asked for")
        return problems

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 or 0.0; ValueError if the user's function fails or gives anything else."""
        where = f"{self.name}: score of {problem.id!r} for the answer {answer_text!r}"
        try:
            right = float(self.grade(problem, answer_text))
        except Exception as error:
            raise ValueError(f"{where} failed ({error!r}); wrong answers of any form are 0") from error
        if right not in (0.0, 1.0):
            raise ValueError(f"{where} must be 0 or 1, got {right}")
        return right

    def answers(self, problem: Problem) -> tuple[str, ...] | None:
        """The listed answers, or None; ValueError if `score` calls one of them wrong."""
        if self.listing is None:
            return None
        listed = tuple(self.listing(problem))
        if wrong := [text for text in listed if not self.score(problem, text)]:
            raise ValueError(f"{self.name}: answers of {problem.id!r} lists {wrong[0]!r}, which scores 0")
        return listed

    def optimal_values(self, episodes: int) -> None:
        """None: no optimal policy is known."""

    def _problem(self, item: Problem | tuple[str, str]) -> Problem:
        if isinstance(item, Problem):
            return item
        sound = isinstance(item, tuple) and all(isinstance(text, str) and text.strip() for text in item)
        if not sound or len(item) != 2:
            raise ValueError(f"{self.name}: sample must give (question, gold answer) texts, got {item!r}")
        return Problem(f"{self.name}:{text_digest(*item)}", self.name, *item)


def write_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write problems as JSONL; the file appears whole or not at all."""
    write_text(path, "".join(json.dumps(asdict(p)) + "\n" for p in problems))


def read_problems(path: str | Path) -> list[Problem]:
    """Read problems from JSONL.

    ValueError, with file, line and field, if the file is not UTF-8, a line is not JSON, a field is missing,
    unknown, empty or of the wrong type, or an id stands twice; FileNotFoundError if there is no such file.
    """
    problems: dict[str, Problem] = {}
    known = sorted(f.name for f in fields(Problem))
    for where, row in read_jsonl(path):
        if unknown := sorted(set(row) - set(known)):
            raise ValueError(f"{where}: unknown field {unknown[0]!r}; the fields are {known}")
        for name in ("id", "task", "question", "answer"):
            if name not in row:
                raise ValueError(f"{where}: field {name!r} is missing")
            if not isinstance(row[name], str) or not row[name]:
                raise ValueError(f"{where}: field {name!r} must be a non-empty string, got {row[name]!r}")
        facts = row.get("facts", {})
        if not isinstance(facts, dict) or not all(isinstance(v, int | str) for v in facts.values()):
            raise ValueError(f"{where}: field 'facts' must map names to numbers or strings, got {facts!r}")
        if row["answer"].strip().casefold() in NO_GOLDS:
            raise ValueError(f"{where}: field 'answer' says that there is none: {row['answer']!r}")
        if row["id"] in problems:
            raise ValueError(f"{where}: field 'id' repeats {row['id']!r}")
        problems[row["id"]] = Problem(**row)
    return list(problems.values())


def read_jsonl(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of a JSONL file with its "file:line"; ValueError for what is not UTF-8 or no JSON object.

    A byte-order mark is read over; NaN, infinity and integers of thousands of digits are no JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no problem file at {path}; `make problems` writes the shipped ones")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    for where, line in ((f"{path}:{i}", line) for i, line in enumerate(lines, start=1) if line.strip()):
        try:
            row = json.loads(line, parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError) as error:  # also an integer of more digits than Python reads
            raise ValueError(f"{where}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise ValueError(f"{where}: expected one JSON object per line, got {type(row).__name__}")
        yield where, row


def _finite(number: str) -> float:
    if not math.isfinite(float(number)):
        raise ValueError(f"{number} is no number")
    return float(number)


def text_digest(*texts: str) -> str:
    """Sixteen hex digits of lines of text, for a problem's id."""
    return hashlib.sha256("\n".join(texts).encode(errors="surrogatepass")).hexdigest()[:16]


def draw(problems: dict[str, list[Problem]], rng: np.random.Generator, n: int, split: str) -> list[Problem]:
    """`n` problems of a split, drawn with replacement; ValueError for an unknown split."""
    if split not in problems:
        raise ValueError(f"unknown split {split!r}; known: {sorted(problems)}")
    return [problems[split][i] for i in rng.integers(len(problems[split]), size=n)]


def select(problems: Sequence[Problem], n: int, rng: np.random.Generator) -> list[Problem]:
    """`n` different problems in random order; ValueError if there are fewer."""
    if not 0 < n <= len(problems):
        raise ValueError(f"cannot select {n} of {len(problems)} problems; ask for 1..{len(problems)}")
    return [problems[i] for i in rng.permutation(len(problems))[:n]]


def require(module: str, extra: str) -> None:
    """ImportError that names the extra unless `module` is installed; imports nothing."""
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"{module} is not installed; it comes with: pip install 'mrt-lib[{extra}]'")
