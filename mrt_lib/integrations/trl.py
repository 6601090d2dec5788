"""Our arms in TRL's GRPOTrainer, for models and machines beyond our own loop.

TRL gives DDP, DeepSpeed, FSDP, vLLM, checkpoints and trackers; the arm says what is collected and how
every token is credited, with the same code as in `mrt_lib.training.loop`.

How a thought becomes a completion. A completion that the budget cuts has no answer, so TRL could not pay
it for what it found out. Here TRL's `rollout_func` calls the arm's own `collect` instead: think up to the
budget, close the thought by force if need be, answer if the arm samples answers (`MRTExact` and `GRPOExact`
need none: their outcome is the exact J_k). The completion is everything after the prompt; `env_mask` hides
the forced text from the loss.

How groups stay whole. TRL deals the rollouts of one problem to several processes. Each collects its own,
all are gathered on every process in TRL's order and credited there as one batch.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

try:
    from accelerate.utils import gather_object
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    from trl.models import unwrap_model_for_generation
except ImportError as error:
    raise ImportError(f"MRTTrainer needs TRL ({error}): pip install 'mrt-lib[trl]'") from error

from mrt_lib.arms import SGRPO, GRPOExact, MRTExact, MRTOffline
from mrt_lib.arms.base import Arm, Policy, Rollout, stream
from mrt_lib.arms.credit import describe
from mrt_lib.engines.base import Engine, Generation, Sampling, cut_at_stop
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.measure.prover import ExactProver, right_answer_ids
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.templates import Template
from mrt_lib.training.guards import check_budget
from mrt_lib.training.updates import token_row


class MRTTrainer(GRPOTrainer):
    """TRL's GRPOTrainer with an arm of `mrt_lib.arms`.

    Every setting of `GRPOConfig` not refused below is TRL's. `max_completion_length` is the budget of
    thought and answer together, in tokens that the policy writes. `scale_rewards` has no effect: the
    arm's `scale` decides. Logged beside TRL's metrics, as "mrt/...": `mrt_lib.arms.credit.describe`.

    `reasoner` is as it was given, TRL trains its model; `rollouts` and `advantages` are those of the newest
    generation batch, of all processes, in TRL's order.
    """

    def __init__(
        self,
        reasoner: Reasoner,
        task: Task,
        problems: Sequence[Problem],
        arm: Arm,
        args: GRPOConfig,
        answer_tokens: int,
        episodes: int = 4,
        **trl: Any,
    ) -> None:
        """Checks everything that can be checked before the first step.

        Args:
            reasoner: with Transformers' engine, whose `batch_tokens` bound one pass of generation, and of the
                exact prover below 8192, on each process. Reduce it first when memory runs out.
            answer_tokens: most tokens of an answer, its end token included; part of
                `args.max_completion_length`.
            episodes: budget in episodes, the horizon of regret.
            **trl: further arguments of GRPOTrainer, such as peft_config and callbacks.

        ValueError: settings that do not fit each other, the arm or the model's context, too few problems for
        one batch, exact values for a task that cannot list its right answers or for a sharded model. At its
        first question: an arm that asks for the stale policy.
        """
        check_settings(args, arm, answer_tokens)
        limit: Any = args.max_completion_length
        self.reasoner, self.task, self.arm, self.episodes = reasoner, task, arm, episodes
        self.thinking = Sampling(limit - answer_tokens, args.temperature)
        self.answering = Sampling(answer_tokens, args.temperature)
        self.problem_of = by_prompt(reasoner.template, problems)
        check_problems(reasoner, task, list(self.problem_of.values()), arm, args)
        reasoner.check_room(problems, limit - answer_tokens, answer_tokens)
        self.rollouts: list[Rollout] = []
        self.advantages: list[np.ndarray] = []
        self._own: list[np.ndarray] = []  # those of this process, from the prompt on
        prompts = Dataset.from_dict({"prompt": list(self.problem_of)})
        own: Any = {"processing_class": reasoner.tokenizer, "rollout_func": self._roll_out, **trl}
        super().__init__(reasoner.model, _outcome, args, prompts, **own)
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
            gathered = gather_object(self.arm.collect(policy, problems, 1, stream(self._seed(), rank)))
            size: Any = self.num_generations
            self.rollouts = [replace(r, group=i // size) for i, r in enumerate(gathered)]
            if self.state.global_step == 0:
                check_budget(policy, self.rollouts, self.episodes)
        self.advantages = self.arm.credit(self.rollouts, self.episodes)
        for name, number in describe(self.rollouts, self.episodes).items():
            if not math.isnan(number):
                self._metrics["train"][f"mrt/{name}"].append(number)
        mine = slice(rank * len(prompts), (rank + 1) * len(prompts))
        own, prompt_ids = self.rollouts[mine], [r.trace.prompt_ids for r in self.rollouts[mine]]
        rows = [token_row(self.reasoner, r, a) for r, a in zip(own, self.advantages[mine], strict=True)]
        pairs = [(row, len(prompt)) for row, prompt in zip(rows, prompt_ids, strict=True)]
        self._own = [row.advantages[start:] for row, start in pairs]
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": [row.ids[start:].tolist() for row, start in pairs],
            "logprobs": [row.log_probs[start:].tolist() for row, start in pairs],
            "env_mask": [row.generated[start:].astype(int).tolist() for row, start in pairs],
            "outcome": [float(r.reward) for r in own],
        }

    @contextmanager
    def _policy(self) -> Iterator[Policy]:
        """The weights of this moment, unwrapped, as the arms see them."""
        given: Any = self.reasoner.engine
        checkpointing: Any = self.args.gradient_checkpointing_kwargs
        # Sharded models only ever generate with vLLM, see `check_sharding`.
        with unwrap_model_for_generation(
            self.model_wrapped, self.accelerator, False, gradient_checkpointing_kwargs=checkpointing
        ) as model:
            engine: Engine = TransformersEngine(model, given.batch_tokens)
            engine = TRLEngine(self.vllm_generation) if self.use_vllm else engine
            own = Reasoner(model, self.reasoner.tokenizer, self.reasoner.template, engine)
            prover = ExactProver(own, self.task, self.thinking.temperature, min(given.batch_tokens, 8192))
            yield Policy(own, prover, self.thinking, self.answering)

    def _seed(self) -> int:
        """Of this generation batch: a function of the run's seed and the step."""
        return stream(stream(self.args.seed, self.state.global_step), self._step)


def _outcome(outcome: Any, **_: Any) -> Any:
    """The arm's rewards, for TRL's log."""
    return outcome


@dataclass(frozen=True)
class TRLEngine:
    """Generates with the vLLM that TRL keeps in step with the weights: a GRPOTrainer's `vllm_generation`.

    The draws are vLLM's own: `sampling.seed` is not used. The temperature is TRL's.
    """

    generation: Any

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        limits: Sequence[int] | None = None,
        progress: bool = False,  # noqa: ARG002
    ) -> list[Generation]:
        """See `Engine.generate`; every process must call it, and ValueError for a limit of a prompt's own."""
        if limits is not None and set(limits) != {sampling.max_new_tokens}:
            raise ValueError("TRL's vLLM generates all prompts with one limit; use an arm that thinks once")
        own = [list(prompt) for prompt in prompts for _ in range(sampling.n)]
        # TRL cuts a server's results into equal shares, so every process asks for equally many.
        most = max(gather_object([len(own)]))
        asked = self.generation
        before = asked.max_completion_length, asked.generation_kwargs
        asked.max_completion_length = sampling.max_new_tokens
        stop = [sequence[0] for sequence in sampling.stop if len(sequence) == 1]
        asked.generation_kwargs = {"stop_token_ids": stop, "ignore_eos": True}
        try:
            _, token_ids, log_probs, _ = asked.generate(own + own[-1:] * (most - len(own)), None, 1)
        finally:
            asked.max_completion_length, asked.generation_kwargs = before
        # TRL has None where vLLM gave nan.
        drawn = [[math.nan if p[0] is None else p[0] for p in places] for places in log_probs[: len(own)]]
        pairs = zip(token_ids[: len(own)], drawn, strict=True)
        return [cut_at_stop(list(ids), own_log_probs, sampling.stop) for ids, own_log_probs in pairs]


# Settings under which TRL would sample from, or learn from, something other than the arm means.
REQUIRED: dict[str, Any] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": None,
    "repetition_penalty": 1.0,
    "generation_kwargs": None,
    "mask_truncated_completions": False,
    "use_transformers_continuous_batching": False,
    "off_policy_mask_threshold": None,
}
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo")


def by_prompt(template: Template, problems: Sequence[Problem]) -> dict[str, Problem]:
    """Prompt to problem; ValueError where two ask the same and have different answers."""
    found: dict[str, Problem] = {}
    for problem in problems:
        prompt = template.prompt_text(problem.question)
        if found.setdefault(prompt, problem).answer != problem.answer:
            raise ValueError(f"problems {found[prompt].id!r} and {problem.id!r} ask the same, answers differ")
    return found


def check_settings(args: Any, arm: Arm, answer_tokens: int) -> None:
    """ValueError unless TRL's settings `args`, a GRPOConfig, fit the arm and the answers."""
    if isinstance(arm, MRTOffline | SGRPO) or not hasattr(arm, "credit"):
        raise ValueError(
            f"{type(arm).__name__} needs a stale policy and whole groups on one process, or an arm that "
            "imitates a step of its own, which TRL has not; use mrt_lib.train, or MRTOnline or MRTExact here"
        )
    if wrong := {name: found for name in REQUIRED if (found := getattr(args, name)) != REQUIRED[name]}:
        needed = {name: REQUIRED[name] for name in wrong}
        raise ValueError(f"the arms sample and learn from the whole policy: need {needed}, got {wrong}")
    if args.loss_type not in LOSSES:
        raise ValueError(f"loss_type must be one of {LOSSES}, which pay by token, got {args.loss_type!r}")
    if not 0 < answer_tokens < args.max_completion_length:
        raise ValueError(
            f"max_completion_length={args.max_completion_length} is the budget of thought and answer, so "
            f"answer_tokens must be 1..{args.max_completion_length - 1}, got {answer_tokens}"
        )


def check_problems(reasoner: Reasoner, task: Task, problems: Sequence[Problem], arm: Arm, args: Any) -> None:
    """ValueError unless the problems fill a batch and can be valued, and TRL has the engine in its hands."""
    if not isinstance(reasoner.engine, TransformersEngine):
        raise ValueError("TRL keeps a vLLM of its own: load the reasoner with engine='transformers' here")
    if len(problems) < (batch := args.generation_batch_size // args.num_generations):
        raise ValueError(f"a batch takes {batch} different problems, got {len(problems)}; add or lower it")
    if _reads_values(arm):
        for problem in problems:
            right_answer_ids(reasoner, task, problem)


def check_sharding(sharded: bool, use_vllm: bool, arm: Arm) -> None:
    """ValueError if the arm must run a model of which each process holds a part (FSDP, ZeRO-3)."""
    if sharded and _reads_values(arm):
        way = "which FSDP and ZeRO-3 shard; use DDP or ZeRO-1/2, or MRTOnline, whose values are sampled"
        raise ValueError(f"{type(arm).__name__} reads exact values from the whole model, {way}")
    if sharded and not use_vllm:
        raise ValueError("a model sharded by FSDP or ZeRO-3 generates with vLLM here: set use_vllm=True")


def _reads_values(arm: Arm) -> bool:
    """Whether the arm's values are exact: it always reads them, or has no `branches` to sample them from."""
    return isinstance(arm, MRTExact | GRPOExact) or getattr(arm, "branches", 0) is None
