"""The loop of the STaR arms: collect, keep, fine-tune on what was kept, again from the new policy.

Every arm collects the same number of rollouts and learns the same number of tokens in the same number of
optimiser steps (`StarConfig.learnt_tokens`), whatever its filter lets through. An arm that kept more leaves
some out; an arm that kept less repeats them, each as often as the others but for one time; how often stands
in the log as `epochs`. (Sampling until every filter is full would give a strict filter more of the policy's
tokens and more fresh examples.)

Each iteration goes on from the policy of the one before, as in the paper's Algorithm 1; STaR's first authors
start each iteration from the base. Only what the policy wrote is learnt: thought, its own end, answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrt_lib.algorithms import Rollout, StarArm
from mrt_lib.algorithms.base import stream
from mrt_lib.checkpoints import load_checkpoint, save_checkpoint, write_csv
from mrt_lib.engines.base import ColocatedEngine
from mrt_lib.finetuning import Example, finetune
from mrt_lib.guards import check_budget, claim, identity, memory_advice
from mrt_lib.learner import Learner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.templates import Template
from mrt_lib.token_rows import token_row
from mrt_lib.train_config import StarConfig
from mrt_lib.training import make_policy

Row = dict[str, float]


class StarTrainer:
    """Trains one model with one STaR arm, iteration by iteration; `run_star` adds checkpoints and log file.

    Attributes:
        learner: the model in training and its sampling copy.
        log: one row per iteration done: `_row` and the fine-tuning's mean loss and seconds.
        identity: what makes this run this run, see `mrt_lib.guards.identity`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        task: Task,
        problems: Sequence[Problem],
        arm: StarArm,
        config: StarConfig,
        engine: ColocatedEngine | None = None,
    ) -> None:
        """Takes `model` over; ValueError if there are no problems. `engine`: as in `Trainer`."""
        if not problems:
            raise ValueError("no problems to train on")
        self.tokenizer, self.template, self.problems = tokenizer, template, list(problems)
        self.arm, self.config, self.engine = arm, config, engine
        self.identity = identity(model, template, task, problems, arm, config, engine)
        self.learner = Learner(model, config.lora, config.seed, keep_stale=False)
        self.policy = make_policy(self.learner, tokenizer, template, task, config, engine)
        self.log: list[Row] = []

    def iterate(self, folder: Path) -> None:
        """One iteration, from what `folder` has of it.

        Raises:
            ValueError: nothing is left to imitate, or the budget ends inside the first episode.
        """
        state = load_checkpoint(folder / "kept.pt", self.learner.model.device)
        if state is None:
            state = self._kept()
            save_checkpoint(folder / "kept.pt", state)
        kept = [Example(**example) for example in state["examples"]]
        seed, tokens = stream(self._seed, 4), self.config.step_tokens
        steps = finetune(
            self.learner.model, lambda step: share(kept, tokens, seed, step), self.config.finetune, folder
        )
        self.learner.publish()
        loss, seconds = (float(np.mean([step[name] for step in steps])) for name in ("loss", "seconds"))
        self.log.append({**state["row"], "loss": loss, "finetune_seconds": seconds * len(steps)})

    def state(self) -> dict:
        """What `load` needs to go on."""
        return {"learner": self.learner.state(), "log": self.log}

    def load(self, state: dict) -> None:
        """Go on from `state`."""
        self.learner.load(state["learner"])
        self.log = state["log"]

    @property
    def _seed(self) -> int:
        return int(np.random.SeedSequence((self.config.seed, 5, len(self.log))).generate_state(1)[0])

    def _kept(self) -> dict:
        """What to imitate in this iteration, in plain lists, and the collection's part of the log."""
        self.policy.tokens.clear()
        self.policy.seconds.clear()
        if self.engine is not None:
            self.engine.load_weights(self.learner.sampler.named_parameters())
        rollouts = self.arm.collect(self.policy, self.problems, self.config.group, self._seed)
        if not self.log:
            check_budget(self.policy, rollouts)
        kept = self.arm.keep(self.policy, rollouts, self._seed)
        if self.engine is not None:
            self.engine.sleep()
        if not kept:
            right = np.mean([r.reward for r in rollouts])
            raise ValueError(
                f"iteration {len(self.log)}: none of {len(rollouts)} rollouts, {right:.1%} of them right, is "
                f"left to imitate by {self.arm!r}; raise group or thinking_tokens, or take easier problems"
            )
        examples = [asdict(self._example(rollout)) for rollout in kept]
        return {"examples": examples, "row": self._row(rollouts, examples)}

    def _example(self, rollout: Rollout) -> Example:
        row = token_row(self.tokenizer, self.template, rollout, np.zeros(rollout.tokens))
        return Example(row.ids.tolist(), row.generated.tolist())

    def _row(self, rollouts: Sequence[Rollout], examples: Sequence[dict]) -> Row:
        """The collection in numbers.

        Returns:
            reward, value: mean outcome and J_k of all rollouts; value is nan where none was measured.
            thought_tokens, finished: mean length; share of thoughts that ended themselves.
            kept: examples to imitate. kept_share: the same, of all rollouts.
            kept_tokens: that can be learnt from them. epochs: times that each is learnt.
            policy_tokens, prover_tokens, generate_seconds, prove_seconds: of the collection.
        """
        traces = [r.trace for r in rollouts]
        ends = [t.values[-1] for t in traces if t.values]
        tokens = sum(sum(example["learn"]) for example in examples)
        return {
            "iteration": len(self.log),
            "reward": float(np.mean([r.reward for r in rollouts])),
            "value": float(np.mean(ends)) if ends else float("nan"),
            "thought_tokens": float(np.mean([len(t.thought_ids) for t in traces])),
            "finished": float(np.mean([t.finished for t in traces])),
            "kept": len(examples),
            "kept_share": len(examples) / len(rollouts),
            "kept_tokens": tokens,
            "epochs": self.config.learnt_tokens / tokens,
            "learnt_tokens": self.config.learnt_tokens,
            **{f"{name}_tokens": self.policy.tokens[name] for name in ("policy", "prover")},
            **{f"{name}_seconds": self.policy.seconds[name] for name in ("generate", "prove")},
        }


def run_star(trainer: StarTrainer, folder: str | Path, *reports: Callable[[list[Row]], None]) -> list[Row]:
    """Run `trainer` to its last iteration, from the newest checkpoint in `folder` if there is one.

    `folder` gets config.json, log.csv, checkpoint.pt, and for every iteration a folder with what was kept and
    the fine-tuning's checkpoint. A run that was killed at any moment ends in the same weights.

    Args:
        reports: called with the log after every iteration.

    Raises:
        ValueError: the folder holds another run, or see `StarTrainer.iterate`.
        MemoryError: an iteration does not fit; the message says what to reduce.
    """
    folder = Path(folder)
    claim(folder, trainer.identity)
    if state := load_checkpoint(folder / "checkpoint.pt", trainer.learner.model.device):
        trainer.load(state)
    while (number := len(trainer.log)) < trainer.config.iterations:
        with memory_advice(number):
            trainer.iterate(folder / f"iteration_{number}")
        for report in reports:
            report(trainer.log)
        write_csv(folder / "log.csv", trainer.log)
        save_checkpoint(folder / "checkpoint.pt", trainer.state())
    return trainer.log


def share(examples: Sequence[Example], tokens: int, seed: int, step: int) -> list[Example]:
    """What step `step` learns: exactly `tokens` learnt tokens, the next ones of an endless stream.

    The stream goes through all examples in a new order each time. An example that two steps share is in
    both, each learning its own part.
    """
    sizes = np.array([sum(example.learn) for example in examples])
    start, stop = step * tokens, (step + 1) * tokens
    parts = []
    for epoch in range(start // sizes.sum(), (stop - 1) // sizes.sum() + 1):
        order = np.random.default_rng((seed, epoch)).permutation(len(sizes))
        begins = epoch * sizes.sum() + np.cumsum(sizes[order]) - sizes[order]
        for i, begin in zip(order, begins, strict=True):
            first, last = max(0, start - begin), min(sizes[i], stop - begin)
            if first < last:
                parts.append(_part(examples[i], first, last))
    return parts


def _part(example: Example, first: int, last: int) -> Example:
    """The example with only its learnt tokens first .. last - 1 left to learn."""
    learn = np.zeros(len(example.ids), dtype=bool)
    learn[np.flatnonzero(example.learn)[first:last]] = True
    return Example(example.ids, learn.tolist())
