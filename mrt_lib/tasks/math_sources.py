"""Where mathematics problems come from: JSONL files, rows at hand, and data sets by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mrt_lib.tasks.base import NO_GOLDS, require
from mrt_lib.thoughts.templates import last_boxed

Row = Mapping[str, Any]
Located = tuple[str, Row]
LONGEST_INTEGER = 1000
NO_NUMBERS = ("", "nan", "inf", "-inf")  # Python's spellings
EXTRACT: dict[str, Callable[[str], str]] = {
    "whole": str,
    "after ####": lambda text: text.rpartition("####")[2] if "####" in text else "",
    "last box": last_boxed,
}


@dataclass(frozen=True)
class Fields:
    """How a row is read: the names of the fields with the problem's text and with the gold answer.

    `extract`: where in that field the gold stands, a key of `EXTRACT`; `skip`: golds that say there is none.
    """

    question: str = "question"
    answer: str = "answer"
    extract: str = "whole"
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.extract not in EXTRACT:
            raise ValueError(f"unknown extract {self.extract!r}; known: {sorted(EXTRACT)}")

    def read(self, where: str, row: Row) -> tuple[str, str]:
        """Question and gold answer, stripped; ValueError where one is missing, empty or not text."""
        texts = []
        for name in (self.question, self.answer):
            if name not in row:
                raise ValueError(f"{where}: field {name!r} is missing; the row has {sorted(row)}")
            x = row[name]
            if isinstance(x, int) and abs(x) >= 10**LONGEST_INTEGER:
                raise ValueError(f"{where}: field {name!r} is an integer of over {LONGEST_INTEGER} digits")
            if isinstance(x, bool) or not isinstance(x, str | int | float) or str(x).strip() in NO_NUMBERS:
                raise ValueError(f"{where}: field {name!r} must be a non-empty text or a number, got {x!r}")
            texts.append(str(x).strip())
        gold = EXTRACT[self.extract](texts[1]).strip()
        if not gold:
            raise ValueError(f"{where}: field {self.answer!r} holds no gold answer ({self.extract})")
        if gold in self.skip or gold.casefold() in NO_GOLDS:
            raise ValueError(f"{where}: the gold answer is {gold!r}")
        return texts[0], gold


@dataclass(frozen=True)
class Source:
    """A data set of the Hugging Face hub, or a folder that `datasets` reads.

    `dataset`: its name or path; `splits`: our split to the data set's; `config`: its configuration, or None.
    """

    dataset: str
    splits: Mapping[str, str]
    fields: Fields = field(default_factory=Fields)
    config: str | None = None

    def rows(self, split: str, limit: int | None = None) -> Iterator[Located]:
        """The first `limit` rows of one of our splits; ImportError without `datasets`."""
        theirs = self.splits[split]
        require("datasets", "math")
        import datasets

        data = datasets.load_dataset(self.dataset, self.config, split=theirs)
        return islice(located(data, f"{self.dataset} [{theirs}] row"), limit)


# Field names as published; the data sets have no test split where our "test" reads their "train".
TRAIN, TEST, BOTH = {"train": "train"}, {"test": "train"}, {"train": "train", "test": "test"}
PROBLEM = Fields("problem")
PRESETS = {
    "gsm8k": Source("openai/gsm8k", BOTH, Fields(extract="after ####"), config="main"),
    "math500": Source("HuggingFaceH4/MATH-500", {"test": "test"}, PROBLEM),
    "aime2024": Source("HuggingFaceH4/aime_2024", TEST, PROBLEM),
    "aime2025": Source("MathArena/aime_2025", TEST, PROBLEM),
    "numinamath": Source("AI-MO/NuminaMath-1.5", TRAIN, Fields("problem", skip=("proof", "notfound"))),
    "numinamath_cot": Source("AI-MO/NuminaMath-CoT", BOTH, Fields("problem", "solution", "last box")),
}


def located(rows: Iterable[Row | Located], where: str) -> Iterator[Located]:
    """Each row with the place it stands at, counted from 1 unless it says so itself."""
    return (r if isinstance(r, tuple) else (f"{where} {i}", r) for i, r in enumerate(rows, start=1))
