"""Mathematics problems with a gold answer, graded by math-verify (extra `math`)."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mrt_lib.tasks.base import Problem, draw, read_jsonl, text_digest
from mrt_lib.tasks.grading import Grader, Verdict
from mrt_lib.tasks.math_sources import PRESETS, Fields, Located, Row, Source, located

INTEGER = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)")
MOST_KEPT = 2**16


@dataclass(frozen=True)
class Dropped:
    """A row that is no problem of the task: the place it stood at, and why."""

    where: str
    reason: str


class MathTask:
    """Problems with a gold answer in LaTeX or plain text; an answer is right if it equals the gold.

    Equality is math-verify's: 1/2 is 0.5 and 18+1 is 19. `score` expects the answer alone, as a template
    reads it from a box; prose around it makes it wrong.

    Attributes:
        problems: by split; ids are hashes of the questions, so the same question keeps its id.
        dropped: rows left out: an unreadable gold and, in data sets, an empty or repeated problem.
        ungraded: answers that count as wrong because they could not be graded (deadline, error, length).
        unread: how many of the scored answers were wrong because they say nothing that can be read.
    """

    def __init__(
        self,
        splits: Mapping[str, Iterable[Row | Located]],
        fields: Fields = Fields(),  # noqa: B008
        name: str = "math",
        deadline: float = 10.0,
        strict: bool = True,
    ) -> None:
        """Problems from rows at hand.

        `splits`: split to rows, each of which may come as a pair with the place that errors should name;
        `deadline`: seconds of CPU time for grading an answer; `strict`: False drops rows that are no problem.

        ImportError: math-verify is missing. ValueError: an empty or repeated problem, or no problem left in a
        split; split and row, counted from 1, are named.
        """
        self.name, self.grader = name, Grader(deadline)
        self.ungraded = self.grader.ungraded
        self.unread = 0
        self._graded: dict[tuple[str, str], Verdict] = {}
        self.dropped: list[Dropped] = []
        self.problems: dict[str, list[Problem]] = {}
        seen: dict[str, str] = {}
        for split, rows in splits.items():
            places = located(rows, f"{split} row")
            found = (self._problem(where, row, fields, seen, strict) for where, row in places)
            self.problems[split] = [problem for problem in found if problem]
            if not self.problems[split]:
                why = f"; the first was dropped: {self.dropped[0]}" if self.dropped else ""
                raise ValueError(f"{name}: split {split!r} has no problems{why}")
        if self.dropped:
            counts = dict(Counter(d.reason for d in self.dropped).most_common(3))
            message = f"{name}: {len(self.dropped)} rows dropped, listed in `dropped`; mostly {counts}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    @classmethod
    def from_jsonl(
        cls,
        files: str | Path | Mapping[str, str | Path],
        fields: Fields = Fields(),  # noqa: B008
        name: str = "math",
        deadline: float = 10.0,
    ) -> Self:
        """Problems from one JSONL file, which becomes the split "train", or from a file per split.

        Errors as for rows, and as in `read_jsonl`; file and line are named.
        """
        paths = files if isinstance(files, Mapping) else {"train": files}
        return cls({split: read_jsonl(path) for split, path in paths.items()}, fields, name, deadline)

    @classmethod
    def from_dataset(cls, source: str | Source, limit: int | None = None, deadline: float = 10.0) -> Self:
        """Problems of a preset ("gsm8k", see `PRESETS`) or of any `Source`.

        Rows that are no problem are dropped, as nobody can edit the data set; see `dropped`.

        `limit`: most rows to read of every split; `deadline`: seconds of CPU time for grading one answer.
        """
        name, found = (source, PRESETS.get(source)) if isinstance(source, str) else (source.dataset, source)
        if found is None:
            known = f"known: {sorted(PRESETS)}; for other data sets give a Source"
            raise ValueError(f"unknown preset {name!r}; {known}")
        rows = {split: found.rows(split, limit) for split in found.splits}
        return cls(rows, found.fields, name, deadline, strict=False)

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems drawn with replacement; ValueError for an unknown split."""
        return draw(self.problems, rng, n, split)

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 if the answer equals the gold, else 0.0; what cannot be graded is 0.0 and in `ungraded`."""
        pair = problem.answer, answer_text.strip()
        verdict = self._graded.get(pair) or self.grader.compare(*pair)
        if not verdict.reason:  # an error is no result
            self._graded[pair] = verdict
            self.unread += not verdict.answer_read
        if len(self._graded) > MOST_KEPT:
            self._graded.clear()
        return float(verdict.right)

    def answers(self, problem: Problem) -> tuple[str, ...] | None:
        """An integer gold, with and without thousands separators; None for other golds.

        math-verify accepts more ("19.0", "18+1"), so exact values are those of answering plainly.
        """
        if not _is_integer(problem.answer):
            return None
        return tuple(dict.fromkeys((problem.answer, f"{int(problem.answer):,}")))

    def optimal_values(self, episodes: int) -> None:
        """None: no optimal policy is known."""

    def _problem(
        self, where: str, row: Row, fields: Fields, seen: dict[str, str], strict: bool
    ) -> Problem | None:
        try:
            question, gold = fields.read(where, row)
            if question in seen:
                raise ValueError(f"{where}: repeats the problem at {seen[question]}")
        except ValueError as error:
            if strict:
                raise
            self.dropped.append(Dropped(where, str(error).removeprefix(f"{where}: ")))
            return None
        seen[question] = where
        if _is_integer(gold):
            gold = str(int(gold.replace(",", "")))
        elif not (verdict := self.grader.compare(gold, gold)).right:
            why = verdict.reason or ("it does not equal itself" if verdict.gold_read else "no mathematics")
            self.dropped.append(Dropped(where, f"unreadable gold: {why}"))
            return None
        return Problem(f"{self.name}:{text_digest(question)}", self.name, question, gold)


def _is_integer(text: str) -> bool:
    return len(text) <= 1000 and INTEGER.fullmatch(text) is not None
