"""One optimiser step: what may be skipped or split without a change, and what must stop it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.training.losses import LossConfig
from mrt_lib.training.updates import TokenRow, token_log_probs, update
from recipes.root_search.base import build_model, build_tokenizer

TOKENIZER = build_tokenizer()
BASE = build_model(TOKENIZER, seed=0).eval()
LIMIT = 30
NORMALISATIONS = ("grpo", "dr_grpo", "dapo")


def learner(lora=LoraSettings(rank=4, alpha=16)):  # noqa: B008
    """With adapters that already do something, so that the KL from the reference is not 0."""
    one = Learner(copy.deepcopy(BASE), lora, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in one.trained().values():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    one.publish()
    return one


def weights(one):
    return {name: p.detach().clone() for name, p in one.trained().items()}


@torch.no_grad()
def log_probs(model, row):
    return token_log_probs(model, torch.tensor(row.ids)[None], 1.0)[0]


@pytest.fixture(scope="module")
def rows():
    """Six rollouts of the learner's own, of unlike length; two of them without signal."""
    rng, model = np.random.default_rng(0), learner().model
    made = []
    for length, silent in zip((9, 14, 20, 12, 17, 7), (0, 0, 1, 0, 1, 0), strict=True):
        ids = rng.integers(5, len(TOKENIZER), length)
        generated = np.arange(length) >= 4
        advantages = rng.standard_normal(length) * generated * (not silent)
        row = TokenRow(ids, generated, np.zeros(length), advantages)
        own = np.append(0.0, log_probs(model, row)) * generated
        made.append(replace(row, log_probs=own))
    return made


def step(one, rows, loss, rate=1.0, optimizer=None, limit=LIMIT, **settings):
    """One optimiser step on all rows."""
    lora = one.lora or LoraSettings()  # a configuration of every weight refuses the KL term by itself
    settings = {"micro_batch_tokens": 10_000, "max_grad_norm": 1e9, **settings}
    config = TrainConfig(loss=loss, lora=lora, **settings)
    optimizer = optimizer or torch.optim.SGD(one.trained().values(), rate)
    return update(one, optimizer, rows, [0] * len(rows), config, limit)


def close(a, b, tolerance=1e-6):
    return all(torch.allclose(a[name], b[name], atol=tolerance, rtol=1e-4) for name in a)


@pytest.mark.parametrize("kl", [0.0, 0.5])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_rows_one_by_one_give_the_same_update_as_all_at_once(rows, normalisation, kl):
    loss, before = LossConfig(normalisation, kl=kl), weights(learner())
    whole, split = learner(), learner()
    expected = step(whole, rows, loss)
    found = step(split, rows, loss, micro_batch_tokens=1)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert close(weights(split), weights(whole))
    assert not close(weights(whole), before, 1e-5)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_skipping_rows_without_signal_changes_nothing(rows, normalisation, monkeypatch):
    loss = LossConfig(normalisation)
    skipping, reading = learner(), learner()
    expected = step(skipping, rows, loss)
    monkeypatch.setattr(TokenRow, "has_signal", True)
    assert step(reading, rows, loss) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert close(weights(skipping), weights(reading))


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_rows_without_signal_still_count_in_the_mean(rows, normalisation):
    loud = [row for row in rows if row.has_signal]
    all_rows = step(learner(), rows, LossConfig(normalisation))["loss"]
    alone = step(learner(), loud, LossConfig(normalisation))["loss"]
    tokens = [sum(int(row.generated.sum()) for row in some) for some in (loud, rows)]
    share = tokens[0] / tokens[1] if normalisation == "dapo" else 4 / 6
    assert all_rows == pytest.approx(share * alone, rel=1e-4)


def test_without_any_signal_nothing_moves(rows):
    one = learner()
    before = weights(one)
    optimizer = torch.optim.AdamW(one.trained().values(), 0.1)
    step(one, rows, LossConfig(), optimizer=optimizer)
    moved = weights(one)
    assert not close(moved, before)
    silent = [row for row in rows if not row.has_signal]
    stats = step(one, silent, LossConfig(), optimizer=optimizer)
    assert stats == {"loss": 0, "clip_share": 0, "kl": 0, "grad_norm": 0}
    assert all(torch.equal(moved[name], p) for name, p in weights(one).items())


def test_the_first_step_is_on_policy_and_its_loss_the_mean_advantage(rows):
    stats = step(learner(), rows, LossConfig("dapo"))
    learnt = np.concatenate([row.advantages[row.generated] for row in rows])
    assert stats["loss"] == pytest.approx(-learnt.mean(), abs=1e-5)
    assert (stats["clip_share"], stats["kl"]) == (0, 0)
    assert stats["grad_norm"] > 0


def test_good_tokens_become_likelier_and_bad_ones_rarer(rows):
    one, row = learner(), rows[1]
    signs = np.where(np.arange(len(row.ids)) % 2, 1.0, -1.0) * row.generated
    before = log_probs(one.model, row)
    for _ in range(3):
        step(one, [replace(row, advantages=signs)], LossConfig(clip_low=0.9, clip_high=9.0), rate=0.3)
    change = log_probs(one.model, row) - before
    assert change[signs[1:] > 0].mean() > 0.01 > -0.01 > change[signs[1:] < 0].mean()


def test_the_sampler_gets_the_new_weights(rows):
    one = learner()
    step(one, rows, LossConfig(), rate=0.5)
    torch.testing.assert_close(
        log_probs(one.sampler, rows[2]), log_probs(one.model, rows[2]), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("lora", [None, LoraSettings(4, 16)])
def test_long_gradients_are_cut(rows, lora):
    free, cut = learner(lora), learner(lora)
    before = weights(free)
    norm = step(free, rows, LossConfig())["grad_norm"]
    assert step(cut, rows, LossConfig(), max_grad_norm=norm / 4)["grad_norm"] == pytest.approx(norm)

    def distance(one):
        return torch.cat([(p - before[name]).flatten() for name, p in weights(one).items()]).norm().item()

    assert distance(free) == pytest.approx(norm, rel=1e-3)
    assert distance(cut) == pytest.approx(norm / 4, rel=1e-3)


def test_the_kl_term_alone_leads_back_to_the_base(rows):
    silent = [replace(row, advantages=np.zeros(len(row.ids))) for row in rows]
    one, found = learner(), []
    for _ in range(4):
        found.append(step(one, silent, LossConfig(kl=1.0), rate=0.2))
    assert found[0]["loss"] == pytest.approx(found[0]["kl"])
    assert 0 < found[-1]["kl"] < 0.7 * found[0]["kl"]


@pytest.mark.parametrize("bad", [{"log_probs": np.nan}, {"log_probs": -1e4}, {"advantages": 1e300}])
def test_what_is_not_finite_stops_the_step_and_leaves_every_weight_alone(rows, bad):
    one = learner()
    before, sampler = weights(one), copy.deepcopy(one.sampler.state_dict())
    (name, value), row = *bad.items(), rows[1]
    broken = replace(row, **{name: np.where(row.generated, value, 0.0), **_push(row, name)})
    optimizer = torch.optim.AdamW(one.trained().values(), 0.1)
    with pytest.raises(FloatingPointError, match=r"loss .* with a gradient of length"):
        step(one, [rows[0], broken, rows[3]], LossConfig(), optimizer=optimizer, micro_batch_tokens=1)
    assert all(torch.equal(before[name], p) for name, p in weights(one).items())
    assert all(torch.equal(sampler[name], p) for name, p in one.sampler.state_dict().items())
    assert not optimizer.state


def _push(row, name):
    """A ratio without bound matters where the advantage is negative: elsewhere it is clipped."""
    return {"advantages": np.where(row.generated, -1.0, 0.0)} if name == "log_probs" else {}


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_token_log_probs_are_those_of_the_next_token_and_padding_is_not_seen(rows, temperature):
    row = rows[0]
    ids = torch.tensor([row.ids.tolist(), row.ids[:5].tolist() + [0] * 4])
    with torch.no_grad():
        found = token_log_probs(BASE, ids, temperature)
        for i, n in ((0, 9), (1, 5)):
            logits = BASE(input_ids=ids[i : i + 1, :n]).logits[0] / temperature
            expected = logits.log_softmax(-1)[torch.arange(n - 1), ids[i, 1:n]]
            torch.testing.assert_close(found[i, : n - 1], expected, atol=1e-5, rtol=0)


def in_chunks(monkeypatch, tokens):
    """Logits of so many tokens at once."""
    monkeypatch.setattr("mrt_lib.training.updates.FEW_LOGITS", 0)
    monkeypatch.setattr("mrt_lib.training.updates.LOGITS", tokens * len(TOKENIZER))


@pytest.mark.parametrize("lora", [None, LoraSettings(4, 16)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_logits_in_chunks_and_layers_computed_twice_give_the_same_update(
    rows, lora, checkpointing, monkeypatch
):
    whole, pieces = learner(lora), learner(lora)
    expected = step(whole, rows, LossConfig())
    in_chunks(monkeypatch, 3)
    heads, layers = Calls(pieces.model, "lm_head"), Calls(pieces.model, "layers.0")
    found = step(pieces, rows, LossConfig(), gradient_checkpointing=checkpointing)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert close(weights(pieces), weights(whole))
    learnt = sum(row.generated[1:].sum() for row in rows if row.has_signal)
    assert heads.rows == 2 * learnt
    assert heads.largest == 3
    assert layers.count == 1 + checkpointing


class Calls:
    """Counts the calls of a module and the rows it got."""

    def __init__(self, model, name):
        self.count = self.rows = self.largest = 0
        (module,) = (m for n, m in model.named_modules() if n.endswith(name))
        module.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _, inputs, __):
        size = inputs[0].shape[:-1].numel()
        self.count, self.rows, self.largest = self.count + 1, self.rows + size, max(self.largest, size)


def test_models_that_shape_their_logits_are_asked_for_all_of_them(rows, monkeypatch):
    one = learner()
    expected = log_probs(one.model, rows[0])
    in_chunks(monkeypatch, 1)
    torch.testing.assert_close(log_probs(one.model, rows[0]), expected, atol=1e-6, rtol=0)
    one.model.get_base_model().config.logits_scaling = 2.0
    heads = Calls(one.model, "lm_head")
    assert torch.equal(log_probs(one.model, rows[0]), expected)
    assert heads.count == 1


def test_the_kl_term_in_chunks_is_the_same(rows, monkeypatch):
    expected = step(learner(), rows, LossConfig(kl=0.5))
    in_chunks(monkeypatch, 3)
    assert step(learner(), rows, LossConfig(kl=0.5)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("lora", [None, LoraSettings(4, 16)])
def test_sampling_goes_on_after_layers_were_checkpointed(lora):
    one, other = learner(lora), learner(lora)
    one.checkpoint_layers()
    found, expected = (
        TransformersEngine(x.sampler).generate([[7, 8, 9]], Sampling(6, temperature=0)) for x in (one, other)
    )
    assert found == expected


def test_small_gradients_survive_half_precision(rows):
    """Each token weighs 1e-9 here, far below what fp16 can hold."""
    loss, limit = LossConfig("dr_grpo"), 10**8

    def gradient(dtype):
        one = learner()
        one.model.base_model.model.to(dtype)
        for weight in one.trained().values():
            weight.data = weight.data.float()
        step(one, rows, loss, limit=limit)
        return torch.cat([p.grad.flatten() for p in one.trained().values()])

    single, half = gradient(torch.float32), gradient(torch.float16)
    assert 0 < single.abs().max() < 1e-7
    assert torch.nn.functional.cosine_similarity(single, half, dim=0) > 0.999
    assert half.norm() / single.norm() == pytest.approx(1, abs=0.01)


def test_more_updates_than_groups_are_refused_instead_of_diluting_the_means(rows):
    one = learner()
    optimizer = torch.optim.SGD(one.trained().values(), lr=1.0)
    before = weights(one)
    with pytest.raises(ValueError, match="3 updates cannot share 2 groups"):
        update(one, optimizer, rows, [0, 0, 0, 1, 1, 1], TrainConfig(updates=3), LIMIT)
    assert all(torch.equal(before[name], weight) for name, weight in weights(one).items())
