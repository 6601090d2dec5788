"""Templates: the paper's texts to the letter, reading answers, and tokenizers that do not fit."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mrt_lib.tasks.root_search import WORDS
from mrt_lib.thoughts.templates import (
    R1,
    TEMPLATES,
    TESTBED,
    decode,
    encode,
    get_template,
    last_boxed,
    token_id,
)

TESTBED_WORDS = [*WORDS, "<think>", "</think>", *map(str, range(32))]


def word_tokenizer(words, **special):
    """A tokenizer with one token for each word, and no token for anything else."""
    vocabulary = {word: i for i, word in enumerate(["<unk>", *words, *special.values()])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **special)


@pytest.fixture
def tokenizer():
    return word_tokenizer(TESTBED_WORDS, eos_token="<eos>")


# --- the paper's texts, written out from its released code ---


def test_r1_forced_termination_text():
    paper = """Time is up.

Given the time I've spent and the approaches I've tried, I should stop thinking and formulate a final answer based on what I already have.
</think>

**Step-by-Step Explanation and Answer:**

1. **"""  # noqa: E501
    assert R1.forced_answer == paper
    assert R1.separator == "\n\n"
    assert R1.finished_answer == "</think>"


def test_r1_openers_and_continue_markers():
    assert R1.openers == (
        "Wait",
        "But wait",
        "Alternatively",
        "Is there another way to think about this?",
        "But let me double-check",
        "But hold on",
    )
    assert R1.continue_markers == ("\nWait", "\nBut wait", "\nAlternatively", "\nBut hold on")
    assert R1.episode_marker == ""


def test_r1_prompt_opens_the_thinking_block():
    assert R1.prompt_text("What is {1} + 1?") == (
        "<｜User｜>What is {1} + 1?\n"
        "Please reason step by step, and put your final answer within \\boxed{}.<｜Assistant｜><think>\n"
    )


def test_testbed_prompt_and_forced_answer_are_tokens_of_the_testbed(tokenizer):
    ids = TESTBED.prompt_ids(tokenizer, "x(x+b) = 0 4 7 5 b = 6 in 1 31")
    assert tokenizer.decode(ids) == "solve x(x+b) = 0 4 7 5 b = 6 in 1 31 <think>"
    assert tokenizer.decode(encode(tokenizer, TESTBED.forced_answer)) == "time up </think>"


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_every_forced_answer_closes_the_thought_once(template):
    assert template.forced_answer.count(template.think_end) == 1
    assert template.finished_answer.count(template.think_end) == 1


def test_get_template():
    assert (get_template("testbed"), get_template("r1")) == (TESTBED, R1)
    with pytest.raises(ValueError, match=r"unknown template 'r2'; known: \['r1', 'r1_short', 'testbed'\]"):
        get_template("r2")


# --- reading answers ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{19}.", "19"),
        ("\\boxed{ 19\n}", "19"),
        ("\\boxed{\\frac{1}{2}} and more {}", "\\frac{1}{2}"),
        ("\\boxed{{a}{b{c}}}", "{a}{b{c}}"),
        ("\\boxed{18}, no: \\boxed{19}", "19"),
        ("\\boxed{\\boxed{19}}", "19"),
        ("\\boxed{}", ""),
        ("\\boxed{19", ""),
        ("\\boxed{\\frac{1}{2}", ""),
        ("\\boxed{18}, no: \\boxed{19", ""),
        ("\\boxed 19", "19"),
        ("\\boxed {19}", "19"),
        ("\\fbox{19}", "19"),
        ("$\\boxed 19$.", "19"),
        ("\\boxed{\\left\\{x \\right.}", "\\left\\{x \\right."),
        ("boxed{19}", ""),
        ("}19{", ""),
        ("19", ""),
        ("", ""),
    ],
)
def test_the_r1_answer_is_the_content_of_the_last_box(text, answer):
    assert R1.parse_answer(text) == last_boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"), [(" 19\n", "19"), ("1 9", "1 9"), ("\\boxed{19}", "\\boxed{19}"), (" ", "")]
)
def test_the_testbed_answer_is_the_whole_text(text, answer):
    assert TESTBED.parse_answer(text) == answer


# --- tokenizers and questions that do not fit ---


@pytest.mark.parametrize("question", ["", " ", "\n\t"])
def test_empty_question(tokenizer, question):
    with pytest.raises(ValueError, match="the question is empty"):
        TESTBED.prompt_ids(tokenizer, question)


def test_words_that_the_model_lacks(tokenizer):
    with pytest.raises(ValueError, match="the tokenizer has no token for a part of 'solve y = 4 <think>'"):
        TESTBED.prompt_ids(tokenizer, "y = 4")


def test_a_prompt_starts_with_a_bos_where_the_tokenizer_itself_adds_one_and_only_one():
    tokenizer = word_tokenizer(TESTBED_WORDS, eos_token="<eos>", bos_token="<bos>")
    assert tokenizer.decode(TESTBED.prompt_ids(tokenizer, "b = 6")) == "solve b = 6 <think>"
    bos = ("<bos>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", None, [bos])
    assert tokenizer.decode(TESTBED.prompt_ids(tokenizer, "b = 6")) == "<bos> solve b = 6 <think>"
    opened = replace(TESTBED, prompt="<bos> solve {question} <think>")
    assert tokenizer.decode(opened.prompt_ids(tokenizer, "b = 6")) == "<bos> solve b = 6 <think>"


def test_an_end_that_is_also_the_unknown_token_is_accepted():
    tokenizer = word_tokenizer(TESTBED_WORDS, eos_token="<unk>")
    ending = replace(TESTBED, answer_end="<unk>")
    ending.check(tokenizer)
    assert token_id(tokenizer, "<unk>") == tokenizer.eos_token_id
    with pytest.raises(ValueError, match="no token for a part of 'solve y"):
        ending.prompt_ids(tokenizer, "y")


@pytest.mark.parametrize("prompt", ["solve it <think>", "{question} {question}", ""])
def test_a_prompt_without_a_place_for_the_question_is_refused_at_construction(prompt):
    with pytest.raises(ValueError, match=r"template 'testbed': prompt must hold \{question\} once"):
        replace(TESTBED, prompt=prompt)


def test_braces_mean_themselves(tokenizer):
    assert replace(TESTBED, prompt="{x} \\boxed{} {question}").prompt_text("{y}") == "{x} \\boxed{} {y}"


def test_token_id(tokenizer):
    assert tokenizer.decode([token_id(tokenizer, "</think>")]) == "</think>"
    with pytest.raises(ValueError, match="'time up' is 2 tokens for this tokenizer, expected one"):
        token_id(tokenizer, "time up")
    with pytest.raises(ValueError, match="'Wait' is 0 tokens"):
        token_id(tokenizer, "Wait")


def test_decoding_leaves_special_tokens_out(tokenizer):
    assert decode(tokenizer, [*encode(tokenizer, "time up"), tokenizer.eos_token_id]) == "time up"


def test_a_template_accepts_its_own_tokenizer(tokenizer):
    TESTBED.check(tokenizer)


@pytest.mark.parametrize("missing", ["</think>", "try"])
def test_a_template_names_what_is_missing(missing):
    tokenizer = word_tokenizer([word for word in TESTBED_WORDS if word != missing], eos_token="<eos>")
    with pytest.raises(
        ValueError, match=rf"lacks \['{missing}'\] as single tokens, which template 'testbed'"
    ):
        TESTBED.check(tokenizer)


def test_a_template_refuses_a_model_of_another(tokenizer):
    with pytest.raises(
        ValueError, match=r"lacks \['<｜end▁of▁sentence｜>'\] .* known templates that fit: \['testbed'\]"
    ):
        R1.check(tokenizer)
