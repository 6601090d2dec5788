"""The numbers behind the claims, `i4.claim_*` in the summary, from the committed raw runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from experiments.headline import TRAIN_BUDGET, best_arm, paired
from experiments.load import ArmRuns, arm_runs, setting_runs
from experiments.measure import OTHER_EPISODES, REGRET_BUDGETS, TOKEN_GRID
from experiments.plan import Run
from experiments.records import read_arrays
from experiments.statistics import difference, fewer_tokens
from experiments.test_time_results import KINDS, ROWS, lead_at_equal_tokens
from mrt_lib.measure.stats import Interval, bootstrap, over_seeds
from tools.summary import SUMMARY, record

COMMAND = "python -m experiments.claims"
# Places of REGRET_BUDGETS: 1 episode, the training budget of 4, and 4 times as much.
SMALLEST, AT_BUDGET, FOUR_TIMES = 0, 2, 4
PROBABILITY, REGRET, TIMES = "probability", "normalised regret", "times"
OTHER_TASKS = ("root_search_63", "root_search_127", "root_search_31_square")
# The weight of the length penalty that has as many seeds as the arms which the paper compares.
PENALTY = "length_penalty_0.3"
Found = Iterator[tuple[str, Interval, str]]


def write_records(path: Path = SUMMARY) -> None:
    """Record every number again."""
    for part in (gains, regrets, beyond, episodes, lengths, other_tasks, bases, controls, costs):
        for name, found, unit in part():
            record(f"i4.claim_{name}", found, unit, COMMAND, path)


def gains() -> Found:
    """C1, C2: J at the training budget; tokens for GRPO's J after 2, 4 and 8 episodes, for the base's."""
    mrt, base, grpo = _arm("mrt"), _arm("untrained"), _arm("grpo")
    yield "gain_difference", _lead(mrt, grpo, "value", TRAIN_BUDGET), PROBABILITY
    for place, k in enumerate((2, 4, 8), start=1):
        saved = partial(fewer_tokens, grid=TOKEN_GRID, budget=REGRET_BUDGETS[place])
        found = over_seeds(saved, *_pair(mrt, grpo, "at_tokens"), seed=0)
        yield f"token_efficiency_{k}_episodes", found, "times fewer tokens"
    fewer = partial(fewer_tokens, grid=TOKEN_GRID, budget=REGRET_BUDGETS[AT_BUDGET])
    efficiency = over_seeds(fewer, *_pair(mrt, base, "at_tokens"), seed=0)
    yield "token_efficiency_base", efficiency, "times fewer tokens"


def regrets() -> Found:
    """C3: normalised regret of the rival minus MRT's, within the training budget."""
    for rival in ("grpo", "untrained"):
        for place, k in (("budget", AT_BUDGET), ("smallest", SMALLEST)):
            found = _lead(_arm(rival), _arm("mrt"), "regret_oracle", k)
            yield f"regret_lead_{rival}_{place}", found, REGRET


def beyond() -> Found:
    """C4: J after budget forcing minus J without, and regret at four times the training budget."""
    mrt, grpo = _arm("mrt"), _arm("grpo")
    for name, arm in (("mrt", mrt), ("grpo", grpo)):
        yield (
            f"forced_change_{name}",
            over_seeds(difference, *_forced_and_free(arm), seed=0),
            PROBABILITY,
        )
    yield "regret_lead_grpo_4x", _lead(grpo, mrt, "regret_oracle", FOUR_TIMES), REGRET
    forced = [_forced(arm)["forced_regret_oracle"][..., FOUR_TIMES] for arm in (grpo, mrt)]
    yield "forced_regret_lead_grpo_4x", over_seeds(difference, *forced, seed=0), REGRET


def episodes() -> Found:
    """C5: share of episodes that lower J; a vote after four episodes against thinking on at its tokens."""
    base, grpo = _arm("untrained"), _arm("grpo")
    yield "negative_grpo", over_seeds(np.mean, grpo.arrays["negative"], seed=0), "share of episodes"
    risen = over_seeds(difference, *_pair(grpo, base, "negative"), seed=0)
    yield "negative_grpo_minus_base", risen, "share of episodes"
    yield "negative_base", bootstrap(np.mean, base.arrays["negative"][0], seed=0), "share of episodes"
    for name in ("base", "grpo"):
        rows = read_arrays(name, ROWS)
        vote, going = rows["stop_and_vote:4x8"], [rows[f"stop_and_vote:{k}x1"] for k in (2, 4, 8)]
        right = np.stack([own[0] for own in going], axis=1)
        spent = np.stack([_policy_tokens(own) for own in going], axis=1)
        samples = (vote[0], _policy_tokens(vote), right, spent)
        yield f"vote_lead_{name}", bootstrap(lead_at_equal_tokens, *samples, seed=0), PROBABILITY


def lengths() -> Found:
    """C6, C7, C8: mean tokens of a thought, one arm's over another's, and what goes with them."""
    grpo, base, mrt, penalty = (_arm(name) for name in ("grpo", "untrained", "mrt", PENALTY))
    yield "length_grpo_base", _ratio(grpo, base), TIMES
    weak = (arm_runs(name, base="weak") for name in ("grpo", "untrained"))
    yield "length_grpo_base_weak", _ratio(*weak), TIMES
    yield "regret_rise_grpo", _lead(grpo, base, "regret_oracle", AT_BUDGET), REGRET
    yield "length_grpo_penalty", _ratio(grpo, penalty), TIMES
    yield "penalty_loss", _lead(grpo, penalty, "value", TRAIN_BUDGET), PROBABILITY
    highest = _arm("length_penalty_1")
    yield "length_grpo_penalty_highest", _ratio(grpo, highest), TIMES
    yield "penalty_loss_highest", _lead(grpo, highest, "value", TRAIN_BUDGET), PROBABILITY
    yield "length_grpo_mrt", _ratio(grpo, mrt), TIMES


def other_tasks() -> Found:
    """C9: J after eight episodes on other tasks, MRT minus GRPO; shares of the gain kept there."""
    for task in OTHER_TASKS:
        yield f"retained_difference_{task}", _retained(task), "share of the gain"
    pairs = {task: _pair(_arm("mrt"), _arm("grpo"), f"value_{task}", OTHER_EPISODES) for task in OTHER_TASKS}
    for task, pair in pairs.items():
        yield f"lead_{task}", over_seeds(difference, *pair, seed=0), PROBABILITY
    mrt, grpo = (np.concatenate([pair[i] for pair in pairs.values()], axis=1) for i in (0, 1))
    weights = np.concatenate([np.full_like(own, 1 / own.shape[1]) for own, _ in pairs.values()], axis=1)

    def lead(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
        return float(np.average(a - b, weights=weight))

    yield "lead_other_tasks", over_seeds(lead, mrt, grpo, weights, seed=0), PROBABILITY


def _retained(task: str) -> Interval:
    """Gain on another task / gain on the training task, both after eight episodes, MRT minus GRPO.

    Problems of different tasks are different ones, so the interval is over seeds.
    """
    base, arms = _arm("untrained"), _pair_of_arms("mrt", "grpo")
    gains = [
        [
            own[name][..., OTHER_EPISODES].mean(1) - base.arrays[name][0, :, OTHER_EPISODES].mean()
            for own in arms
        ]
        for name in (f"value_{task}", "value")
    ]

    def kept(*gains: np.ndarray) -> float:
        there_mrt, there_grpo, here_mrt, here_grpo = (own.mean() for own in gains)
        return float(there_mrt / here_mrt - there_grpo / here_grpo)

    return over_seeds(kept, *gains[0], *gains[1], seed=0, axes=("seeds",))


def _pair_of_arms(*names: str) -> list[dict[str, np.ndarray]]:
    """The arrays of several arms for their common seeds."""
    arms = [_arm(name) for name in names]
    return [arm.only([s for s in arm.seeds if all(s in other.seeds for other in arms)]) for arm in arms]


def bases() -> Found:
    """C10: MRT's gain from the weak and from the strong base, with one setting, and their difference."""
    pairs = {}
    for name in ("weak", "strong"):
        trained, start = setting_runs(replace(_arm("mrt").run, base=name)), arm_runs("untrained", base=name)
        if trained is None or start is None:
            return
        pairs[name] = _pair(trained, start, "value", TRAIN_BUDGET)
        yield f"gain_{name}", over_seeds(difference, *pairs[name], seed=0), PROBABILITY
    seeds = min(len(own) for own, _ in pairs.values())
    weak, strong = ((own - start)[:seeds] for own, start in pairs.values())
    yield "gain_weak_minus_strong", over_seeds(difference, weak, strong, seed=0), PROBABILITY


def controls() -> Found:
    """C17, C18: J at the training budget, one arm minus another."""
    for name, arm, rival in (
        ("offline_minus_online", "mrt_offline", "mrt_online_4"),
        ("offline_minus_grpo", "mrt_offline", "grpo"),
        ("online_minus_grpo", "mrt_online_4", "grpo"),
        ("mrt_minus_shuffled", "mrt_regret_to_go", "shuffled_progress"),
        ("offline_minus_prefix_outcome", "mrt_offline", "prefix_outcome"),
        ("mrt_minus_grpo_exact", "mrt", "grpo_exact"),
    ):
        yield name, _lead(_arm(arm), _arm(rival), "value", TRAIN_BUDGET), PROBABILITY


def costs() -> Found:
    """C19: tokens of a run over GRPO's, sampled by policy and meta-prover; for exact values also read."""
    for name in ("mrt_offline", "mrt_online_1", "mrt_online_4", "mrt_online_16"):
        yield f"tokens_{name}", _tokens_ratio(_arm(name), ("policy_tokens", "prover_tokens")), TIMES
    yield "tokens_exact_sampled", _tokens_ratio(_arm("mrt"), ("policy_tokens",)), TIMES
    yield "tokens_exact_read", _tokens_ratio(_arm("mrt"), ("policy_tokens", "prover_tokens")), TIMES


@cache
def _arm(name: str) -> ArmRuns:
    """The committed runs of an arm on the main base; "mrt" is the best MRT arm."""
    found = best_arm() if name == "mrt" else arm_runs(name)
    if found is None:
        raise FileNotFoundError(f"no committed runs of {name}; `make experiments` makes them")
    return found


def _pair(arm: ArmRuns, rival: ArmRuns, name: str, at: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of both for their common seeds; the untrained base has one run, which stands for all."""
    if rival.run.steps and arm.run.steps:
        a, b = paired(arm, rival, name)
    else:
        a, b = np.broadcast_arrays(arm.arrays[name], rival.arrays[name])
    return (a, b) if at is None else (a[..., at], b[..., at])


def _lead(arm: ArmRuns, rival: ArmRuns, name: str, at: int) -> Interval:
    return over_seeds(difference, *_pair(arm, rival, name, at), seed=0)


def _ratio(arm: ArmRuns, rival: ArmRuns) -> Interval:
    return over_seeds(_quotient, *_pair(arm, rival, "thought_tokens"), seed=0)


def _forced(arm: ArmRuns) -> dict[str, np.ndarray]:
    """The arrays of the seeds that were measured under budget forcing."""
    rows = [read_arrays(Run(**facts["run"]).name) for facts in arm.facts]
    rows = [own for own in rows if "forced_value" in own]
    return {name: np.stack([own[name] for own in rows]) for name in rows[0]}


def _forced_and_free(arm: ArmRuns) -> tuple[np.ndarray, np.ndarray]:
    """J at the end of thoughts under budget forcing, and of the same policy's that ended themselves."""
    arrays = _forced(arm)
    return arrays["forced_value"][..., -1], arrays["value"][..., -1]


def _tokens_ratio(arm: ArmRuns, kinds: tuple[str, ...]) -> Interval:
    """Tokens of whole runs over those of GRPO's runs with the same seeds and as many steps."""
    grpo = _arm("grpo")
    seeds = [seed for seed in arm.seeds if seed in grpo.seeds]

    def spent(run: ArmRuns) -> np.ndarray:
        facts = [run.facts[run.seeds.index(seed)] for seed in seeds]
        return np.array([sum(own[kind] for kind in kinds) for own in facts])

    return over_seeds(_quotient, spent(arm), spent(grpo), seed=0, axes=("seeds",))


def _policy_tokens(rows: np.ndarray) -> np.ndarray:
    """Sampled tokens per problem; these methods use no verifier."""
    return rows[KINDS.index("policy")]


def _quotient(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.mean() / b.mean())
