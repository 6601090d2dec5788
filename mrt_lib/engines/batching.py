"""Putting sequences of similar length together."""

from __future__ import annotations

from collections.abc import Sequence


def by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices in batches of rising length, each at most `max_tokens` tokens with padding.

    A sequence longer than `max_tokens` gets a batch of its own.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batches and lengths[i] * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
