"""From problems to traces: think within a budget, then answer, by own choice or by force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from mrt_lib.engines.base import Engine, Sampling
from mrt_lib.episodes import cut_thought
from mrt_lib.tasks.base import Problem
from mrt_lib.templates import Template, check_tokenizer, decode, encode, encode_prompt, token_id
from mrt_lib.traces import Trace


def think(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    problems: Sequence[Problem],
    sampling: Sampling,
    progress: bool = False,
) -> list[Trace]:
    """One thought per problem of at most `sampling.max_new_tokens` tokens, cut into episodes.

    Repeat a problem to think about it several times. The traces have no answer yet.
    """
    check_tokenizer(tokenizer, template)
    prompts = [encode_prompt(tokenizer, template, p.question) for p in problems]
    empty = [Trace(p.id, prompt, [], [], False) for p, prompt in zip(problems, prompts, strict=True)]
    return extend(engine, tokenizer, template, empty, sampling, progress)


def extend(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    traces: Sequence[Trace],
    sampling: Sampling,
    progress: bool = False,
) -> list[Trace]:
    """Unfinished thoughts thought on, each to at most `sampling.max_new_tokens` tokens in all."""
    close = token_id(tokenizer, template.think_end)
    prompts = [t.prompt_ids + t.thought_ids for t in traces]
    rooms = [max(0, sampling.max_new_tokens - len(t.thought_ids)) for t in traces]
    asked = replace(sampling, max_new_tokens=max(1, *rooms), stop=((close,),))
    generations = engine.generate(prompts, asked, progress)
    longer = []
    for trace, generation, room in zip(traces, generations, rooms, strict=True):
        finished = generation.finish == "stop" and len(generation.token_ids) <= room
        new = generation.token_ids[:room]
        thought = trace.thought_ids + new[: len(new) - finished]
        log_probs = trace.thought_log_probs + generation.log_probs[:room]
        boundaries = cut_thought(tokenizer, template, thought)
        longer.append(
            replace(
                trace,
                thought_ids=thought,
                boundaries=boundaries,
                finished=finished,
                thought_log_probs=log_probs,
            )
        )
    return longer


def answer(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    traces: Sequence[Trace],
    sampling: Sampling,
    progress: bool = False,
) -> list[Trace]:
    """The traces with an answer of at most `sampling.max_new_tokens` tokens each.

    A thought that the budget cut is answered after the forced-termination text.
    """
    prompts = [t.prefix(t.n_episodes) + closing_ids(tokenizer, template, t, t.n_episodes) for t in traces]
    stop = ((token_id(tokenizer, template.answer_end),),)
    generations = engine.generate(prompts, replace(sampling, stop=stop), progress)
    return [
        replace(t, answer_ids=g.token_ids, answer_log_probs=g.log_probs)
        for t, g in zip(traces, generations, strict=True)
    ]


def closing_ids(tokenizer: PreTrainedTokenizerBase, template: Template, trace: Trace, j: int) -> list[int]:
    """Tokens that end the thought at prefix j: forced, or the model's own end of a finished trace."""
    own_end = trace.finished and j == trace.n_episodes
    if own_end:
        return list(_encoded(tokenizer, template.finished_answer))
    tail = decode(tokenizer, trace.prefix(j)[-4:]) if j and template.separator else template.separator
    gap = "" if tail.endswith(template.separator) else template.separator
    return list(_encoded(tokenizer, gap + template.forced_answer))


@lru_cache(maxsize=16)
def _encoded(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Provers ask for the same two texts at every prefix."""
    return tuple(encode(tokenizer, text))
