"""The page and the library are the same method: one step from the same rollouts ends in the same weights."""

import numpy as np
import pytest
import torch

from mrt_lib.arms import MRTExact
from mrt_lib.measure.progress import regret_to_go
from mrt_lib.reasoner import Reasoner
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Trainer
from recipes import one_page
from recipes.one_page import GROUP, TASK

PROBLEMS = TASK.problems["train"][:3]
CONFIG = TrainConfig(
    steps=2,
    warmup=1,
    prompts=len(PROBLEMS),
    group=GROUP,
    thinking_tokens=one_page.TOKENS,
    episodes=one_page.EPISODES,
    learning_rate=one_page.RATE,
    lora=None,
)


@pytest.mark.parametrize(
    ("name", "rule"), [("progress", one_page.progress), ("regret_to_go", one_page.regret_to_go)]
)
def test_its_first_step_is_the_librarys(name, rule):
    trainer = Trainer(
        Reasoner.load("data/models/strong"), TASK, PROBLEMS, MRTExact(name, one_page.ALPHA), CONFIG
    )
    page = Reasoner.load("data/models/strong")
    trainer.step()
    groups = [[] for _ in PROBLEMS]
    for r in trainer.rollouts:
        t = r.trace
        ends = [0, *one_page.cut(page.tokenizer, t.thought_ids)]
        assert ends == [0, *t.boundaries]
        values = [
            one_page.value(
                page.model,
                page.tokenizer,
                r.problem,
                t.prompt_ids + t.thought_ids[:end],
                t.finished and j == t.n_episodes,
            )
            for j, end in enumerate(ends)
        ]
        np.testing.assert_allclose(values, t.values, atol=1e-6)
        groups[r.group].append((t.prompt_ids, t.thought_ids, t.finished, ends, values))
    optimizer = torch.optim.AdamW(page.model.parameters(), one_page.RATE, weight_decay=0.0)
    one_page.update(page.model, page.tokenizer, optimizer, groups, rule)
    start = dict(Reasoner.load("data/models/strong").model.named_parameters())
    ours, own = (dict(m.named_parameters()) for m in (trainer.learner.model, page.model))
    moved = torch.cat([(own[n] - start[n]).flatten() for n in own])
    apart = torch.cat([(own[n] - ours[n]).flatten() for n in own])
    assert moved.abs().max() > 0.9 * one_page.RATE
    # Adam's first step is the sign of the gradient: where that is rounding noise, so is the sign.
    assert (apart.abs() > 0.01 * one_page.RATE).float().mean() < 0.002
    gradients = [
        torch.cat([p.grad.flatten() for p in m.parameters()]) for m in (trainer.learner.model, page.model)
    ]
    assert torch.allclose(*gradients, atol=1e-6)
    assert gradients[1].abs().max() > 1e-3


def test_its_thoughts_are_the_policys_and_end_by_themselves_or_at_the_budget():
    reasoner, rng = Reasoner.load("data/models/strong"), np.random.default_rng(0)
    prompt = one_page.words(reasoner.tokenizer, f"solve {PROBLEMS[0].question} <think>")
    assert prompt == reasoner.prompt(PROBLEMS[0].question)
    thoughts = [one_page.think(reasoner.model, reasoner.tokenizer, prompt, rng) for _ in range(6)]
    assert all(finished or len(thought) == one_page.TOKENS for thought, finished in thoughts)
    assert len({tuple(thought) for thought, _ in thoughts}) > 1


def test_its_regret_to_go_by_hand():
    np.testing.assert_allclose(one_page.regret_to_go(np.array([0.1, 0.3, 0.2])), [(0.2 + 3 * 0.1) / 4, -0.1])
    for values in ([0.1], [0.1, 0.5, 0.2, 0.9, 0.7], [0.1, 0.5, 0.2, 0.9, 0.7, 0.3]):
        np.testing.assert_allclose(
            one_page.regret_to_go(np.array(values)), regret_to_go(values, 4), atol=1e-12
        )


def test_it_fits_on_a_page():
    with open(one_page.__file__) as file:
        assert len(file.readlines()) <= 150
