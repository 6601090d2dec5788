"""What the warm start learns from: thoughts in words, and a forced answer at every one of their prefixes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from mrt_lib.measure.packing import PADDING, TRUNK, Branch, pack
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import encode, token_id
from recipes.words.search import Family, Try
from recipes.words.text import WORDS


@dataclass(frozen=True)
class Weights:
    """What a token weighs in the loss: of what is tried, of what comes of it, of a forced answer."""

    guess: float = 1.0
    check: float = 2.0
    forced: float = 2.0


@dataclass(frozen=True)
class Example:
    """One packed sequence: prompt and thought, and a forced answer after each try.

    Attributes:
        ids, positions, visible, branch: (tokens,) as in `mrt_lib.measure.packing.PackedTrace`.
        rows: (learnt,) the tokens that predict what is learnt; `targets`, `weights`: what, and how much it
            weighs. Where several tokens are right, as after a forced text, each has a row of its own.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    branch: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    @property
    def learnt(self) -> float:
        """What it weighs in the mean loss of a step."""
        return float(self.weights.sum())


def example(
    tokenizer: PreTrainedTokenizerBase,
    family: Family,
    problem: Problem,
    tries: Sequence[Try],
    ended: bool,
    guesses: bool,
    weights: Weights,
    rng: np.random.Generator,
) -> Example:
    """A thought of these tries, to be learnt, with what a perfect meta-prover would answer at each prefix.

    It answers one of the candidates left, each equally often: at every token of one drawn answer, the next
    tokens of all those that go on from there share the loss. `ended`: the thought ends itself; `guesses`:
    what is tried is learnt too, not only what comes of it.
    """
    prompt = WORDS.prompt_ids(tokenizer, problem.question)
    lines = [encode(tokenizer, one.text) for one in tries]
    left = [family.candidates(problem), *(one.left for one in tries)]
    answers = [_answer_ids(tokenizer, own[rng.integers(len(own))]) for own in left]
    ends = np.cumsum([len(prompt), *map(len, lines)])
    forced = encode(tokenizer, WORDS.forced_answer)
    branches = [Branch(int(end), forced, [answer]) for end, answer in zip(ends, answers, strict=True)]
    packed = pack([*prompt, *(i for line in lines for i in line)], branches)
    learnt: list[tuple[int, int, float]] = []
    colon = token_id(tokenizer, ":")
    for start, line in zip(ends[:-1], lines, strict=True):
        after = line.index(colon)
        shares = [weights.guess if i <= after else weights.check for i in range(len(line))]
        learnt += [(start + i - 1, line[i], shares[i]) for i in range(0 if guesses else after, len(line))]
    if ended:
        learnt.append((ends[-1] - 1, forced[0], 1.0))
    rows = packed.rows.tolist()
    for own, answer in zip(left, answers, strict=True):
        spelt = [_answer_ids(tokenizer, text) for text in own]
        for i in range(len(answer)):
            going_on = Counter(ids[i] for ids in spelt if ids[:i] == answer[:i])
            row = rows.pop(0)
            learnt += [(row, token, weights.forced * n / going_on.total()) for token, n in going_on.items()]
    columns = zip(*learnt, strict=True)
    where, targets, own_weights = (torch.tensor(np.array(column)) for column in columns)
    return Example(
        packed.ids, packed.positions, packed.visible, packed.branch, where, targets, own_weights.float()
    )


@lru_cache(maxsize=4096)
def _answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    return [*encode(tokenizer, answer), token_id(tokenizer, WORDS.answer_end)]


def batch_loss(model: Any, batch: Sequence[Example]) -> torch.Tensor:
    """Summed loss of packed examples in nats, one pass, and logits of what is learnt alone."""
    ids, positions, visible, branch = (
        pad_sequence([getattr(e, name) for e in batch], True, PADDING[name]).to(model.device)
        for name in ("ids", "positions", "visible", "branch")
    )
    columns = torch.arange(ids.shape[1], device=model.device)
    trunk = (branch == TRUNK)[:, None] & (columns < visible[:, :, None])
    own = (branch[:, None] == branch[:, :, None]) & (columns <= columns[:, None])
    mask = torch.zeros(len(batch), 1, *2 * ids.shape[1:], dtype=model.dtype, device=model.device)
    mask.masked_fill_(~(trunk | own)[:, None], torch.finfo(model.dtype).min)
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = plain.model(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False)
    rows = torch.cat([e.rows + i * ids.shape[1] for i, e in enumerate(batch)])
    places, row_of = torch.unique(rows.to(model.device), return_inverse=True)
    logits = plain.lm_head(hidden.last_hidden_state.flatten(0, 1)[places]).float()
    targets, weights = (torch.cat([getattr(e, name) for e in batch]) for name in ("targets", "weights"))
    chosen = logits.log_softmax(-1)[row_of, targets.to(model.device)]
    return -(weights.to(model.device) * chosen).sum()
