"""The layout of a packed trace, checked by hand."""

import pytest
import torch

from mrt_lib.measure.packing import Branch, pack
from recipes.pictures import attention_mask

TRUNK_IDS = [10, 11, 12]
FORCED = [7, 8]


def test_layout_of_two_branches():
    packed = pack(TRUNK_IDS, [Branch(1, FORCED, [[20, 9]]), Branch(3, FORCED, [[20, 9], [21, 22, 9]])])
    #                           trunk       branch 0   branch 1  leaf 0  leaf 1
    assert packed.ids.tolist() == [10, 11, 12, 7, 8, 20, 7, 8, 20, 21, 22]
    assert packed.positions.tolist() == [0, 1, 2, 1, 2, 3, 3, 4, 5, 5, 6]
    assert packed.rows.tolist() == [4, 5, 7, 8, 7, 9, 10]
    assert packed.targets.tolist() == [20, 9, 20, 9, 21, 22, 9]
    assert packed.owners.tolist() == [[0, 0], [0, 0], [1, 0], [1, 0], [1, 1], [1, 1], [1, 1]]


def test_who_sees_whom():
    packed = pack(TRUNK_IDS, [Branch(1, FORCED, [[20, 9]]), Branch(3, FORCED, [[20, 9], [21, 22, 9]])])
    seen = [torch.nonzero(row)[:, 0].tolist() for row in attention_mask(packed)]
    assert seen == [
        [0],
        [0, 1],
        [0, 1, 2],
        [0, 3],
        [0, 3, 4],
        [0, 3, 4, 5],
        [0, 1, 2, 6],
        [0, 1, 2, 6, 7],
        [0, 1, 2, 6, 7, 8],
        [0, 1, 2, 6, 7, 9],
        [0, 1, 2, 6, 7, 9, 10],
    ]


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (Branch(1, [], [[20]]), "forced text"),
        (Branch(1, FORCED, []), "at least one answer"),
        (Branch(1, FORCED, [[]]), "at least one token"),
        (Branch(4, FORCED, [[20]]), "4 tokens of a trunk of 3"),
        (Branch(0, FORCED, [[20]]), "0 tokens of a trunk of 3"),
    ],
)
def test_bad_branches_are_named(branch, message):
    with pytest.raises(ValueError, match=message):
        pack(TRUNK_IDS, [branch])
