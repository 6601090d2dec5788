"""Supervised fine-tuning: next-token loss on the tokens an example wants learnt; imitation is made of it."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from mrt_lib.adapters import write_weights
from mrt_lib.arms.base import stream
from mrt_lib.engines.base import by_length
from mrt_lib.files import claim, digest, load_checkpoint, save_checkpoint, weights_digest
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.lora import Learner
from mrt_lib.training.losses import autocast
from mrt_lib.training.updates import TokenRow


@dataclass(frozen=True)
class Example:
    """One sequence to learn from: token ids, and for each whether the model learns to write it.

    `uniform`: index of a learnt token to the tokens that are equally right there; the loss is the mean over
    them, as if each had been drawn equally often.
    """

    ids: list[int]
    learn: list[bool]
    uniform: dict[int, list[int]] = field(default_factory=dict)

    @property
    def learnt(self) -> int:
        """How many of its tokens the model learns to write; the first one follows nothing."""
        return sum(self.learn[1:])


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune: `steps` optimiser steps; the others are as in `TrainConfig`."""

    steps: int
    learning_rate: float
    warmup: int = 50
    micro_batch_tokens: int = 2048
    checkpoint_every: int = 200


def token_loss(model: PreTrainedModel, batch: Sequence[Example]) -> torch.Tensor:
    """Summed loss in nats of the tokens to be learnt."""
    ids = pad_sequence([torch.tensor(e.ids) for e in batch], batch_first=True)
    learn = pad_sequence([torch.tensor(e.learn) for e in batch], batch_first=True)
    for row, example in zip(learn, batch, strict=True):
        row[list(example.uniform)] = False
    ids, labels = ids.to(model.device), ids.where(learn, -100).to(model.device)
    # Padding stands on the right and attention is causal, so no mask is needed.
    with autocast(model):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    loss = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    equals = [
        (row, place - 1, token, 1 / len(tokens))
        for row, example in enumerate(batch)
        for place, tokens in example.uniform.items()
        for token in tokens
    ]
    if not equals:
        return loss
    columns = zip(*equals, strict=True)
    row, place, token, weight = (torch.tensor(column, device=ids.device) for column in columns)
    chosen = logits[row, place].log_softmax(-1).gather(1, token[:, None])
    return loss - (weight * chosen[:, 0]).sum()


def finetune(
    model: PreTrainedModel,
    examples: Callable[[int], Sequence[Any]],
    config: FinetuneConfig,
    folder: str | Path | None = None,
    report: Callable[[dict[str, float]], None] = lambda _: None,
    summed_loss: Callable[[PreTrainedModel, Sequence[Any]], torch.Tensor] = token_loss,
) -> list[dict[str, float]]:
    """Fine-tune `model`, or its adapters, in place on `examples(step)` for step 0 .. steps - 1.

    `examples` must be a function of the step alone: a killed run is continued from the newest
    checkpoint in `folder` and ends in the same weights. Without a folder nothing is kept on the way.
    ValueError for the folder of another run: other settings, weights or first examples. Examples of another
    kind come with their own `summed_loss` and, like `Example`, say their `ids` and how much is `learnt`.

    Gives a row per step: step, loss (nats per learnt token), tokens, learning_rate, seconds.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), config.learning_rate, (0.9, 0.95), weight_decay=0.01)
    log: list[dict[str, float]] = []
    with ExitStack() as stack:
        if folder is not None:
            checkpoint, first = Path(folder) / "checkpoint.pt", digest(repr(examples(0)))
            own = {"weights": weights_digest(model), "examples": first}
            stack.enter_context(claim(folder, asdict(config) | own))
            if state := load_checkpoint(checkpoint, model.device, ("trained", "optimizer", "log")):
                write_weights(state["trained"].items(), model)
                optimizer.load_state_dict(state["optimizer"])
                log = state["log"]
        model.train()
        for step in range(len(log), config.steps):
            started = time.perf_counter()
            rate = warmup_cosine(step, config.steps, config.warmup, config.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, tokens = _accumulate(model, examples(step), config.micro_batch_tokens, summed_loss)
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            row = {"step": step, "loss": loss, "tokens": tokens, "learning_rate": rate}
            log.append(row | {"seconds": time.perf_counter() - started})
            report(log[-1])
            if folder is not None and (step + 1) % config.checkpoint_every == 0:
                state = {"trained": {name: weight.detach() for name, weight in trained.items()}, "log": log}
                save_checkpoint(checkpoint, state | {"optimizer": optimizer.state_dict()})
    model.eval()
    return log


def _accumulate(
    model: PreTrainedModel, examples: Sequence[Any], max_tokens: int, summed_loss: Callable[..., torch.Tensor]
) -> tuple[float, int]:
    learnt = sum(e.learnt for e in examples)
    if learnt == 0:
        raise ValueError("no example of this step has a token to learn")
    total = 0.0
    for batch in by_length([len(e.ids) for e in examples], max_tokens):
        loss = summed_loss(model, [examples[i] for i in batch]) / learnt
        loss.backward()
        total += float(loss.detach())
    return total, sum(len(e.ids) for e in examples)


def warmup_cosine(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up to `peak` over `warmup` steps, then a cosine down to a hundredth of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.505 + 0.495 * math.cos(math.pi * done))


def imitate(learner: Learner, rows: Sequence[TokenRow], config: TrainConfig, seed: int) -> dict[str, float]:
    """How arms that imitate learn what they kept, with a new optimiser.

    How much is set by `Imitation`, whatever the filter lets through. Each collection goes on from the policy
    of the one before, as in the paper's Algorithm 1; STaR's first authors start each from the base.

    kept_tokens: that can be learnt from the rows; epochs: times that each is learnt; learnt_tokens: in all;
    loss: mean over the optimiser steps, in nats per learnt token.
    """
    examples = [Example(row.ids.tolist(), row.generated.tolist()) for row in rows]
    kept, own = sum(sum(example.learn) for example in examples), config.imitation
    tuning = FinetuneConfig(own.steps, config.learning_rate, config.warmup, config.micro_batch_tokens)
    order = stream(seed, 4)
    log = finetune(learner.model, lambda step: share(examples, own.tokens, order, step), tuning)
    learner.publish()
    learnt = own.steps * own.tokens
    loss = float(np.mean([row["loss"] for row in log]))
    return {"kept_tokens": kept, "epochs": learnt / kept, "learnt_tokens": learnt, "loss": loss}


def share(examples: Sequence[Example], tokens: int, seed: int, step: int) -> list[Example]:
    """What step `step` learns: exactly `tokens` learnt tokens, the next ones of an endless stream.

    The stream goes through all examples in a new order each time. An example that two steps share is in
    both, each learning its own part.
    """
    sizes = np.array([sum(example.learn) for example in examples])
    start, stop = step * tokens, (step + 1) * tokens
    parts = []
    for epoch in range(start // sizes.sum(), (stop - 1) // sizes.sum() + 1):
        order = np.random.default_rng((seed, epoch)).permutation(len(sizes))
        begins = epoch * sizes.sum() + np.cumsum(sizes[order]) - sizes[order]
        for i, begin in zip(order, begins, strict=True):
            first, last = max(0, start - begin), min(sizes[i], stop - begin)
            if first < last:
                learn = np.zeros(len(examples[i].ids), dtype=bool)
                learn[np.flatnonzero(examples[i].learn)[first:last]] = True
                parts.append(Example(examples[i].ids, learn.tolist()))
    return parts
