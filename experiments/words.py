"""The pretrained model trained to think in words: `python -m experiments.words [--jobs N]`. Resumes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from experiments.records import SCRATCH, TOTALS, write_run
from experiments.schedule import command_line
from experiments.words_page import THOUGHTS, write_page
from experiments.words_plan import (
    ANSWER_TOKENS,
    BUILD,
    EPISODES,
    GROUP,
    PROMPTS,
    RUNS,
    TASK,
    TESTED,
    THINKING_TOKENS,
    TRAINED,
    WordsRun,
    plan,
)
from experiments.words_results import write_results
from mrt_lib import Reasoner, TrainConfig, Trainer
from mrt_lib.arms import GRPO
from mrt_lib.engines import Sampling
from mrt_lib.files import weights_digest, write_json
from mrt_lib.measure.evaluation import Evaluation, evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.models import hardware_dtype
from mrt_lib.provenance import provenance
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import decode
from mrt_lib.training import loop
from mrt_lib.training.config import Imitation
from mrt_lib.training.lora import LoraSettings
from recipes.words.model import load_words, warm_model
from recipes.words.search import Family

VALIDATED, TESTED_PROBLEMS, ROLLOUTS, SHOWN = 12, 24, 4, 10
VALIDATE_EVERY = 10
SEED = 77


def execute(run: WordsRun) -> None:
    """Do `run` from its newest checkpoint on and write its records."""
    torch.set_num_threads(1)
    trainer = make_trainer(run)
    log: list[loop.Row] = []
    if run.steps:
        log = loop.run(trainer, SCRATCH / run.name, lambda rows: _watch(trainer, rows))
    reasoner = trainer.policy.reasoner
    facts = {
        "run": asdict(run),
        "arm": repr(trainer.arm),
        "config": asdict(trainer.config),
        "base_digest": weights_digest(trainer.base.model),
        "validation_J4": validate(reasoner),
        **{name: sum(row[name] for row in log) for name in TOTALS},
        "provenance": provenance(),
    }
    found = {} if run.tuning else tested(reasoner)
    if found:
        write_json(RUNS / run.name / THOUGHTS, thoughts(found, reasoner))
    write_run(RUNS / run.name, facts, log, arrays(found))
    if run.steps and not run.tuning:
        trainer.trained().save(SCRATCH / run.name / "adapter")


def make_trainer(run: WordsRun) -> Trainer:
    """The trainer of a run, from the warmed model in bf16."""
    config = TrainConfig(
        steps=max(1, run.steps),
        prompts=PROMPTS,
        group=GROUP,
        thinking_tokens=THINKING_TOKENS,
        episodes=EPISODES,
        answer_tokens=ANSWER_TOKENS,
        learning_rate=run.rate or 1.0,  # an untrained run has none
        loss=run.loss,
        lora=LoraSettings(16, 32),
        imitation=Imitation(steps=2, tokens=1024),
        micro_batch_tokens=1024,
        prover_batch_tokens=4096,
        checkpoint_every=5,
        seed=run.seed,
    )
    arm = BUILD[run.arm](run.knob) if run.steps else GRPO()
    return Trainer(load_words(warm_model(), "bfloat16"), TASK, TASK.problems["train"], arm, config)


def _watch(trainer: Trainer, log: list[loop.Row]) -> None:
    if len(log) % VALIDATE_EVERY == 0:
        log[-1]["validation_J4"] = validate(trainer.policy.reasoner)


def validate(reasoner: Reasoner) -> float:
    """Mean J after four episodes on validation problems of every family that is trained on."""
    found = [_evaluated(reasoner, f, f.problems["validation"][:VALIDATED], 2) for f in TRAINED]
    return float(np.mean([own.by_episode(4)[..., 4].mean() for own in found]))


def tested(reasoner: Reasoner) -> dict[str, Evaluation]:
    """Valued thoughts on the first test problems of every family, by its name."""
    families = [family for group in TESTED.values() for family in group]
    return {
        family.name: _evaluated(reasoner, family, family.problems["test"][:TESTED_PROBLEMS], ROLLOUTS)
        for family in families
    }


def arrays(found: dict[str, Evaluation]) -> dict[str, np.ndarray]:
    """values_<family>, (problems, rollouts, 9), J after 0 .. 8 episodes; tokens_<family>, (problems,
    rollouts, 9), what is spent up to there; finished_<family>, (problems, rollouts)."""
    kept = {}
    for name, own in found.items():
        shape = (len(own.problems), own.rollouts)
        spent = [np.pad(tokens, (0, 9), mode="edge")[:9] for tokens in own.tokens]
        kept[f"values_{name}"] = own.by_episode(8)
        kept[f"tokens_{name}"] = np.array(spent, dtype=np.int16).reshape(*shape, 9)
        kept[f"finished_{name}"] = np.array([t.finished for t in own.traces]).reshape(shape)
    return kept


def thoughts(found: dict[str, Evaluation], reasoner: Reasoner) -> list[dict[str, Any]]:
    """The first thought on each of ten test problems, drawn by `SEED`: the same ones for every run."""
    drawn = [(name, i) for name, own in found.items() for i in range(len(own.problems))]
    rng, kept = np.random.default_rng(SEED), []
    for name, i in (drawn[at] for at in sorted(rng.permutation(len(drawn))[:SHOWN])):
        problem, trace = found[name].problems[i], found[name].traces[i * found[name].rollouts]
        episodes = [decode(reasoner.tokenizer, trace.episode(j)) for j in range(trace.n_episodes)]
        about = {"family": name, "question": problem.question, "answer": problem.answer}
        values = [round(float(value), 4) for value in trace.values]
        kept.append({**about, "episodes": episodes, "values": values, "finished": trace.finished})
    return kept


def _evaluated(reasoner: Reasoner, family: Family, problems: list[Problem], rollouts: int) -> Evaluation:
    asked = Sampling(2 * THINKING_TOKENS, seed=SEED)
    return evaluate(reasoner, ExactProver(reasoner, family), problems, rollouts, asked, ANSWER_TOKENS)


if __name__ == "__main__":
    dtype, reason = hardware_dtype()
    if dtype != "bfloat16":
        sys.exit(f"runs to be compared compute in bfloat16, but {reason}: use another machine")
    command_line("experiments.words", __doc__, plan, execute, write_results, write_page)
