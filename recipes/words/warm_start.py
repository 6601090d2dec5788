"""The warm start: how the pretrained model learns to think in tries. `python -m recipes.words.warm_start`.

LoRA on the pretrained model, supervised, from what explorers write on training problems. It learns the form,
the arithmetic, a poor choice of what to try, and to answer at any time with one of the candidates that are
left. What remains to be learnt by reinforcement is what to try. Resumes where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

from mrt_lib.adapters import WEIGHTS as FILES
from mrt_lib.adapters import base_facts, read_facts, save_adapter
from mrt_lib.files import new_folder, write_json
from mrt_lib.models import hardware_dtype
from mrt_lib.provenance import provenance
from mrt_lib.reasoner import TEMPLATE
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.training.supervised import FinetuneConfig, finetune
from recipes.words.examples import Example, Weights, batch_loss, example
from recipes.words.model import ADAPTER, language_model, load_words
from recipes.words.search import Equation, Family, Letters, PairSum, explore
from recipes.words.stories import Story
from recipes.words.text import WORDS

FAMILIES: tuple[Family, ...] = (PairSum(), Equation(), Letters(), Story())
LORA = LoraSettings(8, 16)
WEIGHTS = Weights()
CONFIG = FinetuneConfig(
    steps=360, learning_rate=2e-3, warmup=20, micro_batch_tokens=1100, checkpoint_every=20
)


@dataclass(frozen=True)
class WarmStart:
    """How the model is warmed.

    Attributes:
        careful: a demonstration's chance of a careful try is drawn from these.
        longest: most tries of a thought; their number is uniform in 1 .. `longest`.
        after: chance that a demonstration goes on after it has found the answer.
        shown: share of thoughts by a better explorer, from which all but the guesses is learnt.
        weights: of tokens in the loss.
        batch: thoughts in a step, a quarter of each family.
    """

    careful: tuple[float, ...] = (0.0, 0.0, 0.3)
    longest: int = 7
    after: float = 0.2
    shown: float = 0.3
    weights: Weights = WEIGHTS
    batch: int = 16
    lora: LoraSettings = LORA
    config: FinetuneConfig = CONFIG


# Two stages: the second is told to compute right above all.
STAGES = (
    WarmStart(),
    WarmStart(weights=Weights(check=4.0), config=replace(CONFIG, steps=180, learning_rate=1e-3)),
)
# Chances of a careful try. The weak and the strong model explore worse and better; only the first is shipped.
CAREFUL = {ADAPTER.name: WarmStart.careful, "weak": (0.0,), "strong": (0.5, 1.0)}


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
    return example(tokenizer, family, problem, tries, ended, not shown, recipe.weights, rng)


def warm(recipe: WarmStart, work: Path, folder: Path, seed: int = 0, after: Path | None = None) -> None:
    """Train, with checkpoints in `work`; the adapter, in bf16, and its card go to the new `folder`.

    Computes in float32 where the hardware has no bf16.

    `after`: the folder of an earlier stage's adapter, from which this one goes on; ValueError for one of
    another base or shape.
    """
    from tqdm.auto import tqdm

    place = language_model()
    base = load_words(place, "bfloat16")
    facts = base_facts(base.model, place)
    if hardware_dtype()[0] != "bfloat16":
        base.model.float()
    learner = Learner(base.model, recipe.lora, seed)
    if after:
        _go_on_from(learner.model, facts, after)
    with tqdm(total=recipe.config.steps, desc="warm start", unit="step", mininterval=30) as bar:

        def report(row: dict[str, float]) -> None:
            bar.update(int(row["step"]) + 1 - bar.n)
            bar.set_postfix(loss=f"{row['loss']:.3f}")

        source = partial(lessons, base.tokenizer, recipe, FAMILIES, seed)
        log = finetune(learner.model, source, recipe.config, work, report, batch_loss)
    for weight in learner.trained().values():
        weight.data = weight.data.to(torch.bfloat16)
    with new_folder(folder) as filling:
        write_json(filling / TEMPLATE, asdict(WORDS))
        about = _facts(recipe, log, seed, after) | facts | {"provenance": provenance()}
        save_adapter(learner.model, filling, about)


def _go_on_from(model: Any, base: dict[str, Any], after: Path) -> None:
    """Put the numbers of an earlier stage's adapter into the new ones; errors as in `warm`."""
    from peft import set_peft_model_state_dict

    if read_facts(after)["base_digest"] != base["base_digest"]:
        raise ValueError(f"{after} was made for another base; move it away")
    try:
        found = set_peft_model_state_dict(model, load_file(after / FILES[1]))
    except RuntimeError as error:
        raise ValueError(f"{after} has adapters of another shape: {error}") from error
    if found.unexpected_keys or any("lora_" in name for name in found.missing_keys):
        raise ValueError(f"{after} has adapters of other layers, such as {found.unexpected_keys[:1]}")


def _facts(
    recipe: WarmStart, log: Sequence[dict[str, float]], seed: int, after: Path | None
) -> dict[str, Any]:
    """What the adapter's card says beside base and provenance."""
    found: dict[str, Any] = {
        "arm": "warm start",
        "task": ", ".join(family.name for family in FAMILIES),
        "template": WORDS.name,
    }
    numbers = {
        "training data": "thoughts of explorers about training problems, written while training",
        "seed": seed,
        "intended use": "a testbed for test-time compute, on its base alone",
        "license": "MIT (the base: Apache-2.0)",
        "made by": f"`python -m recipes.words.warm_start`, stage {1 + bool(after)} of {len(STAGES)}",
        "quality": "quality.json, by `python -m recipes.words.checks`",
        "steps": len(log),
        "thoughts": len(log) * recipe.batch,
        "tokens": sum(int(row["tokens"]) for row in log),
        "minutes": round(sum(row["seconds"] for row in log) / 60),
        "loss of the last 20 steps": float(np.mean([row["loss"] for row in log[-20:]])),
        **{name: str(value) for name, value in vars(recipe).items() if name not in ("lora", "config")},
        "rank": recipe.lora.rank,
        "learning rate": recipe.config.learning_rate,
    }
    if after:
        earlier = read_facts(after)["numbers"]
        told = (f"{earlier[name]:,} {name}" for name in ("steps", "thoughts", "tokens", "minutes"))
        numbers["goes on from"] = f"a first stage of {', '.join(told)}; the numbers below are the second's"
    return found | {"numbers": numbers}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default=ADAPTER.name, choices=CAREFUL)
    parser.add_argument("--work", type=Path, default=Path("build/words"))
    options = parser.parse_args(arguments)
    last = ADAPTER if options.name == ADAPTER.name else options.work / options.name
    if last.exists():
        parser.error(f"{last} exists; move it away to train it anew")
    torch.set_num_threads(1)  # the same bits on any number of cores
    before = None
    for seed, stage in enumerate(STAGES):
        folder = last if stage is STAGES[-1] else options.work / f"{options.name}_{seed}"
        if not folder.is_dir():
            recipe = replace(stage, careful=CAREFUL[options.name])
            warm(recipe, options.work / f"{options.name}_{seed}_run", folder, seed, before)
        before = folder


if __name__ == "__main__":
    main()
