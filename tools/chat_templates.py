"""What `Template`s are found for families of chat models: `python -m tools.chat_templates` writes the table.

Every family stands here with the turns, think tokens and switches of its chat template, shortened, on a tiny
byte-level tokenizer; what is found depends on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mrt_lib.thoughts.templates import Template, encode, find_template

TABLE = Path("docs/templates.md")
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
CHATML = TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
SWITCH = CHATML + "{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
R1_TURNS = (
    "{{ bos_token }}{% for m in messages %}<｜User｜>{{ m.content.split('</think>')[-1] }}{% endfor %}"
    "{{ '<｜Assistant｜><think>\n' }}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{{ '<start_of_turn>model\n' }}"
)
MAGISTRAL = (
    "{{ bos_token }}[SYSTEM_PROMPT]First [THINK]...[/THINK], then answer.[/SYSTEM_PROMPT]"
    "{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}"
)
PHI = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


@dataclass(frozen=True)
class ChatFamily:
    """A family: its chat template and special tokens, the end of a turn first, perhaps a BOS second."""

    name: str
    chat_template: str
    special: tuple[str, ...]
    bos: str | None = None

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Bytes and the special tokens."""
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        found = PreTrainedTokenizerFast(
            tokenizer_object=backend, eos_token=self.special[0], bos_token=self.bos
        )
        found.add_tokens(list(self.special), special_tokens=True)
        found.chat_template = self.chat_template
        return found


THINK = ("<think>", "</think>")
CHAT_FAMILIES = (
    ChatFamily("SmolLM2, Qwen2.5 (ChatML)", CHATML, ("<|im_end|>", "<|im_start|>")),
    ChatFamily("Qwen3, SmolLM3 (thinking switch)", SWITCH, ("<|im_end|>", "<|im_start|>", *THINK)),
    ChatFamily(
        "DeepSeek-R1 and its distillations",
        R1_TURNS,
        ("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", *THINK),
        "<｜begin▁of▁sentence｜>",
    ),
    ChatFamily(
        "Llama 3",
        LLAMA,
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        "<|begin_of_text|>",
    ),
    ChatFamily("Gemma", GEMMA, ("<end_of_turn>", "<bos>", "<start_of_turn>"), "<bos>"),
    ChatFamily("Magistral", MAGISTRAL, ("</s>", "<s>", "[INST]", "[/INST]", "[THINK]", "[/THINK]"), "<s>"),
    ChatFamily("Phi", PHI, ("<|end|>", "<|user|>", "<|assistant|>")),
    ChatFamily("think tokens of several pieces", SWITCH, ("<|im_end|>", "<|im_start|>")),
)
HEAD = """# Templates found

What `Reasoner.load` finds for a chat model where no template is given; written by
`python -m tools.chat_templates`. Without think tokens a thought is a plain chain of thought that ends with
the model's own end of turn. Every field can be changed with `dataclasses.replace(reasoner.template, ...)`.

| family | template | a prompt for "1 + 1?" | a thought ends with | its tokens | forced answer | episodes |
|---|---|---|---|---|---|---|
"""


def row(family: ChatFamily) -> str:
    """A row of the table."""
    tokenizer = family.tokenizer()
    found = find_template(tokenizer)
    end = found.think_end
    cells = [
        family.name,
        found.name,
        _code(found.prompt_text("1 + 1?")),
        _code(end) if end else "the end of the turn",
        str(len(encode(tokenizer, end)) if end else 1),
        _code(found.forced_answer[-42:]),
        _cut(found),
    ]
    return f"| {' | '.join(cells)} |"


def _cut(template: Template) -> str:
    opened = "that start with an opener" if template.openers else "of any start"
    return f"steps {opened}, {template.min_steps} or more apart"


def _code(text: str) -> str:
    shown = text.replace("\n", "\\n").replace("|", "\\|")
    return f"`{shown}`"


if __name__ == "__main__":
    TABLE.write_text(HEAD + "\n".join(map(row, CHAT_FAMILIES)) + "\n", encoding="utf-8")
