"""The warm start: how the pretrained model learns to think in tries. `python -m recipes.words.warm_start`.

LoRA on the pretrained model, supervised, from what explorers write on training problems. It learns the form,
the arithmetic, a poor choice of what to try, and to answer at any time with one of the candidates that are
left. What remains to be learnt by reinforcement is what to try. Resumes where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from mrt_lib.models import load_model
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.training.supervised import FinetuneConfig, finetune
from recipes.words.examples import Example, batch_loss, example
from recipes.words.model import language_model
from recipes.words.search import Divisor, Equation, Family, PairSum, explore
from recipes.words.stories import Story

FAMILIES: tuple[Family, ...] = (PairSum(), Equation(), Divisor(), Story())
LORA = LoraSettings(8, 16)
CONFIG = FinetuneConfig(
    steps=360, learning_rate=1.5e-3, warmup=20, micro_batch_tokens=1100, checkpoint_every=20
)


@dataclass(frozen=True)
class WarmStart:
    """How the model is warmed.

    Attributes:
        careful: a demonstration's chance of a careful try is drawn from these.
        longest: most tries of a thought; their number is uniform in 1 .. `longest`.
        after: chance that a demonstration goes on after it has found the answer.
        shown: share of thoughts by a better explorer, from which all but the guesses is learnt.
        forced: weight of a token of a forced answer beside one of a thought.
        batch: thoughts in a step, a quarter of each family.
    """

    careful: tuple[float, ...] = (0.0, 0.0, 0.3)
    longest: int = 7
    after: float = 0.2
    shown: float = 0.3
    forced: float = 2.0
    batch: int = 16
    lora: LoraSettings = LORA
    config: FinetuneConfig = CONFIG


def lessons(
    tokenizer: PreTrainedTokenizerBase, recipe: WarmStart, families: Sequence[Family], seed: int, step: int
) -> list[Example]:
    """The thoughts of one step: a function of seed and step alone, from training problems."""
    rng = np.random.default_rng((seed, step))
    return [_lesson(tokenizer, recipe, families[i % len(families)], rng) for i in range(recipe.batch)]


def _lesson(
    tokenizer: PreTrainedTokenizerBase, recipe: WarmStart, family: Family, rng: np.random.Generator
) -> Example:
    problem = family.sample(rng, 1)[0]
    shown = rng.random() < recipe.shown
    careful = rng.uniform(0.3, 1.0) if shown else rng.choice(recipe.careful)
    most = int(rng.integers(1, recipe.longest + 1))
    tries = explore(family, problem, float(careful), most, recipe.after, rng)
    # A thought ends when it has found the answer, or was to be no longer; some are cut before.
    ended = not shown and (any(one.found for one in tries) or rng.random() < 0.3)
    return example(tokenizer, family, problem, tries, ended, not shown, recipe.forced, rng)


def warm(recipe: WarmStart, work: Path, seed: int = 0) -> Learner:
    """The warmed model; its checkpoints are in `work`."""
    from tqdm.auto import tqdm

    model, tokenizer = load_model(language_model(), "bfloat16")
    model.set_attn_implementation("eager")  # the faster one with a mask, on a CPU
    learner = Learner(model, recipe.lora, seed)
    with tqdm(total=recipe.config.steps, desc="warm start", unit="step", mininterval=30) as bar:

        def report(row: dict[str, float]) -> None:
            bar.update(int(row["step"]) + 1 - bar.n)
            bar.set_postfix(loss=f"{row['loss']:.3f}")

        source = partial(lessons, tokenizer, recipe, FAMILIES, seed)
        finetune(learner.model, source, recipe.config, work, report, batch_loss)
    learner.publish()
    return learner


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/words/warm"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warm(WarmStart(), options.work)


if __name__ == "__main__":
    main()
