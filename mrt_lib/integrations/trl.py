"""Our arms in TRL's GRPOTrainer, for models and machines beyond our own loop.

TRL gives DDP, DeepSpeed, FSDP, vLLM, checkpoints and trackers; the arm says what is collected and how
every token is credited, with the same code as in `mrt_lib.training.loop`.

How a thought becomes a completion. TRL generates freely: a completion that the budget cuts has no
answer, so it could not be paid for what it found out. Here TRL's `rollout_func` calls the arm's own
`collect` instead: think up to the budget, close the thought by force if need be, answer if the arm
samples answers. The completion is everything after the prompt; `env_mask` hides the forced text from
the loss, as our own loop does. Outcome arms sample an answer; `MRTExact` and `GRPOExact` need none,
because their outcome is the exact J_k.

How groups stay whole. TRL deals the rollouts of one problem to several processes. Each process collects
its own; then all rollouts, in TRL's order, are gathered on every process, credited there as one batch
and cut back to its share. So credits are centred over the whole group, as on one process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

try:
    from accelerate.utils import gather_object
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    from trl.models import unwrap_model_for_generation
except ImportError as error:
    raise ImportError(f"MRTTrainer needs TRL ({error}): pip install 'mrt-lib[trl]'") from error

from mrt_lib.arms.base import Arm, Policy, Rollout, stream
from mrt_lib.engines.base import Engine, Sampling
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.training.guards import check_budget
from mrt_lib.integrations.trl_checks import by_prompt, check_problems, check_settings, check_sharding
from mrt_lib.integrations.trl_engine import TRLEngine
from mrt_lib.training.metrics import describe
from mrt_lib.measure.prover import ExactProver
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.templates import Template
from mrt_lib.training.token_rows import TokenRow, token_row


class MRTTrainer(GRPOTrainer):
    """TRL's GRPOTrainer with an arm of `mrt_lib.arms`.

    Every setting of `GRPOConfig` not refused below is TRL's. `max_completion_length` is the budget of
    thought and answer together, in tokens that the policy writes. `scale_rewards` has no effect: the
    arm's `scale` decides. Logged beside TRL's metrics, as "mrt/...": those of `mrt_lib.training.metrics.describe`.

    Attributes:
        rollouts: of the newest generation batch, of all processes, in TRL's order.
        advantages: for each of them, one number per token that it holds.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        task: Task,
        problems: Sequence[Problem],
        arm: Arm,
        args: GRPOConfig,
        answer_tokens: int,
        episodes: int = 4,
        batch_tokens: int = 8192,
        peft_config: Any = None,
        callbacks: Any = None,
    ) -> None:
        """Checks everything that can be checked before the first step.

        Args:
            answer_tokens: most tokens of an answer, its end token included; part of
                `args.max_completion_length`.
            episodes: budget in episodes over which "mrt/regret" is taken.
            batch_tokens: most tokens, padding included, in one pass of Transformers' generation or of
                the exact prover, on each process. Reduce this first when memory runs out.
            peft_config, callbacks: as in GRPOTrainer.

        Raises:
            ValueError: settings that do not fit each other, the arm or the model's context, too few
                problems for one batch, a tokenizer without the template's tokens, exact values for a
                task that cannot list its right answers or for a model that is sharded.
        """
        check_settings(args, arm, answer_tokens)
        self.arm, self.task, self.template, self.episodes = arm, task, template, episodes
        self.batch_tokens, self.tokenizer = batch_tokens, tokenizer
        limit: Any = args.max_completion_length
        self.thinking = Sampling(limit - answer_tokens, args.temperature)
        self.answering = Sampling(answer_tokens, args.temperature)
        self.problem_of = by_prompt(template, problems)
        check_problems(model, tokenizer, template, task, list(self.problem_of.values()), arm, args)
        self.rollouts: list[Rollout] = []
        self.advantages: list[np.ndarray] = []
        self._own: list[np.ndarray] = []
        outcome: Any = _outcome
        super().__init__(
            model,
            outcome,
            args,
            Dataset.from_dict({"prompt": list(self.problem_of)}),
            processing_class=tokenizer,
            callbacks=callbacks,
            peft_config=peft_config,
            rollout_func=self._roll_out,
        )
        check_sharding(self._dist.is_fsdp or self._dist.is_zero3, args.use_vllm, arm)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        """TRL's batch with one advantage per completion token, shape (B, T), in place of (B,)."""
        batch = super()._generate_and_score_completions(inputs)
        advantages = torch.zeros(batch["completion_ids"].shape, dtype=torch.float32)
        for place, own in zip(advantages, self._own, strict=True):
            place[: len(own)] = torch.from_numpy(own)
        batch["advantages"] = advantages.to(batch["completion_ids"].device)
        return batch

    def _roll_out(self, prompts: list[str], _: GRPOTrainer) -> dict[str, list]:
        """Collect this process's rollouts, credit those of all processes, return this process's."""
        rank, problems = self.accelerator.process_index, [self.problem_of[prompt] for prompt in prompts]
        with self._policy() as policy:
            seed = stream(self._seed(), rank)
            gathered = gather_object(self.arm.collect(policy, problems, 1, seed))
            self.rollouts = in_groups(gathered, self.num_generations)
            if self.state.global_step == 0:
                check_budget(policy, self.rollouts)
        self.advantages = self.arm.credit(self.rollouts)
        self._log_rollouts()
        mine = slice(rank * len(prompts), (rank + 1) * len(prompts))
        own = self.rollouts[mine]
        pairs = zip(own, self.advantages[mine], strict=True)
        rows = [_completion(r, token_row(self.tokenizer, self.template, r, a)) for r, a in pairs]
        self._own = [row.advantages for row in rows]
        return {
            "prompt_ids": [r.trace.prompt_ids for r in own],
            "completion_ids": [row.ids.tolist() for row in rows],
            "logprobs": [row.log_probs.tolist() for row in rows],
            "env_mask": [row.generated.astype(int).tolist() for row in rows],
            "outcome": [float(r.reward) for r in own],
        }

    @contextmanager
    def _policy(self) -> Iterator[Policy]:
        """The weights of this moment, unwrapped, as the arms see them."""
        parts = (self.tokenizer, self.template, self.task)
        checkpointing: Any = self.args.gradient_checkpointing_kwargs
        # Sharded models only ever generate with vLLM, see `check_sharding`.
        with unwrap_model_for_generation(
            self.model_wrapped, self.accelerator, False, gradient_checkpointing_kwargs=checkpointing
        ) as model:
            own = TransformersEngine(model, self.batch_tokens)
            engine: Engine = TRLEngine(self.vllm_generation) if self.use_vllm else own
            prover = ExactProver(model, *parts, self.thinking.temperature, self.batch_tokens)
            yield Policy(engine, engine, prover, *parts, self.thinking, self.answering)

    def _seed(self) -> int:
        """Of this generation batch: a function of the run's seed and the step."""
        return stream(stream(self.args.seed, self.state.global_step), self._step)

    def _log_rollouts(self) -> None:
        for name, number in describe(self.rollouts, self.advantages, self.episodes).items():
            if not math.isnan(number):
                self._metrics["train"][f"mrt/{name}"].append(number)


def in_groups(rollouts: Sequence[Rollout], size: Any) -> list[Rollout]:
    """The rollouts of all processes, in order, each `size` in a row as one group."""
    return [replace(rollout, group=i // size) for i, rollout in enumerate(rollouts)]


def _completion(rollout: Rollout, row: TokenRow) -> TokenRow:
    """The row after the prompt."""
    start = len(rollout.trace.prompt_ids)
    return TokenRow(*(column[start:] for column in (row.ids, row.generated, row.log_probs, row.advantages)))


def _outcome(outcome: list[float], **_: Any) -> list[float]:
    """The arm's rewards, for TRL's log."""
    return outcome
