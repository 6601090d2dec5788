"""Cutting a thought into episodes: at openers (the paper's rule) or steps, at a marker, or every n tokens.

Boundaries are numbers of thought tokens at the end of each episode. They rise strictly, the last one is
the whole thought, and an empty thought has none. Every token belongs to exactly one episode.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

PARAGRAPHS, LINES, SENTENCES = r"\n\n", r"\n", r"(?<=[.!?])\s+"


def cut_at_openers(
    pieces: Sequence[str], openers: Sequence[str], min_steps: int = 3, steps: str = PARAGRAPHS
) -> list[int]:
    """The paper's rule for R1-style thoughts, as its released code has it.

    The text is split at every match of `steps`, a regular expression, into steps 0, 1, 2, ... A step that
    starts with an opener, or any where there are none, begins a new episode if it comes at least `min_steps`
    steps after the last cut (or after step 0). Nothing is stripped: a third newline, a carriage return or a
    space before an opener hides it, and an empty step counts as a step.

    `pieces` are the texts of a thought's tokens; `openers` are compared letter by letter. A cut falls before
    the token in which the opener starts; where that token already starts an episode, there is none.
    Boundaries in tokens; ValueError for an empty opener.
    """
    if "" in openers:
        raise ValueError(f"need non-empty openers, got {list(openers)}")
    starts = [0, *accumulate(map(len, pieces))]
    text, first = "".join(pieces), tuple(openers) or ("",)
    ends, last_step = [0], 0
    for index, found in enumerate(re.finditer(steps, text), start=1):
        if index - last_step >= min_steps and text.startswith(first, found.end()):
            token = bisect_right(starts, found.end()) - 1
            if ends[-1] < token < len(pieces):
                ends.append(token)
                last_step = index
    return [*ends[1:], len(pieces)] if pieces else []


def cut_at_marker(token_ids: Sequence[int], marker_id: int) -> list[int]:
    """Boundaries where every `marker_id` opens an episode; tokens before the first join the first."""
    markers = [i for i, token in enumerate(token_ids) if token == marker_id]
    return [*markers[1:], len(token_ids)] if token_ids else []


def cut_every(n_tokens: int, size: int) -> list[int]:
    """Boundaries of episodes of `size` tokens, the last one possibly shorter; ValueError for size < 1."""
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return [min(end, n_tokens) for end in range(size, n_tokens + size, size)]
