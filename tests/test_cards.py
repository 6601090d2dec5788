"""Every shipped folder has a card, and the card of the results explains every name that is in them."""

import csv
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

# What set-up makes of the pretrained model (data/models/smollm2...) is not shipped.
FOLDERS = {path.parent for path in Path("data/models").rglob("*.safetensors")}
MODELS = sorted(folder for folder in FOLDERS if not folder.name.startswith("smollm2"))
RESULTS = Path("data/results")
CARD = (RESULTS / "README.md").read_text()
FILES = sorted(p for p in RESULTS.rglob("*") if p.suffix in {".csv", ".gz", ".npz"} or p.name == "run.json")


def first_column(text):
    """The names in backticks in the first cells of a table."""
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [name for cell in cells for name in re.findall("`(.*?)`", cell)]


def pattern(name):
    """What a name of the card stands for."""
    tasks = "|".join(path.name for path in Path("data/problems").iterdir() if path.is_dir())
    return re.escape(name).replace("<k>", r"\d+").replace("<task>", f"({tasks})")


def explained(path):
    """Patterns of the names in all sections that are about a file."""
    sections = [part.partition("\n") for part in re.split(r"^## ", CARD, flags=re.MULTILINE)[1:]]
    own = [body for head, _, body in sections if any(map(path.match, re.findall("`(.*?)`", head)))]
    return [pattern(name) for body in own for name in first_column(body)]


def names(path):
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return next(csv.reader(file))
    if path.suffix == ".gz":
        with gzip.open(path, "rt") as file:
            return next(csv.reader(file))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays.files
    return list(json.loads(path.read_text()))


@pytest.mark.parametrize("folder", MODELS, ids=str)
def test_every_model_says_what_it_is_and_what_it_may_be_used_for(folder):
    card = (folder / "README.md").read_text()
    assert re.search(r"root_search_31|subset_sum_5|pair_sum_6_12", card)
    for said in ("License", "MIT", "Use", "Seed", "Data", "commit", "python -m"):
        assert said.lower() in card.lower(), said


@pytest.mark.parametrize("folder", ["data/problems", "data/results"])
def test_every_data_folder_says_what_is_in_it_under_which_licence(folder):
    card = Path(folder, "README.md").read_text()
    assert "MIT" in card
    assert "`make problems`" in card or "written by" in card


def test_the_card_lists_every_file_and_folder_of_the_results():
    listed = first_column(CARD.partition("\n## ")[0])
    assert sorted(listed) == sorted(
        path.name for path in RESULTS.iterdir() if path.name[0] != "." and path.name != "README.md"
    )


def test_every_column_array_and_key_in_the_results_is_explained():
    missing = {}
    for path in FILES:
        known = explained(path.relative_to(RESULTS))
        for name in names(path):
            if not any(re.fullmatch(one, name) for one in known):
                missing.setdefault(f"{path.relative_to(RESULTS).parts[0]}: {path.name}", set()).add(name)
    assert len(FILES) > 100
    assert not missing, f"explain these in {RESULTS / 'README.md'}"


def test_nothing_is_explained_that_is_not_there():
    found = {name for path in FILES for name in names(path)}
    body = CARD.partition("\n## ")[2]
    assert not [n for n in first_column(body) if not any(re.fullmatch(pattern(n), f) for f in found)]


def test_the_example_of_the_card_runs(capsys):
    exec(re.search(r"```python\n(.*?)```", CARD, re.DOTALL)[1], {})
    assert "[" in capsys.readouterr().out
