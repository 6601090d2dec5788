"""Random token strings through episode cutting, answer parsing and scoring."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.episodes import cut_at_marker, cut_at_openers
from mrt_lib.thoughts.templates import R1, TESTBED

CHUNK = 50_000
MAX_TOKENS = 24
MIN_STEPS = 2
COMMON = ["\n\n", "\n\n", "\\boxed{", "\\boxed{", "}", "}", "{", "19", "19", "1", "9", " ", "try"]
RARE = ["\n", "\r\n", "", "\x00", "\\", "\\boxed", "19}", "</think>", "<｜User｜>"]
WORDS = [*COMMON * 4, *R1.openers * 2, *RARE]


def random_strings(rng, n):
    """`n` pairs of token ids and token texts, 0 to MAX_TOKENS long; each call adds new characters."""
    any_characters = [chr(code) for code in rng.integers(0x110000, size=10)]
    words = np.array([*WORDS, *any_characters], dtype=object)
    ends = np.cumsum(rng.integers(MAX_TOKENS + 1, size=n)).tolist()
    ids = rng.integers(len(words), size=ends[-1])
    pieces, ids = words[ids].tolist(), ids.tolist()
    return [(ids[start:end], pieces[start:end]) for start, end in pairwise([0, *ends])]


def are_boundaries(boundaries, n_tokens):
    ends = [0, *boundaries]
    return ends[-1] == n_tokens and ends == sorted(set(ends))


def last_box_holds(text, answer):
    """Whether the last box holds `answer`, told without counting braces: `answer` has none."""
    place = len(text)
    while (place := text.rfind("\\boxed", 0, place)) >= 0:
        rest = text[place + len("\\boxed") :]
        bare = rest.lstrip(" \t")
        if bare.startswith("{"):
            content, brace, _ = bare[1:].partition("}")
            return brace != "" and content.strip() == answer
        word = re.match(r"[^\s$\\{}]*", bare)[0]
        if bare != rest and word:
            return word == answer
    return False


@pytest.mark.parametrize("n_strings", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_random_strings(n_strings):
    rng, seen = np.random.default_rng(0), Counter()
    task, marker = RootSearch(31), WORDS.index("try")
    problem = task.problem(19, 6)
    for _ in range(n_strings // CHUNK):
        for ids, pieces in random_strings(rng, CHUNK):
            text = "".join(pieces)
            opened = cut_at_openers(pieces, R1.openers, MIN_STEPS)
            assert are_boundaries(opened, len(pieces)), pieces
            assert len(opened) <= 1 + text.count("\n\n") // MIN_STEPS, pieces
            marked = cut_at_marker(ids, marker)
            assert are_boundaries(marked, len(ids)), ids
            plain = task.score(problem, TESTBED.parse_answer(text))
            assert plain == (text.split() == ["19"]), text
            boxed = task.score(problem, R1.parse_answer(text))
            assert boxed == last_box_holds(text, "19"), text
            seen.update(strings=1, openers=len(opened) > 1, markers=len(marked) > 1, plain=plain, boxed=boxed)
    assert seen["strings"] == n_strings
    assert min(seen.values()) > n_strings / 1000, f"too few strings reach some case: {seen}"
