"""How well the warmed model thinks in words: `python -m recipes.words.checks`.

Form, arithmetic, how far the meta-prover is from a perfect one, and whether reinforcement would have
something to learn from, on held-out problems of every family.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mrt_lib.engines.base import Sampling
from mrt_lib.files import write_json
from mrt_lib.measure.evaluation import Evaluation, evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.measure.stats import Interval, bootstrap
from mrt_lib.provenance import provenance
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import decode
from recipes.root_search.checks import share
from recipes.words.model import ADAPTER, load_words
from recipes.words.search import Family, read_tries
from recipes.words.warm_start import FAMILIES
from tools.summary import record

THINKING_TOKENS = 160
ANSWER_TOKENS = 8
EPISODES = 6


def perfect_values(family: Family, problem: Problem, thought: str) -> list[float]:
    """What a perfect meta-prover's J is at every prefix of a thought, up to the first line that is wrong."""
    values = [1 / len(family.candidates(problem))]
    for one, right in read_tries(family, problem, thought):
        if one is None or not right:
            break
        values.append(1 / len(one.left))
    return values


def quality(
    reasoner: Reasoner, family: Family, problems: Sequence[Problem], rollouts: int, seed: int = 0
) -> dict[str, Interval]:
    """Shares, probabilities and means with 95% intervals over problems.

    format, arithmetic: of lines, of those with form. J0 .. J6: after so many tries. error: mean distance of J
    from a perfect meta-prover's, where nothing was wrong so far. mixed: chance of a mixed group of
    `rollouts`. ended: of thoughts, by themselves. episodes, tokens: of a thought.
    """
    asked = Sampling(THINKING_TOKENS, seed=seed)
    found = evaluate(reasoner, ExactProver(reasoner, family), problems, rollouts, asked, ANSWER_TOKENS)
    rows = [_row(reasoner, family, found, i) for i in range(len(problems))]
    sums = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    values = found.by_episode(EPISODES).mean(1)
    result = {
        "format": bootstrap(share, sums["formed"], sums["lines"], seed=0),
        "arithmetic": bootstrap(share, sums["right"], sums["formed"], seed=0),
        "error": bootstrap(share, sums["error"], sums["prefixes"], seed=0),
    }
    for name in ("mixed", "ended", "episodes", "tokens"):
        result[name] = bootstrap(np.mean, sums[name], seed=0)
    result |= {f"J{j}": bootstrap(np.mean, values[:, j], seed=0) for j in range(EPISODES + 1)}
    return result


def _row(reasoner: Reasoner, family: Family, found: Evaluation, i: int) -> dict[str, float]:
    """What the thoughts about problem `i` hold."""
    row = dict.fromkeys(("lines", "formed", "right", "error", "prefixes"), 0.0)
    traces = found.traces[i * found.rollouts : (i + 1) * found.rollouts]
    for trace in traces:
        thought = decode(reasoner.tokenizer, trace.thought_ids)
        lines = read_tries(family, found.problems[i], thought)
        cut = not trace.finished and not thought.endswith("\n")  # the budget cut its last line
        lines = lines[: len(lines) - cut]
        row["lines"] += len(lines)
        row["formed"] += sum(one is not None for one, _ in lines)
        row["right"] += sum(right for _, right in lines)
        truth = perfect_values(family, found.problems[i], thought)[: len(trace.values)]
        row["error"] += float(np.abs(np.array(trace.values[: len(truth)]) - truth).sum())
        row["prefixes"] += len(truth)
    last = np.array([trace.values[-1] for trace in traces])
    row["mixed"] = float(1 - last.prod() - (1 - last).prod())
    row["ended"] = float(np.mean([t.finished for t in traces]))
    row["episodes"] = float(np.mean([t.n_episodes for t in traces]))
    row["tokens"] = float(np.mean([len(t.thought_ids) for t in traces]))
    return row


def table(found: dict[str, dict[str, Interval]]) -> str:
    """Markdown: a row for each measure, a column for each family."""
    names = list(found)
    lines = [f"| measure | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for measure in found[names[0]]:
        cells = [f"{x.value:.3f} [{x.low:.3f}, {x.high:.3f}]" for x in (found[n][measure] for n in names)]
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure, write quality.json beside the adapter, and the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter", type=Path, default=ADAPTER)
    parser.add_argument("--problems", type=int, default=48)
    parser.add_argument("--rollouts", type=int, default=8)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    reasoner = load_words(options.adapter)
    found = {}
    for family in FAMILIES:
        problems = family.problems["test"][: options.problems]
        found[family.name] = quality(reasoner, family, problems, options.rollouts)
        print(table({family.name: found[family.name]}), flush=True)
    write_json(
        options.adapter / "quality.json",
        {
            "provenance": provenance(),
            "thinking_tokens": THINKING_TOKENS,
            "rollouts": options.rollouts,
            "families": {name: {k: vars(v) for k, v in row.items()} for name, row in found.items()},
        },
    )
    sizes = f"--problems {options.problems} --rollouts {options.rollouts}"
    for name, row in found.items():
        for measure, interval in row.items():
            unit = {"episodes": "episodes per thought", "tokens": "tokens per thought"}.get(measure, "share")
            record(f"lm.warm_{name}_{measure}", interval, unit, f"python -m recipes.words.checks {sizes}")


if __name__ == "__main__":
    main()
