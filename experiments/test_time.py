"""Test-time methods on base, GRPO and MRT: `python -m experiments.test_time`. Resumes with the next model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from experiments.records import read_facts, write_run
from experiments.test_time_results import COMMAND, KINDS, KS, MODELS, ROWS, write_results
from mrt_lib import Reasoner
from mrt_lib.arms.base import repeat
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.files import sha256
from mrt_lib.provenance import provenance
from mrt_lib.tasks import Problem, RootSearch
from mrt_lib.test_time import (
    BestOfN,
    MajorityAtK,
    Outcome,
    OwnValue,
    PassAtK,
    Samples,
    Solver,
    StopAndVote,
    draw,
    stopped,
)
from mrt_lib.thoughts.traces import Trace
from recipes.beam import Beam
from recipes.streams import BudgetForcing, Linearised
from recipes.verifier import (
    Verifier,
    VerifierSettings,
    calibration,
    load_verifier,
    save_verifier,
    train_verifier,
)

BASE, ADAPTERS = Path("data/models/base"), Path("data/models/adapters")
VERIFIER = Path("data/models/verifier")
TASK = RootSearch(31)
CONTEXT, EPISODE_TOKENS, ANSWER_TOKENS = 44, 16, 2
SAMPLES, STREAMS, SEED = 16, 2, 0
BATCH_TOKENS = 6000


class Method(Protocol):
    """One way to spend tokens on a problem at test time."""

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """Work on every problem on its own; the same seed gives the same bits."""


def methods(verifier: Verifier) -> Iterator[tuple[str, str, Method, int]]:
    """Name, knob, method and thinking budget of what is run on its own."""
    for width, expansion in ((1, 4), (2, 4)):
        for name, scorer in (("own", OwnValue()), ("verifier", verifier)):
            beam = Beam(width, expansion, scorer, EPISODE_TOKENS)
            yield f"beam_{name}", f"{width}x{expansion}", beam, 2 * CONTEXT
    for extensions in (0, 2, 4, 8):
        yield "budget_forcing", f"{extensions}", BudgetForcing(extensions), 4 * CONTEXT
    for episodes in (2, 4, 8):
        for votes in (1, 8):
            yield "stop_and_vote", f"{episodes}x{votes}", StopAndVote(episodes, votes), 2 * CONTEXT
    for times, window in ((1, 2), (2, 2), (4, 1), (4, 2), (4, 3), (8, 2)):
        name = "linearised" if window == 2 else f"linearised_window_{window}"
        yield name, f"{times}", Linearised(times * CONTEXT, window, CONTEXT), CONTEXT


def parallel(solver: Solver, samples: Samples, verifier: Verifier) -> Iterator[tuple[str, str, Outcome]]:
    """What is judged from the same samples."""
    asked = repeat(samples.problems, samples.n)
    scorers = {"best_of_n_own": OwnValue(), "best_of_n_verifier": verifier}
    scores = {name: scorer.score(solver, asked, samples.traces) for name, scorer in scorers.items()}
    for k in KS:
        yield "pass_at_k", f"{k}", PassAtK(k).grade(samples)
        yield "maj_at_k", f"{k}", MajorityAtK(k).grade(samples)
        yield "maj_at_k_weighted", f"{k}", MajorityAtK(k, weighted=True).grade(samples)
        for name, scorer in scorers.items():
            yield name, f"{k}", BestOfN(k, scorer).grade(samples, scores[name])


def solver_of(name: str, thinking: int = CONTEXT) -> Solver:
    """The shipped base, or an adapter merged into it."""
    reasoner = Reasoner.load(BASE if name == "base" else ADAPTERS / name)
    reasoner.engine = TransformersEngine(reasoner.model, BATCH_TOKENS)
    return Solver(reasoner, TASK, Sampling(thinking), Sampling(ANSWER_TOKENS))


def execute(name: str, verifier: Verifier) -> None:
    """Every method on one model; its raw rows are `arrays` of shape (kinds, problems)."""
    solver, started = solver_of(name), time.perf_counter()
    problems = TASK.problems["test"][::2]
    samples = draw(solver, problems, SAMPLES, SEED)
    arrays = {f"{m}:{knob}": _rows(found) for m, knob, found in parallel(solver, samples, verifier)}
    todo = list(methods(verifier))
    for number, (method, knob, own, budget) in enumerate(todo, start=1):
        times = STREAMS if isinstance(own, Linearised) else 1
        wide = replace(solver, thinking=Sampling(budget))
        rows = _rows(own.solve(wide, repeat(problems, times), SEED))
        arrays[f"{method}:{knob}"] = rows.reshape(len(KINDS), len(problems), times).mean(2)
        seconds = time.perf_counter() - started
        left = seconds / number * (len(todo) - number)
        print(f"{name}: {method} {knob} done after {seconds:.0f} s; about {left:.0f} s left", flush=True)
    facts = {"model": name, "kinds": KINDS, "problems": [p.id for p in problems], "seed": SEED}
    facts |= {"seconds": time.perf_counter() - started, "calibration": _calibration(solver, verifier)}
    facts |= {
        "weights_sha256": _sources(name),
        "sampling": asdict(solver.thinking),
        "provenance": provenance(),
    }
    write_run(ROWS / name, facts, [], arrays)


def make_verifier() -> Verifier:
    """The shipped verifier, trained first if it is missing."""
    if not VERIFIER.exists():
        started, pairs = time.perf_counter(), []
        for name in MODELS:
            pairs += _graded(solver_of(name, 2 * CONTEXT), TASK.problems["train"], SEED + 1)
        traces, right = zip(*pairs, strict=True)
        settings = VerifierSettings(verdicts=("high", "low"))
        found = train_verifier(Reasoner.load(BASE), traces, right, settings)
        numbers = {"made by": f"`{COMMAND}`", "traces": len(traces), "share right": float(np.mean(right))}
        numbers |= {
            "seconds": time.perf_counter() - started,
            "base sha256": sha256(BASE / "model.safetensors"),
        }
        save_verifier(found, VERIFIER, Reasoner.load(BASE), {"task": TASK.name, "numbers": numbers})
    return load_verifier(Reasoner.load(BASE), VERIFIER)


def _graded(solver: Solver, problems: Sequence[Problem], seed: int) -> list[tuple[Trace, float]]:
    """An answered thought of each problem and a random prefix of it, with the grade of each one's answer."""
    rng = np.random.default_rng(seed)
    answered = solver.answer(solver.think(problems, seed), seed)
    prefixes = [stopped(t, int(rng.integers(t.n_episodes + 1))) for t in answered]
    forced = solver.answer(prefixes, seed + 1)
    pairs = list(zip(problems, answered, answered, strict=True)) + list(
        zip(problems, prefixes, forced, strict=True)
    )
    return [(seen, float(solver.read(p, graded) == p.answer)) for p, seen, graded in pairs]


def _calibration(solver: Solver, verifier: Verifier) -> dict[str, Any]:
    """On validation problems, for answered thoughts and for prefixes: never seen in training."""
    problems = TASK.problems["validation"]
    pairs = _graded(replace(solver, thinking=Sampling(2 * CONTEXT)), problems, SEED + 3)
    stated = verifier.probabilities([verifier.row(t) for t, _ in pairs]).reshape(2, -1)
    right = np.array([y for _, y in pairs]).reshape(2, -1)
    named = zip(("answered", "prefixes"), stated, right, strict=True)
    return {name: asdict(calibration(p[:, None], y[:, None])) for name, p, y in named}


def _rows(found: Outcome) -> np.ndarray:
    return np.stack([getattr(found, kind) for kind in KINDS])


def _sources(name: str) -> dict[str, str]:
    own = {"base": BASE / "model.safetensors", "verifier": VERIFIER / "adapter_model.safetensors"}
    if name != "base":
        own[name] = ADAPTERS / name / "adapter_model.safetensors"
    return {source: sha256(path) for source, path in own.items()}


def main() -> None:
    """Run what is missing, then write the table and the numbers."""
    torch.set_num_threads(1)
    verifier = make_verifier()
    for name in MODELS:
        if read_facts(name, ROWS) is None:
            execute(name, verifier)
    write_results()


if __name__ == "__main__":
    main()
