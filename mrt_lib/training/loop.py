"""The one loop of all arms: collect, credit or keep, update, log, checkpoint.

Every draw is a function of the run's seed and the step, so a checkpoint needs no generator states: a
run that was killed at any moment goes on from its newest checkpoint and ends in the same weights.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from mrt_lib.adapters import base_facts
from mrt_lib.arms import base as arms
from mrt_lib.arms.base import Arm, ImitationArm, Policy, Rollout, stream
from mrt_lib.arms.credit import describe
from mrt_lib.engines.base import ColocatedEngine, Sampling
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.files import claim, load_checkpoint, save_checkpoint, settings_of, write_csv
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.traces import save_traces
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.guards import announce, check_budget, check_ends, conclude, deferred_interrupt
from mrt_lib.training.lora import Learner
from mrt_lib.training.supervised import imitate, warmup_cosine
from mrt_lib.training.updates import rescored, token_row, update

Row = dict[str, float]
# Keys of the random streams; they fix which numbers a run draws.
ORDER, REINFORCED, IMITATED = 1, 2, 5


class Trainer:
    """Trains one reasoner with one arm, step by step; `run` adds checkpoints and the log file.

    Attributes:
        learner: the model in training and its sampling copy.
        policy: what the arm sees of it.
        log: one row per step done, see `step`.
        rollouts: of the newest step.
        identity: what makes this run this run: settings, and digests of base and problems.
    """

    def __init__(
        self,
        reasoner: Reasoner,
        task: Task,
        problems: Sequence[Problem],
        arm: Arm | ImitationArm,
        config: TrainConfig,
    ) -> None:
        """The model samples from now on, with the newest weights; after an error, with LoRA, it has its own.

        An engine with weights of its own (vLLM) samples, awake only while rollouts are collected. It gets the
        merged weights before every collection; the loss uses log-probabilities recomputed by the model in
        training, and the log says how far the engine's were off.

        ValueError, TypeError: no problems; an arm's settings are no plain values; see `check_arm`.
        """
        if not problems:
            raise ValueError("no problems to train on")
        arms.check_arm(arm)
        check_ends(reasoner)
        if reasoner.adapter is not None:
            way = "load the base again, or save this one with merged=True and load that"
            raise ValueError(f"{reasoner.name} has an adapter already, a new one would have no base: {way}")
        self.base, self.arm, self.config, self.problems = reasoner, arm, config, list(problems)
        own = isinstance(reasoner.engine, TransformersEngine)
        self.engine = None if own else cast(ColocatedEngine, reasoner.engine)
        self.facts = {"arm": _shown(arm), "task": task.name, "template": reasoner.template.name}
        self.facts |= base_facts(reasoner.model, reasoner.name)
        self.learner = Learner(reasoner.model, config.lora, config.seed)
        self.policy = self._policy(task)
        self.identity = self._identity()
        self.optimizer = torch.optim.AdamW(self.learner.trained().values(), weight_decay=0.0)
        self.log: list[Row] = []
        self.rollouts: list[Rollout] = []

    def step(self) -> Row:
        """Collect, then credit and update, or keep and imitate; the step's row of the log.

        It has step; what `describe` says of the rollouts, and `update` or `imitate` of the learning; tokens
        and seconds of every phase; where the arm reinforces, learning_rate, mean absolute advantage,
        credited_tokens, all that the rollouts gave to learn from, idle_tokens, those without gradient.

        ValueError: the arm gave no rollouts, nothing is left to imitate, or the thinking budget does not go
        with the horizon. FloatingPointError: the loss or its gradient is not finite.
        """
        number, started = len(self.log), time.perf_counter()
        self.policy.tokens.clear()
        self.policy.seconds.clear()
        self._enter(number)
        if number % self.config.snapshot_every == 0:
            self.learner.snapshot()
        imitates = hasattr(self.arm, "keep")
        seed = stream(self.config.seed, IMITATED if imitates else REINFORCED, number)
        horizon = self.config.budget(number).episodes
        with self._awake():
            problems = self._draw(number)
            self.rollouts = self.arm.collect(self.policy, problems, self.config.group, seed)
            arms.check_rollouts(self.rollouts, len(problems) * self.config.group)
            if number == self.config.budget(number).start:
                check_budget(self.policy, self.rollouts, None if imitates else horizon)
            if number == 0 and not imitates:
                announce(self.rollouts)
            kept = cast(ImitationArm, self.arm).keep(self.policy, self.rollouts, seed) if imitates else []
        updating = time.perf_counter()
        learnt = self._imitate(kept, seed) if imitates else self._reinforce(number, horizon)
        ended = time.perf_counter()
        row = {"step": number, **describe(self.rollouts, horizon), **learnt}
        row |= {f"{name}_tokens": self.policy.tokens[name] for name in ("policy", "prover")}
        row |= {f"{name}_seconds": self.policy.seconds[name] for name in ("generate", "prove")}
        self.log.append(row | {"update_seconds": ended - updating, "seconds": ended - started})
        return self.log[-1]

    def state(self) -> dict:
        """What `load` needs to go on."""
        return {"learner": self.learner.state(), "optimizer": self.optimizer.state_dict(), "log": self.log}

    def load(self, state: dict) -> None:
        """Go on from `state`."""
        self.learner.load(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log = state["log"]
        self._enter(len(self.log) - 1)

    def trained(self) -> Reasoner:
        """The reasoner that this run was given, with the newest weights; it shares them with the run."""
        reasoner = self.base
        reasoner.model = self.learner.sampler
        if self.engine is None:
            reasoner.engine = TransformersEngine(reasoner.model, self.config.generation_batch_tokens)
        else:
            self.engine.load_weights(reasoner.model.named_parameters())
        if self.learner.lora is not None:
            last = {f"last step: {name}": number for name, number in (self.log or [{}])[-1].items()}
            reasoner.adapter = self.learner.model
            reasoner.facts = {**self.facts, "numbers": {"steps": len(self.log), **last}}
        reasoner.name = f"{self.facts['base']} after {len(self.log)} steps of {self.facts['arm']}"
        return reasoner

    def _identity(self) -> dict[str, Any]:
        own = {"base": self.facts["base_digest"], "arm": settings_of(self.arm), "task": self.facts["task"]}
        own |= self.base.asked(self.policy.task, self.problems)
        engine = {} if self.engine is None else {"engine": type(self.engine).__name__}
        return own | engine | asdict(self.config)

    def _policy(self, task: Task) -> Policy:
        """The learner's sampling copy as a policy."""
        config, base = self.config, self.base

        def reasoner(model: Any, engine: Any = None) -> Reasoner:
            engine = engine or TransformersEngine(model, config.generation_batch_tokens)
            return Reasoner(model, base.tokenizer, base.template, engine)

        own = reasoner(self.learner.sampler, self.engine)
        return Policy(
            own,
            ExactProver(own, task, config.temperature, config.prover_batch_tokens),
            Sampling(config.thinking_tokens, config.temperature),
            Sampling(config.answer_tokens, config.temperature),
            lambda: reasoner(self.learner.stale_model()),
        )

    def _enter(self, step: int) -> None:
        """Think with the budget of the step's stage, if there are stages."""
        if self.config.stages:
            tokens = self.config.budget(step).thinking_tokens
            self.policy.thinking = replace(self.policy.thinking, max_new_tokens=tokens)

    @contextmanager
    def _awake(self) -> Iterator[None]:
        """Within it, an engine with weights of its own has the newest ones."""
        if self.engine is None:
            yield
            return
        self.engine.load_weights(self.learner.sampler.named_parameters())
        try:
            yield
        finally:
            self.engine.sleep()

    def _draw(self, step: int) -> list[Problem]:
        """The step's problems: every problem once before any comes again, in a new order each round."""
        if self.config.prompts is None:
            return self.problems
        places = range(step * self.config.prompts, (step + 1) * self.config.prompts)
        n, key = len(self.problems), (self.config.seed, ORDER)
        rounds = {place // n for place in places}
        orders = {r: np.random.default_rng((*key, r)).permutation(n) for r in rounds}
        return [self.problems[orders[place // n][place % n]] for place in places]

    def _reinforce(self, step: int, horizon: int) -> Row:
        config = self.config
        advantages = cast(Arm, self.arm).credit(self.rollouts, horizon)
        arms.check_advantages(self.rollouts, advantages)
        rate = warmup_cosine(step, config.steps, config.warmup, config.learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows = [token_row(self.base, r, a) for r, a in zip(self.rollouts, advantages, strict=True)]
        gap: Row = {}
        if self.engine is not None:
            rows, gap = rescored(self.learner.model, rows, config.temperature, config.micro_batch_tokens)
        limit = config.budget(step).thinking_tokens + config.answer_tokens
        learnt = update(self.learner, self.optimizer, rows, [r.group for r in self.rollouts], config, limit)
        size = float(np.mean(np.abs(np.concatenate(advantages))))
        own = [a[r.given :] for r, a in zip(self.rollouts, advantages, strict=True)]
        idle = {"credited_tokens": sum(map(len, own)), "idle_tokens": sum(int((a == 0).sum()) for a in own)}
        return {"learning_rate": rate, "advantage": size, **idle, **learnt, **gap}

    def _imitate(self, kept: Sequence[Rollout], seed: int) -> Row:
        if not kept:
            n, right = len(self.rollouts), np.mean([r.reward for r in self.rollouts])
            none = f"step {len(self.log)}: none of {n} rollouts, {right:.1%} of them right, is left"
            raise ValueError(f"{none} to imitate by {_shown(self.arm)}; raise group or thinking_tokens")
        rows = [token_row(self.base, r, np.zeros(r.tokens)) for r in kept]
        shares = {"kept": len(kept), "kept_share": len(kept) / len(self.rollouts)}
        return {**shares, **imitate(self.learner, rows, self.config, seed)}


def run(trainer: Trainer, folder: str | Path, *reports: Callable[[list[Row]], None]) -> list[Row]:
    """Run `trainer` to its last step, from the newest checkpoint in `folder` if there is one.

    `folder` gets config.json, log.csv and checkpoint.pt. An interrupt, or an error of a report, saves before
    it is passed on. After any error the reasoner has its old weights again, and the same call goes on.

    `reports` are called with the log after every step, such as those of `mrt_lib.plots`. Raises what
    `mrt_lib.train` does; after a FloatingPointError the step's traces are in failed_step.parquet.
    """
    folder = Path(folder)
    with claim(folder, trainer.identity), deferred_interrupt() as raise_interrupt:
        try:
            _run(trainer, folder, reports, raise_interrupt)
        except BaseException:
            trainer.learner.publish(adapted=False)
            raise
    conclude(trainer.log)
    return trainer.log


def _run(
    trainer: Trainer, folder: Path, reports: Sequence[Callable[[list[Row]], None]], check: Callable[[], None]
) -> None:
    config, device = trainer.config, trainer.learner.model.device
    if state := load_checkpoint(folder / "checkpoint.pt", device, ("learner", "optimizer", "log")):
        trainer.load(state)
    # What an arm that imitates learns from one collection takes as long as many steps of the others.
    every = 1 if hasattr(trainer.arm, "keep") else config.checkpoint_every
    while len(trainer.log) < config.steps:
        _step(trainer, folder)
        try:
            for report in reports:
                report(trainer.log)
            check()
        except BaseException:
            _save(trainer, folder)
            raise
        if len(trainer.log) % every == 0 or len(trainer.log) == config.steps:
            _save(trainer, folder)


def _step(trainer: Trainer, folder: Path) -> None:
    try:
        trainer.step()
    except FloatingPointError:
        save_traces(folder / "failed_step.parquet", [r.trace for r in trainer.rollouts])
        raise
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        step, why = f"step {len(trainer.log)} does not fit in memory", str(error).splitlines()[0]
        way = "micro_batch_tokens, prover_batch_tokens or generation_batch_tokens, then prompts x group"
        raise MemoryError(f"{step}; reduce {way}: {why}") from error


def _save(trainer: Trainer, folder: Path) -> None:
    # A run killed between the two resumes from the older checkpoint and writes both again.
    write_csv(folder / "log.csv", trainer.log)
    save_checkpoint(folder / "checkpoint.pt", trainer.state())


def _shown(arm: object) -> str:
    """An arm for people: its class and settings."""
    settings = settings_of(arm)
    return f"{settings.pop('class')}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"
