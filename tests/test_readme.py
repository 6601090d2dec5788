"""The README's computed parts are up to date."""

from tools.readme import README, filled


def test_readme_shows_the_current_index_and_numbers():
    text = README.read_text()
    assert filled(text) == text, "run: python -m tools.readme"
    assert "not measured" not in text
