"""`accelerate launch -m recipes.train_with_trl ...`: train a reasoner with an arm, through TRL.

Beside the options below it takes all of TRL's `GRPOConfig` and `ModelConfig`, see docs/scaling.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, ModelConfig, TrlParser, get_peft_config, get_quantization_config

from mrt_lib.arms import GRPO, GRPOExact, MRTExact, MRTOnline
from mrt_lib.arms.base import Arm
from mrt_lib.engines import TransformersEngine
from mrt_lib.integrations.trl import MRTTrainer
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import MathTask, get_task
from mrt_lib.thoughts.templates import TEMPLATES, get_template

ARMS = ("grpo", "grpo_exact", "mrt_exact", "mrt_online")


@dataclass
class Experiment:
    """What is learnt, and how it is paid."""

    problems: str = field(
        metadata={"help": "shipped task, such as root_search_31, or a JSONL file for MathTask"}
    )
    template: str = field(metadata={"help": f"one of {sorted(TEMPLATES)}"})
    arm: str = field(metadata={"help": f"one of {ARMS}"})
    answer_tokens: int = field(metadata={"help": "most tokens of an answer, part of --max_completion_length"})
    rule: str = field(default="progress", metadata={"help": "credit of an episode (MRT arms)"})
    alpha: float = field(default=1.0, metadata={"help": "weight of that credit (MRT arms)"})
    branches: int = field(default=4, metadata={"help": "sampled answers per prefix (mrt_online)"})
    episodes: int = field(default=4, metadata={"help": "budget in episodes, the horizon of regret"})
    batch_tokens: int = field(default=8192, metadata={"help": "most tokens of a pass without gradient"})


def main() -> None:
    """Train, then save model and tokenizer into --output_dir."""
    parts: Any = (Experiment, GRPOConfig, ModelConfig)
    own, args, model_args = TrlParser(parts).parse_args_and_config()
    arm, template = make_arm(own), get_template(own.template)
    task: Any = (
        MathTask.from_jsonl(own.problems) if own.problems.endswith(".jsonl") else get_task(own.problems)
    )
    name, revision = model_args.model_name_or_path, model_args.model_revision
    model = AutoModelForCausalLM.from_pretrained(
        name,
        revision=revision,
        dtype=model_args.dtype,
        attn_implementation=model_args.attn_implementation,
        quantization_config=get_quantization_config(model_args),
        use_safetensors=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    reasoner = Reasoner(model, tokenizer, template, TransformersEngine(model, own.batch_tokens))
    peft, problems = get_peft_config(model_args), task.problems["train"]
    trainer = MRTTrainer(
        reasoner, task, problems, arm, args, own.answer_tokens, own.episodes, peft_config=peft
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()


def make_arm(own: Experiment) -> Arm:
    """The arm of that name; ValueError lists the known names."""
    if own.arm not in ARMS:
        raise ValueError(f"unknown arm {own.arm!r}; known: {list(ARMS)}")
    arms: dict[str, Arm] = {
        "grpo": GRPO(),
        "grpo_exact": GRPOExact(),
        "mrt_exact": MRTExact(own.rule, own.alpha),
        "mrt_online": MRTOnline(own.branches, own.alpha, own.rule),
    }
    return arms[own.arm]


if __name__ == "__main__":
    main()
