"""Prompt layout, end of thinking, forced termination, episode markers and continue markers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Template:
    """The text around a thought, for one family of models.

    Attributes:
        name: the key in `TEMPLATES`.
        prompt: layout with the one placeholder `{question}`, up to the open thinking block.
        think_end: the token that closes a thought.
        separator: stands between a prefix of a thought and `forced_answer`, unless the prefix is empty
            or ends with it.
        forced_answer: appended to a prefix of a thought to make the model answer now (mu).
        finished_answer: appended instead when the model itself has closed the thought.
        answer_end: the token that ends an answer.
        boxed_answer: the answer is the last `\\boxed{}`; otherwise it is the whole text. Where
            `forced_answer` itself ends in an open `\\boxed{`, it is what stands before its brace.
        episode_marker: token that opens every episode, or "" where `openers` decide.
        openers: a step that starts with one of these may open an episode.
        continue_markers: texts that reopen a closed thought (budget forcing), in rotation.
    """

    name: str
    prompt: str
    think_end: str
    separator: str
    forced_answer: str
    finished_answer: str
    answer_end: str
    boxed_answer: bool
    episode_marker: str
    openers: tuple[str, ...]
    continue_markers: tuple[str, ...]


TESTBED = Template(
    name="testbed",
    prompt="solve {question} <think>",
    think_end="</think>",
    separator="",
    forced_answer="time up </think>",
    finished_answer="</think>",
    answer_end="<eos>",
    boxed_answer=False,
    episode_marker="try",
    openers=(),
    continue_markers=("try",),
)

# Forced text, openers and continue markers are the released analysis code's, to the letter; before the
# model's own end it writes a newline, because it works on stripped texts, where here the thought's tokens
# stand as they were sampled. The prompt is DeepSeek-R1's recommended one; the released scripts send the
# bare problem.
R1 = Template(
    name="r1",
    prompt=(
        "<｜User｜>{question}\nPlease reason step by step, and put your final answer within "
        "\\boxed{{}}.<｜Assistant｜><think>\n"
    ),
    think_end="</think>",
    separator="\n\n",
    forced_answer=(
        "Time is up.\n\nGiven the time I've spent and the approaches I've tried, I should stop "
        "thinking and formulate a final answer based on what I already have.\n</think>\n\n"
        "**Step-by-Step Explanation and Answer:**\n\n1. **"
    ),
    finished_answer="</think>",
    answer_end="<｜end▁of▁sentence｜>",
    boxed_answer=True,
    episode_marker="",
    openers=(
        "Wait",
        "But wait",
        "Alternatively",
        "Is there another way to think about this?",
        "But let me double-check",
        "But hold on",
    ),
    continue_markers=("\nWait", "\nBut wait", "\nAlternatively", "\nBut hold on"),
)

# The short forced text, for short answers without braces: an integer and "}" are a few tokens, so J is
# exact. Two things to know. A tokenizer may write "}" and what follows as one token ("}\n", "}."); the
# plain "}" ends an answer here, so exact values leave those endings out and are lower bounds (see
# `merged_ends`). A thought that the model closed itself is sent into the same box, where the paper lets it
# write on freely.
BOX = "\\boxed{"
R1_SHORT = replace(
    R1,
    name="r1_short",
    forced_answer=f"{R1.forced_answer.split(R1.think_end)[0]}</think>\n\n**Final Answer**\n{BOX}",
    finished_answer=f"</think>\n\n**Final Answer**\n{BOX}",
    answer_end="}",
)

TEMPLATES = {template.name: template for template in (TESTBED, R1, R1_SHORT)}


def get_template(name: str) -> Template:
    """The template of that name; ValueError lists the known names."""
    if name not in TEMPLATES:
        raise ValueError(f"unknown template {name!r}; known: {sorted(TEMPLATES)}")
    return TEMPLATES[name]


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of `text` without added special tokens; ValueError for words the model lacks."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        raise ValueError(f"the tokenizer has no token for a part of {text!r}")
    return ids


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text of `token_ids` without special tokens."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


def encode_prompt(tokenizer: PreTrainedTokenizerBase, template: Template, question: str) -> list[int]:
    """Prompt ids up to and including the open thinking block, with the model's own BOS if any."""
    if not question.strip():
        raise ValueError("the question is empty")
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return bos + encode(tokenizer, template.prompt.format(question=question))


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
    """ValueError unless the model has every single token that the template relies on."""
    needed = [template.think_end, template.answer_end, template.episode_marker]
    missing = [text for text in needed if text and len(_ids(tokenizer, text)) != 1]
    if missing:
        raise ValueError(
            f"the tokenizer lacks {missing} as single tokens, which template {template.name!r} needs; "
            f"use a model trained with this template, another of {sorted(TEMPLATES)}, or a Template with the "
            "model's own texts"
        )


def token_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The id of a text that is one token; ValueError otherwise."""
    ids = _ids(tokenizer, text)
    if len(ids) != 1:
        raise ValueError(f"{text!r} is {len(ids)} tokens for this tokenizer, expected one")
    return ids[0]


def parse_answer(template: Template, text: str) -> str:
    """The answer in the text after the thought; "" where there is none to read."""
    if not template.boxed_answer:
        return text.strip()
    return _box_content(text) if template.forced_answer.endswith(BOX) else last_boxed(text)


def last_boxed(text: str) -> str:
    """The content of the last `\\boxed{...}` with balanced braces, or ""."""
    start = text.rfind(BOX)
    return "" if start < 0 else _box_content(text[start + len(BOX) :])


def merged_ends(tokenizer: PreTrainedTokenizerBase, template: Template) -> list[int]:
    """Ids of the longer tokens that begin with `answer_end` and so end an answer too, sorted.

    Their probability after a right answer is what an exact value with an open box misses.
    """
    texts = {i: decode(tokenizer, [i]) for i in set(tokenizer.get_vocab().values())}
    end = template.answer_end
    return sorted(i for i, text in texts.items() if text.startswith(end) and text != end)


def _box_content(text: str) -> str:
    """What stands before the brace that closes a box opened just before `text`, or ""."""
    depth = 1
    for i, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[:i].strip()
    return ""


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [] if tokenizer.unk_token_id in ids else ids
