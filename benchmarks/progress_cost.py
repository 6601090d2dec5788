"""What exact progress costs: its share of a training step as traces grow.

`python -m benchmarks.progress_cost` runs whole steps of `mrt_exact` with regret-to-go (generate, prove,
score, update) and notes the share of `prove`:

* default: the shipped base reasoner and `TrainConfig` as it stands;
* episodes: the same reasoner with room for 4 to 48 trials. It may not close its thought, so every
  thought fills its budget (13 tokens for each trial asked for, so that there are at least as many);
* tokens: thoughts like R1's: about 100 tokens an episode, a forced text of 49 tokens (R1's is about as
  long) and an answer of 6. The reasoner has the same shape, random weights and a longer context; it
  draws from 100 equally likely tokens, one of which opens an episode.

Every step has 32 rollouts unless `--rollouts` says otherwise. Fewer rollouts generate less efficiently,
which makes the share smaller.
Shares are medians over steps with their range; all steps are in data/results/benchmark_progress_cost.json.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from mrt_lib import MRTExact, Reasoner, TrainConfig, Trainer
from mrt_lib.files import write_json
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import provenance
from mrt_lib.tasks import RootSearch
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import TESTBED, token_id
from tools.summary import record

MODEL = Path("data/models/base")
EPISODES = (4, 8, 16, 24, 48)
THOUGHTS = (500, 1000)
TOKENS_PER_TRIAL = 13
WARM_UP = 1
RESULT = Path("data/results/benchmark_progress_cost.json")
COMMAND = "python -m benchmarks.progress_cost"
R1_LIKE = replace(TESTBED, name="r1-like", forced_answer="time up " * 24 + "</think>")


@dataclass(frozen=True)
class LongAnswers(RootSearch):
    """Root search whose answer is written in five tokens, as a boxed result would be."""

    def answers(self, problem: Problem) -> tuple[str, ...]:
        """The root, repeated."""
        return (" ".join([problem.answer] * 5),)


def default_trainer() -> Trainer:
    """The default run."""
    return make_trainer(Reasoner.load(MODEL), RootSearch(31), TrainConfig(learning_rate=0.0))


def episodes_trainer(rollouts: int, episodes: int) -> Trainer:
    """The base reasoner, made to think for about `episodes` trials."""
    reasoner = Reasoner.load(MODEL)
    config = long_config(rollouts, episodes * TOKENS_PER_TRIAL)
    trainer = make_trainer(reasoner, RootSearch(31), config)
    tokenizer = reasoner.tokenizer
    forbid(trainer, [token_id(tokenizer, TESTBED.think_end), tokenizer.eos_token_id])
    return trainer


def tokens_trainer(rollouts: int, tokens: int) -> Trainer:
    """A random reasoner of the same shape that thinks for `tokens` tokens in episodes of about 100."""
    shipped = Reasoner.load(MODEL)
    config, tokenizer = copy.deepcopy(shipped.model.config), shipped.tokenizer
    config.max_position_embeddings = 2 * max(THOUGHTS)
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(0.01)
    reasoner = Reasoner(model, tokenizer, R1_LIKE)
    trainer = make_trainer(reasoner, LongAnswers(31), long_config(rollouts, tokens))
    opener = token_id(tokenizer, R1_LIKE.episode_marker)
    allowed = {opener, *[i for i in range(len(tokenizer) - 1, 0, -1) if i != opener][:99]}
    forbid(trainer, [i for i in range(len(tokenizer)) if i not in allowed])
    return trainer


def long_config(rollouts: int, tokens: int) -> TrainConfig:
    """The defaults but for longer thoughts, all of them within the horizon, and the number of rollouts."""
    prompts = rollouts // TrainConfig.group
    return TrainConfig(prompts=prompts, episodes=tokens, thinking_tokens=tokens, learning_rate=0.0)


def make_trainer(reasoner: Reasoner, task: RootSearch, config: TrainConfig) -> Trainer:
    """A trainer of the arm; its learning rate is 0, so all steps are alike."""
    return Trainer(reasoner, task, task.problems["train"], MRTExact("regret_to_go", 2.0), config)


def forbid(trainer: Trainer, token_ids: list[int]) -> None:
    """Never sample these tokens."""
    trainer.learner.sampler.generation_config.suppress_tokens = token_ids


def shares(trainer: Trainer, steps: int) -> dict[str, Any]:
    """What each of `steps` steps cost, after one that warms up, and the share of exact values."""
    rows = [trainer.step() for _ in range(WARM_UP + steps)][WARM_UP:]
    names = (
        "generate_seconds",
        "prove_seconds",
        "update_seconds",
        "seconds",
        "policy_tokens",
        "prover_tokens",
    )
    found = {name: [row[name] for row in rows] for name in (*names, "thought_tokens", "episodes")}
    share = np.array(found["prove_seconds"]) / np.array(found["seconds"])
    rollouts = trainer.config.prompts * trainer.config.group
    return {"rollouts": rollouts, "share": share.tolist(), **found}


def interval(numbers: Sequence[float]) -> Interval:
    """Median and range."""
    return Interval(float(np.median(numbers)), min(numbers), max(numbers), len(numbers))


def main() -> None:
    """Measure every size, write the table and the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of torch; the experiments use 1")
    parser.add_argument(
        "--steps", type=int, default=3, help="steps of each long size; 5 times as many short ones"
    )
    parser.add_argument("--rollouts", type=int, default=32, help="per step; the default run has its own")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cases: dict[str, Callable[[], Trainer]] = {"default": default_trainer}
    cases |= {f"{n} episodes": partial(episodes_trainer, arguments.rollouts, n) for n in EPISODES}
    cases |= {f"{n} tokens": partial(tokens_trainer, arguments.rollouts, n) for n in THOUGHTS}
    table: dict[str, Any] = {}
    for name, make in cases.items():
        table[name] = shares(make(), arguments.steps * (5 if name == "default" else 1))
        found = interval(table[name]["share"])
        episodes, tokens = (np.mean(table[name][key]) for key in ("episodes", "thought_tokens"))
        cost = f"exact values {found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"
        print(f"{name:12} {episodes:5.1f} episodes {tokens:6.0f} tokens a thought, {cost}", flush=True)
    for label, name in (
        ("default", "default"),
        ("24_episodes", "24 episodes"),
        ("1000_tokens", "1000 tokens"),
    ):
        record(f"i2.exact_share_{label}", interval(table[name]["share"]), "of a step's seconds", COMMAND)
    settings = {"threads": arguments.threads, "default_config": asdict(TrainConfig())}
    write_json(RESULT, {"provenance": provenance(), **settings, "sizes": table})


if __name__ == "__main__":
    main()
