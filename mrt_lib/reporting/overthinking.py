"""How many tokens of a reasoner's thoughts are wasted: accuracy against tokens, regret, where the answer is
known, what comes after the last gain, and votes at equal tokens.

Every number is a mean over problems, or a ratio of two, with its 95% bootstrap interval over problems.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mrt_lib.measure.progress import kept_values, known_from, piecewise_constant, useful_until
from mrt_lib.measure.regret import VOTES, value_at, vote_regret
from mrt_lib.measure.stats import bootstrap, means_over_seeds
from mrt_lib.measure.voting import majority_at_k
from mrt_lib.reporting.explorer import explored
from mrt_lib.reporting.measured import Measured, Overthinking, Thought
from mrt_lib.reporting.observation import Observation

SHOWN = 8  # problems in the explorer
GAP = 5  # episodes between two boundaries of the vote regret, as in the released code


def measure(
    observation: Observation,
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
    optimum: np.ndarray | None = None,
    budgets: Sequence[int] | None = None,
    threshold: float = 0.5,
    margin: float = 0.05,
    seed: int = 0,
) -> Overthinking:
    """All numbers of an observation; ValueError below 2 problems or answers per prefix, or for bad options.

    Args:
        settings, provenance: kept in the result, the former with the options below.
        optimum: J*_0 .. J*_m of the optimal policy where the task knows it (`task.optimal_values`).
        budgets: tokens at which regret is taken; None for 1/4, 1/2, 1 and 2 times the mean cost of a thought.
        threshold: J from which an answer counts as known, see `known_from`.
        margin: gain in J that is worth thinking for, see `useful_until`.
        seed: of the bootstrap.
    """
    if observation.branches < 2:
        raise ValueError("need at least 2 answers per prefix: one half values where the other half stopped")
    found = observation.evaluation
    cost = float(np.mean([tokens[-1] for tokens in found.tokens]))
    budgets = sorted({round(cost * part) for part in (0.25, 0.5, 1, 2)} if budgets is None else set(budgets))
    thoughts, waste = _waste(observation, threshold, margin, seed)
    curves = _curves(observation, budgets, optimum, seed)
    numbers = (*_shape(observation, seed), *curves, *waste, *_votes(observation, seed))
    options = {"budgets": budgets, "threshold": threshold, "margin": margin, "bootstrap_seed": seed}
    explorer = _explorer(observation, thoughts, optimum, settings)
    return Overthinking({**settings, **options}, dict(provenance), numbers, thoughts, explorer)


def _shape(observation: Observation, seed: int) -> Iterator[Measured]:
    traces = observation.evaluation.traces
    names = ("thought_tokens", "episodes", "finished_share", "final_accuracy")
    rows = [(len(t.thought_ids), t.n_episodes, t.finished, t.values[-1]) for t in traces]
    for name, column in zip(names, np.array(rows, dtype=float).T, strict=True):
        yield _ratio(name, observation, column, np.ones(len(traces)), seed)
    unread = [np.array(prefixes) == "" for prefixes in observation.answers]  # (k + 1, branches) each
    empty, drawn = [u.sum() for u in unread], [u.size for u in unread]
    yield _ratio("unreadable_share", observation, empty, drawn, seed)


def _curves(
    observation: Observation, budgets: Sequence[int], optimum: np.ndarray | None, seed: int
) -> Iterator[Measured]:
    found = observation.evaluation
    longest = max(t.n_episodes for t in found.traces)
    by_episode = found.by_episode(longest).mean(1)
    yield from _means("accuracy_by_episode", by_episode, seed, episode=range(longest + 1))
    grid = sorted({*np.linspace(0, max(budgets), 41).round().tolist(), *map(float, budgets)})
    yield from _means("accuracy", found.by_tokens(grid), seed, tokens=grid)
    regret = np.stack([found.regret(b) for b in budgets], axis=1)
    yield from _means("regret_oracle", regret, seed, tokens=budgets)
    if optimum is not None:
        spent = [found.optimum_tokens(i, len(optimum) - 1) for i in range(len(found.traces))]
        best = found.by_problem([value_at(tokens, optimum, grid) for tokens in spent])
        yield from _means("optimum_accuracy", best, seed, tokens=grid)
        regret = np.stack([found.regret(b, optimum) for b in budgets], axis=1)
        yield from _means("regret_optimum", regret, seed, tokens=budgets)


def _waste(
    observation: Observation, threshold: float, margin: float, seed: int
) -> tuple[tuple[Thought, ...], list[Measured]]:
    found, rows, sure, solves, even = observation.evaluation, [], [], [], []
    mean = np.mean([tokens[-1] for tokens in found.tokens])
    for trace, spent in zip(found.traces, found.tokens, strict=True):
        values, ends = np.asarray(trace.values), [0, *trace.boundaries]
        if not observation.exact:
            values = piecewise_constant(values, observation.branches)
        stop, known = useful_until(values, margin), known_from(values, threshold)
        rows.append(Thought(trace.problem_id, ends[-1], ends[stop], None if known is None else ends[known]))
        sure.append(values[stop] >= threshold)
        solves.append(values.max() >= threshold)
        even.append(value_at(spent, trace.values, mean) - trace.values[-1])
    tokens, useful = np.array([(t.tokens, t.useful) for t in rows]).T
    knows, until = np.array([t.known is not None for t in rows]), np.array([t.known or 0 for t in rows])
    wasted, each, cut = tokens - useful, np.ones(len(rows)), [not t.finished for t in found.traces]
    solved = np.repeat(np.reshape(solves, (-1, found.rollouts)).any(1), found.rollouts)
    ratios = {
        "known_share": (knows, each),
        "known_tokens": (until, knows),
        "known_position": (until, knows * tokens),
        "wasted_share": (wasted, tokens),
        "wasted_known": (wasted * sure, tokens),
        "wasted_unknown": (wasted * ~np.array(sure), tokens),
        "wasted_tokens": (wasted, each),
        "stop_cost": (_stop_costs(observation, margin), each),
        "overthinking_tax": ((tokens - until) * knows, tokens),
        "futility_waste": (tokens * ~solved, tokens),
        "starvation_loss": (solved & ~np.array(solves) & cut, each),
        "right_to_wrong_share": (np.array(solves) & ~knows, each),
        "uniform_regret": (even, each),
    }
    return tuple(rows), [_ratio(name, observation, *parts, seed) for name, parts in ratios.items()]


def _stop_costs(observation: Observation, margin: float) -> list[float]:
    """J at the end minus J at the stop. Where J is sampled, one half of the answers chooses the stop and
    the other half says what it costs, in turn: a lucky draw cannot do both."""
    costs = []
    for i, trace in enumerate(observation.evaluation.traces):
        sides = [(np.array(trace.values), np.array(trace.values))]  # J that chooses the stop, J that it costs
        if not observation.exact:
            right = np.array(observation.answers[i]) == observation.problem(i).answer  # (k + 1, branches)
            even, odd = right[:, ::2], right[:, 1::2]
            halves = [(piecewise_constant(h.mean(1), h.shape[1]), h.mean(1)) for h in (even, odd)]
            sides = [(halves[0][0], halves[1][1]), (halves[1][0], halves[0][1])]
        costs.append(float(np.mean([own[-1] - own[useful_until(seen, margin)] for seen, own in sides])))
    return costs


def _votes(observation: Observation, seed: int) -> Iterator[Measured]:
    found = observation.evaluation
    longest = max(t.n_episodes for t in found.traces)
    votes = [k for k in VOTES if k <= observation.branches]
    extra = (np.array(votes) - 1) * observation.answer_tokens
    majorities, accuracy, cost, think = [], [], [], []
    for i, trace in enumerate(found.traces):
        gold, prefixes = observation.problem(i).answer, observation.answers[i]
        stops = np.minimum(np.arange(longest + 1), trace.n_episodes)
        majorities.append(np.array([[majority_at_k(texts, gold, k) for k in votes] for texts in prefixes]))
        accuracy.append(majorities[i][stops])
        cost.append(found.tokens[i][stops][:, None] + extra)
        think.append(value_at(found.tokens[i], trace.values, cost[-1]))
    shared = {
        "episode": np.repeat(np.arange(longest + 1), len(votes)).tolist(),
        "votes": votes * (longest + 1),
        "tokens": np.mean(cost, axis=0).ravel().tolist(),
    }
    rows = {"vote_accuracy": np.array(accuracy), "vote_gain": np.array(accuracy) - np.array(think)}
    for name, array in rows.items():
        yield from _means(name, found.by_problem(array), seed, **shared)
    if observation.branches >= VOTES[-1] and longest >= GAP:
        lost = [vote_regret(own[::GAP], longest, GAP) for own in majorities]
        yield _ratio("vote_regret", observation, np.nan_to_num(lost), np.isfinite(lost), seed)


def _explorer(
    observation: Observation, thoughts: Sequence[Thought], best: ArrayLike | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    traces, size = observation.evaluation.traces, observation.evaluation.rollouts
    shares = [1 - t.useful / max(1, t.tokens) for t in thoughts]
    overall = sum(t.tokens - t.useful for t in thoughts) / max(1, sum(t.tokens for t in thoughts))
    start = min(range(len(traces)), key=lambda i: (traces[i].n_episodes < 2, abs(shares[i] - overall)))
    chosen = sorted(range(len(traces) // size), key=lambda p: p != start // size)[:SHOWN]
    curve = kept_values([1.0] if best is None else best, 1 + max(1, *(t.n_episodes for t in traces)))
    rows = explored(observation, curve, chosen, model=about["model"], seed=about["seed"])
    comparator = "an oracle that is always right" if best is None else "the optimal policy"
    return {"start": start % size, "comparator": comparator, "best": curve.tolist(), "thoughts": rows}


def _ratio(name: str, observation: Observation, part: ArrayLike, whole: ArrayLike, seed: int) -> Measured:
    parts = (observation.evaluation.by_problem(rows)[:, 0] for rows in (part, whole))
    with np.errstate(invalid="ignore"):
        found = bootstrap(lambda part, whole: part.sum() / whole.sum(), *parts, seed=seed)
    return Measured(name, **vars(found))


def _means(name: str, samples: np.ndarray, seed: int, **where: Sequence[Any]) -> list[Measured]:
    """One number per column of `samples`, each with its place."""
    found = zip(means_over_seeds(samples[None], seed=seed), *where.values(), strict=True)
    return [Measured(name, **vars(mean), **dict(zip(where, at, strict=True))) for mean, *at in found]
