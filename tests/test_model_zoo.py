"""The page of model families: three are tried here, all of them by `python -m tools.model_zoo`."""

import re

import pytest

from tools.model_zoo import COMMAND, FAMILIES, PAGE, Family, main, page, try_family
from tools.summary import read_summary


@pytest.mark.parametrize(
    ("name", "report"), [("olmoe", "works, exact values"), ("jamba", "slow way, exact values")]
)
def test_a_family_is_reported_trained_merged_and_loaded(name, report):
    found = try_family(name)
    assert (found.report, found.training, found.merging) == (report, "works", "works")
    assert found.works


def test_what_cannot_be_adapted_says_why_and_is_not_counted(capsys):
    before = PAGE.read_text()
    assert main(["mamba"]) == 0
    told = capsys.readouterr().out
    assert "refused: [PEFT:PeftType.LORA] Module 'out_proj' is incompatible" in told
    assert "not tried" in told
    assert "; name others in LoraSettings.targets, of ['dt_proj', 'in_proj'," in told
    assert PAGE.read_text() == before
    assert not Family("mamba", "slow way", "refused: so", "not tried", "").works


def test_the_page_is_of_these_families_and_none_crashes():
    text = PAGE.read_text()
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == list(FAMILIES)
    assert len(FAMILIES) >= 20
    assert "crashes" not in text
    head = next(line for line in page([]).splitlines() if line.startswith("| model type"))
    assert head in text
    assert text.splitlines()[-2:] == page([]).splitlines()[-2:]
    number = read_summary()["model_zoo.families_working"]
    working = sum("refused" not in cells for _, cells in rows)
    assert (number["value"], number["n"], number["command"]) == (working, len(rows), COMMAND)
    assert working >= 16
