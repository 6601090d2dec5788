"""Arms that imitate: equal tokens, what is learnt, the same bits after a kill, errors with a remedy."""

import os

import numpy as np
import pytest
import torch

from mrt_lib.arms import MRTSTaR, STaR
from mrt_lib.arms.base import stream
from mrt_lib.reasoner import Reasoner
from mrt_lib.training import loop
from mrt_lib.training.config import Imitation
from mrt_lib.training.supervised import Example, share
from mrt_lib.training.updates import token_log_probs
from recipes.controls import ImitateAll
from tests.small_training import IMITATING, TASK, ending, same_bits
from tests.small_training import trainer as any_trainer

ARMS = (STaR(), MRTSTaR("rank"), MRTSTaR("cut", branches=4), ImitateAll())
EXAMPLES = [
    Example(list(range(5)), [False, True, False, True, True]),
    Example([5, 6, 7], [False, True, True]),
]


def watched(training, folder):
    """Run to the end; the rows that every collection kept."""
    kept, imitate = [], loop.imitate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            loop, "imitate", lambda learner, rows, *own: kept.append(rows) or imitate(learner, rows, *own)
        )
        loop.run(training, folder)
    return kept


def trainer(arm, *problems, **changes):
    """In two collections on the strong reasoner."""
    return any_trainer(arm, *problems, **{**IMITATING, **changes})


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
    """An undisturbed run of every arm: trainer, folder, and what was kept."""
    training, folder = trainer(request.param), tmp_path_factory.mktemp("straight")
    return training, folder, watched(training, folder)


def test_every_arm_learns_the_same_number_of_tokens_from_as_many_rollouts(straight):
    training, _, kept = straight
    assert [row["learnt_tokens"] for row in training.log] == [400, 400]
    for rows, row in zip(kept, training.log, strict=True):
        tokens = sum(int(own.generated.sum()) for own in rows)
        assert row["kept_tokens"] == tokens
        assert row["epochs"] == pytest.approx(400 / tokens)
        assert row["kept_share"] == len(rows) / (5 * 4)


def test_the_arms_differ_in_the_first_collection_by_their_filter_alone(straight):
    reference = trainer(ImitateAll())
    seed = stream(reference.config.seed, loop.IMITATED, 0)
    rollouts = reference.arm.collect(reference.policy, reference.problems, 4, seed)
    assert straight[0].log[0]["reward"] == np.mean([r.reward for r in rollouts])


def test_only_what_the_policy_wrote_is_learnt(straight):
    training, _, kept = straight
    for row in kept[0]:
        text = training.base.tokenizer.convert_ids_to_tokens(row.ids.tolist())
        start = text.index("<think>") + 1
        forced = text.index("up") - 1 if "up" in text else len(text)
        own = [start <= i < forced or i >= forced + 3 for i in range(len(text))]
        assert row.generated.tolist() == own


class Killed(Exception):
    """Stands for the end of the process."""


# Saves of a run: one for each collection.
@pytest.mark.parametrize("straight", [ARMS[0], ARMS[2]], ids=repr, indirect=True)
@pytest.mark.parametrize("saves", [(0,), (1, 0)])
def test_a_run_killed_at_any_save_ends_in_the_same_bits(straight, saves, tmp_path, monkeypatch):
    training, folder, _ = straight
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

        monkeypatch.setattr(os, "replace", deadly)
        with pytest.raises(Killed):
            loop.run(trainer(training.arm), tmp_path)
    monkeypatch.setattr(os, "replace", replace_file)
    again = trainer(training.arm)
    loop.run(again, tmp_path)
    assert same_bits(ending(tmp_path), ending(folder))
    assert same_bits(again.learner.sampler.state_dict(), training.learner.sampler.state_dict())


@pytest.mark.parametrize("straight", ARMS[:1], ids=repr, indirect=True)
def test_another_seed_is_another_run(straight, tmp_path):
    training, folder, _ = straight
    with pytest.raises(ValueError, match="another seed; use a new folder"):
        loop.run(trainer(training.arm, seed=1), folder)
    other = trainer(training.arm, seed=1)
    loop.run(other, tmp_path)
    assert not same_bits(other.learner.sampler.state_dict(), training.learner.sampler.state_dict())


def log_likelihood(model, rows):
    """Mean log-probability of the learnt tokens."""
    total = []
    for row in rows:
        with torch.no_grad():
            found = token_log_probs(model, torch.tensor(row.ids[None]), 1.0)[0].numpy()
        total += found[row.generated[1:]].tolist()
    return np.mean(total)


@pytest.mark.parametrize("arm", [STaR(), MRTSTaR("rank"), MRTSTaR("cut")], ids=repr)
def test_what_was_kept_becomes_likelier(arm, tmp_path):
    own = {"steps": 1, "imitation": Imitation(15, 100), "learning_rate": 3e-3, "warmup": 2}
    training = trainer(arm, TASK.problems["train"][:20], **own)
    (kept,) = watched(training, tmp_path)
    before = Reasoner.load("data/models/strong").model
    assert log_likelihood(training.learner.sampler, kept) > log_likelihood(before, kept) + 0.05


def test_the_trained_adapter_can_be_kept(straight, tmp_path):
    training, _, _ = straight
    training.trained().save(tmp_path / "adapter")
    weights = dict(Reasoner.load(tmp_path / "adapter").adapter.named_parameters())
    assert all(torch.equal(weights[name], weight) for name, weight in training.learner.trained().items())


class KeepNothing(STaR):
    def keep(self, policy, rollouts, seed):
        return []


def test_nothing_kept_is_an_error_that_says_what_to_change(tmp_path):
    with pytest.raises(ValueError, match=r"step 0: none of 20 rollouts, .*% of them right.* raise group"):
        loop.run(trainer(KeepNothing()), tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_no_problems_is_an_error():
    with pytest.raises(ValueError, match="no problems to train on"):
        trainer(STaR(), [])


def test_a_budget_inside_the_first_episode_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="thinking_tokens=3 is less than one episode"):
        loop.run(trainer(ImitateAll(), thinking_tokens=3), tmp_path)


@pytest.mark.parametrize("name", ["steps", "tokens"])
def test_a_budget_of_nothing_is_an_error(name):
    with pytest.raises(ValueError, match=f"imitation.{name} must be a whole number of at least 1, got 0"):
        Imitation(**{name: 0})
