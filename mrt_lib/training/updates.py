"""Rollouts with their advantages as rows of tokens, and optimiser steps on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from mrt_lib.arms.base import Rollout, check_advantages
from mrt_lib.engines.base import by_length
from mrt_lib.reasoner import Reasoner
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.lora import Learner
from mrt_lib.training.losses import autocast, policy_loss, rollout_weights

# More logits than these are made of the wanted tokens alone, and so many at once: 256 MiB in fp32.
FEW_LOGITS, LOGITS = 2**22, 2**26
# Settings of models that do more to their logits than the output layer does.
OWN_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass(frozen=True)
class TokenRow:
    """One rollout from prompt to answer, forced text included; arrays have one entry per token.

    `generated`: the policy wrote this token and learns from it; elsewhere its log-probability when it was
    sampled, and its advantage, are 0.
    """

    ids: np.ndarray
    generated: np.ndarray
    log_probs: np.ndarray
    advantages: np.ndarray

    @property
    def has_signal(self) -> bool:
        """Whether any advantage is not 0."""
        return bool(self.advantages.any())


def token_row(reasoner: Reasoner, rollout: Rollout, advantages: np.ndarray) -> TokenRow:
    """The row of a rollout; ValueError unless there is one finite advantage per token of it.

    Prompt, given tokens and forced text are there to be read, not to be learnt. A thought that the model's
    own end of text has ended is learnt with that end and no further: its answer was drawn without it.
    """
    check_advantages([rollout], [advantages])
    trace = rollout.trace
    thought = len(trace.prompt_ids) + len(trace.thought_ids)
    closing = reasoner.close(trace, trace.n_episodes)
    ids = [*trace.prompt_ids, *trace.thought_ids]
    places = list(range(len(trace.prompt_ids), thought))
    if trace.eos_id >= 0:
        ids.append(trace.eos_id)
        places.append(thought)
    elif trace.answer_ids or trace.finished:
        ids += [*closing, *trace.answer_ids]
        places += range(thought, thought + trace.end_tokens)
        places += range(thought + len(closing), len(ids))
    generated = np.zeros(len(ids), dtype=bool)
    columns = np.zeros((2, len(ids)))
    sampled = np.array([[*trace.thought_log_probs, *trace.answer_log_probs], advantages])
    columns[:, places] = sampled[:, : len(places)]
    generated[places[rollout.given :]] = True
    return TokenRow(np.array(ids), generated, *(columns * generated))


@dataclass(frozen=True)
class RowBatch:
    """Rows padded on the right, `ids` of shape (rows, tokens + 1), the others, as in `TokenRow`, shifted so
    that column t belongs to token t + 1: (rows, tokens)."""

    ids: torch.Tensor
    mask: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor


def collate(rows: Sequence[TokenRow], device: torch.device) -> RowBatch:
    """Rows as one batch; padding is never generated."""

    def padded(name: str, dtype: torch.dtype) -> torch.Tensor:
        arrays = [torch.from_numpy(getattr(row, name)) for row in rows]
        return pad_sequence(arrays, batch_first=True).to(device, dtype)

    columns = (padded(name, torch.float32)[:, 1:] for name in ("log_probs", "advantages"))
    return RowBatch(padded("ids", torch.long), padded("generated", torch.bool)[:, 1:], *columns)


def update(
    learner: Learner,
    optimizer: Optimizer,
    rows: Sequence[TokenRow],
    groups: Sequence[int],
    config: TrainConfig,
    limit: int,
) -> dict[str, float]:
    """`config.updates` optimiser steps, each on the rows of its own share of the groups.

    `groups` says of each row which it is in; `limit`: most tokens a rollout may have (dr_grpo). Gives loss,
    clip_share, kl and grad_norm, means over the optimiser steps. ValueError: fewer groups than updates;
    FloatingPointError: loss or gradient is not finite, and that step was not taken.
    """
    members = [[i for i, own in enumerate(groups) if own == group] for group in dict.fromkeys(groups)]
    if len(members) < config.updates:
        raise ValueError(f"{config.updates} updates cannot share {len(members)} groups; lower `updates`")
    shares = np.array_split(np.arange(len(members)), config.updates)
    stats = [
        _optimizer_step(learner, optimizer, [rows[i] for g in share for i in members[g]], config, limit)
        for share in shares
    ]
    return {name: float(np.mean([own[name] for own in stats])) for name in stats[0]}


def _optimizer_step(
    learner: Learner, optimizer: Optimizer, rows: Sequence[TokenRow], config: TrainConfig, limit: int
) -> dict[str, float]:
    """Add up the gradient in micro-batches, clip it, step. Without KL, rows without advantage are skipped."""
    loss, device = config.loss, learner.model.device
    weights = rollout_weights(torch.tensor([row.generated.sum() for row in rows]), loss.normalisation, limit)
    # A power of 2 lets a token weigh about 1, so that gradients do not vanish in fp16.
    half = learner.model.dtype == torch.float16
    scale = 2.0 ** -math.floor(math.log2(float(weights.max()))) if half else 1.0
    used = [i for i, row in enumerate(rows) if row.has_signal or loss.kl]
    stats = dict.fromkeys(("loss", "clip_share", "kl"), 0.0)
    optimizer.zero_grad(set_to_none=True)
    if config.gradient_checkpointing:
        learner.checkpoint_layers()
    for places in by_length([len(rows[i].ids) for i in used], config.micro_batch_tokens):
        chosen = [used[place] for place in places]
        batch = collate([rows[i] for i in chosen], device)
        read, reference = (learner.model, batch.ids, config.temperature, batch.mask), None
        if loss.kl:
            with torch.no_grad(), learner.reference():
                reference = token_log_probs(*read)
        given = batch.log_probs, batch.advantages, batch.mask, weights[chosen].to(device)
        value, logged = policy_loss(token_log_probs(*read), *given, loss, reference)
        (value * scale).backward()
        for name, number in {"loss": float(value.detach()), **logged}.items():
            stats[name] += number
    trained = learner.trained().values()
    for weight in trained:
        if scale != 1 and weight.grad is not None:
            weight.grad /= scale
    norm = float(torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)) if used else 0.0
    if not torch.isfinite(torch.tensor([stats["loss"], norm])).all():
        raise FloatingPointError(f"loss {stats['loss']} with a gradient of length {norm}")
    if used:
        optimizer.step()
    learner.publish()
    return {**stats, "grad_norm": norm}


@torch.no_grad()
def rescored(
    model: Any, rows: Sequence[TokenRow], temperature: float, micro_batch_tokens: int
) -> tuple[list[TokenRow], dict[str, float]]:
    """The rows with log-probabilities by `model` in place of the engine's, and how far the two are apart.

    engine_gap and engine_gap_max: mean and largest distance over generated tokens, in nats.
    """
    new, gaps = list(rows), [np.zeros(0)]
    for places in by_length([len(row.ids) for row in rows], micro_batch_tokens):
        batch = collate([rows[i] for i in places], model.device)
        found = token_log_probs(model, batch.ids, temperature, batch.mask).cpu().numpy()
        for i, own in zip(places, found, strict=True):
            log_probs = np.append(0.0, own[: len(rows[i].ids) - 1]) * rows[i].generated
            gaps.append(np.abs(log_probs - rows[i].log_probs)[rows[i].generated])
            new[i] = replace(rows[i], log_probs=log_probs)
    joined = np.concatenate(gaps)
    return new, {"engine_gap": float(joined.mean()), "engine_gap_max": float(joined.max())}


def token_log_probs(
    model: Any, ids: torch.Tensor, temperature: float, wanted: torch.Tensor | None = None
) -> torch.Tensor:
    """Log-probability of ids[:, 1:] under the model at `temperature`, shape (rows, tokens - 1).

    Padding stands on the right and attention is causal, so no mask is needed. All logits of a long batch
    would not fit in memory: beyond `LOGITS` of them they are made in chunks, again in the backward pass.

    `wanted`: (rows, tokens - 1) boolean, by default everywhere; what stands elsewhere means nothing.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    head, targets = plain.get_output_embeddings(), ids[:, 1:]
    vocabulary = head.weight.shape[0]
    with autocast(plain):
        few = targets.numel() * vocabulary <= FEW_LOGITS
        if few or any(hasattr(plain.config, name) for name in OWN_LOGITS):
            return _chosen(model(input_ids=ids, use_cache=False).logits[:, :-1], targets, temperature)
        hidden = plain.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        places = torch.ones_like(targets, dtype=torch.bool) if wanted is None else wanted
        size = max(1, LOGITS // vocabulary)
        chunks = list(zip(hidden[places].split(size), targets[places].split(size), strict=True))
        found = [
            checkpoint(lambda h, t: _chosen(head(h), t, temperature), *own, use_reentrant=False)
            if len(chunks) > 1
            else _chosen(head(own[0]), own[1], temperature)
            for own in chunks
        ]
    return hidden.new_zeros(targets.shape, dtype=torch.float32).masked_scatter(places, torch.cat(found))


def _chosen(logits: torch.Tensor, targets: torch.Tensor, temperature: float) -> torch.Tensor:
    logits = logits.float() if temperature == 1 else logits.float() / temperature
    return logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)
