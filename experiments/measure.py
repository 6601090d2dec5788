"""What is measured on a trained model: values along the thought, tokens, regret, votes, other ranges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.plan import BUDGETS
from mrt_lib import Reasoner, TrainConfig
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.measure.evaluation import Evaluation, assess, evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.tasks import Problem, RootSearch
from recipes.root_search.checks import skills
from recipes.streams import force_on

EPISODE_TOKENS = 11
ANSWER_TOKENS = 2.0
EPISODES = 16
OTHER_EPISODES = 8
ROLLOUTS = 4
VOTES = 10
EXTENSIONS = 8
# Most extensions are short and a batch ends with its longest, so small batches are twice as fast here.
FORCED_BATCH_TOKENS = 6000
# What the optimal policy spends on 1, 2, 4, 8 and 16 episodes: prompt 14, trials of 11, "time up </think>" 3.
REGRET_BUDGETS = tuple(14 + EPISODE_TOKENS * k + 3 + int(ANSWER_TOKENS) for k in (1, 2, 4, 8, 16))
TOKEN_GRID = tuple(range(20, 221, 10))
SEED = 77


def validate(reasoner: Reasoner, task: RootSearch) -> np.ndarray:
    """Mean value after 0 .. 8 episodes on validation problems, two rollouts each, shape (9,)."""
    found = _evaluate(reasoner, task, _some(task, "validation", 140), 2, 8)
    return found.by_episode(8).mean((0, 1))


def test(
    reasoner: Reasoner, task: RootSearch, others: Sequence[RootSearch], forced: bool
) -> dict[str, np.ndarray]:
    """Per-problem numbers on the test problems of the training task, and J on the other tasks.

    Returns:
        value: (problems, 17) mean J after 0 .. 16 episodes.
        at_tokens: (problems, budgets) mean J at `TOKEN_GRID`.
        regret_oracle, regret_optimum: (problems, 5) normalised regret at `REGRET_BUDGETS`.
        thought_tokens, episodes, finished, negative: (problems,) lengths; share of traces that end
            themselves; share of episodes that lower J by more than .01.
        votes: (problems, 10) sampled answers at the training budget, 0 where none could be read.
        vote_tokens: (problems, 10) tokens of each.
        gold: (problems,).
        trials .. search: what the traces got right, see `recipes.root_search.checks.skills`.
        forced_value, forced_at_tokens, forced_regret_oracle: like their namesakes, for one trace of each
            problem, lengthened by up to 8 extensions; only if `forced`.
        value_<task>: (problems, 9) mean J after 0 .. 8 episodes of each other task.
    """
    found = _tested(reasoner, task)
    problems = found.problems
    arrays = {
        **_along(found, task),
        **(_forced(reasoner, task, found) if forced else {}),
        "gold": np.array([int(p.answer) for p in problems]),
        **skills(found, reasoner.tokenizer, task),
        **_votes(reasoner, problems, EPISODE_TOKENS * BUDGETS[task.name]),
    }
    for other in (t for t in others if t != task):
        valued = _evaluate(reasoner, other, _some(other, "test", 100), 1, OTHER_EPISODES)
        arrays[f"value_{other.name}"] = valued.by_episode(OTHER_EPISODES).mean(1)
    return arrays


def test_thoughts(reasoner: Reasoner, task: RootSearch) -> dict[str, np.ndarray]:
    """The first eight arrays of `test`, value to negative, same numbers; the rest takes most of its time."""
    return _along(_tested(reasoner, task), task)


def _tested(reasoner: Reasoner, task: RootSearch) -> Evaluation:
    return _evaluate(reasoner, task, _some(task, "test", 200), ROLLOUTS, EPISODES)


def _along(found: Evaluation, task: RootSearch) -> dict[str, np.ndarray]:
    """What the thoughts themselves show."""
    optimum = task.optimal_values(EPISODES)
    return {
        "value": found.by_episode(EPISODES).mean(1),
        "at_tokens": found.by_tokens(TOKEN_GRID),
        "regret_oracle": np.stack([found.regret(b) for b in REGRET_BUDGETS], axis=1),
        "regret_optimum": np.stack([found.regret(b, optimum) for b in REGRET_BUDGETS], axis=1),
        **_shapes(found),
    }


def _some(task: RootSearch, split: str, at_least: int) -> list[Problem]:
    """`at_least` problems of a split, evenly spaced, or all if there are fewer; up to twice as many."""
    problems = task.problems[split]
    return problems[:: max(1, len(problems) // at_least)]


def _evaluate(
    reasoner: Reasoner, task: RootSearch, problems: Sequence[Problem], rollouts: int, episodes: int
) -> Evaluation:
    return evaluate(reasoner, _prover(reasoner, task), problems, rollouts, _thinking(episodes), ANSWER_TOKENS)


def _forced(reasoner: Reasoner, task: RootSearch, found: Evaluation) -> dict[str, np.ndarray]:
    """The first trace of every problem with budget forcing, to the same thinking budget."""
    engine = TransformersEngine(reasoner.model, FORCED_BATCH_TOKENS)
    small = Reasoner(reasoner.model, reasoner.tokenizer, reasoner.template, engine)
    traces = force_on(small, found.traces[:: found.rollouts], _thinking(EPISODES), EXTENSIONS)
    forced = assess(reasoner, _prover(reasoner, task), found.problems, traces, ANSWER_TOKENS)
    return {
        "forced_value": forced.by_episode(EPISODES).mean(1),
        "forced_at_tokens": forced.by_tokens(TOKEN_GRID),
        "forced_regret_oracle": np.stack([forced.regret(b) for b in REGRET_BUDGETS], axis=1),
    }


def _thinking(episodes: int) -> Sampling:
    return Sampling((EPISODE_TOKENS + 1) * episodes, 1.0, seed=SEED)


def _prover(reasoner: Reasoner, task: RootSearch) -> ExactProver:
    return ExactProver(reasoner, task, batch_tokens=TrainConfig.prover_batch_tokens)


def _shapes(found: Evaluation) -> dict[str, np.ndarray]:
    def per_problem(numbers: list[float]) -> np.ndarray:
        return np.array(numbers).reshape(len(found.problems), found.rollouts).mean(1)

    drops = [float(np.mean(np.diff(t.values) < -0.01)) if t.n_episodes else 0.0 for t in found.traces]
    return {
        "thought_tokens": per_problem([len(t.thought_ids) for t in found.traces]),
        "episodes": per_problem([t.n_episodes for t in found.traces]),
        "finished": per_problem([t.finished for t in found.traces]),
        "negative": per_problem(drops),
    }


def _votes(reasoner: Reasoner, problems: Sequence[Problem], thinking: int) -> dict[str, np.ndarray]:
    repeated = [p for p in problems for _ in range(VOTES)]
    thoughts = reasoner.think(repeated, Sampling(thinking, 1.0, seed=SEED))
    traces = reasoner.answer(thoughts, Sampling(int(ANSWER_TOKENS), 1.0, seed=SEED + 1))
    texts = [reasoner.read(t.answer_ids) for t in traces]
    answers = [int(text) if text.isdecimal() else 0 for text in texts]
    tokens = [len(t.prompt_ids) + len(t.thought_ids) + 3 + len(t.answer_ids) for t in traces]
    shape = (len(problems), VOTES)
    return {
        "votes": np.array(answers, dtype=np.int16).reshape(shape),
        "vote_tokens": np.array(tokens, dtype=np.int16).reshape(shape),
    }
