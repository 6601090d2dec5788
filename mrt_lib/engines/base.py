"""What turns token prompts into sampled tokens."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Protocol, get_args, get_type_hints

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

Prompts = Sequence[Sequence[int]]
Limits = Sequence[int] | None
Stop = tuple[tuple[int, ...], ...]
NUMBERS: dict[Any, tuple[str, Any]] = {
    bool: ("True or False", bool),
    int: ("a whole number", Integral),
    float: ("a number", Real),
}


def check_numbers(settings: Any, where: str = "", **least: float) -> None:
    """ValueError unless all fields hold the kind of number that they say, finite, and at least `least`."""
    for name, hint in get_type_hints(type(settings)).items():
        kind, number = (get_args(hint) or (hint,))[0], getattr(settings, name)
        if kind not in NUMBERS or (number is None and kind is not hint):
            continue
        words, fitting = NUMBERS[kind]
        if name in least:
            words += f" of at least {least[name]}"
        right = isinstance(number, fitting) and isinstance(number, bool) is (kind is bool)
        if not right or not math.isfinite(number) or number < least.get(name, -math.inf):
            raise ValueError(f"{where}{name} must be {words}, got {number!r}")


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        max_new_tokens: most tokens generated per prompt, stop tokens included.
        temperature: 0 is greedy.
        top_p, top_k: nucleus mass in (0, 1]; most candidates of a token, 0 for all.
        stop: token sequences that end a generation; the sequence is kept in the result.
        seed: with a generation's place in the result, fixes all its draws.
        n: generations per prompt.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: Stop = ()
    seed: int = 0
    n: int = 1
    top_k: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, max_new_tokens=1, n=1, temperature=0, top_k=0, seed=0)
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if () in self.stop:
            raise ValueError("a stop sequence is empty")


@dataclass(frozen=True)
class Generation:
    """Tokens generated after one prompt, a final stop sequence included, and what ended them: such a sequence
    or the limit. `log_probs` are of the sampled distribution (temperature, top-p and top-k; greedy: none).
    """

    token_ids: list[int]
    log_probs: list[float]
    finish: Literal["stop", "length"]


class Engine(Protocol):
    """Generates in the order of the prompts; the same sampling gives the same tokens."""

    def generate(
        self, prompts: Prompts, sampling: Sampling, limits: Limits = None, progress: bool = False
    ) -> list[Generation]:
        """The `sampling.n` generations of the first prompt, then those of the second, and so on.

        `limits`: most new tokens of each prompt, 0 .. `sampling.max_new_tokens`, the default. What is drawn
        within a limit does not depend on it, and nothing is drawn beyond it. `progress`: show a bar over the
        prompts. ValueError if a prompt is empty, or prompt and new tokens exceed the model's context.
        """


class ColocatedEngine(Engine, Protocol):
    """An engine with weights of its own, on the GPU that also trains."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Wake up with these weights: every one of the model, under its name in Transformers."""

    def sleep(self) -> None:
        """Free the memory of weights and cache until `load_weights`."""


def check_prompts(prompts: Prompts, sampling: Sampling, limits: Limits, context: int | None) -> list[int]:
    """The limit of every prompt; ValueError names the first that is empty or too long for `context`."""
    most = sampling.max_new_tokens
    limits = [most] * len(prompts) if limits is None else list(limits)
    if len(limits) != len(prompts) or not all(0 <= limit <= most for limit in limits):
        raise ValueError(f"need one limit in 0..{most} for each of {len(prompts)} prompts, got {limits}")
    for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        if len(prompt) == 0:
            raise ValueError(f"prompt {i} is empty")
        if context is not None and len(prompt) + limit > context:
            asked = f"prompt {i} has {len(prompt)} tokens and {limit} new ones are asked for"
            raise ValueError(f"{asked}, but the model's context is {context}; shorten one of them")
    return limits


def context_of(config: PretrainedConfig) -> int | None:
    """Most tokens of a sequence, from the text part of a composite model's config; None for no limit."""
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)


def eos_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The model's own end-of-text tokens, sorted: of its generation settings, its configs and tokenizer."""
    settings = getattr(model, "generation_config", None)
    sources = [settings, model.config, model.config.get_text_config(decoder=True), tokenizer]
    named = [getattr(source, "eos_token_id", None) for source in sources]
    found = {i for own in named for i in (own if isinstance(own, list | tuple) else [own]) if i is not None}
    return tuple(sorted(i for i in found if 0 <= i < model.get_input_embeddings().num_embeddings))


def cut_at_stop(token_ids: list[int], log_probs: list[float], stop: Stop) -> Generation:
    """The generation up to the end of the first stop sequence that lies wholly in the new tokens."""
    for end in range(1, len(token_ids) + 1):
        if any(tuple(token_ids[max(0, end - len(s)) : end]) == s for s in stop):
            return Generation(token_ids[:end], log_probs[:end], "stop")
    return Generation(token_ids, log_probs, "length")


def by_length(
    lengths: Sequence[int], max_tokens: int, rooms: Sequence[int] | None = None, context: float = math.inf
) -> list[list[int]]:
    """Indices in batches of rising length, each at most `max_tokens` tokens with padding, or one sequence.

    With `rooms`, what each may grow by, all of a batch are counted as long as its longest grown by its
    largest room, and must fit into `context` then: shorter ones are run on until the last one ends.
    """
    batches: list[list[int]] = []
    most, rooms = 0, rooms or [0] * len(lengths)
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        size = lengths[i] + max(most, rooms[i])
        if not batches or size * (len(batches[-1]) + 1) > max_tokens or size > context:
            batches.append([])
            size = lengths[i] + rooms[i]
        batches[-1].append(i)
        most = size - lengths[i]
    return batches
