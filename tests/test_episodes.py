"""Episode cutting: hand-made thoughts for each rule, then properties that hold for all thoughts."""

from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mrt_lib.thoughts.episodes import cut_at_marker, cut_at_openers, cut_every
from mrt_lib.thoughts.templates import R1, TESTBED
from mrt_lib.thoughts.traces import Trace

BLANK = "\n\n"


def paragraphs(*steps):
    """Token pieces of a thought whose steps and blank lines are one token each."""
    return [piece for step in steps for piece in (step, BLANK)][:-1]


def opener_texts(pieces, **options):
    """The texts of the episodes under the paper's rule."""
    ends = [0, *cut_at_openers(pieces, R1.openers, **options)]
    return ["".join(pieces[start:end]) for start, end in pairwise(ends)]


# --- the paper's rule ---


@pytest.mark.parametrize("opener", R1.openers)
def test_each_opener_cuts_three_steps_after_the_start(opener):
    assert cut_at_openers(paragraphs("a", "b", "c", f"{opener} d", "e"), R1.openers) == [6, 9]


def test_openers_fewer_than_three_steps_after_the_last_cut_are_passed_over():
    # Steps:              0    1         2         3         4         5         6
    pieces = paragraphs("a", "Wait 1", "Wait 2", "Wait 3", "Wait 4", "Wait 5", "Wait 6")
    assert opener_texts(pieces) == ["a\n\nWait 1\n\nWait 2\n\n", "Wait 3\n\nWait 4\n\nWait 5\n\n", "Wait 6"]
    assert cut_at_openers(pieces, R1.openers, min_steps=2) == [4, 8, 12, 13]
    assert cut_at_openers(pieces, R1.openers, min_steps=4) == [8, 13]


@pytest.mark.parametrize(
    "step",
    ["wait", "so Wait", " Wait", "\nWait", "But", "Is there another way?"],
    ids=["case", "not at the start", "space", "third newline", "only a part", "not to the letter"],
)
def test_steps_that_do_not_start_with_an_opener(step):
    assert cut_at_openers(paragraphs("a", "b", "c", step), R1.openers) == [7]


def test_an_opener_without_a_blank_line_before_it_opens_nothing():
    assert opener_texts(["a\nb\nc\n", "Wait d"]) == ["a\nb\nc\nWait d"]


def test_blank_lines_at_the_start_and_in_a_row_make_empty_steps_that_count():
    assert opener_texts(["\n\n", "a", "\n\n\n\n", "Wait"]) == ["\n\na\n\n\n\n", "Wait"]
    assert opener_texts(["\n\n", "a", "\n\n", "Wait"]) == ["\n\na\n\nWait"]


@pytest.mark.parametrize("blank", ["\r\n\r\n", "\n \n"])
def test_only_two_newlines_in_a_row_separate_steps(blank):
    assert cut_at_openers(["a", blank, "b", blank, "c", blank, "Wait"], R1.openers) == [7]


def test_an_opener_over_several_tokens_is_cut_before_its_first():
    assert opener_texts(["a\n\nb\n\nc.\n\n", "But", " wait", ","]) == ["a\n\nb\n\nc.\n\n", "But wait,"]


def test_an_opener_inside_a_token_is_cut_before_that_token():
    assert opener_texts(["a\n\nb", "\n\nc", ".\n\nWait", " d"]) == ["a\n\nb\n\nc", ".\n\nWait d"]


def test_an_opener_inside_the_first_token_of_an_episode_makes_no_empty_episode():
    assert cut_at_openers(["a\n\nb\n\nc\n\nWait", " d"], R1.openers) == [2]
    assert cut_at_openers(["a", "\n\nWait 1\n\nWait 2", "\n\nWait 3"], R1.openers, min_steps=1) == [1, 2, 3]


def test_tokens_without_text_stay_with_the_episode_before():
    assert cut_at_openers(["a\n\nb\n\nc\n\n", "", "Wait", ""], R1.openers) == [2, 4]


def test_an_empty_opener_is_refused():
    with pytest.raises(ValueError, match="non-empty openers"):
        cut_at_openers(["a"], ["Wait", ""])


# --- the marker rule, the fixed-token rule and grouping ---


@pytest.mark.parametrize(
    ("token_ids", "boundaries"),
    [
        ([7, 1, 2, 7, 3, 7], [3, 5, 6]),
        ([1, 2, 7, 3, 7, 4], [4, 6]),
        ([7, 7, 7], [1, 2, 3]),
        ([7, 1], [2]),
        ([1, 2], [2]),
        ([], []),
    ],
)
def test_every_marker_opens_an_episode(token_ids, boundaries):
    assert cut_at_marker(token_ids, 7) == boundaries


@pytest.mark.parametrize(
    ("n_tokens", "size", "boundaries"),
    [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (2, 3, [2]), (3, 1, [1, 2, 3]), (0, 3, [])],
)
def test_cut_every(n_tokens, size, boundaries):
    assert cut_every(n_tokens, size) == boundaries


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_one(size):
    with pytest.raises(ValueError, match="size must be at least 1"):
        cut_every(5, size)


# --- the template's own rule, with real tokenizers ---


def byte_tokenizer():
    """A byte-level BPE without merges: every UTF-8 byte is a token."""
    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_a_template_finds_openers_among_characters_that_are_many_tokens():
    tokenizer = byte_tokenizer()
    first, second = "né → 😀\n\nb.\n\n😀\n\n", "Wait, 😀 ?"
    thought = tokenizer(first + second)["input_ids"]
    assert len(thought) == len((first + second).encode())
    assert R1.cut(tokenizer, thought) == [len(first.encode()), len(thought)]
    assert R1.cut(tokenizer, []) == []


def test_a_template_with_a_marker_cuts_there():
    words = {"try": 0, "4": 1, "Wait": 2, "<unk>": 3}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert TESTBED.cut(tokenizer, [0, 1, 2, 0, 1]) == [3, 5]


# --- properties ---

pieces_of_a_thought = st.lists(
    st.sampled_from([*R1.openers, "\n\n", "\n", "Wait\n\n", "\n\nBut", " wait", "a", "", "é"]), max_size=60
)


def assert_boundaries(boundaries, n_tokens):
    assert all(start < end for start, end in pairwise([0, *boundaries]))
    assert [0, *boundaries][-1] == n_tokens


def paper_episodes(text):
    """The released rule on text alone; it drops the blank line between two episodes."""
    steps, episodes, previous = text.split(BLANK), [], 0
    for i, step in enumerate(steps):
        if step.startswith(R1.openers) and i - previous > 2:
            episodes.append(BLANK.join(steps[previous:i]))
            previous = i
    return [*episodes, BLANK.join(steps[previous:])]


@given(
    st.lists(st.sampled_from([*R1.openers, "Wait, a", "a", "", "\n", "\nWait"]), min_size=2).map(BLANK.join)
)
def test_with_one_token_per_character_the_cuts_are_the_papers(text):
    *closed, last = paper_episodes(text)
    assert opener_texts(list(text)) == [*(episode + BLANK for episode in closed), last]


@given(pieces_of_a_thought, st.integers(0, 4))
def test_openers_cut_any_thought_into_non_empty_episodes(pieces, min_steps):
    assert_boundaries(cut_at_openers(pieces, R1.openers, min_steps), len(pieces))


@given(st.lists(st.integers(0, 3), max_size=40))
def test_markers_cut_any_thought_and_nothing_is_lost(token_ids):
    boundaries = cut_at_marker(token_ids, 0)
    trace = Trace("q", [1], token_ids, boundaries, finished=False)
    episodes = [trace.episode(j) for j in range(trace.n_episodes)]
    assert list(chain.from_iterable(episodes)) == token_ids
    assert all(episode[0] == 0 and 0 not in episode[1:] for episode in episodes[1:])


@given(st.integers(0, 200), st.integers(1, 30))
def test_episodes_of_one_size_are_whole(n_tokens, size):
    assert_boundaries(cut_every(n_tokens, size), n_tokens)
