"""What is refused before a training run through TRL begins."""

from collections.abc import Sequence
from typing import Any

from mrt_lib.arms import GRPOExact, MRTExact, MRTOffline
from mrt_lib.arms.base import Arm
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.measure.prover import right_answer_ids
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.templates import Template

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
    if isinstance(arm, MRTOffline) or not hasattr(arm, "credit"):
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
    if isinstance(arm, MRTExact | GRPOExact):
        for problem in problems:
            right_answer_ids(reasoner, task, problem)


def check_sharding(sharded: bool, use_vllm: bool, arm: Arm) -> None:
    """ValueError if the arm must run a model of which each process holds a part (FSDP, ZeRO-3)."""
    if sharded and isinstance(arm, MRTExact | GRPOExact):
        way = "which FSDP and ZeRO-3 shard; use DDP or ZeRO-1/2, or MRTOnline, whose values are sampled"
        raise ValueError(f"{type(arm).__name__} reads exact values from the whole model, {way}")
    if sharded and not use_vllm:
        raise ValueError("a model sharded by FSDP or ZeRO-3 generates with vLLM here: set use_vllm=True")
