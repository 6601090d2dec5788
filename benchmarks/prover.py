"""How much faster the packed pass is, on the same traces and in the same run.

`python -m benchmarks.prover` times exact values in one packed pass against one forward pass per
prefix at 8, 24 and 64 episodes, and against 4 sampled branches per prefix at 24 episodes. Ratios are
medians over repeats; raw seconds go to data/results/benchmark_prover.json.

Fair to the slow way: prefixes of similar length are batched together, padding stands on the right so
that attention needs no mask, and the LM head runs on answer rows only, as in the packed pass. Each
method gets the batch size that is fastest for it among the tried ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mrt_lib.engines import Sampling
from mrt_lib.files import write_json
from mrt_lib.measure.prover import ExactProver, Prover, SampledProver
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import provenance
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import Problem, RootSearch
from mrt_lib.thoughts.templates import encode
from mrt_lib.thoughts.traces import Trace
from recipes.reference import SeparateProver
from recipes.root_search.explorers import explore, random_guess, thought_text
from tools.summary import record

EPISODES = (8, 24, 64)
TRACES = 16
REPEATS = 7
BATCH_TOKENS = (1024, 4096, 16384)
RESULT = Path("data/results/benchmark_prover.json")
COMMAND = "python -m benchmarks.prover"


def long_traces(reasoner: Reasoner, task: RootSearch, episodes: int) -> tuple[list[Problem], list[Trace]]:
    """Traces of exactly `episodes` trials by an explorer that guesses at random."""
    rng = np.random.default_rng(0)
    problems, traces = [], []
    while len(traces) < TRACES:
        problem = task.sample(rng, 1)[0]
        trials = explore(task, problem, random_guess, episodes, rng)
        while len(trials) < episodes:
            trials += explore(task, problem, random_guess, episodes - len(trials), rng)
        thought = encode(reasoner.tokenizer, thought_text(task, trials))
        problems.append(problem)
        traces.append(
            Trace(problem.id, reasoner.prompt(problem.question), thought, reasoner.cut(thought), False)
        )
    return problems, traces


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of `repeats` calls after one that warms up."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return taken


def fastest(make: Callable[[int], Prover], problems: Sequence[Problem], traces: Sequence[Trace]) -> Prover:
    """The prover with the batch size that is fastest on this machine."""
    provers = [make(tokens) for tokens in BATCH_TOKENS]
    return min(provers, key=lambda p: min(seconds(lambda: p.values(problems, traces), 2)))


def compare(provers: dict[str, Prover], problems: Sequence[Problem], traces: Sequence[Trace]) -> dict:
    """Seconds of each prover, taken in turns so that a slow moment hits all of them."""
    taken: dict[str, list[float]] = {name: [] for name in provers}
    for prover in provers.values():
        prover.values(problems, traces)
    for _ in range(REPEATS):
        for name, prover in provers.items():
            taken[name] += seconds_once(prover, problems, traces)
    return taken


def seconds_once(prover: Prover, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[float]:
    """Wall time of one valuation."""
    started = time.perf_counter()
    prover.values(problems, traces)
    return [time.perf_counter() - started]


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Interval:
    """Median of the paired ratios with their range."""
    ratios = np.array(slow) / np.array(fast)
    return Interval(float(np.median(ratios)), float(ratios.min()), float(ratios.max()), len(ratios))


def main() -> None:
    """Time everything and record the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("data/models/base"))
    reasoner = Reasoner.load(parser.parse_args().model)
    task = RootSearch(31)
    raw: dict = {"provenance": provenance(), "traces": TRACES, "repeats": REPEATS}
    for episodes in EPISODES:
        problems, traces = long_traces(reasoner, task, episodes)
        provers: dict[str, Prover] = {
            "packed": fastest(lambda n: ExactProver(reasoner, task, batch_tokens=n), problems, traces),
            "separate": fastest(lambda n: SeparateProver(reasoner, task, batch_tokens=n), problems, traces),
        }
        if episodes == 24:
            provers["sampled4"] = SampledProver(reasoner, task, 4, Sampling(2))
        taken = compare(provers, problems, traces)
        raw[str(episodes)] = taken
        found = ratio(taken["separate"], taken["packed"])
        record(f"i1.packed_vs_naive_{episodes}", found, "times faster", COMMAND)
        print(f"{episodes} episodes: one packed pass is {found.value:.1f}x as fast as one pass per prefix")
        if "sampled4" in taken:
            found = ratio(taken["sampled4"], taken["packed"])
            record(f"i1.packed_vs_sampled4_{episodes}", found, "times faster", COMMAND)
            print(f"{episodes} episodes: and {found.value:.1f}x as fast as 4 sampled branches")
    write_json(RESULT, raw)


if __name__ == "__main__":
    main()
