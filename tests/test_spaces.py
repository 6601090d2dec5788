"""Tokenizers that put a space before a text's first word: what stands within a text has none of it."""

import string
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mrt_lib.thoughts.templates import R1, R1_SHORT, TESTBED, decode, encode, ending_ids, token_id
from mrt_lib.thoughts.traces import Trace

SPECIAL = ["<think>", "</think>", R1.answer_end, "<｜User｜>", "<｜Assistant｜>"]
WORDS = ["▁wait", "▁hold", "But", "Wait", "▁But", "▁Wait", "Alternatively", "▁step", "▁12", "▁}", "}."]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
CHARACTERS = ["▁", *string.ascii_letters, *string.digits, *"{}\\.,*'-:?!", "é"]


def bpe():
    """Words as tokens, all else by characters, and by bytes where they lack; digits stand alone."""
    vocabulary, merges = dict.fromkeys(["<unk>", *BYTES, *CHARACTERS]), {}
    for word in WORDS:
        for end in range(2, len(word) + 1):
            merges[word[: end - 1], word[end - 1]] = None
            vocabulary[word[:end]] = None
    ids = {token: i for i, token in enumerate(vocabulary)}
    return models.BPE(ids, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)


def unigram():
    known = [(token, -10.0) for token in [*BYTES, *CHARACTERS]] + [(word, -12.0) for word in WORDS]
    return models.Unigram([("<unk>", -20.0), *known], unk_id=0, byte_fallback=True)


def llama_2(model):
    """A space before the text and before what follows a special token, by the normalizer."""
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    return backend


def metaspace(model, scheme):
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    steps = [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme)]
    backend.decoder = decoders.Sequence(steps)
    return backend


def byte_level(prefix):
    """GPT-2's way, with the space before a text that some of its kind add."""
    alphabet = {token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(alphabet, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    return backend


KINDS = {
    "llama 2": lambda: llama_2(bpe()),
    "llama 2, unigram": lambda: llama_2(unigram()),
    "metaspace, first": lambda: metaspace(bpe(), "first"),
    "metaspace, always": lambda: metaspace(unigram(), "always"),
    "metaspace, never": lambda: metaspace(bpe(), "never"),
    "byte level": lambda: byte_level(False),
    "byte level with a space": lambda: byte_level(True),
}


@pytest.fixture(params=KINDS)
def tokenizer(request):
    made = PreTrainedTokenizerFast(tokenizer_object=KINDS[request.param](), eos_token=R1.answer_end)
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    return made


def within(tokenizer, ids):
    """What the ids add to a text before them."""
    before = tokenizer("so", add_special_tokens=False)["input_ids"]
    return tokenizer.decode([*before, *ids])[len(tokenizer.decode(before)) :]


@pytest.mark.parametrize("tokens", [["\n", "\n"], ["é", "\n", "\n"], ["…", "\n", "\n"]], ids=repr)
def test_openers_of_two_words_open_episodes(tokenizer, tokens):
    step = encode(tokenizer, "".join(["a step", *tokens]))
    opened = [encode(tokenizer, opener + " a step\n\n") for opener in ("Wait", "But wait", "But hold on")]
    thought = [i for first in ([], *opened) for i in (*(first or step), *step, *step)]
    ends = R1.cut(tokenizer, thought)
    assert len(ends) == 4
    starts = [thought[start : start + len(own)] for start, own in zip(ends, opened, strict=False)]
    assert starts == opened


@pytest.mark.parametrize(
    "text", ["12", "-1", "x", "wait", " wait", "But wait", "é", "\n", "\nWait", "日本 12"]
)
@pytest.mark.parametrize("kind", ["text", "text</think>text", "text</think>", "</think>text"])
def test_a_text_within_another_is_written_as_it_stands(tokenizer, text, kind):
    written = kind.replace("text", text)
    assert within(tokenizer, encode(tokenizer, written)) == written


def test_an_answer_in_an_open_box_is_its_digits():
    for kind in ("llama 2", "metaspace, first", "byte level"):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=KINDS[kind]())
        assert tokenizer.convert_ids_to_tokens(encode(tokenizer, "12")) == ["1", "2"]


@pytest.mark.parametrize("template", [R1, R1_SHORT], ids=lambda template: template.name)
def test_forced_texts_and_markers_are_to_the_letter(tokenizer, template):
    for text in (template.separator + template.forced_answer, *template.continue_markers, " " + BOX_OF_12):
        assert within(tokenizer, encode(tokenizer, text)) == text
    step, *ended = (encode(tokenizer, text) for text in ("step", "step\n\n", "日本…\n\n", "x…\n\n"))
    for ids, gap in ((step, template.separator), *((ids, "") for ids in ended)):
        closing = template.closing_ids(tokenizer, Trace("p", [], ids, [len(ids)], False), 1)
        assert within(tokenizer, closing) == gap + template.forced_answer


BOX_OF_12 = "\\boxed{12}."


def test_ends_are_the_tokens_without_a_space(tokenizer):
    assert within(tokenizer, [token_id(tokenizer, "}")]) == "}"
    assert [tokenizer.decode([i]) for (i,) in ending_ids(tokenizer, "}", True)] in (["}"], ["}", "}."])
    assert token_id(tokenizer, "</think>") == tokenizer.convert_tokens_to_ids("</think>")
    R1_SHORT.check(tokenizer)


def test_a_prompt_begins_as_the_tokenizer_begins_a_text(tokenizer):
    template = replace(TESTBED, prompt="so {question} <think>")
    whole = tokenizer("so what <think>", add_special_tokens=False)["input_ids"]
    assert template.prompt_ids(tokenizer, "what") == whole


def test_a_tokenizer_that_has_grown_is_asked_again(tokenizer):
    with pytest.raises(ValueError, match="tokens for this tokenizer, expected one"):
        token_id(tokenizer, "<stop>")
    tokenizer.add_tokens(["<stop>"])
    assert decode(tokenizer, [token_id(tokenizer, "<stop>")]) == "<stop>"
