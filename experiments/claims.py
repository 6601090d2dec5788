"""`python -m experiments.claims`: the verdict on every claim, from `data/results/summary.json` alone."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from experiments.claim_records import COMMAND, write_records
from experiments.records import write_table
from experiments.verdicts import NOT_MEASURED, Part, together
from mrt_lib.measure.stats import Interval
from tools.summary import SUMMARY, read_summary, record

TABLE, PARTS = Path("data/results/claims.csv"), Path("data/results/claim_parts.csv")
Summary = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        id: "C1" to "C19".
        claim: in a few words.
        paper: the paper's number.
        authors_rerun: the number of the authors' own re-run (version 0.1), or "none".
        parts: the records behind it; the claim holds if all parts with a threshold do.
        arm: which arms the numbers are about.
        why: one sentence about our numbers, in which every number is a field.
        link: file of the experiment, from the repository's root.
    """

    id: str
    claim: str
    paper: str
    authors_rerun: str
    parts: tuple[Part, ...]
    arm: str
    why: str
    link: str


def read_claims() -> tuple[Claim, ...]:
    """The claims as `claims.toml` states them."""
    stated = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["claim"]
    return tuple(Claim(**own | {"parts": tuple(Part(**part) for part in own["parts"])}) for own in stated)


CLAIMS = read_claims()


def table(summary: Summary) -> list[dict[str, str]]:
    """One row for each claim: id, claim, arm, paper, authors_rerun, ours, others, verdict, why, link.

    `ours` are the deciding numbers with their intervals, `others` what stands beside them.
    """
    return [_row(claim, summary) for claim in CLAIMS]


def parts(summary: Summary) -> list[dict[str, Any]]:
    """One row for each deciding number: its claim, its rule, its interval and its own verdict."""
    rows = []
    for claim in CLAIMS:
        for part in _deciding(claim):
            found = summary.get(part.record) or dict.fromkeys(("value", "low", "high", "n", "unit"))
            low, high = part.paper or (None, None)
            rule = {"threshold": part.threshold, "below": part.below, "paper_low": low, "paper_high": high}
            ends = {name: found[name] for name in ("value", "low", "high", "n", "unit")}
            row = {"id": claim.id, "record": part.record, "meaning": part.meaning, **rule, **ends}
            rows.append(row | {"verdict": part.verdict(summary.get(part.record))})
    return rows


def with_verdict(summary: Summary) -> int:
    """How many claims have a verdict."""
    return sum(row["verdict"] != NOT_MEASURED for row in table(summary))


def write_claims() -> None:
    """Record how many claims have a verdict and write both tables."""
    count = with_verdict(read_summary(SUMMARY))
    record("i4.claims_with_verdict", Interval(count, count, count, len(CLAIMS)), "claims", COMMAND, SUMMARY)
    summary = read_summary(SUMMARY)
    for rows, path in ((table(summary), TABLE), (parts(summary), PARTS)):
        write_table(pd.DataFrame(rows), path)


def _row(claim: Claim, summary: Summary) -> dict[str, str]:
    verdict = together(part.verdict(summary.get(part.record)) for part in _deciding(claim))
    beside = [part for part in claim.parts if part.threshold is None]
    return {
        "id": claim.id,
        "claim": claim.claim,
        "arm": claim.arm,
        "paper": claim.paper,
        "authors_rerun": claim.authors_rerun,
        "ours": "; ".join(_shown(part, summary) for part in _deciding(claim)),
        "others": "; ".join(_shown(part, summary) for part in beside),
        "verdict": verdict,
        "why": NOT_MEASURED if verdict == NOT_MEASURED else claim.why.format(**_values(summary)),
        "link": claim.link,
    }


def _deciding(claim: Claim) -> list[Part]:
    return [part for part in claim.parts if part.threshold is not None]


def _shown(part: Part, summary: Summary) -> str:
    """The number with its interval and how many seeds or problems are behind it."""
    row = summary.get(part.record)
    if row is None:
        return f"{part.meaning}: {NOT_MEASURED}"
    ends = f"[{row['low']:.3g}, {row['high']:.3g}]"
    return f"{part.meaning}: {row['value']:.3g} {ends}, {row['n']} {part.units}"


def _values(summary: Summary) -> dict[str, SimpleNamespace]:
    """Values by the two parts of a record's name, so that {i4.name} works in a format string."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for name, row in summary.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = row["value"]
    return {group: SimpleNamespace(**values) for group, values in groups.items()}


if __name__ == "__main__":
    write_records()
    write_claims()
