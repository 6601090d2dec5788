"""Budget forcing: a thought that the model has closed is reopened some times (s1; paper, Appendix F)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, cycle

import numpy as np
from transformers import PreTrainedTokenizerBase

from mrt_lib.arms.base import stream
from mrt_lib.budget_forcing import force_on
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import Template, encode
from mrt_lib.test_time.base import Outcome, Solver, judged, sampled_tokens
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class BudgetForcing:
    """Up to `extensions` times the end of the thought gives way to the next continue marker.

    A thought that the budget cuts is answered after the stop text; where even then no answer can be read,
    `Outcome.unanswered` says so and the problem counts as wrong.
    """

    extensions: int

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """See `Method.solve`; ValueError as from `force_on`."""
        parts = (solver.engine, solver.tokenizer, solver.template)
        drawn = replace(solver.thinking, seed=stream(seed, 2))
        forced = force_on(*parts, solver.think(problems, seed), drawn, self.extensions)
        traces = solver.answer(forced, seed)
        return judged(solver, problems, traces, [forced_tokens(*parts[1:], t) for t in traces])


def forced_tokens(tokenizer: PreTrainedTokenizerBase, template: Template, trace: Trace) -> int:
    """Sampled tokens of a trace from `force_on`: without the markers, with the ends that they replaced."""
    markers = int(np.isnan(trace.thought_log_probs).sum())
    lengths = cycle([len(encode(tokenizer, marker)) for marker in template.continue_markers])
    ends = 0 if not markers else 1 + next(i for i, n in enumerate(accumulate(lengths)) if n >= markers)
    return sampled_tokens(trace) - markers + ends
