"""What an overthinking report holds: `overthinking` fills it, `page` saves it."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

# measure: (unit, meaning)
MEASURES: dict[str, tuple[str, str]] = {
    "thought_tokens": ("tokens", "length of a thought"),
    "episodes": ("episodes", "episodes of a thought"),
    "finished_share": ("share", "thoughts that the model ended itself"),
    "unreadable_share": ("share", "forced answers that could not be read"),
    "final_accuracy": ("probability", "J at the end of the thought"),
    "accuracy_by_episode": ("probability", "J after so many episodes; a finished thought keeps its last"),
    "accuracy": ("probability", "J within so many tokens: prompt, thought, stop text, one answer"),
    "optimum_accuracy": ("probability", "the same of the optimal policy, with episodes as long as these"),
    "regret_oracle": ("share", "normalised regret against always being right, up to so many tokens"),
    "regret_optimum": ("share", "normalised regret against the optimal policy, up to so many tokens"),
    "known_share": ("share", "thoughts that come to know the answer"),
    "known_tokens": ("tokens", "thought tokens until they know it"),
    "known_position": ("share", "the same as a share of these thoughts"),
    "wasted_share": ("share", "thought tokens after the last gain, of all thought tokens"),
    "wasted_known": ("share", "of all thought tokens: after the last gain, the answer known"),
    "wasted_unknown": ("share", "of all thought tokens: after the last gain, the answer not known"),
    "wasted_tokens": ("tokens", "tokens of a thought after its last gain"),
    "stop_cost": ("probability", "J at the end minus J at the last gain: what stopping there would cost"),
    "vote_accuracy": ("probability", "stop after so many episodes, then vote"),
    "vote_gain": ("probability", "the same minus J of thinking on for as many tokens"),
    "vote_regret": ("share", "regret against the better of voting and thinking on (paper, Appendix E)"),
}


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
class Example:
    """A typical thought: text of the question and of each episode, with J after each."""

    problem: str
    lines: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Overthinking:
    """Everything that a report says: how and on what it was measured, when and with which versions, the
    numbers, thoughts in the order of the problems, and one whose wasted share is closest to that of all."""

    settings: dict[str, Any]
    provenance: dict[str, Any]
    numbers: tuple[Measured, ...]
    thoughts: tuple[Thought, ...]
    example: Example

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
