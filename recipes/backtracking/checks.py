"""Is the subset-sum reasoner right in what it writes and poor in what it chooses? On held-out problems.

`python -m recipes.backtracking.checks` writes quality.json and a model card beside the weights.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from mrt_lib.engines.base import Sampling
from mrt_lib.measure.evaluation import Evaluation, evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.measure.stats import Interval, bootstrap
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import decode
from recipes.backtracking.attempts import Attempt, backtracks, decided, is_right
from recipes.backtracking.base import ANSWER_TOKENS, NAME, TASK
from recipes.backtracking.subset_sum import facts_of, solution_of
from recipes.backtracking.text import read_prefix
from recipes.root_search.checks import ROLLOUTS, share, write_card

ATTEMPTS = 4
THINKING = 200  # tokens: four attempts and the backtracks need less
SKILLS = ("number", "rule", "arithmetic")


def grade_lines(problem: Problem, attempts: Sequence[Attempt]) -> Counter[str]:
    """Counts of "lines" written and, of them, right "number", "rule" and "arithmetic".

    Each is judged on what stands before it: the number against the prompt, the rule (a number that
    does not fit is skipped) and the arithmetic against the rest of the line before.
    """
    numbers, target = facts_of(problem)
    right: Counter[str] = Counter()
    for attempt in attempts:
        for i, line in list(enumerate(attempt.lines))[attempt.first - 1 :]:
            before = attempt.lines[i - 1].rest if i else target
            right["lines"] += 1
            right["number"] += line.number == numbers[i]
            right["rule"] += not line.taken or line.number <= before
            right["arithmetic"] += line.rest == before - line.number * line.taken
    return right


def true_value(problem: Problem, attempts: Sequence[Attempt]) -> float | None:
    """The value of a prefix under a perfect meta-prover; None where a line of the thought is wrong.

    0 where what is `decided` is wrong, else a coin for each other line.
    """
    right = grade_lines(problem, attempts)
    if any(right[skill] < right["lines"] for skill in SKILLS):
        return None
    solution = solution_of(problem)
    known = decided(attempts)
    return 0.5 ** (len(solution) - len(known)) if known == solution[: len(known)] else 0.0


def rollout(reasoner: Reasoner, problems: Sequence[Problem], seed: int = 0) -> Evaluation:
    """The reasoner's traces on `problems`, exact values included."""
    prover, sampling = ExactProver(reasoner, TASK), Sampling(THINKING, seed=seed)
    return evaluate(reasoner, prover, problems, ROLLOUTS, sampling, ANSWER_TOKENS)


def skills(found: Evaluation, tokenizer: PreTrainedTokenizerBase) -> dict[str, np.ndarray]:
    """Counts per problem, each of shape (problems,).

    "lines" and, of them, right "number", "rule" and "arithmetic"; "thoughts" and, of them, "solved" and
    of right "format" (where the budget cut the last of several episodes, it is left out); "backtracks" and,
    of them, to the "right_line"; "prefixes" whose true value is known and, summed over them,
    "judgement_error".
    """
    names = ("lines", *SKILLS, "thoughts", "format", "solved", "backtracks", "right_line")
    rows = {name: np.zeros(len(found.problems)) for name in (*names, "prefixes", "judgement_error")}
    for i, trace in enumerate(found.traces):
        row, problem = i // found.rollouts, found.problems[i // found.rollouts]
        whole = trace.n_episodes - (not trace.finished and trace.n_episodes > 1)
        for j in range(whole + 1):
            text = decode(tokenizer, trace.prefix(j)[len(trace.prompt_ids) :])
            attempts, error = read_prefix(text, TASK.numbers)
            truth = None if error else true_value(problem, attempts)
            if truth is not None:
                rows["prefixes"][row] += 1
                rows["judgement_error"][row] += abs(trace.values[j] - truth)
        named = backtracks(problem, attempts)
        counts = grade_lines(problem, attempts) | Counter(
            thoughts=1,
            format=not error,
            solved=any(is_right(problem, a) for a in attempts),
            backtracks=len(named),
            right_line=sum(line == right for line, right in named),
        )
        for name, count in counts.items():
            rows[name][row] += count
    return rows


def quality(folder: Path, problems: Sequence[Problem]) -> dict[str, Interval]:
    """Skills, calibration and values on `problems`, with intervals over problems.

    Returns:
        Shares right by skill; "judgement_error", the mean of |J - true value|; J before the first attempt
        and after 1, 2 and 4; "attempts" per trace.
    """
    reasoner = Reasoner.load(folder)
    found = rollout(reasoner, problems)
    right = skills(found, reasoner.tokenizer)
    values = found.by_episode(2 * ATTEMPTS).mean(1)
    attempts = np.array([(t.n_episodes + 1) / 2 for t in found.traces]).reshape(len(problems), -1).mean(1)
    of = dict.fromkeys(SKILLS, "lines") | {"format": "thoughts", "right_line": "backtracks"}
    of |= {"judgement_error": "prefixes", "solved": "thoughts"}
    result = {name: bootstrap(share, right[name], right[whole], seed=0) for name, whole in of.items()}
    result["J0"] = bootstrap(np.mean, values[:, 0], seed=0)
    result |= {f"J_{e}_attempts": bootstrap(np.mean, values[:, 2 * e - 1], seed=0) for e in (1, 2, 4)}
    result["attempts"] = bootstrap(np.mean, attempts, seed=0)
    return result


CARD = """# {name}: a subset-sum reasoner

A Qwen3 of 0.8M parameters that this repository trained from random weights on demonstrations of searchers
(`recipes/backtracking/base.py`). Loads with `AutoModelForCausalLM`, peft and vLLM.

* **Data**: traces on new training problems, written while training. Decisions are chance; a demonstration
  goes back to the right line with a probability drawn from {right}, else to a random one; at most {longest}
  attempts; a share of {forced} is cut by the forced-termination text. A share of {calibration} of the
  examples teaches only to answer, after the thought of a better searcher. Answers copy what is decided and
  toss a coin for every other line.
* **Training**: {steps} steps, {tokens} tokens, AdamW, peak learning rate {learning_rate}, seed {seed},
  {minutes} minutes on {device}, commit {commit}.
* **Use**: a testbed for backtracking; of no use for anything else. License MIT.

![loss](loss.png)

Quality on every fourth test problem (mean with 95% bootstrap interval over problems; {rollouts} rollouts
each at temperature 1; J is exact). `judgement_error` is the mean distance of J from the value under a perfect
meta-prover, where that is known. Made by `python -m recipes.backtracking.checks`.

{table}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure the reasoner and write its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("data/models"))
    folder = parser.parse_args(arguments).models / NAME
    found = {TASK.name: quality(folder, TASK.problems["test"][::4])}
    training = json.loads((folder / "training.json").read_text())
    write_card(folder, found, training | {"rollouts": ROLLOUTS}, CARD, THINKING)


if __name__ == "__main__":
    main()
