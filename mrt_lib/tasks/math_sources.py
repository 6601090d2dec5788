"""Where mathematics problems come from: JSONL files, rows at hand, and data sets by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mrt_lib.tasks.optional import load

Row = Mapping[str, Any]
Located = tuple[str, Row]


def _after_hashes(text: str) -> str:
    return text.rpartition("####")[2] if "####" in text else ""


def _last_box(text: str) -> str:
    from mrt_lib.thoughts.templates import last_boxed

    return last_boxed(text)


EXTRACT: dict[str, Callable[[str], str]] = {
    "whole": lambda text: text,
    "after ####": _after_hashes,
    "last box": _last_box,
}


@dataclass(frozen=True)
class Fields:
    """How a row is read.

    Attributes:
        question: name of the field with the problem's text.
        answer: name of the field that holds the gold answer.
        extract: where in that field the gold stands, a key of `EXTRACT`.
        skip: golds that say there is none.
    """

    question: str = "question"
    answer: str = "answer"
    extract: str = "whole"
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.extract not in EXTRACT:
            raise ValueError(f"unknown extract {self.extract!r}; known: {sorted(EXTRACT)}")


@dataclass(frozen=True)
class Source:
    """A data set of the Hugging Face hub, or a folder that `datasets` reads.

    Attributes:
        dataset: its name or path.
        splits: our split to the data set's.
        fields: how a row is read.
        config: its configuration, or None.
    """

    dataset: str
    splits: Mapping[str, str]
    fields: Fields = field(default_factory=Fields)
    config: str | None = None

    def rows(self, split: str, limit: int | None = None) -> Iterator[Located]:
        """The first `limit` rows of one of our splits; ImportError without `datasets`."""
        theirs = self.splits[split]
        data = load("datasets", "math").load_dataset(self.dataset, self.config, split=theirs)
        return islice(locate(data, f"{self.dataset} [{theirs}] row"), limit)


# Field names as published; the data sets have no test split where our "test" reads their "train".
PRESETS = {
    "gsm8k": Source(
        "openai/gsm8k", {"train": "train", "test": "test"}, Fields(extract="after ####"), config="main"
    ),
    "math500": Source("HuggingFaceH4/MATH-500", {"test": "test"}, Fields("problem")),
    "aime2024": Source("HuggingFaceH4/aime_2024", {"test": "train"}, Fields("problem")),
    "aime2025": Source("MathArena/aime_2025", {"test": "train"}, Fields("problem")),
    "numinamath": Source(
        "AI-MO/NuminaMath-1.5", {"train": "train"}, Fields("problem", skip=("proof", "notfound"))
    ),
    "numinamath_cot": Source(
        "AI-MO/NuminaMath-CoT",
        {"train": "train", "test": "test"},
        Fields("problem", "solution", extract="last box"),
    ),
}


def get_source(name: str) -> Source:
    """The preset of that name; ValueError lists the known names."""
    if name not in PRESETS:
        raise ValueError(
            f"unknown preset {name!r}; known: {sorted(PRESETS)}; for other data sets give a Source"
        )
    return PRESETS[name]


def locate(rows: Iterable[Row], where: str) -> Iterator[Located]:
    """Each row with the place it stands at, counted from 1."""
    return ((f"{where} {i}", row) for i, row in enumerate(rows, start=1))


def read_row(where: str, row: Row, fields: Fields) -> tuple[str, str]:
    """Question and gold answer, stripped; ValueError where one is missing, empty or not text."""
    question, answer = _text(where, row, fields.question), _text(where, row, fields.answer)
    gold = EXTRACT[fields.extract](answer).strip()
    if not gold:
        raise ValueError(f"{where}: field {fields.answer!r} holds no gold answer ({fields.extract})")
    if gold in fields.skip:
        raise ValueError(f"{where}: the gold answer is {gold!r}")
    return question, gold


def _text(where: str, row: Row, name: str) -> str:
    if name not in row:
        raise ValueError(f"{where}: field {name!r} is missing; the row has {sorted(row)}")
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError(f"{where}: field {name!r} must be a non-empty text or a number, got {value!r}")
    return str(value).strip()
