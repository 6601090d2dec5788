"""Is a base reasoner a good judge and a poor explorer? Measured on held-out problems.

`python -m mrt_lib.base_checks base` writes quality.json and a model card beside the weights and, for
the main base, the numbers of the summary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

from mrt_lib.engines.base import Sampling
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.evaluation import Evaluation, evaluate
from mrt_lib.prover import ExactProver
from mrt_lib.stats import bootstrap
from mrt_lib.tasks.base import Problem
from mrt_lib.tasks.explorers import Trial, judge
from mrt_lib.tasks.root_search import RootSearch
from mrt_lib.templates import TESTBED, decode

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
    """1/|interval left| at every prefix up to the first mistake: what a perfect judge's J is."""
    interval, values = (1, task.candidates), [1 / task.candidates]
    for trial in trials:
        if trial is None or trial != judge(task, problem, trial.guess, interval):
            break
        interval = trial.interval
        values.append(1 / (interval[1] - interval[0] + 1))
    return values


def rollout(folder: Path, task: RootSearch, problems: Sequence[Problem], seed: int = 0) -> Evaluation:
    """The reasoner's traces on `problems`, exact values included."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prover = ExactProver(model, tokenizer, TESTBED, task)
    sampling = Sampling(EPISODES * EPISODE_TOKENS, seed=seed)
    engine = TransformersEngine(model)
    return evaluate(engine, prover, tokenizer, TESTBED, problems, ROLLOUTS, sampling, ANSWER_TOKENS)


def quality(folder: Path, task: RootSearch) -> dict[str, Any]:
    """Skills, calibration and values of a reasoner on the task's test problems, with intervals."""
    found = rollout(folder, task, task.problems["test"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    right: Counter[str] = Counter()
    errors: list[float] = []
    for i, trace in enumerate(found.traces):
        problem = found.problems[i // found.rollouts]
        trials = read_trials(task, decode(tokenizer, trace.thought_ids))
        right += grade_trials(task, problem, trials)
        truth = consistent_values(task, problem, trials)
        errors += np.abs(np.array(trace.values[: len(truth)]) - truth).tolist()
    values = found.by_episode(EPISODES).mean(1)
    result: dict[str, Any] = {s: right[s] / right["format"] for s in SKILLS[1:]}
    result |= {"format": right["format"] / right["trials"], "trials": right["trials"]}
    result |= {"judgement_error": float(np.mean(errors)), "prefixes": len(errors)}
    for j in (0, 1, 2, 4, 8, 16):
        result[f"J{j}"] = vars(bootstrap(np.mean, values[:, j], seed=0))
    result["episodes"] = float(np.mean([t.n_episodes for t in found.traces]))
    return result
