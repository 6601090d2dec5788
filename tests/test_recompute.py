"""The headline numbers from the raw files, by other code than the project's."""

import pytest

from tools.recompute import headline
from tools.summary import read_summary


def test_the_headline_numbers_follow_from_the_raw_files():
    summary, again = read_summary(), headline()
    assert len(again) >= 10
    for name, value in again.items():
        assert value == pytest.approx(summary[name]["value"], abs=2e-5), name
