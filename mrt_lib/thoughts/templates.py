"""Prompt layout, end of thinking, forced termination, episode markers and continue markers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mrt_lib.thoughts.episodes import PARAGRAPHS, cut_at_marker, cut_at_openers, cut_every
from mrt_lib.thoughts.traces import Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BOX = "\\boxed{"
BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."
DAY = date(2025, 1, 1)
THINK = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))
WHITE = "ĠĊĉč▁ \n\t\r"  # white space as it stands in the names of tokens
SPACES = ("▁", "Ġ")  # what a token's name begins with if its text begins with a space


@dataclass(frozen=True)
class Template:
    """The text around a thought, for one family of models.

    Attributes:
        name: the key in `TEMPLATES`.
        prompt: layout with the one placeholder `{question}`, up to the open thinking block.
        think_end: the text that closes a thought; "" where the model's own end of text alone does.
        separator: between a prefix of a thought and `forced_answer`, unless the prefix is empty or ends so.
        forced_answer: appended to a prefix of a thought to make the model answer now (mu).
        finished_answer: instead, where the model itself has closed the thought: `think_end` and what follows.
        answer_end: the text that ends an answer; "" where the model's own end of text alone does.
        boxed_answer: the answer is the last `\\boxed{}`; otherwise it is the whole text. Where
            `forced_answer` itself ends in an open `\\boxed{`, it is what stands before its brace.
        episode_marker: token that opens every episode, or "" where `openers` decide.
        openers: a step that starts with one of these may open an episode; any step if there are none.
        continue_markers: texts that reopen a closed thought (budget forcing), in rotation.
        steps: what lies between two, a regular expression: `episodes.PARAGRAPHS`, LINES, SENTENCES, ...
        min_steps: least steps of an episode.
        episode_tokens: cut every so many tokens instead; 0 for not.
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
    steps: str = PARAGRAPHS
    min_steps: int = 3
    episode_tokens: int = 0

    def __post_init__(self) -> None:
        if self.prompt.count("{question}") != 1:
            own = f"template {self.name!r}: prompt"
            raise ValueError(f"{own} must hold {{question}} once, got {self.prompt!r}")
        if not self.finished_answer.startswith(self.think_end):
            own = f"template {self.name!r}: finished_answer must begin with think_end, {self.think_end!r}"
            raise ValueError(f"{own}, got {self.finished_answer!r}")

    @classmethod
    def of(cls, own: Mapping[str, Any]) -> Self:
        """From JSON or TOML, whose lists stand for tuples."""
        lists: Any = {name: tuple(x) for name, x in own.items() if isinstance(x, list)}
        return cls(**{**own, **lists})

    @property
    def leads_to_answer(self) -> bool:
        """Whether the answer follows the forced text at once, without prose before its box."""
        return not self.boxed_answer or self.forced_answer.endswith(BOX)

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """ValueError unless the tokenizer writes both ends, and the marker and a special end as one token."""
        marks = [self.episode_marker, self.answer_end if self.answer_end.startswith("<") else ""]
        unwritten = [text for text in (self.think_end, self.answer_end) if text and not _ids(tokenizer, text)]
        if missing := list(dict.fromkeys([*unwritten, *_split(tokenizer, marks)])):
            fitting = [name for name, known in TEMPLATES.items() if known.fits(tokenizer)]
            lack = f"the tokenizer lacks {missing} as single tokens, which template {self.name!r} needs"
            fit = f"known templates that fit: {fitting or 'none'}"
            raise ValueError(f"{lack}; {fit}; or give a Template with the model's own texts")

    def fits(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether marker, ends and turns are single tokens, as in a model that the template was made for."""
        turns = re.findall(r"<[|｜][^<>]+[|｜]>", self.prompt)
        return not _split(tokenizer, [self.think_end, self.answer_end, self.episode_marker, *turns])

    def prompt_ids(self, tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
        """Tokens up to the open thinking block, with a BOS where the tokenizer itself adds one and the prompt
        has none; ValueError for an empty question or words that the model lacks."""
        if not question.strip():
            raise ValueError("the question is empty")
        text = self.prompt_text(question)
        ids = list(_known(tokenizer, text, tokenizer(text, add_special_tokens=False)["input_ids"]))
        added = tokenizer("")["input_ids"][:1]
        return ids if added != [tokenizer.bos_token_id] or ids[:1] == added else added + ids

    def prompt_text(self, question: str) -> str:
        """The prompt as text; braces in it or in the question mean themselves."""
        return self.prompt.replace("{question}", question)

    def closing_ids(self, tokenizer: PreTrainedTokenizerBase, trace: Trace, j: int) -> list[int]:
        """Tokens that end the thought at prefix j: forced, unless the model itself has closed it there."""
        if trace.finished and trace.eos_id < 0 and j == trace.n_episodes:
            end = trace.end_ids or encode(tokenizer, self.think_end)
            return [*end, *encode(tokenizer, self.finished_answer.removeprefix(self.think_end))]
        last = trace.prefix(j)[-4:] if j and self.separator else []
        tail = "".join(_within(tokenizer, [i]) for i in last) if last else self.separator
        gap = "" if tail.endswith(self.separator) else self.separator
        return encode(tokenizer, gap + self.forced_answer)

    def cut(self, tokenizer: PreTrainedTokenizerBase, thought_ids: Sequence[int]) -> list[int]:
        """Ends of the episodes of a thought, in tokens: at the marker, every so many, or at openers.

        For these, tokens are decoded one by one: openers and newlines are ASCII, so that spoils none.
        """
        if self.episode_marker:
            return cut_at_marker(thought_ids, token_id(tokenizer, self.episode_marker))
        if self.episode_tokens:
            return cut_every(len(thought_ids), self.episode_tokens)
        pieces = {i: _within(tokenizer, [i]) for i in set(thought_ids)}
        return cut_at_openers([pieces[i] for i in thought_ids], self.openers, self.min_steps, self.steps)

    def parse_answer(self, text: str) -> str:
        """The answer in the text after the thought; "" where there is none to read."""
        if not self.boxed_answer:
            return (text.partition(self.answer_end)[0] if self.answer_end else text).strip()
        return _box_content(text) if self.leads_to_answer else last_boxed(text)


KNOWN = tomllib.loads(Path(__file__).with_name("templates.toml").read_text(encoding="utf-8"))
TESTBED, R1 = (Template.of({"name": name, **own}) for name, own in KNOWN.items())
TIME_IS_UP = R1.forced_answer.partition("\n</think>")[0]
# For short answers, whose J is exact: a closed thought, too, is led into a box (the paper lets it write on).
CLOSED = f"</think>\n\n**Final Answer**\n{BOX}"
IN_BOX: Any = {"forced_answer": f"{TIME_IS_UP}\n{CLOSED}", "finished_answer": CLOSED, "answer_end": "}"}
R1_SHORT = replace(R1, name="r1_short", **IN_BOX)
TEMPLATES = {template.name: template for template in (TESTBED, R1, R1_SHORT)}


def get_template(name: str) -> Template:
    """The template of that name; ValueError lists the known names."""
    if name not in TEMPLATES:
        raise ValueError(f"unknown template {name!r}; known: {sorted(TEMPLATES)}")
    return TEMPLATES[name]


def find_template(tokenizer: PreTrainedTokenizerBase) -> Template:
    """The first known template that fits, else one made from the chat template; ValueError without either."""
    for template in TEMPLATES.values():
        if template.fits(tokenizer) and not (template is TESTBED and tokenizer.chat_template):
            return template
    return chat_template(tokenizer)


def chat_template(tokenizer: PreTrainedTokenizerBase) -> Template:
    """A chat model's own turns and think tokens, else a chain of thought that ends with the turn. ValueError
    without a chat template, or for one that cannot be used."""
    if not tokenizer.chat_template:
        known = f"no template of {sorted(TEMPLATES)} fits this tokenizer, and it has no chat template"
        raise ValueError(f"{known}; give a Template with the model's own texts")
    asked = [{"role": "user", "content": "{question}" + BOXED}]
    kept: Any = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": True, "thinking": True}
    kept |= {"date_string": DAY.strftime("%d %b %Y"), "strftime_now": DAY.strftime}  # the same tomorrow
    try:
        prompt = str(tokenizer.apply_chat_template(asked, **kept))
    except Exception as error:  # whatever a template raises
        way = "give a Template with the model's own texts"
        raise ValueError(f"the chat template takes no single question ({error}); {way}") from error
    opened, closed = next((p for p in THINK if p[1] in str(tokenizer.chat_template)), ("", ""))
    if closed and prompt.rstrip().endswith(closed):
        raise ValueError("the chat template closes the thought before it begins; give a Template")
    if opened and not prompt.rstrip().endswith(opened):
        prompt += f"{opened}\n"
    box = f"{closed}\n\n**Final Answer**\n{BOX}"
    return replace(
        R1_SHORT,
        name="chat",
        prompt=prompt,
        think_end=closed,
        forced_answer=f"{TIME_IS_UP}\n{box}" if closed else box.lstrip(),
        finished_answer=box,
        openers=R1.openers if closed else (),
        min_steps=3 if closed else 1,
    )


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of `text` in the middle of another, without added special tokens or the space that some
    tokenizers put before a first word; ValueError for words the model lacks."""
    return list(_known(tokenizer, text, _encoded(tokenizer, len(tokenizer), text)))


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text of `token_ids` without special tokens."""
    return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))


def token_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The id of a text that is one token within another text; ValueError otherwise."""
    ids = _ids(tokenizer, text)
    if len(ids) != 1:
        raise ValueError(f"{text!r} is {len(ids)} tokens for this tokenizer, expected one")
    return ids[0]


def ending_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, anything: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Token sequences that end with `text`, the plain one first; several tokens may begin in what stands
    before, and go on with white space, or with `anything`."""
    return _endings(tokenizer, len(tokenizer), text, anything) if text else ()


def last_boxed(text: str) -> str:
    """The content of the last `\\boxed{...}` or `\\fbox{...}` with balanced braces; 7 of `\\boxed 7`."""
    found = list(re.finditer(r"\\(?:boxed|fbox)[ \t]*(?:(\{)|(?<=[ \t])([^\s$\\{}]+))", text))
    if not found:
        return ""
    return _box_content(text[found[-1].end() :]) if found[-1][1] else found[-1][2]


def _box_content(text: str) -> str:
    """What stands before the brace that closes a box opened just before `text`, or ""."""
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):  # an escaped brace groups nothing
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[: brace.start()].strip()
    return ""


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of `encode`; none if the model lacks a word."""
    try:
        return encode(tokenizer, text)
    except ValueError:
        return []


def _known(tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int]) -> Sequence[int]:
    # A byte-level tokenizer's unknown token is its end: it may be meant.
    if tokenizer.unk_token_id in ids and str(tokenizer.unk_token) not in text:
        raise ValueError(f"the tokenizer has no token for a part of {text!r}")
    return ids


def _split(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[str]:
    """Those of the texts that are not a single token."""
    return [text for text in texts if text and len(_ids(tokenizer, text)) != 1]


@lru_cache(maxsize=64)
def _endings(
    tokenizer: PreTrainedTokenizerBase, size: int, text: str, anything: bool
) -> tuple[tuple[int, ...], ...]:
    plain = _encoded(tokenizer, size, text)
    if len(plain) == 1 and not anything:
        return (plain,)
    names = tokenizer.get_vocab()
    first, last = (str(name) for name in tokenizer.convert_ids_to_tokens([plain[0], plain[-1]]))
    before = [i for name, i in names.items() if name.endswith(first) and name != first]
    firsts = [plain[0], *([] if anything else sorted(before))]
    after = [(i, name.removeprefix(last)) for name, i in names.items() if name.startswith(last)]
    lasts = [plain[-1], *sorted(i for i, rest in after if rest and (anything or not rest.strip(WHITE)))]
    both = [(one, *plain[1:-1], other) for one in firsts for other in lasts]
    return tuple(both if len(plain) > 1 else [(i,) for i in lasts])


@lru_cache(maxsize=1024)  # provers ask for the same few texts at every prefix
def _encoded(tokenizer: PreTrainedTokenizerBase, size: int, text: str) -> tuple[int, ...]:
    """The ids of `text` where it goes on from another; `size` of the tokenizer, which may have grown.

    Where they alone would gain a space, each part between special tokens is encoded after some character
    with which it does not merge.
    """
    if text in (added := tokenizer.get_added_vocab()):
        return (added[text],)
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    names = tokenizer.convert_ids_to_tokens(list(ids))
    if not any(name.startswith(SPACES) for name in names) or _within(tokenizer, ids) == text:
        return ids
    special = "|".join(re.escape(one) for one in sorted(added, key=len, reverse=True))
    if added and len(parts := [part for part in re.split(f"({special})", text) if part]) > 1:
        return tuple(i for part in parts for i in _encoded(tokenizer, size, part))
    for before in ("\n", "}", "a"):
        head, both = tokenizer([before, before + text], add_special_tokens=False)["input_ids"]
        rest = both[len(head) :]
        if both[: len(head)] == head and _within(tokenizer, rest) == text:
            return tuple(rest)
    return ids


def _within(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of tokens that follow others: alone, a SentencePiece-type tokenizer's lose their space."""
    spaced = any(str(name).startswith("▁") for name in tokenizer.convert_ids_to_tokens(list(ids[:1])))
    head = tokenizer("a", add_special_tokens=False)["input_ids"] if spaced else []
    both = ([*head, *own] for own in ((), ids))
    alone, whole = (str(tokenizer.decode(own, clean_up_tokenization_spaces=False)) for own in both)
    return whole[len(alone) :]
