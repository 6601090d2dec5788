"""Does a measured interval bear out a claim? One rule for all claims of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOT_MEASURED = "not measured"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
DIFFERS = "differs"
MIXED = "mixed"
REPRODUCED = "reproduced"
# From the worst to the best.
VERDICTS = (NOT_MEASURED, NOT_REPRODUCED, INCONCLUSIVE, MIXED, DIFFERS, REPRODUCED)


@dataclass(frozen=True)
class Part:
    """One recorded number behind a claim.

    Attributes:
        record: its name in the summary.
        meaning: what it is, in a few words.
        threshold: the claim says that the number is above it; None for a number that decides nothing.
        below: the claim says below instead.
        paper: smallest and largest size that the paper reports, where it can be compared: ratios only.
        units: what the interval's n counts.
    """

    record: str
    meaning: str
    threshold: float | None = None
    below: bool = False
    paper: Sequence[float] | None = None
    units: str = "seeds"

    def verdict(self, row: Mapping[str, Any] | None) -> str:
        """The verdict of the number's interval.

        Not reproduced: the whole interval is on the wrong side of the threshold. Inconclusive: the threshold
        is inside. Otherwise the direction is the claim's: it differs if the interval misses the paper's sizes
        altogether, and is reproduced if it meets them or if there are none to compare.

        Args:
            row: its row of the summary, with low <= high, or None if nothing was measured.

        Raises:
            ValueError: a number that decides nothing.
        """
        if self.threshold is None:
            raise ValueError(f"{self.record} has no threshold, so it decides nothing")
        if row is None:
            return NOT_MEASURED
        low, high = row["low"] - self.threshold, row["high"] - self.threshold
        worst, best = (-high, -low) if self.below else (low, high)
        if best < 0:
            return NOT_REPRODUCED
        if worst <= 0:
            return INCONCLUSIVE
        if self.paper and (row["high"] < self.paper[0] or row["low"] > self.paper[1]):
            return DIFFERS
        return REPRODUCED


def together(verdicts: Iterable[str]) -> str:
    """The verdict of a claim with these parts: the worst of them, or mixed if they point in both directions.

    Raises:
        ValueError: no part, or an unknown verdict.
    """
    found = list(verdicts)
    worst = VERDICTS[min(VERDICTS.index(verdict) for verdict in found)]
    agrees = any(verdict in (DIFFERS, REPRODUCED) for verdict in found)
    return MIXED if worst == NOT_REPRODUCED and agrees else worst
