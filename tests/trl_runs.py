"""A run of MRTTrainer small enough for tests; as a script, what one process of a distributed run does."""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import PrinterCallback
from trl import GRPOConfig

from mrt_lib.arms import MRTExact, MRTOnline
from mrt_lib.engines.base import Sampling
from mrt_lib.integrations.trl import MRTTrainer
from mrt_lib.measure.evaluation import evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch

TASK = RootSearch(31)
ARMS = {"mrt_exact": MRTExact("regret_to_go", 0.5), "mrt_online": MRTOnline(branches=2)}
GROUP = 4
SETTINGS = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "logging_steps": 1,
    "max_completion_length": 26,
    "per_device_train_batch_size": 3 * GROUP,
    "num_generations": GROUP,
}
LEARNING = {
    "max_completion_length": 46,
    "per_device_train_batch_size": 32,
    "num_generations": 8,
    "max_steps": 20,
    "learning_rate": 1.5e-3,
    "warmup_steps": 3,
    "lr_scheduler_type": "cosine",
}


def trainer(folder, arm, task=TASK, problems=None, answer_tokens=2, lora=None, **changes):
    """On the strong reasoner, so that most groups have a right answer and a signal."""
    reasoner = Reasoner.load("data/models/strong", batch_tokens=8192)
    args = GRPOConfig(output_dir=str(folder), **{**SETTINGS, **changes})
    problems = TASK.problems["train"][:400] if problems is None else problems
    made = MRTTrainer(reasoner, task, problems, arm, args, answer_tokens, peft_config=lora)
    made.remove_callback(PrinterCallback)
    return made


def batch(made):
    """The first generation batch of this process, as TRL hands it on."""
    made.model.train()
    return made._generate_and_score_completions(next(iter(made.get_train_dataloader())))


def first_batch(folder, name):
    """All processes' rollouts as this one knows them, and its own advantages."""
    # Half of the three groups' rollouts: the middle group is cut in two.
    made = trainer(folder, ARMS[name], per_device_train_batch_size=3 * GROUP // 2)
    own = batch(made)
    mask = own["completion_mask"] * own["tool_mask"]
    return {
        "rollouts": [(r.problem.id, vars(r.trace), r.reward) for r in made.rollouts],
        "advantages": [a[m].tolist() for a, m in zip(own["advantages"], mask.bool(), strict=True)],
    }


def learning(folder):
    """J on this process's share of the held problems before and after training, weights, TRL's log."""
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    made = trainer(folder, ARMS["mrt_exact"], lora=lora, **LEARNING)
    before = held_values(made)
    made.train()
    weights = [float(p.detach().double().sum()) for p in made.model.parameters() if p.requires_grad]
    return {"before": before, "after": held_values(made), "weights": weights, "log": made.state.log_history}


def held_values(made):
    """Exact values after four episodes, four rollouts for every other held problem."""
    model = made.accelerator.unwrap_model(made.model)
    reasoner = Reasoner(model, made.reasoner.tokenizer, made.reasoner.template)
    problems = TASK.problems["test"][made.accelerator.process_index : 128 : 2]
    found = evaluate(reasoner, ExactProver(reasoner, TASK), problems, 4, Sampling(44), answer_tokens=2)
    return found.by_episode(4)[..., -1].ravel().tolist()


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    found = {name: first_batch(folder, name) for name in ARMS} | {"learning": learning(folder)}
    rank = torch.distributed.get_rank()
    (folder / f"{rank}.json").write_text(json.dumps(found))
