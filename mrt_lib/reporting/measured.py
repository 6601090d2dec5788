"""What an overthinking report holds: `overthinking` fills it, `page` saves it."""

import json
import math
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Measure to its unit and its meaning.
MEASURES = tomllib.loads(Path(__file__).with_name("measures.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Measured:
    """One number: mean over `n` problems, or ratio of two.

    Attributes:
        measure: a key of `MEASURES`, which has its unit.
        low, high: 95% bootstrap interval over problems, -inf and inf where it is open.
        episode, votes, tokens: after how many episodes, of how many votes, within how many tokens.
    """

    measure: str
    value: float
    low: float
    high: float
    n: int
    episode: int | None = None
    votes: int | None = None
    tokens: float | None = None


@dataclass(frozen=True)
class Thought:
    """One thought in tokens: its length, up to its last gain, and until it knew the answer (or None)."""

    problem: str
    tokens: int
    useful: int
    known: int | None


@dataclass(frozen=True)
class Overthinking:
    """Everything that a report says: how and on what it was measured, when and with which versions, the
    numbers, thoughts in the order of the problems; and what the explorer shows: "thoughts" of a few of them
    (`mrt_lib.reporting.explorer`), "start", the place of one whose wasted share is closest to that of all,
    and "best", the "comparator" after 0 .. horizon episodes."""

    settings: dict[str, Any]
    provenance: dict[str, Any]
    numbers: tuple[Measured, ...]
    thoughts: tuple[Thought, ...]
    explorer: dict[str, Any]

    def number(self, measure: str, **where: float) -> Measured:
        """The one number of that measure, at that `episode`, `votes`, `tokens`; KeyError if not one."""
        found = [m for m in self.all(measure) if where.items() <= asdict(m).items()]
        if len(found) != 1:
            raise KeyError(f"{len(found)} numbers of {measure!r} at {where}; measures: {sorted(MEASURES)}")
        return found[0]

    def all(self, measure: str) -> list[Measured]:
        """The numbers of one measure."""
        return [m for m in self.numbers if m.measure == measure]

    def frame(self, measure: str) -> Any:
        """The same as a pandas DataFrame with the columns of `Measured`."""
        import pandas as pd

        return pd.DataFrame(self.all(measure))

    def to_json(self) -> str:
        """Strict JSON; null stands for an undefined value and for an open end of an interval."""
        parts = asdict(self)
        for row in parts["numbers"]:
            row |= {name: None for name in ("value", "low", "high") if not math.isfinite(row[name])}
        return json.dumps(parts, indent=1, allow_nan=False) + "\n"
