"""Verdicts by hand-made intervals, the list of claims, and that the tables follow from the summary."""

import json
import re
from pathlib import Path
from string import Formatter

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from experiments import claims
from experiments.claims import CLAIMS, PARTS, TABLE, parts, table, with_verdict
from experiments.verdict_plots import LOOKS, claims_html, draw_verdicts
from experiments.verdicts import (
    DIFFERS,
    INCONCLUSIVE,
    MIXED,
    NOT_MEASURED,
    NOT_REPRODUCED,
    REPRODUCED,
    VERDICTS,
    Part,
    together,
)
from tools.readme import claims as readme_claims
from tools.summary import read_summary

SUMMARY = read_summary()
IDS = [claim.id for claim in CLAIMS]
STAR_RATIOS = ("i4.mrt_star_gain_ratio", "i4.mrt_star_rank_gain_ratio")  # what C11's reason is made of


def row(low, high):
    return {"value": (low + high) / 2, "low": low, "high": high, "n": 3, "unit": "times"}


def fields(why):
    """The names of records in a sentence, and the words around them."""
    found = list(Formatter().parse(why))
    return [name for _, name, _, _ in found if name], "".join(text for text, *_ in found)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.9, NOT_REPRODUCED),
        (0.5, 1.2, INCONCLUSIVE),
        (1.0, 1.2, INCONCLUSIVE),
        (1.1, 1.4, DIFFERS),
        (1.1, 1.5, REPRODUCED),
        (1.9, 2.6, REPRODUCED),
        (2.1, 2.6, DIFFERS),
    ],
)
def test_each_verdict_of_a_ratio_that_the_paper_puts_between_one_and_a_half_and_two(low, high, verdict):
    assert Part("r", "m", threshold=1, paper=(1.5, 2)).verdict(row(low, high)) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.3, -0.1, REPRODUCED), (-0.3, 0.1, INCONCLUSIVE), (0.1, 0.3, NOT_REPRODUCED)],
)
def test_below_a_threshold_everything_turns_round(low, high, verdict):
    assert Part("r", "m", threshold=0, below=True).verdict(row(low, high)) == verdict


def test_a_missing_number_is_not_measured_and_one_without_threshold_decides_nothing():
    assert Part("r", "m", threshold=0).verdict(None) == NOT_MEASURED
    with pytest.raises(ValueError, match="no threshold"):
        Part("r", "m").verdict(row(1, 2))


def test_a_claim_is_as_good_as_its_worst_part():
    assert together([REPRODUCED, DIFFERS]) == DIFFERS
    assert together([DIFFERS, INCONCLUSIVE, REPRODUCED]) == INCONCLUSIVE
    assert together([INCONCLUSIVE, NOT_REPRODUCED]) == NOT_REPRODUCED
    assert together([NOT_REPRODUCED, INCONCLUSIVE, REPRODUCED]) == MIXED
    assert together([DIFFERS, NOT_REPRODUCED]) == MIXED
    assert together([NOT_REPRODUCED, NOT_MEASURED]) == NOT_MEASURED


def test_nineteen_claims_each_with_a_part_that_decides_and_an_experiment():
    assert [f"C{i}" for i in range(1, 20)] == IDS
    for claim in CLAIMS:
        assert any(part.threshold is not None for part in claim.parts), claim.id
        assert Path(claim.link).is_file(), claim.id
        assert all(part.paper is None or part.threshold == 1 for part in claim.parts), "sizes are ratios"


def test_every_record_is_measured_or_decides_a_claim_that_waits_for_it():
    waiting = {row["id"] for row in table(SUMMARY) if row["verdict"] == NOT_MEASURED}
    for claim in CLAIMS:
        names = [part.record for part in claim.parts] + fields(claim.why)[0]
        missing = set(names) - set(SUMMARY)
        assert not missing or (claim.id in waiting and missing <= {p.record for p in claim.parts}), claim.id
        assert not any(name.startswith("i4.claim_") for name in missing), "the committed runs have these"


def test_records_are_what_the_table_of_arms_gives_by_subtraction_and_division():
    arms = pd.read_csv("data/results/arms.csv").fillna({"x": 0})
    arms = arms[(arms.base == "base") & (arms.task == "root_search_31") & arms.steps.isin((0, 160))]
    at = arms.set_index(["arm", "metric", "x"]).value

    def of(metric, x=0):
        return (at[arm, metric, x] for arm in ("mrt_regret_to_go", "grpo", "untrained"))

    mrt, grpo, base = of("regret_oracle", 63)
    by_hand = {"regret_lead_grpo_budget": grpo - mrt, "regret_rise_grpo": grpo - base}
    mrt, grpo, base = of("thought_tokens")
    by_hand |= {"length_grpo_mrt": grpo / mrt, "length_grpo_base": grpo / base}
    mrt, grpo, _ = of("J", 4)
    by_hand |= {"gain_difference": mrt - grpo}
    mrt, grpo, _ = of("J_root_search_63", 8)
    by_hand |= {"lead_root_search_63": mrt - grpo}
    for name, value in by_hand.items():
        assert SUMMARY[f"i4.claim_{name}"]["value"] == pytest.approx(value, abs=2e-5), name


def test_no_number_of_ours_is_typed():
    for claim in CLAIMS:
        words = " ".join([fields(claim.why)[1], *(part.meaning for part in claim.parts)])
        assert not re.search(r"\d", re.sub("maj@8", "", words)), claim.id


def test_without_any_record_nothing_is_measured():
    assert {row["verdict"] for row in table({})} == {NOT_MEASURED}
    assert with_verdict({}) == 0


def test_why_takes_its_numbers_from_the_summary():
    made_up = {name: row(1.25, 1.75) for name in STAR_RATIOS}
    found = next(own for own in table(made_up) if own["id"] == "C11")
    assert found["verdict"] == REPRODUCED
    assert "1.50 times" in found["why"]
    assert found["ours"].endswith("1.5 [1.25, 1.75], 3 seeds")
    assert with_verdict(made_up) == 1


@pytest.mark.skipif(not TABLE.exists(), reason="not written yet")
def test_the_committed_tables_follow_from_the_committed_summary():
    assert pd.read_csv(TABLE, keep_default_na=False).to_dict("records") == table(SUMMARY)
    committed = pd.read_csv(PARTS)
    assert committed.verdict.tolist() == [own["verdict"] for own in parts(SUMMARY)]
    count = sum(own["verdict"] != NOT_MEASURED for own in table(SUMMARY))
    assert SUMMARY["i4.claims_with_verdict"]["value"] == count


def test_both_tables_are_written_with_their_count(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps([{"name": name, **row(0.5, 0.9)} for name in STAR_RATIOS]))
    for name, file in (("SUMMARY", path), ("TABLE", tmp_path / "a.csv"), ("PARTS", tmp_path / "b.csv")):
        monkeypatch.setattr(claims, name, file)
    claims.write_claims()
    assert read_summary(path)["i4.claims_with_verdict"]["value"] == 1
    written = pd.read_csv(tmp_path / "a.csv").set_index("id")
    assert written.verdict["C11"] == NOT_REPRODUCED
    assert "| **not reproduced** |" in readme_claims(tmp_path / "a.csv")
    assert NOT_MEASURED not in readme_claims(tmp_path / "a.csv")


def test_figure_and_table_show_every_verdict_in_words():
    made_up = [Part("r", "m", threshold=t, paper=p) for t, p in ((1, (1.5, 2)), (0, None))]
    ends = [(0.5, 0.9), (0.5, 1.2), (1.1, 1.4), (1.6, 1.8)]
    rows = [
        {"id": "C1", "meaning": part.meaning, "threshold": part.threshold, "below": False, **row(*own)}
        | {"paper_low": part.paper and part.paper[0], "paper_high": part.paper and part.paper[1]}
        | {"verdict": part.verdict(row(*own))}
        for part in made_up
        for own in ends
    ]
    figure = draw_verdicts(pd.DataFrame(rows))
    assert [len(ax.get_yticks()) for ax in figure.axes] == [4, 4]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(legend) == set(VERDICTS) - {NOT_MEASURED, MIXED}
    plt.close(figure)
    shown = claims_html(pd.DataFrame(table({})).assign(verdict=[*LOOKS] + [NOT_MEASURED] * 13))
    assert all(f"{sign} {verdict}" in shown for verdict, (_, _, sign) in LOOKS.items())
    assert shown.count("<tr>") == len(CLAIMS) + 1
