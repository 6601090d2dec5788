"""Linearised evaluation: one stream of attempts, the newest of which stay in view (paper, section 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrt_lib.arms.base import stream
from mrt_lib.thoughts.episodes import cut_thought
from mrt_lib.rollouts import extend
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import decode, encode
from mrt_lib.test_time.base import Outcome, Solver, judged
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class Linearised:
    """One thought of up to `budget` tokens through a context of `context` tokens of thought.

    When the context is full, all but the last `window` episodes leave it, or as many of these as leave room
    for one token. The stream goes on until the model ends it or the budget is spent; the answer comes from
    what is then in the context. It suits thoughts whose episodes carry on what they build upon. A full
    context may cut an episode; what there is of it is the newest of the window. A stream whose newest episode
    fills the whole context (a model that has lost its format) ends there.

    Where an episode needs the ones before it, such as a redo that shares their lines, `restate` writes what
    stays: from the text in view to a text that stands alone, or "", which ends the stream.

    Attributes:
        budget: tokens of the stream.
        window: episodes kept, at least 1.
        context: most thought tokens in view, such as the training budget.
        restate: replaces `window`, see above.
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
        """See `Method.solve`; in place of the solver's thinking budget stands `budget`.

        Raises:
            ValueError: an episode fills the whole context in every stream that gets there.
        """
        first = replace(solver.thinking, max_new_tokens=min(self.context, self.budget))
        seen = replace(solver, thinking=first).think(problems, seed)
        spent = np.array([len(t.thought_log_probs) for t in seen])
        reread, step = np.zeros(len(problems)), 2
        going = list(range(len(problems)))
        while full := [i for i in going if not seen[i].finished and spent[i] < self.budget]:
            slid = {i: kept for i in full if (kept := self._slide(solver, seen[i]))}
            if not slid and step == 2:
                raise ValueError(
                    f"an episode of {seen[full[0]].problem_id} fills the whole context of {self.context} "
                    "tokens; a window must be longer than one episode"
                )
            going = list(slid)
            for i, kept in slid.items():
                seen[i] = kept
                reread[i] += len(kept.prompt_ids) + len(kept.thought_ids)
            longer = self._extended(
                solver, [seen[i] for i in going], self.budget - spent[going], stream(seed, step)
            )
            for i, trace in zip(going, longer, strict=True):
                spent[i] += len(trace.thought_log_probs) - len(seen[i].thought_log_probs)
                seen[i] = trace
            step += 1
        traces = solver.answer(seen, seed)
        spent += [len(t.answer_ids) for t in traces]
        return judged(solver, problems, traces, spent, reread=reread)

    def _slide(self, solver: Solver, trace: Trace) -> Trace | None:
        """The trace of a full context with what stays in view; None if no whole episode can leave it."""
        kept = self._newest(trace) if self.restate is None else self._restated(solver, trace)
        if not 0 < len(kept) < self.context:
            return None
        log_probs = [0.0] * len(kept)  # nobody samples them here
        boundaries = cut_thought(solver.tokenizer, solver.template, kept)
        return replace(trace, thought_ids=kept, boundaries=boundaries, thought_log_probs=log_probs)

    def _newest(self, trace: Trace) -> list[int]:
        """The last `window` episodes, or as many of them as leave room; all tokens if none does."""
        thought, starts = trace.thought_ids, [0, *trace.boundaries][:-1]
        return next(
            (thought[start:] for start in starts[-self.window :] if len(thought) - start < self.context),
            thought,
        )

    def _restated(self, solver: Solver, trace: Trace) -> list[int]:
        assert self.restate is not None
        return encode(solver.tokenizer, self.restate(decode(solver.tokenizer, trace.thought_ids)))

    def _extended(self, solver: Solver, traces: list[Trace], left: np.ndarray, seed: int) -> list[Trace]:
        """The traces thought on to the end of the context, or for the tokens that are `left`."""
        ends = [min(self.context, len(t.thought_ids) + n) for t, n in zip(traces, left.tolist(), strict=True)]
        longer = list(traces)
        for end in sorted(set(ends)):
            own = [i for i, e in enumerate(ends) if e == end]
            drawn = replace(solver.thinking, max_new_tokens=end, seed=stream(seed, end))
            parts = (solver.engine, solver.tokenizer, solver.template, [traces[i] for i in own], drawn)
            for i, trace in zip(own, extend(*parts), strict=True):
                longer[i] = trace
        return longer
