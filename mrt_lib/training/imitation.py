"""How arms that imitate learn: supervised fine-tuning on what they kept, at equal learnt tokens.

Every arm learns the same number of tokens in the same number of optimiser steps, whatever its filter lets
through (`Imitation`). Each collection goes on from the policy of the one before, as in the paper's Algorithm
1; STaR's first authors start each from the base. Only what the policy wrote is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrt_lib.arms.base import stream
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.lora import Learner
from mrt_lib.training.supervised import Example, FinetuneConfig, finetune
from mrt_lib.training.token_rows import TokenRow


def imitate(learner: Learner, rows: Sequence[TokenRow], config: TrainConfig, seed: int) -> dict[str, float]:
    """Fine-tune on rows, with a new optimiser.

    Returns:
        kept_tokens: that can be learnt from the rows; epochs: times that each is learnt; learnt_tokens: in
        all; loss: mean over the optimiser steps, in nats per learnt token.
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
                parts.append(_part(examples[i], first, last))
    return parts


def _part(example: Example, first: int, last: int) -> Example:
    """The example with only its learnt tokens first .. last - 1 left to learn."""
    learn = np.zeros(len(example.ids), dtype=bool)
    learn[np.flatnonzero(example.learn)[first:last]] = True
    return Example(example.ids, learn.tolist())
