"""The one loop of all arms: collect, credit, update, log, checkpoint.

Every draw is a function of the run's seed and the step, so a checkpoint needs no generator states: a
run that was killed at any moment goes on from its newest checkpoint and ends in the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrt_lib.algorithms.base import Arm, Policy, Rollout
from mrt_lib.algorithms.credit import groups
from mrt_lib.checkpoints import load_checkpoint, save_checkpoint, write_csv
from mrt_lib.curriculum import for_stage
from mrt_lib.engines.base import ColocatedEngine, Engine, Sampling
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.guards import check_budget, claim, identity, memory_advice
from mrt_lib.interrupts import deferred_interrupt
from mrt_lib.learner import Learner
from mrt_lib.metrics import describe
from mrt_lib.prover import ExactProver
from mrt_lib.schedule import warmup_cosine
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.templates import Template
from mrt_lib.token_rows import TokenRow, token_row
from mrt_lib.traces import save_traces
from mrt_lib.train_config import StarConfig, TrainConfig
from mrt_lib.updates import rescored, update

Row = dict[str, float]


class Trainer:
    """Trains one model with one arm, step by step; `train` adds checkpoints and the log file.

    Attributes:
        learner: the model in training and its sampling copy.
        arm: as given; in a run with stages, with the budget of the newest step's stage.
        log: one row per step done.
        rollouts: of the newest step.
        identity: what makes this run this run, see `mrt_lib.guards.identity`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        task: Task,
        problems: Sequence[Problem],
        arm: Arm,
        config: TrainConfig,
        engine: ColocatedEngine | None = None,
    ) -> None:
        """Takes `model` over; ValueError if there are no problems.

        `engine`: samples instead of Transformers, awake only while rollouts are collected. It gets the
        merged weights before every collection; the loss uses log-probabilities recomputed by the model
        in training, and the log says how far the engine's were off.
        """
        if not problems:
            raise ValueError("no problems to train on")
        self.tokenizer, self.template, self.problems = tokenizer, template, list(problems)
        self.arm, self.config = arm, config
        self.engine = engine
        self.identity = identity(model, template, task, problems, arm, config, engine)
        self.learner = Learner(model, config.lora, config.seed, getattr(arm, "uses_stale", False))
        self.optimizer = torch.optim.AdamW(self.learner.trained().values(), weight_decay=0.0)
        self.policy = make_policy(self.learner, tokenizer, template, task, config, engine)
        self.log: list[Row] = []
        self.rollouts: list[Rollout] = []

    def step(self) -> Row:
        """Collect, credit, update; the step's row of the log.

        Raises:
            ValueError: the arm gave no rollouts, or the budget ends inside the first episode.
            FloatingPointError: the loss or its gradient is not finite.
        """
        number, started = len(self.log), time.perf_counter()
        self.policy.tokens.clear()
        self.policy.seconds.clear()
        self._enter(number)
        if number % self.config.snapshot_every == 0:
            self.learner.snapshot()
        self.rollouts = self._collect(number)
        advantages = self.arm.credit(self.rollouts)
        updating = time.perf_counter()
        rate = warmup_cosine(number, self.config.steps, self.config.warmup, self.config.learning_rate)
        stats = self._update(advantages, rate)
        ended = time.perf_counter()
        row = {"step": number, "learning_rate": rate}
        row |= describe(self.rollouts, advantages, self.config.budget(number).episodes) | stats
        row |= {f"{name}_tokens": self.policy.tokens[name] for name in ("policy", "prover")}
        row |= {f"{name}_seconds": self.policy.seconds[name] for name in ("generate", "prove")}
        row |= {"update_seconds": ended - updating, "seconds": ended - started}
        self.log.append(row)
        return row

    def state(self) -> dict:
        """What `load` needs to go on."""
        return {"learner": self.learner.state(), "optimizer": self.optimizer.state_dict(), "log": self.log}

    def load(self, state: dict) -> None:
        """Go on from `state`."""
        self.learner.load(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log = state["log"]
        self._enter(len(self.log) - 1)

    def _enter(self, step: int) -> None:
        """Think, and credit, with the budget of the step's stage, if there are stages."""
        if self.config.stages:
            stage = self.config.budget(step)
            self.policy.thinking = replace(self.policy.thinking, max_new_tokens=stage.thinking_tokens)
            self.arm = for_stage(self.arm, stage)

    def _collect(self, step: int) -> list[Rollout]:
        if self.engine is not None:
            self.engine.load_weights(self.learner.sampler.named_parameters())
        rollouts = self.arm.collect(self.policy, self._draw(step), self.config.group, self._seed(step))
        if not rollouts:
            raise ValueError("the arm collected no rollouts; `collect` must return `group` for each problem")
        if step == 0:
            check_budget(self.policy, rollouts)
        if self.engine is not None:
            self.engine.sleep()
        return rollouts

    def _draw(self, step: int) -> list[Problem]:
        """The step's problems: every problem once before any comes again, in a new order each round."""
        places = range(step * self.config.prompts, (step + 1) * self.config.prompts)
        n = len(self.problems)
        orders = {place // n: np.empty(0, dtype=int) for place in places}
        orders = {r: np.random.default_rng((self.config.seed, 1, r)).permutation(n) for r in orders}
        return [self.problems[orders[place // n][place % n]] for place in places]

    def _seed(self, step: int) -> int:
        return int(np.random.SeedSequence((self.config.seed, 2, step)).generate_state(1)[0])

    def _update(self, advantages: Sequence[np.ndarray], rate: float) -> Row:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        pairs = zip(self.rollouts, advantages, strict=True)
        rows = [token_row(self.tokenizer, self.template, r, a) for r, a in pairs]
        gap: Row = {}
        if self.engine is not None:
            tokens, temperature = self.config.micro_batch_tokens, self.config.temperature
            rows, gap = rescored(self.learner.model, rows, temperature, tokens)
        members = groups(self.rollouts)
        shares = np.array_split(np.arange(len(members)), self.config.updates)
        stats = [self._optimizer_step([rows[i] for g in share for i in members[g]]) for share in shares]
        return {name: float(np.mean([s[name] for s in stats])) for name in stats[0]} | gap

    def _optimizer_step(self, rows: list[TokenRow]) -> Row:
        config = self.config
        return update(
            self.learner,
            self.optimizer,
            rows,
            config.loss,
            config.budget(len(self.log)).thinking_tokens + config.answer_tokens,
            config.temperature,
            config.max_grad_norm,
            config.micro_batch_tokens,
            config.gradient_checkpointing,
        )


def make_policy(
    learner: Learner,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    task: Task,
    config: TrainConfig | StarConfig,
    engine: Engine | None = None,
) -> Policy:
    """The learner's sampling copy as a policy; `engine` samples instead of Transformers."""
    sampler, stale = learner.sampler, learner.stale
    prover = ExactProver(sampler, tokenizer, template, task, config.temperature, config.prover_batch_tokens)
    return Policy(
        engine or TransformersEngine(sampler, config.generation_batch_tokens),
        None if stale is None else TransformersEngine(stale, config.generation_batch_tokens),
        prover,
        tokenizer,
        template,
        task,
        Sampling(config.thinking_tokens, config.temperature),
        Sampling(config.answer_tokens, config.temperature),
    )


def train(trainer: Trainer, folder: str | Path, *reports: Callable[[list[Row]], None]) -> list[Row]:
    """Run `trainer` to its last step, from the newest checkpoint in `folder` if there is one.

    `folder` gets config.json, log.csv and checkpoint.pt. An interrupt saves before it is passed on.

    Args:
        reports: called with the log after every step, such as those of `mrt_lib.live` and `mrt_lib.boards`.

    Raises:
        ValueError: the folder holds another run: another configuration, arm, base, task or problems.
        FloatingPointError: loss or gradient not finite; the step's traces are in failed_step.parquet.
        MemoryError: a step does not fit; the message says what to reduce.
    """
    folder, config = Path(folder), trainer.config
    claim(folder, trainer.identity)
    if state := load_checkpoint(folder / "checkpoint.pt", trainer.learner.model.device):
        trainer.load(state)
    with deferred_interrupt() as raise_interrupt:
        while len(trainer.log) < config.steps:
            _step_or_keep_traces(trainer, folder)
            for report in reports:
                report(trainer.log)
            try:
                raise_interrupt()
            except KeyboardInterrupt:
                _save(trainer, folder)
                raise
            if len(trainer.log) % config.checkpoint_every == 0 or len(trainer.log) == config.steps:
                _save(trainer, folder)
    return trainer.log


def _step_or_keep_traces(trainer: Trainer, folder: Path) -> None:
    try:
        with memory_advice(len(trainer.log)):
            trainer.step()
    except FloatingPointError:
        save_traces(folder / "failed_step.parquet", [r.trace for r in trainer.rollouts])
        raise


def _save(trainer: Trainer, folder: Path) -> None:
    # A run killed between the two resumes from the older checkpoint and writes both again.
    write_csv(folder / "log.csv", trainer.log)
    save_checkpoint(folder / "checkpoint.pt", trainer.state())
