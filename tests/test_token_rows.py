"""Rows of tokens: what is learnt, what is only read, and that they are what the sampler saw."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mrt_lib.arms import GRPO, MRTExact, MRTOffline, Policy, Rollout
from mrt_lib.engines import Sampling
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import TESTBED, encode
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.updates import TokenRow, collate, token_log_probs, token_row

TASK = RootSearch(31)
PROBLEM = TASK.problems["train"][0]
BASE = Reasoner.load("data/models/base")
MODEL, TOKENIZER = BASE.model, BASE.tokenizer
PROMPT, THOUGHT = [40, 41, 42], [20, 21, 22, 23]
CLOSE, FORCED = encode(TOKENIZER, "</think>"), encode(TOKENIZER, "time up </think>")
CPU = torch.device("cpu")


def rollout(finished, answer=(50, 1), **settings):
    log_probs = [-0.1 * (i + 1) for i in range(len(THOUGHT) + finished)]
    answer_log_probs = [-0.7, -0.8][: len(answer)]
    trace = Trace("q", PROMPT, THOUGHT, [2, 4], finished, list(answer), log_probs, answer_log_probs)
    return Rollout(PROBLEM, trace, 0, 1.0, **settings)


def row_of(one, advantages=None):
    numbers = np.arange(1.0, one.tokens + 1) if advantages is None else advantages
    return token_row(BASE, one, numbers)


def columns(row, places):
    """Log-probabilities and advantages at `places`, after a look that there are none elsewhere."""
    assert np.flatnonzero(row.generated).tolist() == places
    for column in (row.log_probs, row.advantages):
        assert not np.delete(column, places).any()
    return row.log_probs[places].round(6).tolist(), row.advantages[places].tolist()


def test_the_thoughts_own_end_is_learnt():
    row = row_of(rollout(finished=True))
    assert row.ids.tolist() == [*PROMPT, *THOUGHT, *CLOSE, 50, 1]
    log_probs, advantages = columns(row, [3, 4, 5, 6, 7, 8, 9])
    assert log_probs == [-0.1, -0.2, -0.3, -0.4, -0.5, -0.7, -0.8]
    assert advantages == [1, 2, 3, 4, 5, 6, 7]


def test_forced_text_is_read_and_not_learnt():
    row = row_of(rollout(finished=False))
    assert row.ids.tolist() == [*PROMPT, *THOUGHT, *FORCED, 50, 1]
    start = len(PROMPT) + len(THOUGHT)
    assert start + len(FORCED) == 10
    log_probs, advantages = columns(row, [3, 4, 5, 6, 10, 11])
    assert log_probs == [-0.1, -0.2, -0.3, -0.4, -0.7, -0.8]
    assert advantages == [1, 2, 3, 4, 5, 6]


def test_of_a_longer_closing_text_only_the_end_itself_is_learnt():
    closing, end = "</think> up", 7
    with pytest.raises(ValueError, match="must begin with think_end"):
        replace(TESTBED, finished_answer="up </think>")
    other = Reasoner(MODEL, TOKENIZER, replace(TESTBED, finished_answer=closing))
    one = rollout(finished=True)
    row = token_row(other, one, np.arange(1.0, one.tokens + 1))
    assert row.ids.tolist() == [*PROMPT, *THOUGHT, *encode(TOKENIZER, closing), 50, 1]
    log_probs, advantages = columns(row, [3, 4, 5, 6, end, 9, 10])
    assert (log_probs[4:], advantages[4:]) == ([-0.5, -0.7, -0.8], [5, 6, 7])


def test_given_tokens_are_read_and_not_learnt():
    log_probs, advantages = columns(row_of(rollout(finished=True, given=2)), [5, 6, 7, 8, 9])
    assert (log_probs[0], advantages) == (-0.3, [3, 4, 5, 6, 7])
    stopped = row_of(rollout(finished=False, given=4, stopped=True))
    assert columns(stopped, [10, 11]) == ([-0.7, -0.8], [5, 6])


@pytest.mark.parametrize("finished", [True, False])
def test_without_an_answer_the_row_ends_with_what_the_policy_wrote(finished):
    row = row_of(rollout(finished, answer=()))
    assert row.ids.tolist() == [*PROMPT, *THOUGHT, *(CLOSE if finished else [])]
    assert columns(row, list(range(3, 7 + finished)))[1] == list(range(1, 5 + finished))


@pytest.mark.parametrize(
    "advantages", [np.ones(6), np.ones(8), np.r_[np.ones(6), np.nan], np.r_[np.inf, np.ones(6)]]
)
def test_one_finite_advantage_per_token_or_an_error(advantages):
    with pytest.raises(ValueError, match=f"rollout of {PROBLEM.id} needs 7 finite advantages"):
        row_of(rollout(finished=True), advantages)


def test_only_advantages_of_learnt_tokens_are_a_signal():
    one = rollout(finished=True, given=2)
    assert not row_of(one, np.array([5.0, 5, 0, 0, 0, 0, 0])).has_signal
    assert row_of(one, np.array([0.0, 0, 0, 0, 0, 0, -1])).has_signal


def test_a_batch_is_padded_on_the_right_and_shifted():
    rows = [row_of(rollout(True)), row_of(rollout(False, given=1)), row_of(rollout(False, answer=()))]
    batch = collate(rows, CPU)
    assert batch.ids.shape == (3, 12)
    assert batch.mask.shape == batch.log_probs.shape == batch.advantages.shape == (3, 11)
    assert (batch.mask.dtype, batch.log_probs.dtype) == (torch.bool, torch.float32)
    for i, row in enumerate(rows):
        n = len(row.ids)
        assert batch.ids[i, :n].tolist() == row.ids.tolist()
        assert batch.mask[i, : n - 1].tolist() == row.generated[1:].tolist()
        np.testing.assert_allclose(batch.log_probs[i, : n - 1], row.log_probs[1:], rtol=1e-6)
        np.testing.assert_array_equal(batch.advantages[i, : n - 1], row.advantages[1:])
        for column in (batch.mask, batch.log_probs, batch.advantages):
            assert not column[i, n - 1 :].any()


def test_collate_reads_its_rows_only():
    row = TokenRow(np.array([3, 4]), np.array([False, True]), np.array([0.0, -1]), np.array([0.0, 2]))
    batch = collate([row], CPU)
    batch.advantages.zero_()
    assert row.advantages.tolist() == [0, 2]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("arm", [GRPO(), MRTOffline(), MRTExact("progress", 1.0)], ids=repr)
def test_before_any_update_every_ratio_is_1(arm, temperature):
    """The log-probabilities that the sampler reported are the model's on the row, token by token."""
    sampling = Sampling(28, temperature), Sampling(2, temperature)
    policy = Policy(BASE, ExactProver(BASE, TASK, temperature), *sampling, lambda: BASE)
    rollouts = arm.collect(policy, TASK.problems["train"][:3], 4, seed=3)
    assert {r.trace.finished for r in rollouts} == {True, False}
    rows = [row_of(r, np.ones(r.tokens)) for r in rollouts]
    batch = collate(rows, CPU)
    assert batch.mask.sum() == sum(r.tokens - r.given for r in rollouts)
    with torch.no_grad():
        found = token_log_probs(MODEL, batch.ids, temperature)
    torch.testing.assert_close(found[batch.mask], batch.log_probs[batch.mask], atol=1e-4, rtol=0)
