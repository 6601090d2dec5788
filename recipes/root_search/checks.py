"""Is a base reasoner a good meta-prover and a poor explorer? Measured on held-out problems.

`python -m recipes.root_search.checks` writes quality.json and a model card beside the weights
and puts the default task's numbers into the summary.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from mrt_lib.engines.base import Sampling
from mrt_lib.files import sha256, write_json
from mrt_lib.measure.evaluation import Evaluation, evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.measure.stats import Interval, bootstrap
from mrt_lib.provenance import provenance
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.tasks.root_search import RootSearch
from mrt_lib.thoughts.templates import decode
from recipes.root_search.base import FAMILIES, SHIPPED
from recipes.root_search.explorers import Trial, trial_at
from tools.summary import record

EPISODES = 16
EPISODE_TOKENS = 11
ROLLOUTS = 8
ANSWER_TOKENS = 2
SKILLS = ("format", "arithmetic", "verdict", "interval")


def read_trials(task: RootSearch, text: str) -> list[Trial | None]:
    """The trials written in a thought; None for an episode that is not well formed."""
    return [_read_trial(task, episode.split()) for episode in text.split("try")[1:]]


def _read_trial(task: RootSearch, words: list[str]) -> Trial | None:
    width = len(task.digits(0).split())
    layout = [words[1:2], words[2 + width : 3 + width], words[3 + width : 4 + width]]
    numbers = [*words[:1], *words[2 : 2 + width], *words[4 + width :]]
    if layout[0] != [":"] or layout[2] != ["in"] or len(words) != 6 + width:
        return None
    if layout[1][0] not in ("low", "high", "hit") or not all(n.isdecimal() for n in numbers):
        return None
    value = int("".join(numbers[1:-2]))
    return Trial(int(numbers[0]), value, layout[1][0], (int(numbers[-2]), int(numbers[-1])))


def grade_trials(task: RootSearch, problem: Problem, trials: Sequence[Trial | None]) -> Counter[str]:
    """Counts of right "format", "arithmetic", "verdict", "interval", and "trials" in all.

    Each skill is judged on what the model itself wrote before: the verdict against the written
    value, the interval against the written verdict and the interval before it.
    """
    right: Counter[str] = Counter(trials=len(trials))
    target, interval = int(problem.facts["target"]), (1, task.candidates)
    for trial in trials:
        if trial is None:
            break
        right["format"] += 1
        right["arithmetic"] += trial.value == task.evaluate(trial.guess, int(problem.facts["b"]))
        verdict = "hit" if trial.value == target else "low" if trial.value < target else "high"
        right["verdict"] += trial.verdict == verdict
        right["interval"] += trial.interval == _next_interval(trial, interval)
        interval = trial.interval
    return right


def _next_interval(trial: Trial, interval: tuple[int, int]) -> tuple[int, int]:
    low, high = interval
    if trial.verdict == "hit":
        return trial.guess, trial.guess
    if trial.verdict == "low":
        return max(low, trial.guess + 1), high
    return low, min(high, trial.guess - 1)


def consistent_values(task: RootSearch, problem: Problem, trials: Sequence[Trial | None]) -> list[float]:
    """1/|interval left| at every prefix up to the first mistake: what a perfect meta-prover's J is."""
    interval, values = (1, task.candidates), [1 / task.candidates]
    for trial in trials:
        if trial is None or trial != trial_at(task, problem, trial.guess, interval):
            break
        interval = trial.interval
        values.append(1 / (interval[1] - interval[0] + 1))
    return values


def rollout(reasoner: Reasoner, task: RootSearch, problems: Sequence[Problem], seed: int = 0) -> Evaluation:
    """The reasoner's traces on `problems`, exact values included."""
    sampling = Sampling(EPISODES * EPISODE_TOKENS, seed=seed)
    return evaluate(reasoner, ExactProver(reasoner, task), problems, ROLLOUTS, sampling, ANSWER_TOKENS)


def skills(found: Evaluation, tokenizer: PreTrainedTokenizerBase, task: RootSearch) -> dict[str, np.ndarray]:
    """What the traces of an evaluation got right, per problem.

    Returns:
        Counts, shape (problems,): "trials" and, of them, right "format", "arithmetic", "verdict" and
        "interval"; "prefixes" without a mistake and, summed over them, "judgement_error", the distance
        of J from 1/|interval left|. "search", shape (problems, episodes + 1): mean value that a perfect
        meta-prover would give after 0 .. `EPISODES` trials, a trace keeping its value at its first mistake.
    """
    names = (*SKILLS, "trials", "prefixes", "judgement_error")
    rows = {name: np.zeros(len(found.problems)) for name in names}
    rows["search"] = np.zeros((len(found.problems), EPISODES + 1))
    for i, trace in enumerate(found.traces):
        row = i // found.rollouts
        trials = read_trials(task, decode(tokenizer, trace.thought_ids))
        for skill, count in grade_trials(task, found.problems[row], trials).items():
            rows[skill][row] += count
        truth = np.array(consistent_values(task, found.problems[row], trials))
        valued = truth[: len(trace.values)]
        rows["judgement_error"][row] += np.abs(np.array(trace.values[: len(valued)]) - valued).sum()
        rows["prefixes"][row] += len(valued)
        rows["search"][row] += truth[np.minimum(np.arange(EPISODES + 1), len(truth) - 1)] / found.rollouts
    return rows


def quality(folder: Path, task: RootSearch) -> dict[str, Interval]:
    """Skills, calibration and values on the task's test problems, with intervals over problems.

    Returns:
        Shares right by skill; "judgement_error", the mean of |J - 1/|interval left|| over prefixes
        that hold no mistake; "J0" .. "J16"; "episodes" per trace.
    """
    reasoner = Reasoner.load(folder)
    found = rollout(reasoner, task, task.problems["test"])
    right = skills(found, reasoner.tokenizer, task)
    values = found.by_episode(EPISODES).mean(1)
    lengths = np.array([t.n_episodes for t in found.traces]).reshape(len(found.problems), -1).mean(1)
    result = {s: bootstrap(share, right[s], right["format"], seed=0) for s in SKILLS[1:]}
    result["format"] = bootstrap(share, right["format"], right["trials"], seed=0)
    result["judgement_error"] = bootstrap(share, right["judgement_error"], right["prefixes"], seed=0)
    result |= {f"J{j}": bootstrap(np.mean, values[:, j], seed=0) for j in (0, 1, 2, 4, 8, 16)}
    result["episodes"] = bootstrap(np.mean, lengths, seed=0)
    return result


def share(part: np.ndarray, whole: np.ndarray) -> float:
    """How much of the whole the part is, over all problems together; nan of nothing."""
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")


def write_card(
    folder: Path,
    found: dict[str, dict[str, Interval]],
    training: dict[str, Any],
    card: str,
    budget: int,
) -> None:
    """Write quality.json, loss.png and the model card README.md beside the weights.

    `card` is the layout of the README; `budget` the tokens of thinking behind the numbers.
    """
    write_json(
        folder / "quality.json",
        {
            "provenance": provenance() | {"sha256": sha256(folder / "model.safetensors")},
            "rollouts": ROLLOUTS,
            "temperature": 1.0,
            "thinking_budget_tokens": budget,
            "tasks": {task: {k: vars(v) for k, v in rows.items()} for task, rows in found.items()},
        },
    )
    _draw_loss(folder / "loss.png", training["loss"])
    names = list(found)
    table = [f"| measure | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for measure in found[names[0]]:
        cells = [_cell(found[name][measure]) for name in names]
        table.append(f"| {measure} | {' | '.join(cells)} |")
    text = card.format(name=folder.name, table="\n".join(table), **training)
    (folder / "README.md").write_text(text)


def _cell(interval: Interval) -> str:
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def _draw_loss(path: Path, loss: list[list[float]]) -> None:
    import matplotlib.pyplot as plt

    from mrt_lib import plots

    plots.use_style()
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.plot(*zip(*loss, strict=True), color=plots.SERIES["base"][0])
    axes.set(xlabel="optimiser step", ylabel="loss (nats per learnt token)")
    figure.savefig(path, dpi=80)
    plt.close(figure)


CARD = """# {name}: a root-search reasoner

A Qwen3 of 0.8M parameters that this repository trained from {start} on demonstrations of explorers
(`recipes/root_search/base.py`, recipe `{name}`). Loads with `AutoModelForCausalLM`, peft and vLLM.

* **Data**: traces on training problems of three task families, written while training; each
  demonstrator knows only what its own trials revealed. It stays inside the interval that is left with a
  probability drawn from {inside}; at most {longest} trials; a share of {forced} is cut by the
  forced-termination text. A share of {calibration} of the examples teaches only to answer, after the
  thought of a better explorer.
* **Training**: {steps} steps, {tokens} tokens, AdamW, peak learning rate {learning_rate}, seed {seed},
  {minutes} minutes on {device}, commit {commit}.
* **Use**: a testbed for test-time compute; of no use for anything else. License MIT.

![loss](loss.png)

Quality on test problems (mean with 95% bootstrap interval over problems; {rollouts} rollouts each at
temperature 1; J after j episodes is exact). `judgement_error` is the mean distance of J from
1/|interval left|. Made by `python -m recipes.root_search.checks {name}`.

{table}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the named reasoners and write their cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=SHIPPED)
    parser.add_argument("--models", type=Path, default=Path("data/models"))
    options = parser.parse_args(arguments)
    for name in options.names:
        folder = options.models / name
        found = {task.name: quality(folder, task) for task in FAMILIES}
        training = json.loads((folder / "training.json").read_text())
        write_card(folder, found, training | {"rollouts": ROLLOUTS}, CARD, EPISODES * EPISODE_TOKENS)
        for measure, interval in found[RootSearch().name].items():
            unit = {"episodes": "episodes per trace"}.get(measure, "probability")
            record(f"i1.{name}_{measure}", interval, unit, f"python -m recipes.root_search.checks {name}")


if __name__ == "__main__":
    main()
