"""Losses by hand: ratios, clipping, masks, KL, normalisations; micro-batches add up to the whole."""

import math

import pytest
import torch

from mrt_lib.training.losses import LossConfig, kl_estimate, policy_loss, rollout_weights

CLIP = LossConfig(clip_low=0.2, clip_high=0.3)


def one_token(ratio, advantage, config=CLIP, reference=None):
    """Loss of a single token with this ratio, the gradient that its log-probability gets, and the log."""
    old = torch.tensor([[-1.5]])
    log_probs = (old + math.log(ratio)).requires_grad_()
    if reference is not None:
        reference = torch.tensor([[reference]])
    one = torch.ones(1, 1)
    loss, logged = policy_loss(log_probs, old, advantage * one, one > 0, one[0], config, reference)
    loss.backward()
    return loss.item(), log_probs.grad.item(), logged


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.0, 2.0, -2.0, -2.0, 0),
        (1.0, -2.0, 2.0, 2.0, 0),
        (1.2, 2.0, -2.4, -2.4, 0),
        (1.5, 2.0, -2.6, 0.0, 1),  # already likelier: the gain is capped at 1.3
        (1.5, -2.0, 3.0, 3.0, 0),  # a bad token that became likelier is pushed back in full
        (0.5, -2.0, 1.6, 0.0, 1),  # already rarer: the loss is capped at 0.8
        (0.5, 2.0, -1.0, -1.0, 0),
        (1.5, 0.0, 0.0, 0.0, 0),
    ],
)
def test_one_token(ratio, advantage, loss, gradient, clipped):
    found_loss, found_gradient, logged = one_token(ratio, advantage)
    assert found_loss == pytest.approx(loss, abs=1e-6)
    assert found_gradient == pytest.approx(gradient, abs=1e-6)
    assert logged == {"clip_share": clipped, "kl": 0}


def test_kl_is_added_with_its_weight_and_its_gradient():
    """k3 at d = log reference - log pi = ln 2 is 2 - ln 2 - 1; with the ratio's, its gradient is -d."""
    config = LossConfig(kl=0.5)
    loss, gradient, logged = one_token(1.0, 0.0, config, reference=-1.5 + math.log(2))
    assert loss == pytest.approx(0.5 * (1 - math.log(2)), abs=1e-6)
    assert gradient == pytest.approx(-0.5 * math.log(2), abs=1e-6)
    assert logged["kl"] == pytest.approx(1 - math.log(2), abs=1e-6)


def test_the_kl_term_has_the_gradient_of_the_kl_divergence():
    """Expected over tokens of the old policy, all of them enumerated."""
    torch.manual_seed(0)
    logits, old, reference = torch.randn(3, 20, dtype=torch.float64)
    logits.requires_grad_()
    old, reference = old.log_softmax(-1), reference.log_softmax(-1)
    log_probs = logits.log_softmax(-1)
    exact = (log_probs.exp() * (log_probs - reference)).sum()
    column = [x[:, None] for x in (log_probs, old, torch.zeros(20), torch.ones(20) > 0)]
    loss, logged = policy_loss(*column, old.exp(), LossConfig(kl=1.0), reference[:, None])
    found, wanted = (torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, exact))
    torch.testing.assert_close(found, wanted)
    assert logged["kl"] == pytest.approx(exact.item())


def test_kl_estimate_is_unbiased_and_never_negative():
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 50, dtype=torch.float64).log_softmax(-1)
    estimates = kl_estimate(reference - policy)
    exact = (policy.exp() * (policy - reference)).sum()
    assert (policy.exp() * estimates).sum() == pytest.approx(exact.item(), rel=1e-12)
    assert (estimates > 0).all()
    assert kl_estimate(torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("normalisation", "weights"),
    [("grpo", [1 / 6, 1 / 3, 1 / 9]), ("dr_grpo", [1 / 30] * 3), ("dapo", [1 / 6] * 3)],
)
def test_weights_of_rollouts_with_2_1_and_3_tokens_of_10(normalisation, weights):
    found = rollout_weights(torch.tensor([2, 1, 3]), normalisation, limit=10)
    torch.testing.assert_close(found, torch.tensor(weights))


@pytest.mark.parametrize("normalisation", ["grpo", "dr_grpo", "dapo"])
def test_rollouts_without_tokens_weigh_nothing_and_break_nothing(normalisation):
    none = torch.tensor([0, 0])
    assert rollout_weights(none, normalisation, 10).isfinite().all()
    weights = rollout_weights(torch.tensor([0, 4]), normalisation, 10)
    mask = torch.tensor([[False] * 4, [True] * 4])
    expected = {"grpo": 1 / 2, "dr_grpo": 4 / 20, "dapo": 1}[normalisation]
    loss, _ = policy_loss(
        torch.zeros(2, 4), torch.zeros(2, 4), -torch.ones(2, 4), mask, weights, LossConfig()
    )
    assert loss.item() == pytest.approx(expected)


def random_batch(rows=6, columns=9):
    torch.manual_seed(1)
    old = torch.randn(rows, columns).sub(3)
    mask = torch.rand(rows, columns) < 0.6
    log_probs = old + 0.5 * torch.randn(rows, columns)
    return log_probs, old, torch.randn(rows, columns), mask, log_probs + 0.3 * torch.randn(rows, columns)


@pytest.mark.parametrize("normalisation", ["grpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_a_batch_is_the_sum_over_tokens_written_out(normalisation, kl):
    log_probs, old, advantages, mask, reference = random_batch()
    config = LossConfig(normalisation, 0.2, 0.3, kl)
    n, total = mask.sum(1).tolist(), int(mask.sum())
    weight = {"grpo": lambda i: 1 / (6 * n[i]), "dr_grpo": lambda i: 1 / 120, "dapo": lambda i: 1 / total}
    loss = clipped = divergence = 0.0
    for i, t in mask.nonzero().tolist():
        rho = math.exp(log_probs[i, t] - old[i, t])
        a, d = advantages[i, t].item(), (reference[i, t] - log_probs[i, t]).item()
        k3 = rho * (math.exp(d) - d - 1)
        bounded = min(max(rho, 0.8), 1.3)
        w = weight[normalisation](i)
        loss += w * (-min(rho * a, bounded * a) + kl * k3)
        clipped += w * ((rho > 1.3 and a > 0) or (rho < 0.8 and a < 0))
        divergence += w * k3
    weights = rollout_weights(mask.sum(1), normalisation, 20)
    found, logged = policy_loss(log_probs, old, advantages, mask, weights, config, reference if kl else None)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert 0 < clipped == pytest.approx(logged["clip_share"], abs=1e-6)
    assert logged["kl"] == pytest.approx(divergence if kl else 0, abs=1e-6)


@pytest.mark.parametrize("normalisation", ["grpo", "dr_grpo", "dapo"])
def test_micro_batches_add_up_to_the_whole(normalisation):
    log_probs, old, advantages, mask, reference = random_batch()
    config = LossConfig(normalisation, kl=0.1)
    weights = rollout_weights(mask.sum(1), normalisation, 20)
    parts = (log_probs, old, advantages, mask, weights)
    whole, whole_log = policy_loss(*parts, config, reference)
    pieces = [
        policy_loss(*(x[rows] for x in parts), config, reference[rows]) for rows in ([3], [0, 5], [1, 2, 4])
    ]
    assert sum(loss.item() for loss, _ in pieces) == pytest.approx(whole.item(), abs=1e-6)
    for name, number in whole_log.items():
        assert sum(logged[name] for _, logged in pieces) == pytest.approx(number, abs=1e-6)


def test_what_stands_under_the_mask_is_never_seen():
    log_probs, old, advantages, mask, reference = random_batch()
    config, weights = LossConfig(kl=0.1), rollout_weights(mask.sum(1), "dapo", 20)
    clean = log_probs.clone().requires_grad_()
    expected, _ = policy_loss(clean, old, advantages, mask, weights, config, reference)
    expected.backward()
    wild = log_probs.masked_fill(~mask, 500.0).requires_grad_()
    old, reference = old.masked_fill(~mask, -500.0), reference.masked_fill(~mask, 1e4)
    found, _ = policy_loss(wild, old, advantages.masked_fill(~mask, 1e6), mask, weights, config, reference)
    found.backward()
    assert torch.equal(found, expected)
    assert torch.equal(wild.grad, clean.grad)
    assert (wild.grad[~mask] == 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalisation": "mean"}, "normalisation must be grpo, dr_grpo or dapo, got 'mean'"),
        ({"clip_low": 1.0}, "loss.clip_low must be below 1, got 1.0"),
        ({"clip_low": -0.1}, "loss.clip_low must be a number of at least 0, got -0.1"),
        ({"clip_high": -0.1}, "loss.clip_high must be a number of at least 0, got -0.1"),
        ({"kl": -1.0}, "loss.kl must be a number of at least 0, got -1.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LossConfig(**settings)


def test_a_ratio_beyond_all_numbers_has_a_finite_gradient_where_it_is_clipped():
    log_probs = torch.tensor([[0.0, -1.0]], requires_grad=True)
    old, advantages = torch.tensor([[-200.0, -1.0]]), torch.tensor([[1.0, 1.0]])
    mask, weights = torch.ones(1, 2, dtype=torch.bool), torch.ones(1)
    loss, logged = policy_loss(log_probs, old, advantages, mask, weights, LossConfig())
    loss.backward()
    assert loss.item() == pytest.approx(-2.2)
    assert log_probs.grad.tolist() == [[0.0, -1.0]]
    assert logged["clip_share"] == 1
