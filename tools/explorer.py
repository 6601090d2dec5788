"""The trace explorer of the shipped reasoners: one page of committed traces, which needs no kernel.

python -m tools.explorer            draw the thoughts again (a minute on two cores), then the page
python -m tools.explorer --page     the page alone, docs/explorer.html, from data/results/explorer.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mrt_lib.files import sha256, write_text
from mrt_lib.measure.prover import ExactProver
from mrt_lib.provenance import ROOT, provenance
from mrt_lib.reasoner import Reasoner
from mrt_lib.reporting.explorer import explored
from mrt_lib.reporting.observation import Observation, Options, observe
from mrt_lib.reporting.page import render
from mrt_lib.tasks import Problem, RootSearch, read_problems, select

TRACES = ROOT / "data" / "results" / "explorer.json"
DOCS, PAGE = ROOT / "docs", "explorer.html"
TASK = RootSearch(31)
ADAPTERS = ROOT / "data" / "models" / "adapters"
MODELS = {
    "base": ROOT / "data" / "models" / "base",
    "GRPO": ADAPTERS / "grpo",
    "MRT, regret-to-go": ADAPTERS / "mrt_regret_to_go",
}
PROBLEMS, SEEDS, EPISODES, EPISODE_TOKENS = 6, (0, 1), 8, 11
OPTIONS = {"rollouts": 4, "thinking_tokens": EPISODES * EPISODE_TOKENS, "branches": 2, "answer_tokens": 2}
TITLE = "Trace explorer: watch a small reasoner think"
LEAD = (
    "A small language model searches for the whole number x between 1 and 31 that solves an equation. Each "
    "episode of its thought is one trial: a guess, its value, whether that is too low, too high or a hit, "
    "and the interval that is left. Step through the thought with the buttons, the slider or the arrow keys."
)


def record(path: Path = TRACES) -> None:
    """Draw and value the thoughts of every model with every seed, and write them."""
    problems = chosen()
    best = TASK.optimal_values(EPISODES)
    thoughts = []
    for name in MODELS:
        reasoner = Reasoner.load(MODELS[name])
        for seed in SEEDS:
            found = observed(reasoner, problems, seed)
            thoughts += explored(found, best, range(len(problems)), model=name, seed=seed)
    weights = {name: sha256(next(folder.glob("*.safetensors"))) for name, folder in MODELS.items()}
    about = {"command": "python -m tools.explorer", "task": TASK.name, **OPTIONS, "weights_sha256": weights}
    content = {"start": start(thoughts), "comparator": "the optimal policy", "best": best.tolist()}
    write_text(path, lines({"provenance": {**about, **provenance()}, **content, "thoughts": thoughts}))


def start(thoughts: list[dict[str, Any]]) -> int:
    """Where the page starts: of the first model's thoughts in mixed groups, that in which J moves most."""
    places = [
        i for i, row in enumerate(thoughts) if row["model"] == next(iter(MODELS)) and any(row["paid"]["GRPO"])
    ]
    return max(places, key=lambda i: sum(map(abs, thoughts[i]["progress"])))


def chosen() -> list[Problem]:
    """The problems, drawn from the test split as the notebooks do."""
    test = read_problems(ROOT / "data" / "problems" / TASK.name / "test.jsonl")
    return select(test, PROBLEMS, np.random.default_rng(0))


def observed(reasoner: Reasoner, problems: list[Problem], seed: int) -> Observation:
    """One group of thoughts for each problem, valued exactly."""
    return observe(reasoner, TASK, problems, Options(**OPTIONS, seed=seed), ExactProver(reasoner, TASK))


def lines(content: dict[str, Any]) -> str:
    """JSON with one thought on each line, so that a difference between two versions can be read."""
    parts = {name: json.dumps(part, allow_nan=False) for name, part in content.items()}
    rows = ",\n".join(json.dumps(row, allow_nan=False, separators=(",", ":")) for row in content["thoughts"])
    parts["thoughts"] = f"[\n{rows}\n]"
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {part}" for name, part in parts.items()) + "\n}\n"


def build(folder: Path, traces: Path = TRACES) -> Path:
    """Write the page of the committed traces into a folder; the same traces give the same bytes."""
    content = json.loads(traces.read_text(encoding="utf-8"))
    made = content.pop("provenance")
    origin = (
        f"Made by {made['command']} at commit {made['commit'][:12]} on {made['date'][:10]}: thoughts of at "
        f"most {made['thinking_tokens']} tokens about test problems of {made['task']}, {made['rollouts']} "
        "for each problem, model and seed; J is exact. This page stands alone and fetches nothing."
    )
    text = render("explorer_page.html.j2", content, title=TITLE, lead=LEAD, origin=origin)
    write_text(folder / PAGE, text)
    return folder / PAGE


if __name__ == "__main__":
    if "--page" not in sys.argv[1:]:
        record()
    build(DOCS)
