"""How a training run is set up."""

from dataclasses import dataclass, field
from typing import Any

from mrt_lib.engines.base import check_numbers
from mrt_lib.training.lora import LoraSettings
from mrt_lib.training.losses import LossConfig

COUNTS = ["steps", "prompts", "thinking_tokens", "episodes", "answer_tokens", "updates", "snapshot_every"]
COUNTS += ["checkpoint_every", "micro_batch_tokens", "generation_batch_tokens", "prover_batch_tokens"]
AMOUNTS = "seed", "warmup", "temperature", "learning_rate", "max_grad_norm"
LEAST: dict[str, Any] = dict.fromkeys(COUNTS, 1) | dict.fromkeys(AMOUNTS, 0)


@dataclass(frozen=True)
class Stage:
    """Steps `start` .. `stop` - 1 of a training run, which share a thinking budget: tokens of a thought, and
    episodes, the horizon of regret (paper, Figure 12: first short, then long)."""

    start: int
    stop: int
    thinking_tokens: int
    episodes: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a stage from step {self.start} to step {self.stop} has no steps")
        check_numbers(self, "stage: ", thinking_tokens=1, episodes=1)


@dataclass(frozen=True)
class Imitation:
    """How much an arm that imitates learns from one collection, whatever its filter lets through.

    One that kept more leaves some out; one that kept less repeats them. (Sampling until every filter is full
    would give a strict filter more of the policy's tokens and more fresh examples.)

    `steps`: of a new optimiser for each collection (paper, Table 2); `tokens`: learnt in one of them.
    """

    steps: int = 80
    tokens: int = 1024

    def __post_init__(self) -> None:
        check_numbers(self, "imitation.", steps=1, tokens=1)


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are those of the experiments on two CPU cores.

    Attributes:
        steps: collections of rollouts.
        prompts: problems per step; None for all of them, in their order.
        group: rollouts per problem.
        thinking_tokens: budget of a thought.
        episodes: the same in episodes: the horizon of regret and of regret-to-go.
        answer_tokens: most tokens of an answer, its end token included.
        temperature: of thoughts and answers.
        learning_rate: peak, reached after `warmup` steps, then a cosine down to a hundredth.
        warmup: in optimiser steps; of each collection, where the arm imitates.
        updates: optimiser steps per collection, each on its own share of the problems.
        loss: which loss, clip range, KL weight.
        max_grad_norm: longer gradients are cut to this length.
        lora: adapters, or None to train every weight.
        imitation: how much an arm that imitates learns from a collection.
        snapshot_every: steps between snapshots of the stale policy (MRT offline).
        micro_batch_tokens: most tokens, padding included, in one forward pass of the update.
            Reduce this first when memory runs out.
        gradient_checkpointing: keep only the input of every layer for the backward pass and compute the
            rest again: a third more work, and a long rollout of a large model fits.
        generation_batch_tokens, prover_batch_tokens: the same for sampling, and for exact values.
        checkpoint_every: steps between checkpoints.
        seed: of everything that is random.
        stages: thinking budgets that follow each other, in place of `thinking_tokens` and `episodes`; the
            learning rate has one warm-up and one cosine over all of them.
    """

    steps: int = 160
    prompts: int | None = 8
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
    imitation: Imitation = field(default_factory=Imitation)
    snapshot_every: int = 20
    micro_batch_tokens: int = 1024
    gradient_checkpointing: bool = False
    generation_batch_tokens: int = 65_536
    prover_batch_tokens: int = 2048
    checkpoint_every: int = 20
    seed: int = 0
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        check_numbers(self, **LEAST)
        for name in ("temperature", "learning_rate", "max_grad_norm"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} must be above 0")
        if self.group < 2:
            raise ValueError(f"a group of {self.group} has nothing to be compared with; use at least 2")
        if self.prompts is not None and self.updates > self.prompts:
            raise ValueError(f"{self.updates} updates cannot share {self.prompts} problems; lower `updates`")
        if self.loss.kl and self.lora is None:
            raise ValueError("the KL term needs LoRA, whose absence is the reference; set kl=0 or lora")
        expected = 0
        for i, stage in enumerate(self.stages):
            if stage.start != expected:
                before = "overlaps what comes" if stage.start < expected else "leaves out steps"
                place = f"stage {i} (from step {stage.start})"
                raise ValueError(f"{place} {before} before it; it must start at {expected}")
            expected = stage.stop
        if self.stages and expected != self.steps:
            run = f"the last stage of a run of {self.steps} steps"
            raise ValueError(f"{run} must stop at {self.steps}, not at {expected}")

    def budget(self, step: int) -> Stage:
        """The stage of a step; without stages, the whole run as one."""
        whole = Stage(0, self.steps, self.thinking_tokens, self.episodes)
        return next((stage for stage in self.stages if step < stage.stop), whole)

    @property
    def longest(self) -> Stage:
        """The stage with the largest thinking budget."""
        return max(self.stages or [self.budget(0)], key=lambda stage: stage.thinking_tokens)
