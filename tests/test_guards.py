"""What a run is told before it learns, and how much of what it sampled taught nothing."""

import warnings

import pytest
import torch

from mrt_lib.arms import GRPO, GRPOExact, MRTOffline
from mrt_lib.training.guards import announce, check_ends
from mrt_lib.training.loop import run
from tests.small_training import trainer
from tests.test_credit import rollout


def rollouts(groups, mixed, ended):
    """Pairs of rollouts: the first `mixed` have one right answer, the first `ended` thoughts ended."""
    rewards = [float(g < mixed and i == 0) for g in range(groups) for i in range(2)]
    return [rollout(group=i // 2, reward=r, finished=i < ended) for i, r in enumerate(rewards)]


@pytest.mark.parametrize(("mixed", "ended"), [(1, 2), (20, 40)])
def test_from_a_twentieth_on_nothing_is_warned_of(mixed, ended, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        announce(rollouts(20, mixed, ended))
    expected = f"{mixed} of 20 groups are mixed, {ended} of 40 thoughts ended within the budget"
    assert expected in capsys.readouterr().out


def test_below_it_says_what_to_change():
    with pytest.warns(UserWarning, match="0 of 20 groups are mixed.*easier problems, a larger group"):
        announce(rollouts(20, 0, 40))
    with pytest.warns(UserWarning, match="1 of 40 thoughts ended by themselves.*raise thinking_tokens"):
        announce(rollouts(20, 20, 1))


def test_a_thought_that_the_arm_stopped_says_nothing_about_the_budget(capsys):
    stopped = [rollout(reward=r, finished=False, stopped=True) for r in (0.0, 1.0)]
    announce(stopped)
    assert "0 of 0 thoughts" in capsys.readouterr().out


@pytest.mark.parametrize("arm", [GRPO(), GRPOExact(), MRTOffline("termination")], ids=repr)
def test_the_log_counts_tokens_without_gradient(arm, tmp_path, capsys):
    training = trainer(arm, steps=2)
    log = run(training, tmp_path)
    own = [(r, a) for r, a in zip(training.rollouts, arm.credit(training.rollouts, 4), strict=True)]
    assert log[-1]["credited_tokens"] == sum(r.tokens - r.given for r, _ in own)
    assert log[-1]["idle_tokens"] == sum((a[r.given :] == 0).sum() for r, a in own)
    credited, idle = (sum(row[f"{name}_tokens"] for row in log) for name in ("credited", "idle"))
    said = capsys.readouterr().out
    assert said.count("before the first update") == 1
    assert f"{idle:,} of {credited:,} tokens to learn from had no gradient ({idle / credited:.0%})" in said
    silent = log[-1]["silent_groups"]
    assert (log[-1]["idle_tokens"] > 0) == (silent > 0 or isinstance(arm, MRTOffline))


def test_a_run_that_goes_on_is_not_told_again(tmp_path, capsys):
    run(trainer(GRPO(), steps=4), tmp_path, lambda log: None)
    capsys.readouterr()
    run(trainer(GRPO(), steps=4), tmp_path)
    assert "before the first update" not in capsys.readouterr().out


def test_an_end_that_was_never_trained_is_told_before_training():
    own = trainer(GRPO())
    rows = own.base.model.get_output_embeddings().weight
    end, other = (own.base.tokenizer.convert_tokens_to_ids(text) for text in ("</think>", "<unk>"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_ends(own.base)
    with torch.no_grad():
        rows[other] = rows[end]
    with pytest.warns(UserWarning, match="the end '</think>' has the output row of 1 other tokens: spell it"):
        check_ends(own.base)
