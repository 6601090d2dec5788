"""The STaR loop: equal tokens, what is learnt, the same bits after a kill, errors that say what to change."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import mrt_lib.files
from mrt_lib.training.adapters import load_adapter, save_adapter
from mrt_lib.arms import ImitateAll, MRTSTaR, STaR
from mrt_lib.files import load_checkpoint
from mrt_lib.training.supervised import Example, FinetuneConfig
from mrt_lib.reasoner import load_reasoner
from mrt_lib.training.star import run_star, share
from mrt_lib.training.config import StarConfig
from mrt_lib.training.updates import token_log_probs
from tests.small_training import TASK, same_bits, star_trainer

ARMS = (STaR(), MRTSTaR("rank"), MRTSTaR("cut", branches=4), ImitateAll())
EXAMPLES = [
    Example(list(range(5)), [False, True, False, True, True]),
    Example([5, 6, 7], [False, True, True]),
]


def learnt(examples):
    return [token for e in examples for token, learn in zip(e.ids, e.learn, strict=True) if learn]


@pytest.mark.parametrize("tokens", [1, 3, 5, 7, 100])
def test_steps_share_a_stream_that_repeats_every_example(tokens):
    steps = [share(EXAMPLES, tokens, seed=0, step=step) for step in range(20)]
    assert all(len(learnt(step)) == tokens for step in steps)
    stream = [token for step in steps for token in learnt(step)]
    rounds = [stream[i : i + 5] for i in range(0, len(stream), 5)]
    assert all(own in ([1, 3, 4, 6, 7], [6, 7, 1, 3, 4]) for own in rounds if len(own) == 5)
    assert all(e.ids in (EXAMPLES[0].ids, EXAMPLES[1].ids) for step in steps for e in step)


def test_the_order_is_new_in_every_round_and_with_every_seed():
    many = [Example([0, i], [False, True]) for i in range(1, 30)]
    first, second, other = (learnt(share(many, 29, *place)) for place in ((0, 0), (0, 1), (1, 0)))
    assert sorted(first) == sorted(second) == sorted(other) == list(range(1, 30))
    assert first != second
    assert first != other


@pytest.fixture(scope="module", params=ARMS, ids=repr)
def straight(request, tmp_path_factory):
    """An undisturbed run of every arm."""
    folder = tmp_path_factory.mktemp("straight")
    trainer = star_trainer(request.param)
    run_star(trainer, folder)
    return trainer, folder


def test_every_arm_learns_the_same_number_of_tokens_from_as_many_rollouts(straight):
    trainer, folder = straight
    assert [row["learnt_tokens"] for row in trainer.log] == [400, 400]
    for number, row in enumerate(trainer.log):
        kept = load_checkpoint(folder / f"iteration_{number}" / "kept.pt", torch.device("cpu"))
        tokens = sum(sum(example["learn"]) for example in kept["examples"])
        assert row["kept_tokens"] == tokens
        assert row["epochs"] == pytest.approx(400 / tokens)
        assert row["kept_share"] == len(kept["examples"]) / (5 * 4)


def test_the_arms_differ_in_the_first_iteration_by_their_filter_alone(straight, tmp_path):
    reference = star_trainer(ImitateAll())
    rollouts = reference.arm.collect(reference.policy, reference.problems, 4, reference._seed)
    assert straight[0].log[0]["reward"] == np.mean([r.reward for r in rollouts])


def test_only_what_the_policy_wrote_is_learnt(straight):
    trainer, folder = straight
    kept = load_checkpoint(folder / "iteration_0" / "kept.pt", torch.device("cpu"))["examples"]
    for example in kept:
        text = trainer.tokenizer.convert_ids_to_tokens(example["ids"])
        start = text.index("<think>") + 1
        forced = text.index("up") - 1 if "up" in text else len(text)
        own = [start <= i < forced or i >= forced + 3 for i in range(len(text))]
        assert example["learn"] == own


def ending(folder):
    """Everything that a run left behind, but for its timings."""
    state = load_checkpoint(Path(folder) / "checkpoint.pt", torch.device("cpu"))
    state["log"] = [{k: v for k, v in row.items() if "seconds" not in k} for row in state["log"]]
    return state


class Killed(Exception):
    """Stands for the end of the process."""


# Saves of a run: kept, two of fine-tuning, the iteration; then the same again.
@pytest.mark.parametrize("saves", [(0,), (1,), (2, 1), (3, 4), (1, 1, 1, 1, 1, 1, 1)])
def test_a_run_killed_at_any_save_ends_in_the_same_bits(straight, saves, tmp_path, monkeypatch):
    trainer, folder = straight
    replace_file = os.replace
    for number in saves:
        left = number

        def deadly(source, target):
            nonlocal left
            if str(target).endswith(".pt"):
                if left == 0:
                    raise Killed
                left -= 1
            replace_file(source, target)

        monkeypatch.setattr(mrt_lib.files.os, "replace", deadly)
        with pytest.raises(Killed):
            run_star(star_trainer(trainer.arm), tmp_path)
    monkeypatch.setattr(mrt_lib.files.os, "replace", replace_file)
    again = star_trainer(trainer.arm)
    run_star(again, tmp_path)
    assert same_bits(ending(tmp_path), ending(folder))
    assert same_bits(again.learner.sampler.state_dict(), trainer.learner.sampler.state_dict())


def test_another_seed_is_another_run(straight, tmp_path):
    trainer, folder = straight
    with pytest.raises(ValueError, match="another seed; use a new folder"):
        run_star(star_trainer(trainer.arm, seed=1), folder)
    other = star_trainer(trainer.arm, seed=1)
    run_star(other, tmp_path)
    assert not same_bits(other.learner.sampler.state_dict(), trainer.learner.sampler.state_dict())


def log_likelihood(model, examples):
    """Mean log-probability of the learnt tokens."""
    total = []
    for example in examples:
        with torch.no_grad():
            found = token_log_probs(model, torch.tensor([example["ids"]]), 1.0)[0].numpy()
        total += found[np.array(example["learn"][1:])].tolist()
    return np.mean(total)


@pytest.mark.parametrize("arm", [STaR(), MRTSTaR("rank"), MRTSTaR("cut")], ids=repr)
def test_what_was_kept_becomes_likelier(arm, tmp_path):
    finetune = FinetuneConfig(steps=15, learning_rate=3e-3, warmup=2)
    trainer = star_trainer(arm, TASK.problems["train"][:20], finetune=finetune, iterations=1)
    run_star(trainer, tmp_path)
    kept = load_checkpoint(tmp_path / "iteration_0" / "kept.pt", torch.device("cpu"))["examples"]
    before, _ = load_reasoner("data/models/strong")
    assert log_likelihood(trainer.learner.sampler, kept) > log_likelihood(before, kept) + 0.05


def test_the_trained_adapter_can_be_kept(straight, tmp_path):
    trainer, _ = straight
    save_adapter(trainer, tmp_path / "adapter")
    model = load_adapter(load_reasoner("data/models/strong")[0], tmp_path / "adapter")
    weights = dict(model.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in trainer.learner.trained().items())


class KeepNothing(STaR):
    def keep(self, policy, rollouts, seed):
        return []


def test_nothing_kept_is_an_error_that_says_what_to_change(tmp_path):
    with pytest.raises(
        ValueError, match=r"iteration 0: none of 20 rollouts, .*% of them right.* raise group"
    ):
        run_star(star_trainer(KeepNothing()), tmp_path)
    assert not (tmp_path / "iteration_0").exists()


def test_no_problems_is_an_error():
    with pytest.raises(ValueError, match="no problems to train on"):
        star_trainer(STaR(), problems=[])


def test_a_budget_inside_the_first_episode_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="thinking_tokens=3 is less than one episode"):
        run_star(star_trainer(ImitateAll(), thinking_tokens=3), tmp_path)


@pytest.mark.parametrize("name", ["step_tokens", "iterations", "group", "thinking_tokens", "answer_tokens"])
def test_a_budget_of_nothing_is_an_error(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        StarConfig(FinetuneConfig(1, 1e-3), **{name: 0})


def test_no_optimiser_steps_are_an_error():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        StarConfig(FinetuneConfig(0, 1e-3))
