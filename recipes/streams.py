"""Longer thoughts: budget forcing reopens an ended one, a linearised stream slides through the context."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, cycle

import numpy as np

from mrt_lib.arms.base import stream
from mrt_lib.engines.base import Sampling
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time.base import Outcome, Solver, sampled_tokens
from mrt_lib.thoughts.templates import decode, encode
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class BudgetForcing:
    """Thoughts from `force_on` (s1; paper, Appendix F); `solve` has its ValueErrors."""

    extensions: int

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        drawn, thoughts = replace(solver.thinking, seed=stream(seed, 2)), solver.think(problems, seed)
        traces = solver.answer(force_on(solver.reasoner, thoughts, drawn, self.extensions), seed)
        spent = np.array([forced_tokens(solver.reasoner, t) for t in traces])
        return solver.outcome(problems, traces, spent)


def force_on(reasoner: Reasoner, traces: Sequence[Trace], sampling: Sampling, extensions: int) -> list[Trace]:
    """Budget forcing: thoughts that ended by themselves thought on, up to `extensions` times.

    Each time the token that ended it gives way to the template's next continue marker, in rotation (s1,
    arXiv 2501.19393; paper, section 7.3), whose tokens get the log-probability nan, since nobody sampled
    them. A thought that the budget has cut, or that has no room for the marker and one token more, stays
    as it is. Answers and values are gone. `sampling.max_new_tokens` is the thinking budget, markers
    included; extension e draws from seed + 1 + e. ValueError for negative extensions, or a template
    without continue markers.
    """
    markers = reasoner.template.continue_markers
    if extensions < 0:
        raise ValueError(f"extensions must be at least 0, got {extensions}")
    if not markers:
        raise ValueError(f"template {reasoner.template.name!r} has no continue markers to force a thought on")
    longer = [replace(t, answer_ids=[], answer_log_probs=[], values=[]) for t in traces]
    for e in range(extensions):
        marker = encode(reasoner.tokenizer, markers[e % len(markers)])
        room = sampling.max_new_tokens - len(marker)
        ended = [i for i, t in enumerate(longer) if t.finished and len(t.thought_ids) < room]
        if not ended:
            break
        opened = []
        for trace in (longer[i] for i in ended):  # its own end goes, with its log-probability
            own = replace(trace, thought_log_probs=trace.thought_log_probs[: len(trace.thought_ids)])
            opened.append(reasoner.grown(own, marker, [math.nan] * len(marker)))
        drawn = reasoner.extend(opened, replace(sampling, seed=sampling.seed + 1 + e))
        for i, trace in zip(ended, drawn, strict=True):
            longer[i] = trace
    return longer


def forced_tokens(reasoner: Reasoner, trace: Trace) -> int:
    """Sampled tokens of a trace from `force_on`: without the markers, with the ends that they replaced."""
    markers = int(np.isnan(trace.thought_log_probs).sum())
    lengths = cycle([len(encode(reasoner.tokenizer, text)) for text in reasoner.template.continue_markers])
    end = reasoner.template.think_end
    ends = 0 if not markers else 1 + next(i for i, n in enumerate(accumulate(lengths)) if n >= markers)
    return sampled_tokens(trace) - markers + ends * max(1, len(encode(reasoner.tokenizer, end)))


@dataclass(frozen=True)
class Linearised:
    """One thought of up to `budget` tokens through a context of `context` tokens (paper, section 8).

    When the context is full, all but the last `window` episodes leave it, or as many of these as leave room
    for one token; an episode that it cuts is the newest. The stream goes on until the model ends it, the
    budget is spent or the newest episode fills the whole context; the answer comes from what is then in the
    context. It suits thoughts whose episodes carry on what they build upon.

    Attributes:
        budget: tokens of the stream, in place of the solver's thinking budget.
        window: episodes kept.
        context: most thought tokens in view, such as the training budget.
        restate: where an episode needs the ones before it, such as a redo that shares their lines: what stays
            in place of `window`, from the text in view to one that stands alone, or "" to end the stream.
    """

    budget: int
    window: int
    context: int
    restate: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least one episode, got {self.window}")
        if self.budget < 1 or self.context < 1:
            raise ValueError(f"budget and context must be at least 1, got {self.budget} and {self.context}")

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """ValueError if an episode fills the whole context in every stream that gets there."""
        first = replace(solver.thinking, max_new_tokens=min(self.context, self.budget))
        seen = replace(solver, thinking=first).think(problems, seed)
        spent = np.array([len(t.thought_log_probs) for t in seen])
        reread, step, going = np.zeros(len(problems)), 2, list(range(len(problems)))
        while full := [i for i in going if not seen[i].finished and spent[i] < self.budget]:
            slid = {i: kept for i in full if (kept := self._slide(solver.reasoner, seen[i]))}
            if not slid and step == 2:
                wrong = f"an episode of {seen[full[0]].problem_id} fills the whole context of {self.context}"
                raise ValueError(f"{wrong} tokens; a window must be longer than one episode")
            left = [len(kept.thought_ids) + int(self.budget - spent[i]) for i, kept in slid.items()]
            drawn = replace(solver.thinking, seed=stream(seed, step))
            ends = [min(self.context, n) for n in left]
            longer = solver.reasoner.extend(list(slid.values()), drawn, ends)
            for (i, kept), trace in zip(slid.items(), longer, strict=True):
                reread[i] += len(kept.prompt_ids) + len(kept.thought_ids)
                spent[i] += len(trace.thought_log_probs) - len(kept.thought_log_probs)
                seen[i] = trace
            going, step = list(slid), step + 1
        traces = solver.answer(seen, seed)
        spent += [len(t.answer_ids) for t in traces]
        return solver.outcome(problems, traces, spent, reread=reread)

    def _slide(self, reasoner: Reasoner, trace: Trace) -> Trace | None:
        """The trace of a full context with what stays in view; None if no whole episode can leave it."""
        thought, starts = trace.thought_ids, [0, *trace.boundaries][:-1]
        if self.restate is None:  # the last `window` episodes, or as many of them as leave room
            last = (thought[start:] for start in starts[-self.window :])
            kept = next((ids for ids in last if len(ids) < self.context), [])
        else:
            kept = encode(reasoner.tokenizer, self.restate(decode(reasoner.tokenizer, thought)))
        if not 0 < len(kept) < self.context:
            return None
        unsampled = [0.0] * len(kept)
        return replace(trace, thought_ids=kept, boundaries=reasoner.cut(kept), thought_log_probs=unsampled)
