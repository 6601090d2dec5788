"""What is measured on a model that goes back: J by attempt and by token, backtracks, votes, streams."""

from __future__ import annotations

from functools import partial

import numpy as np

from mrt_lib import Reasoner, TrainConfig
from mrt_lib.engines import Sampling
from mrt_lib.measure.evaluation import Evaluation, evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.test_time import MajorityAtK, Solver, draw
from recipes.backtracking.base import ANSWER_TOKENS, AROUND, CONTEXT, TASK
from recipes.backtracking.checks import skills
from recipes.backtracking.evaluation import by_attempt, valued_backtracks
from recipes.backtracking.text import newest_in_full
from recipes.streams import Linearised

BUDGET = AROUND + CONTEXT
TIMES = (1, 2, 4, 8)
# From one token more than an empty thought on: the runs were measured so.
TOKEN_GRID = tuple(range(AROUND + 1, AROUND + 4 * CONTEXT + 2, 2))
REGRET_BUDGETS = tuple(AROUND + 1 + times * CONTEXT for times in (1, 2, 4))
ATTEMPTS, ROLLOUTS, VOTES, SEED = 8, 4, 8, 77


def validate(reasoner: Reasoner) -> float:
    """Mean J at the end of the training context, two rollouts of every second validation problem."""
    found = _evaluate(reasoner, "validation", 2, 2, CONTEXT)
    return float(np.mean([t.values[-1] for t in found.traces]))


def test(reasoner: Reasoner) -> dict[str, np.ndarray]:
    """Per-problem numbers on every fifth test problem.

    Returns:
        value: (problems, 9) mean J before the first and after 1 .. 8 attempts.
        at_tokens: (problems, budgets) mean J at `TOKEN_GRID`.
        regret_oracle: (problems, 3) normalised regret at `REGRET_BUDGETS`.
        thought_tokens, finished: (problems,) mean length, share of thoughts that end themselves.
        way_problem, way_line, way_right, way_before, way_after, way_redone: one entry for each backtrack
            from a wrong attempt, see `Backtrack`.
        lines .. judgement_error: what the traces got right, see `recipes.backtracking.checks.skills`.
        maj_right, maj_tokens: (problems, 4) majority of 1, 2, 4 and 8 samples within the training context.
        stream_right, stream_tokens: (problems, 4) one stream of 1, 2, 4 and 8 training contexts.
    """
    found = _evaluate(reasoner, "test", 5, ROLLOUTS, 4 * CONTEXT)
    ways = np.array(valued_backtracks(found, reasoner.tokenizer)).reshape(-1, 6)
    names = ("problem", "line", "right", "before", "after", "redone")
    return {
        "value": by_attempt(found, reasoner.tokenizer, ATTEMPTS).mean(1),
        "at_tokens": found.by_tokens(TOKEN_GRID),
        "regret_oracle": np.stack([found.regret(b) for b in REGRET_BUDGETS], axis=1),
        "thought_tokens": _per_problem(found, [len(t.thought_ids) for t in found.traces]),
        "finished": _per_problem(found, [t.finished for t in found.traces]),
        **{f"way_{name}": column for name, column in zip(names, ways.T, strict=True)},
        **skills(found, reasoner.tokenizer),
        **_spent(reasoner),
    }


def _evaluate(reasoner: Reasoner, split: str, every: int, rollouts: int, thinking: int) -> Evaluation:
    prover = ExactProver(reasoner, TASK, batch_tokens=TrainConfig.prover_batch_tokens)
    sampling = Sampling(thinking, 1.0, seed=SEED)
    return evaluate(reasoner, prover, TASK.problems[split][::every], rollouts, sampling, ANSWER_TOKENS)


def _per_problem(found: Evaluation, numbers: list) -> np.ndarray:
    return np.array(numbers, dtype=float).reshape(len(found.problems), found.rollouts).mean(1)


def _spent(reasoner: Reasoner) -> dict[str, np.ndarray]:
    """Votes and streams, with every token they generate."""
    problems = TASK.problems["test"][::5]
    solver = Solver(reasoner, TASK, Sampling(CONTEXT, 1.0), Sampling(ANSWER_TOKENS, 1.0))
    samples = draw(solver, problems, VOTES, SEED)
    found = {"maj": [MajorityAtK(k).grade(samples) for k in TIMES], "stream": []}
    restate = partial(newest_in_full, lines=TASK.numbers)
    for times in TIMES:
        method = Linearised(times * CONTEXT, 1, CONTEXT, restate)
        found["stream"].append(method.solve(solver, problems, SEED))
    return {
        f"{name}_{what}": np.stack([getattr(outcome, what) for outcome in outcomes], axis=1)
        for name, outcomes in found.items()
        for what in ("right", "tokens")
    }
