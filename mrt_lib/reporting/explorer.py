"""Thoughts as the trace explorer shows them: every number on that page is made here, the page only draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mrt_lib.arms.base import Arm, Rollout
from mrt_lib.arms.mrt import MRTExact
from mrt_lib.arms.outcome import GRPO
from mrt_lib.measure.progress import progress
from mrt_lib.measure.regret import cumulative_regret
from mrt_lib.reporting.observation import Observation
from mrt_lib.thoughts.templates import decode

ARMS: dict[str, Arm] = {
    "GRPO": GRPO(scale=False),
    "MRT, own progress": MRTExact("progress", alpha=1.0, scale=False),
    "MRT, regret-to-go": MRTExact("regret_to_go", alpha=1.0, scale=False),
}


def explored(
    observation: Observation, best: np.ndarray, problems: Sequence[int], **labels: Any
) -> list[dict[str, Any]]:
    """All thoughts about the problems of these indices, as JSON with `labels` (model, seed).

    `best`: the comparator after 0 .. horizon episodes. The outcome is the first answer forced at the end.
    What an arm pays is per token: a number for each episode, and for the end of a thought that ended itself.
    `regret` is cumulative: after 0 .. k episodes, and at the horizon.
    """
    found, size, horizon = observation.evaluation, observation.evaluation.rollouts, len(best) - 1
    rollouts, rows = [], []
    for i in (p * size + n for p in problems for n in range(size)):
        problem, answer = observation.problem(i), observation.answers[i][-1][0]
        rollouts.append(Rollout(problem, found.traces[i], i // size, float(answer == problem.answer)))
    paid = {name: arm.credit(rollouts, horizon) for name, arm in ARMS.items()}
    for i, (problem, trace, outcome) in enumerate((r.problem, r.trace, r.reward) for r in rollouts):
        k, values = trace.n_episodes, trace.values
        places = [end - 1 for end in trace.boundaries] + [len(trace.thought_ids)] * trace.finished
        regret = [cumulative_regret(values, n, best) for n in (*range(1, k + 1), horizon)]
        numbers: dict[str, Any] = {"values": values, "progress": progress(values), "regret": [0, *regret]}
        texts = [decode(observation.reasoner.tokenizer, trace.episode(j)) for j in range(k)]
        row = {**labels, "problem": problem.question, "gold": problem.answer, "thought": i % size + 1}
        row |= {"episodes": texts, "tokens": np.diff(trace.boundaries, prepend=0).tolist()}
        row |= {"finished": trace.finished, "outcome": int(outcome)}
        row |= {name: _rounded(own) for name, own in numbers.items()}
        rows.append(row | {"paid": {name: _rounded(own[i][places]) for name, own in paid.items()}})
    return rows


def _rounded(numbers: ArrayLike) -> list[float]:
    return (np.round(np.asarray(numbers, dtype=float), 4) + 0.0).tolist()  # no minus before a zero
