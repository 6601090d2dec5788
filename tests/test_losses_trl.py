"""The same tokens give the same loss and gradient as TRL's GRPOTrainer."""

import copy
import warnings

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from mrt_lib.training.losses import LossConfig, policy_loss, rollout_weights
from mrt_lib.training.updates import TokenRow, collate, token_log_probs
from recipes.root_search.base import build_tokenizer

TOKENIZER = build_tokenizer()
PROMPTS, COMPLETIONS = (3, 5, 4, 7), (6, 9, 2, 8)
LIMIT, TEMPERATURE = 12, 0.8
CASES = [(name, kl) for name in ("grpo", "dr_grpo", "dapo") for kl in (0.0, 0.3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random model on disk, where TRL looks for its reference model."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(TOKENIZER),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        eos_token_id=TOKENIZER.eos_token_id,
        pad_token_id=TOKENIZER.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6 if weight.ndim == 2 else 1)
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-kl={case[1]}")
def theirs(request, folder, tmp_path_factory):
    name, kl = request.param
    settings = GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        loss_type=name,
        beta=kl,
        epsilon=0.2,
        epsilon_high=0.3,
        temperature=TEMPERATURE,
        max_completion_length=LIMIT,
        per_device_train_batch_size=len(PROMPTS),
        num_generations=len(PROMPTS),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GRPOTrainer(
            Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32),
            lambda completions, **_: [0.0] * len(completions),
            settings,
            Dataset.from_dict({"prompt": ["solve"] * 8}),
            processing_class=TOKENIZER,
        )


@pytest.fixture(scope="module")
def model(folder):
    return Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def rows(model):
    """Rows with forced tokens in the middle, per-token advantages and ratios far from 1 on both sides."""
    rng = np.random.default_rng(0)
    made = []
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        ids = rng.integers(5, len(TOKENIZER), prompt + completion)
        generated = np.arange(len(ids)) >= prompt
        generated[-2] = False
        with torch.no_grad():
            own = token_log_probs(model, torch.tensor(ids)[None], TEMPERATURE)[0].numpy()
        old = np.append(0.0, own) + 0.6 * rng.standard_normal(len(ids))
        made.append(TokenRow(ids, generated, old * generated, rng.standard_normal(len(ids)) * generated))
    return made


def their_inputs(rows, chosen, references):
    """The rows as TRL holds them: prompts padded on the left, completions on the right."""

    def padded(parts, on_left=False):
        flipped = [torch.as_tensor(p).flip(0) if on_left else torch.as_tensor(p) for p in parts]
        table = torch.nn.utils.rnn.pad_sequence(flipped, batch_first=True)
        return table.flip(1) if on_left else table

    picked = [(rows[i], PROMPTS[i], references[i]) for i in chosen]
    return {
        "prompt_ids": padded([row.ids[:p] for row, p, _ in picked], on_left=True),
        "prompt_mask": padded([np.ones(p, dtype=int) for _, p, _ in picked], on_left=True),
        "completion_ids": padded([row.ids[p:] for row, p, _ in picked]),
        "completion_mask": padded([np.ones(len(row.ids) - p, dtype=int) for row, p, _ in picked]),
        "tool_mask": padded([row.generated[p:].astype(int) for row, p, _ in picked]),
        "advantages": padded([row.advantages[p:].astype(np.float32) for row, p, _ in picked]),
        "old_per_token_logps": padded([row.log_probs[p:].astype(np.float32) for row, p, _ in picked]),
        "ref_per_token_logps": padded([r[p - 1 :] for _, p, r in picked]),
        "num_items_in_batch": torch.tensor(float(sum(row.generated.sum() for row in rows))),
    }


def reference_log_probs(model, rows):
    """Of another policy than `model`, so that the KL term is not 0."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(0.9)
        return [token_log_probs(other, torch.tensor(row.ids)[None], TEMPERATURE)[0] for row in rows]


def our_loss(model, rows, config, references):
    batch = collate(rows, torch.device("cpu"))
    reference = torch.nn.utils.rnn.pad_sequence(references, batch_first=True)
    weights = rollout_weights(batch.mask.sum(1), config.normalisation, LIMIT)
    log_probs = token_log_probs(model, batch.ids, TEMPERATURE)
    parts = (batch.log_probs, batch.advantages, batch.mask, weights, config)
    loss, logged = policy_loss(log_probs, *parts, reference if config.kl else None)
    return loss, logged, batch


def gradient(model, loss):
    found = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([g.flatten() for g in found])


def compare(theirs, model, rows, micro_batches, per_token):
    if not per_token:
        means = [row.advantages[row.generated].mean() for row in rows]
        rows = [
            TokenRow(r.ids, r.generated, r.log_probs, m * r.generated)
            for r, m in zip(rows, means, strict=True)
        ]
    config = LossConfig(theirs.loss_type, 0.2, 0.3, theirs.beta)
    references = reference_log_probs(model, rows)
    loss, logged, _ = our_loss(model, rows, config, references)
    theirs.model.train()
    theirs.current_gradient_accumulation_steps = theirs.args.steps_per_generation = len(micro_batches)
    total, slope = 0.0, 0.0
    for chosen in micro_batches:
        inputs = their_inputs(rows, chosen, references)
        if not per_token:
            inputs["advantages"] = torch.tensor([means[i] for i in chosen], dtype=torch.float32)
        part = theirs._compute_loss(theirs.model, inputs)
        total += part.item()
        slope = slope + gradient(theirs.model, part)
    assert loss.item() == pytest.approx(total, abs=1e-6)
    torch.testing.assert_close(gradient(model, loss), slope, atol=1e-6, rtol=1e-5)
    return loss.item(), logged


@pytest.mark.parametrize("per_token", [False, True], ids=["one-advantage", "per-token"])
@pytest.mark.parametrize("micro_batches", [[[0, 1, 2, 3]], [[2, 0], [1, 3]]], ids=["whole", "halves"])
def test_loss_and_gradient_are_those_of_trl(theirs, model, rows, micro_batches, per_token):
    loss, logged = compare(theirs, model, rows, micro_batches, per_token)
    assert abs(loss) > 1e-2
    assert logged["clip_share"] > 0.05
    if len(micro_batches) == 1 and theirs.loss_type == "dapo":
        found = {name: numbers[-1] for name, numbers in theirs._metrics["train"].items()}
        assert logged["clip_share"] == pytest.approx(found["clip_ratio/region_mean"], abs=1e-6)
        assert logged["kl"] == pytest.approx(found.get("kl", 0.0), abs=1e-6)


def test_without_old_log_probs_trl_takes_its_own_and_the_ratio_is_1(theirs, model, rows):
    with torch.no_grad():
        own = [token_log_probs(model, torch.tensor(row.ids)[None], TEMPERATURE)[0] for row in rows]
    on_policy = [
        TokenRow(r.ids, r.generated, np.append(0, o) * r.generated, r.advantages)
        for r, o in zip(rows, own, strict=True)
    ]
    references = reference_log_probs(model, rows)
    config = LossConfig(theirs.loss_type, 0.2, 0.3, theirs.beta)
    loss, logged, _ = our_loss(model, on_policy, config, references)
    inputs = their_inputs(rows, range(4), references)
    inputs["old_per_token_logps"] = None
    theirs.model.eval()
    assert loss.item() == pytest.approx(theirs._compute_loss(theirs.model, inputs).item(), abs=1e-6)
    assert logged["clip_share"] == 0
