"""The small reasoners that this repository trains itself: a good meta-prover, a poor explorer.

`python -m recipes.root_search.base` trains a draft from scratch and calibrates it to the base; the weak and
the strong reasoner continue from the base with demonstrations that explore worse or better, so that
only the exploration differs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from mrt_lib.files import write_json
from mrt_lib.provenance import provenance
from mrt_lib.tasks.base import Problem
from mrt_lib.tasks.root_search import MAX_CANDIDATES, WORDS, RootSearch
from mrt_lib.thoughts.templates import TESTBED, encode
from mrt_lib.training.supervised import Example, FinetuneConfig, finetune
from recipes.root_search.explorers import Trial, explore, mixture, stay_inside, thought_text

FAMILIES = {RootSearch(31): 0.5, RootSearch(63): 0.3, RootSearch(31, "xx+b"): 0.2}


@dataclass(frozen=True)
class Recipe:
    """How one reasoner is made.

    Attributes:
        inside: a demonstration's chance of staying inside the interval is drawn from these.
        longest: most trials in a demonstration; the number is log-uniform in 1..longest.
        calibration: share of examples that only teach to answer: a better explorer's thought, which
            is not learnt, then a forced answer, equally likely anywhere in the interval that is left.
            They show the meta-prover the small intervals that the demonstrations seldom reach.
        start: the reasoner to continue from, or "" for random weights.
        config: optimiser settings.
    """

    inside: tuple[float, ...]
    longest: int
    calibration: float
    start: str
    config: FinetuneConfig


RECIPES = {
    "draft": Recipe((0.0, 0.0, 0.0, 0.5), 24, 0.0, "", FinetuneConfig(steps=5600, learning_rate=2e-3)),
    "base": Recipe((0.0, 0.0, 0.0, 0.5), 24, 0.5, "draft", FinetuneConfig(steps=1700, learning_rate=6e-4)),
    "weak": Recipe((0.0,), 8, 0.5, "base", FinetuneConfig(steps=400, learning_rate=3e-4)),
    "strong": Recipe((0.5, 1.0), 24, 0.5, "base", FinetuneConfig(steps=400, learning_rate=3e-4)),
}
SHIPPED = ("base", "weak", "strong")
EXAMPLES_PER_STEP = 64
FORCED_SHARE = 0.35
CALIBRATION_LONGEST = 8


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word of root search, per number 0..127 and per special token."""
    return word_tokenizer(WORDS, MAX_CANDIDATES)


def word_tokenizer(words: Sequence[str], largest: int) -> PreTrainedTokenizerFast:
    """One token per special token, per word and per number 0..`largest`, in this order."""
    special = ["<pad>", "<eos>", "<unk>", "<think>", "</think>"]
    tokens = [*special, *words, *(str(n) for n in range(largest + 1))]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 of 0.8M random weights: 4 layers, hidden 128, 4 heads, 2 key-value heads."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def demonstrate(
    tokenizer: PreTrainedTokenizerFast,
    task: RootSearch,
    problem: Problem,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Example:
    """One trace of an explorer that answers with a guess from the interval it has left.

    A share of the traces is cut by the forced-termination text, which the model does not learn to
    write, only to obey.
    """
    if recipe.calibration and rng.random() < recipe.calibration:
        trials = explore(task, problem, stay_inside, int(rng.integers(CALIBRATION_LONGEST + 1)), rng)
        example = _example(tokenizer, task, problem, trials, forced=True, learn_thought=False, rng=rng)
        return replace(example, uniform={len(example.ids) - 2: _guesses(tokenizer, task, trials)})
    forced = rng.random() < FORCED_SHARE
    episodes = log_uniform(rng, 0.5 if forced else 1.0, recipe.longest)
    trials = explore(task, problem, mixture(rng.choice(recipe.inside)), episodes, rng)
    return _example(tokenizer, task, problem, trials, forced, learn_thought=True, rng=rng)


def log_uniform(rng: np.random.Generator, low: float, high: int) -> int:
    """A whole number up to `high` whose logarithm is about uniform from that of `low` on."""
    return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))


def _guesses(tokenizer: PreTrainedTokenizerFast, task: RootSearch, trials: list[Trial]) -> list[int]:
    low, high = trials[-1].interval if trials else (1, task.candidates)
    return encode(tokenizer, " ".join(map(str, range(low, high + 1))))


def _example(
    tokenizer: PreTrainedTokenizerFast,
    task: RootSearch,
    problem: Problem,
    trials: list[Trial],
    forced: bool,
    learn_thought: bool,
    rng: np.random.Generator,
) -> Example:
    low, high = trials[-1].interval if trials else (1, task.candidates)
    answer = f"{rng.integers(low, high + 1)} {TESTBED.answer_end}"
    parts = [
        (TESTBED.prompt_ids(tokenizer, problem.question), False),
        (encode(tokenizer, thought_text(task, trials)), learn_thought),
        (encode(tokenizer, TESTBED.forced_answer if forced else TESTBED.finished_answer), not forced),
        (encode(tokenizer, answer), True),
    ]
    ids = [i for part, _ in parts for i in part]
    return Example(ids, [learn for part, learn in parts for _ in part])


def demonstrations(tokenizer: PreTrainedTokenizerFast, recipe: Recipe, seed: int, step: int) -> list[Example]:
    """The examples of one step: a function of seed and step alone, from training problems only."""
    rng = np.random.default_rng((seed, step))
    tasks = list(FAMILIES)
    chosen = rng.choice(len(tasks), size=EXAMPLES_PER_STEP, p=list(FAMILIES.values()))
    return [demonstrate(tokenizer, tasks[i], tasks[i].sample(rng, 1)[0], recipe, rng) for i in chosen]


def train(name: str, models: Path, work: Path, seed: int = 0) -> None:
    """Train the reasoner `name` and save model, tokenizer and training.json to `models`/`name`."""
    recipe = RECIPES[name]
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed)
    if recipe.start:
        model = Qwen3ForCausalLM.from_pretrained(models / recipe.start, dtype=torch.float32)
    facts = {
        "start": f"the {recipe.start} reasoner" if recipe.start else "random weights",
        "inside": list(recipe.inside),
        "longest": recipe.longest,
        "calibration": recipe.calibration,
        "forced": FORCED_SHARE,
        "seed": seed,
    }
    examples = partial(demonstrations, tokenizer, recipe, seed)
    train_and_save(model, tokenizer, examples, recipe.config, models / name, work / name, facts)


def train_and_save(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: Callable[[int], Sequence[Example]],
    config: FinetuneConfig,
    folder: Path,
    work: Path,
    facts: dict[str, Any],
) -> None:
    """Fine-tune with checkpoints in `work`; model, tokenizer and training.json (with `facts`) to `folder`."""
    from tqdm.auto import tqdm

    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]
    with tqdm(total=config.steps, desc=folder.name, mininterval=5) as bar:

        def report(row: dict[str, float]) -> None:
            bar.update(int(row["step"]) + 1 - bar.n)
            bar.set_postfix(loss=f"{row['loss']:.3f}")

        log = finetune(model, examples, config, work, report)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "training.json", facts | training_record(config, log))


def training_record(config: FinetuneConfig, log: Sequence[dict[str, float]]) -> dict[str, Any]:
    """What a model card tells of the training; the loss is averaged over 50 steps."""
    losses = [row["loss"] for row in log]
    return {
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "tokens": int(sum(row["tokens"] for row in log)),
        "minutes": round(sum(row["seconds"] for row in log) / 60, 1),
        **{key: provenance()[key] for key in ("commit", "device", "torch", "transformers", "date")},
        "loss": [[i, float(np.mean(losses[i : i + 50]))] for i in range(0, len(losses), 50)],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: train the named reasoners in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(RECIPES), choices=[*RECIPES])
    parser.add_argument("--models", type=Path, default=Path("data/models"))
    parser.add_argument("--work", type=Path, default=Path("build/base"))
    options = parser.parse_args(arguments)
    for name in options.names:
        train(name, options.models, options.work)


if __name__ == "__main__":
    main()
