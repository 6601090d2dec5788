"""`docs/traces.md`: ten thoughts of the language model before and after training, drawn by a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.palette import LABELS
from experiments.words_plan import FIRST, RUNS, UNTRAINED, chosen
from mrt_lib.files import write_text

PAGE, THOUGHTS = Path("docs/traces.md"), "thoughts.json"
HEAD = """\
# Ten thoughts before and after training

Test problems of the pretrained language model that thinks in words, drawn by a seed and not by hand, and
for each the first thought of every model (training seed 0). The number behind an episode is J after it,
exact: the probability that the model is right if it is stopped there. By `python -m experiments.words`.
"""


def write_page(runs: Path = RUNS, page: Path = PAGE) -> None:
    """Write the page once a trained model stands beside the untrained one."""
    settings = {"untrained": UNTRAINED} | {arm: best for arm in FIRST if (best := chosen(arm, runs))}
    paths = {arm: runs / replace(own, seed=0).name / THOUGHTS for arm, own in settings.items()}
    found = {arm: json.loads(path.read_text()) for arm, path in paths.items() if path.exists()}
    if "untrained" in found and len(found) > 1:
        write_text(page, "\n".join([HEAD, *_problems(found)]))


def _problems(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    for number, about in enumerate(found["untrained"]):
        yield f"## {number + 1} · {about['family']}\n\n{about['question']} *(right: {about['answer']})*\n"
        for arm, thoughts in found.items():
            own = thoughts[number]
            yield f"**{LABELS[arm]}** (J before the first episode {own['values'][0]:.2f})\n"
            lines = zip(own["episodes"], own["values"][1:], strict=True)
            yield "\n".join(f"> {' '.join(text.split())} **{value:.2f}**  " for text, value in lines)
            yield "" if own["finished"] else "> *cut off*\n"
