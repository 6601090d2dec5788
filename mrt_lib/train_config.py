"""How a training run is set up."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrt_lib.curriculum import Stage, check_stages
from mrt_lib.finetuning import FinetuneConfig
from mrt_lib.learner import LoraSettings
from mrt_lib.losses import LossConfig


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are those of the experiments on two CPU cores.

    Attributes:
        steps: collections of rollouts.
        prompts: problems per step.
        group: rollouts per problem.
        thinking_tokens: budget of a thought.
        episodes: the same in episodes, for regret.
        answer_tokens: most tokens of an answer, its end token included.
        temperature: of thoughts and answers.
        learning_rate: peak, reached after `warmup` steps, then a cosine down to a hundredth.
        updates: optimiser steps per collection, each on its own share of the problems.
        loss: which loss, clip range, KL weight.
        max_grad_norm: longer gradients are cut to this length.
        lora: adapters, or None to train every weight.
        snapshot_every: steps between snapshots of the stale policy (MRT offline).
        micro_batch_tokens: most tokens, padding included, in one forward pass of the update.
            Reduce this first when memory runs out.
        gradient_checkpointing: keep only the input of every layer for the backward pass and compute the
            rest again: a third more work, and a long rollout of a large model fits.
        generation_batch_tokens: the same for sampling.
        prover_batch_tokens: the same for exact values.
        checkpoint_every: steps between checkpoints.
        seed: of everything that is random.
        stages: thinking budgets that follow each other, in place of `thinking_tokens` and `episodes`; the
            learning rate has one warm-up and one cosine over all of them.
    """

    steps: int = 160
    prompts: int = 8
    group: int = 4
    thinking_tokens: int = 44
    episodes: int = 4
    answer_tokens: int = 2
    temperature: float = 1.0
    learning_rate: float = 1e-3
    warmup: int = 5
    updates: int = 1
    loss: LossConfig = field(default_factory=LossConfig)
    max_grad_norm: float = 1.0
    lora: LoraSettings | None = field(default_factory=LoraSettings)
    snapshot_every: int = 20
    micro_batch_tokens: int = 1024
    gradient_checkpointing: bool = False
    generation_batch_tokens: int = 65_536
    prover_batch_tokens: int = 2048
    checkpoint_every: int = 20
    seed: int = 0
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        positive = ("steps", "prompts", "thinking_tokens", "episodes", "answer_tokens", "updates")
        for name in (*positive, "snapshot_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.group < 2:
            raise ValueError(f"a group of {self.group} has nothing to be compared with; use at least 2")
        if self.updates > self.prompts:
            raise ValueError(f"{self.updates} updates cannot share {self.prompts} problems; lower `updates`")
        if self.loss.kl and self.lora is None:
            raise ValueError("the KL term needs LoRA, whose absence is the reference; set kl=0 or lora")
        check_stages(self.stages, self.steps)

    def budget(self, step: int) -> Stage:
        """The stage of a step; without stages, the whole run as one."""
        whole = Stage(0, self.steps, self.thinking_tokens, self.episodes)
        return next((stage for stage in self.stages if step < stage.stop), whole)


@dataclass(frozen=True)
class StarConfig:
    """How to imitate, in iterations; fields without a comment here are those of `TrainConfig`.

    Attributes:
        finetune: of every iteration, with a new optimiser (paper, Table 2: warm-up over a tenth of it).
        step_tokens: learnt tokens of one optimiser step, the same for every arm.
        iterations: times that rollouts are collected and imitated.
    """

    finetune: FinetuneConfig
    step_tokens: int = 1024
    iterations: int = 3
    group: int = 4
    thinking_tokens: int = 44
    answer_tokens: int = 2
    temperature: float = 1.0
    lora: LoraSettings = field(default_factory=LoraSettings)
    generation_batch_tokens: int = 65_536
    prover_batch_tokens: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("step_tokens", "iterations", "group", "thinking_tokens", "answer_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.finetune.steps < 1:
            raise ValueError(f"finetune.steps must be at least 1, got {self.finetune.steps}")

    @property
    def learnt_tokens(self) -> int:
        """Learnt tokens of one iteration."""
        return self.finetune.steps * self.step_tokens
