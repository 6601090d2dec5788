"""Rollouts with their advantages as rows of tokens, ready for the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrt_lib.arms.base import Rollout
from mrt_lib.reasoner import Reasoner
from mrt_lib.thoughts.templates import token_id


@dataclass(frozen=True)
class TokenRow:
    """One rollout from prompt to answer; arrays have one entry per token.

    Attributes:
        ids: token ids, forced text included.
        generated: the policy wrote this token and learns from it.
        log_probs: log-probability when it was sampled; 0 where not generated.
        advantages: 0 where not generated.
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

    Prompt, given tokens and forced text are there to be read, not to be learnt.
    """
    if len(advantages) != rollout.tokens or not np.all(np.isfinite(advantages)):
        raise ValueError(
            f"rollout of {rollout.problem.id} needs {rollout.tokens} finite advantages, got {advantages!r}"
        )
    trace = rollout.trace
    thought = len(trace.prompt_ids) + len(trace.thought_ids)
    closing = reasoner.close(trace, trace.n_episodes)
    ids = [*trace.prompt_ids, *trace.thought_ids]
    places = list(range(len(trace.prompt_ids), thought))
    if trace.answer_ids or trace.finished:
        ids += [*closing, *trace.answer_ids]
        if trace.finished:
            end = token_id(reasoner.tokenizer, reasoner.template.think_end)
            places.append(thought + closing.index(end))
        places += range(thought + len(closing), len(ids))
    generated = np.zeros(len(ids), dtype=bool)
    columns = np.zeros((2, len(ids)))
    columns[:, places] = np.array([[*trace.thought_log_probs, *trace.answer_log_probs], advantages])
    generated[places[rollout.given :]] = True
    return TokenRow(np.array(ids), generated, *(columns * generated))


@dataclass(frozen=True)
class RowBatch:
    """Rows padded on the right, shifted so that column t belongs to token t + 1.

    Attributes:
        ids: (rows, tokens + 1) token ids.
        mask, log_probs, advantages: (rows, tokens) as in `TokenRow`.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor


def collate(rows: Sequence[TokenRow], device: torch.device) -> RowBatch:
    """Rows as one batch; padding is never generated."""
    longest = max(len(row.ids) for row in rows)

    def padded(arrays: Sequence[np.ndarray], dtype: torch.dtype) -> torch.Tensor:
        table = np.zeros((len(rows), longest), dtype=arrays[0].dtype)
        for row, array in zip(table, arrays, strict=True):
            row[: len(array)] = array
        return torch.from_numpy(table).to(device, dtype)

    columns: list[Any] = [
        padded([row.generated for row in rows], torch.bool),
        padded([row.log_probs for row in rows], torch.float32),
        padded([row.advantages for row in rows], torch.float32),
    ]
    return RowBatch(padded([row.ids for row in rows], torch.long), *(c[:, 1:] for c in columns))
