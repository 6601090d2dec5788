"""Budget forcing: a thought that the model has closed is reopened and goes on (s1; paper, section 7.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from mrt_lib.engines.base import Engine, Sampling
from mrt_lib.episodes import cut_thought
from mrt_lib.rollouts import extend
from mrt_lib.templates import Template, encode
from mrt_lib.traces import Trace


def force_on(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    traces: Sequence[Trace],
    sampling: Sampling,
    extensions: int,
) -> list[Trace]:
    """The traces without answers, those that ended by themselves thought on up to `extensions` times.

    Each time the closing token gives way to the template's next continue marker, in rotation. A thought
    that the budget has cut, or that has no room for the marker and one token more, stays as it is.

    Args:
        engine: writes the continuation; its weights may differ from those that wrote the traces.
        tokenizer: of the engine's model.
        template: names the continue markers.
        traces: thoughts; a marker's tokens get the log-probability nan, since nobody sampled them.
        sampling: `max_new_tokens` is the thinking budget, markers included; extension e draws from
            seed + 1 + e.
        extensions: at least 0.

    Raises:
        ValueError: negative extensions, or a template without continue markers.
    """
    if extensions < 0:
        raise ValueError(f"extensions must be at least 0, got {extensions}")
    if not template.continue_markers:
        raise ValueError(f"template {template.name!r} has no continue markers to force a thought on with")
    longer = [replace(t, answer_ids=[], answer_log_probs=[], values=[]) for t in traces]
    for e in range(extensions):
        marker = encode(tokenizer, template.continue_markers[e % len(template.continue_markers)])
        room = sampling.max_new_tokens - len(marker)
        ended = [i for i, t in enumerate(longer) if t.finished and len(t.thought_ids) < room]
        if not ended:
            break
        opened = [_reopened(tokenizer, template, longer[i], marker) for i in ended]
        drawn = replace(sampling, seed=sampling.seed + 1 + e)
        for i, trace in zip(ended, extend(engine, tokenizer, template, opened, drawn), strict=True):
            longer[i] = trace
    return longer


def _reopened(
    tokenizer: PreTrainedTokenizerBase, template: Template, trace: Trace, marker: list[int]
) -> Trace:
    thought = trace.thought_ids + marker
    log_probs = trace.thought_log_probs[: len(trace.thought_ids)] + [math.nan] * len(marker)
    boundaries = cut_thought(tokenizer, template, thought)
    return replace(
        trace, thought_ids=thought, boundaries=boundaries, finished=False, thought_log_probs=log_probs
    )
