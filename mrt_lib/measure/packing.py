"""One sequence that holds a trace and, at each of its prefixes, the answers to be scored.

The trunk is the prompt and the thought. At each prefix hangs a branch: the forced-termination text
and, after it, one leaf per answer. A token sees the part of the trunk before its branch, its branch's
forced text and its own leaf, so one pass gives what one pass per prefix and answer would. The trunk
runs first, under plain causal attention; the branches follow on its keys and values. AnytimeReasoner (arXiv
2505.13438) packs a trace and its sampled answers in this way for the update::

                 trunk          branch 0     branch 1
                 p p z z z z    f f a        f f a
    trunk     z  # # # .
    branch 0  f  # # . . . .    # .
              a  # # . . . .    # # #
    branch 1  f  # # # # . .    . . .        # .
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

TRUNK = -1
PADDING = {"ids": 0, "positions": 0, "visible": 0, "branch": -2, "leaf": -1}


@dataclass(frozen=True)
class Branch:
    """What hangs at a prefix of so many trunk tokens: the text that ends the thought, and the token ids of
    each right answer, its end token included."""

    trunk_length: int
    forced_ids: list[int]
    answers: list[list[int]]


@dataclass(frozen=True)
class PackedTrace:
    """The packed sequence of one trace; every array has one entry per token unless said otherwise.

    Attributes:
        ids: token ids, trunk first.
        positions: position ids; a branch continues from its prefix.
        visible: number of trunk tokens the token sees.
        branch: index of the token's branch, `TRUNK` for the trunk.
        leaf: index of the token's answer within its branch, -1 outside answers.
        rows: (answer tokens,) index of the token that predicts each answer token.
        targets: (answer tokens,) the answer tokens.
        owners: (answer tokens, 2) branch and leaf of each answer token.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    visible: torch.Tensor
    branch: torch.Tensor
    leaf: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trunk_length(self) -> int:
        """Number of tokens of prompt and thought."""
        return int((self.branch == TRUNK).sum())


def pack(trunk: Sequence[int], branches: Sequence[Branch]) -> PackedTrace:
    """Lay out a trunk and its branches; ValueError for a branch without forced text or answers, with an empty
    answer, or outside the trunk."""
    size = len(trunk)
    columns = [list(trunk), list(range(size)), list(range(1, size + 1)), [TRUNK] * size, [-1] * size]
    rows: list[int] = []
    targets: list[int] = []
    owners: list[tuple[int, int]] = []
    for b, branch in enumerate(branches):
        start = branch.trunk_length
        if not branch.forced_ids:
            raise ValueError("a branch needs at least one token of forced text before its answers")
        if not branch.answers or [] in branch.answers:
            raise ValueError("a branch needs at least one answer, and every answer at least one token")
        if not 0 < start <= size:
            raise ValueError(f"a branch hangs after {start} tokens of a trunk of {size}")
        forced_end = _extend(columns, branch.forced_ids, start, start, b, -1)
        leaves: dict[tuple[int, ...], int] = {}  # where answers that differ in their end alone begin
        for a, answer in enumerate(branch.answers):
            if (body := tuple(answer[:-1])) not in leaves:
                leaves[body] = len(columns[0])
                _extend(columns, answer[:-1], start + len(branch.forced_ids), start, b, a)
            rows += [forced_end - 1, *range(leaves[body], leaves[body] + len(body))]
            targets += answer
            owners += [(b, a)] * len(answer)
    return PackedTrace(*(torch.tensor(c) for c in (*columns, rows, targets, owners)))


@dataclass(frozen=True)
class PackedBatch:
    """Several packed traces, padded on the right: trunks of length t, branches of length m.

    Attributes:
        trunk_ids: (batch, t) token ids of the trunks; plain causal attention.
        branch_ids, branch_positions, visible, branch, leaf: (batch, m) as in `PackedTrace`.
        rows: for each trace, the branch columns that predict its answer tokens.
    """

    trunk_ids: torch.Tensor
    branch_ids: torch.Tensor
    branch_positions: torch.Tensor
    visible: torch.Tensor
    branch: torch.Tensor
    leaf: torch.Tensor
    rows: list[torch.Tensor]

    def mask(self, start: int, stop: int) -> torch.Tensor:
        """(batch, 1, stop - start, t + stop) boolean: what branch token start + i sees; padding, itself."""
        own = slice(start, stop)
        sees_trunk = torch.arange(self.trunk_ids.shape[1]) < self.visible[:, own, None]
        branch, leaf = self.branch[:, None, :stop], self.leaf[:, None, :stop]
        same_leaf = (leaf == PADDING["leaf"]) | (leaf == self.leaf[:, own, None])
        sees_branch = ((branch == self.branch[:, own, None]) & same_leaf).tril(start)
        return torch.cat([sees_trunk, sees_branch], dim=2)[:, None]


def collate(batch: Sequence[PackedTrace]) -> PackedBatch:
    """Packed traces as one batch."""
    own = [p.trunk_length for p in batch]
    trunk, branches = max(own), max(len(p) - n for p, n in zip(batch, own, strict=True))
    trunk_ids = torch.zeros(len(batch), trunk, dtype=torch.long)
    columns = {name: torch.full((len(batch), branches), fill) for name, fill in PADDING.items()}
    for i, (packed, n) in enumerate(zip(batch, own, strict=True)):
        trunk_ids[i, :n] = packed.ids[:n]
        for name, column in columns.items():
            column[i, : len(packed) - n] = getattr(packed, name)[n:]
    rows = [p.rows - n for p, n in zip(batch, own, strict=True)]
    ids, positions, visible, branch, leaf = columns.values()
    return PackedBatch(trunk_ids, ids, positions, visible, branch, leaf, rows)


def _extend(columns: list[list[int]], ids: list[int], position: int, visible: int, b: int, leaf: int) -> int:
    """Add the tokens of a branch or leaf; the number of tokens so far."""
    n = len(ids)
    added = (ids, range(position, position + n), [visible] * n, [b] * n, [leaf] * n)
    for column, values in zip(columns, added, strict=True):
        column.extend(values)
    return len(columns[0])
