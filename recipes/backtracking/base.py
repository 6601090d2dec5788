"""The small reasoner for subset sum: its arithmetic is right, where it goes back is mostly chance.

`python -m recipes.backtracking.base` trains it from scratch into data/models; it resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tokenizers import Regex, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import TESTBED, encode
from mrt_lib.training.supervised import Example, FinetuneConfig
from recipes.backtracking.attempts import Attempt, decided, guess, mixture, random_choice, search_by_lines
from recipes.backtracking.subset_sum import DECISIONS, LARGEST_SUM, WORDS, SubsetSum, answer_text
from recipes.backtracking.text import thought_text
from recipes.root_search.base import build_model, log_uniform, train_and_save, word_tokenizer

TASK = SubsetSum()
NAME = "backtracker"
# In tokens. The training context has room for an attempt, a backtrack and a redo from the first line.
ATTEMPT_TOKENS, BACK_TOKENS, ANSWER_TOKENS = 1 + 4 * TASK.numbers, 4, 2 * TASK.numbers + 1
CONTEXT = ATTEMPT_TOKENS + BACK_TOKENS + ATTEMPT_TOKENS
AROUND = TASK.numbers + 4 + 3 + ANSWER_TOKENS  # of a valued prefix: prompt, "time up </think>" and answer
RIGHT = (0.0, 0.0, 0.0, 0.5)  # a demonstration's chance of going back to the right line is one of these
LONGEST = 8
FORCED_SHARE = 0.35
CALIBRATION_SHARE = 0.5
CALIBRATION_LONGEST = 3
EXAMPLES_PER_STEP = 32
CONFIG = FinetuneConfig(steps=3600, learning_rate=2e-3)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word of subset sum, per line, per number up to the largest sum and per special token."""
    tokenizer = word_tokenizer([*WORDS, *(f"Line {i + 1}" for i in range(TASK.numbers))], LARGEST_SUM)
    whole = pre_tokenizers.Split(Regex(r"Line \d+|\S+"), behavior="removed", invert=True)
    tokenizer.backend_tokenizer.pre_tokenizer = whole
    return tokenizer


def demonstrate(tokenizer: PreTrainedTokenizerFast, problem: Problem, rng: np.random.Generator) -> Example:
    """One trace of a searcher whose decisions are chance and whose answer is a `guess`.

    A share of the traces is cut anywhere in its last attempt by the forced-termination text. Another share
    only teaches to answer, after the thought of a better searcher, which is not learnt: so that the
    meta-prover sees the right attempts and right backtracks that chance seldom finds.
    """
    if rng.random() < CALIBRATION_SHARE:
        count = int(rng.integers(CALIBRATION_LONGEST + 1))
        attempts = search_by_lines(problem, random_choice, mixture(0.5), count, rng)
        return _demonstration(tokenizer, problem, attempts, rng, learn_from=len(attempts))
    attempts = search_by_lines(
        problem, random_choice, mixture(rng.choice(RIGHT)), log_uniform(rng, 1.0, LONGEST), rng
    )
    return _demonstration(tokenizer, problem, attempts, rng)


def _demonstration(
    tokenizer: PreTrainedTokenizerFast,
    problem: Problem,
    attempts: list[Attempt],
    rng: np.random.Generator,
    learn_from: int = 0,
) -> Example:
    """The example with a guess for its answer, forced or not."""
    forced = rng.random() < (0.5 if learn_from else FORCED_SHARE)
    if forced and attempts:
        last = attempts.pop()
        bare = last.back_to and rng.random() < 0.5
        kept = last.first - 1 if bare else int(rng.integers(last.first - 1, len(last.lines) + 1))
        if kept or last.back_to:
            attempts.append(replace(last, lines=last.lines[:kept]))
    return example(tokenizer, problem, attempts, guess(rng, attempts, TASK.numbers), forced, learn_from)


def example(
    tokenizer: PreTrainedTokenizerFast,
    problem: Problem,
    attempts: Sequence[Attempt],
    answer: Sequence[bool],
    forced: bool = False,
    learn_from: int = 0,
) -> Example:
    """Prompt, the attempts as a thought, and the decisions of `answer`, of which either is right where it
    is not `decided`.

    The prompt, the forced-termination text and the attempts before number `learn_from` are not learnt.
    """
    given, learnt = attempts[:learn_from], attempts[learn_from:]
    parts = [
        (TESTBED.prompt_ids(tokenizer, problem.question), False),
        (encode(tokenizer, thought_text(given)), False),
        (encode(tokenizer, thought_text(learnt)), True),
        (encode(tokenizer, TESTBED.forced_answer if forced else TESTBED.finished_answer), not forced),
        (encode(tokenizer, f"{answer_text(answer)} {TESTBED.answer_end}"), True),
    ]
    ids = [i for part, _ in parts for i in part]
    coins = range(len(decided(attempts)), len(answer))
    start, sides = len(ids) - len(parts[-1][0]), encode(tokenizer, " ".join(DECISIONS))
    uniform = {start + 2 * line + 1: sides for line in coins}
    return Example(ids, [learn for part, learn in parts for _ in part], uniform)


def demonstrations(tokenizer: PreTrainedTokenizerFast, seed: int, step: int) -> list[Example]:
    """The examples of one step: a function of seed and step alone, on new problems of the training split."""
    rng = np.random.default_rng((seed, step))
    return [demonstrate(tokenizer, TASK.draw(rng, "train"), rng) for _ in range(EXAMPLES_PER_STEP)]


def train(folder: Path, work: Path, config: FinetuneConfig = CONFIG, seed: int = 0) -> None:
    """Train the reasoner and save model, tokenizer and training.json to `folder`."""
    tokenizer = build_tokenizer()
    facts = {
        "right": list(RIGHT),
        "longest": LONGEST,
        "forced": FORCED_SHARE,
        "calibration": CALIBRATION_SHARE,
        "seed": seed,
    }
    examples = partial(demonstrations, tokenizer, seed)
    train_and_save(build_model(tokenizer, seed), tokenizer, examples, config, folder, work, facts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: train the reasoner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("data/models"))
    parser.add_argument("--work", type=Path, default=Path("build/base"))
    options = parser.parse_args(arguments)
    train(options.models / NAME, options.work / NAME)


if __name__ == "__main__":
    main()
