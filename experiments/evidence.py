"""Does credit add to a tuned outcome, and what do the paper's own arms gain? `evidence.*` in the summary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.headline import (
    TRAIN_BUDGET,
    gain_ratio,
    paired,
    ratio_of_gains,
    token_efficiency,
    tokens_to_best,
)
from experiments.load import ArmRuns, arm_runs, setting_runs
from experiments.plan import ARMS, HEADLINE, ON_WEAK, PLENTY, finely_chosen
from experiments.records import RUNS
from experiments.statistics import difference
from mrt_lib.measure.stats import Interval, over_seeds
from tools.summary import SUMMARY, record

COMMAND = "make results"
FEWEST_SEEDS = 5
RATIO, PROBABILITY = "times the gain", "probability"
Found = Iterator[tuple[str, Interval, str]]


def write_evidence(path: Path = SUMMARY) -> None:
    """Record every number again whose runs are there."""
    for part in (ratios, equal_rates, plenty, one_seed, tokens):
        for name, found, unit in part():
            record(f"evidence.{name}", found, unit, COMMAND, path)


def tuned(arm: str, runs: Path = RUNS) -> ArmRuns:
    """The runs of the fine tuning's choice; of the first one where there was none or it has no seeds yet."""
    best = finely_chosen(arm, runs) if ARMS[arm].fine else None
    found = setting_runs(best, runs) if best else None
    return found if found and len(found.seeds) >= FEWEST_SEEDS else _arm(arm, runs)


def ratios() -> Found:
    """Gain of one arm over the base / gain of another, after as many episodes as in training."""
    base, grpo, exact, mrt, log = _arm("untrained"), *(tuned(arm) for arm in HEADLINE)
    for name, own, rival in (
        ("gain_ratio", mrt, grpo),
        ("gain_ratio_exact_outcome", exact, grpo),
        ("credit_over_exact_outcome", mrt, exact),
        ("log_progress_over_exact_outcome", log, exact),
        ("gain_ratio_log_progress", log, grpo),
        ("gain_ratio_paper", _arm("mrt_online_4"), grpo),
        ("gain_ratio_paper_offline", _arm("mrt_offline"), grpo),
    ):
        yield name, gain_ratio(own, rival, base, TRAIN_BUDGET), RATIO
    yield "credit_minus_exact_outcome", _lead(mrt, exact, TRAIN_BUDGET), PROBABILITY
    yield "log_progress_minus_exact_outcome", _lead(log, exact, TRAIN_BUDGET), PROBABILITY
    yield "credit_minus_exact_outcome_2x", _lead(mrt, exact, 2 * TRAIN_BUDGET), PROBABILITY
    start, noiseless, credit = (arm_runs(arm, base="weak") for arm in ("untrained", *ON_WEAK[1:]))
    if start and noiseless and credit:
        found = gain_ratio(credit, noiseless, start, TRAIN_BUDGET)
        yield "credit_over_exact_outcome_weak", found, RATIO


def equal_rates() -> Found:
    """Credit against the exact outcome, and against GRPO past the budget, at one learning rate for both."""
    base, mrt, grpo = _arm("untrained"), _arm("mrt_regret_to_go"), _arm("grpo_at_mrt_rate")
    low = gain_ratio(mrt, _arm("grpo_exact_at_mrt_rate"), base, TRAIN_BUDGET)
    high = gain_ratio(_arm("mrt_regret_to_go_at_grpo_rate"), _arm("grpo_exact"), base, TRAIN_BUDGET)
    low_lead = _lead(mrt, _arm("grpo_exact_at_mrt_rate"), 2 * TRAIN_BUDGET)
    yield "credit_over_exact_outcome_low_rate", low, RATIO
    yield "credit_minus_exact_outcome_low_rate_2x", low_lead, PROBABILITY
    yield "credit_over_exact_outcome_high_rate", high, RATIO
    yield "lead_equal_rate", _lead(mrt, grpo, TRAIN_BUDGET), PROBABILITY
    yield "lead_equal_rate_2x", _lead(mrt, grpo, 2 * TRAIN_BUDGET), PROBABILITY


def plenty() -> Found:
    """Regret-to-go with four times the rollouts in half the steps; each arm as it was first tuned without."""
    grpo, exact, mrt = (arm_runs(arm, **PLENTY) for arm in HEADLINE[:3])
    if grpo and exact and mrt:
        yield "plenty_minus_grpo", _lead(mrt, grpo, TRAIN_BUDGET), PROBABILITY
        yield "plenty_minus_exact_outcome", _lead(mrt, exact, TRAIN_BUDGET), PROBABILITY


def one_seed() -> Found:
    """The first choice's gain ratio without leaning on one seed: of medians, and with each seed left out."""
    base, mrt, grpo = _arm("untrained"), _arm("mrt_regret_to_go"), _arm("grpo")
    own, rival = (value[..., TRAIN_BUDGET].mean(1) for value in paired(mrt, grpo, "value"))
    start = base.arrays["value"][0, :, TRAIN_BUDGET].mean()

    def of_medians(own: np.ndarray, rival: np.ndarray) -> float:
        return ratio_of_gains(np.median(own), np.median(rival), start)

    yield "gain_ratio_of_medians", over_seeds(of_medians, own, rival, seed=0, axes=("seeds",)), RATIO
    left = [ratio_of_gains(np.delete(own, i), np.delete(rival, i), start) for i in range(len(own))]
    whole = ratio_of_gains(own, rival, start)
    yield "gain_ratio_leave_one_out", Interval(whole, min(left), max(left), len(own)), RATIO


def tokens() -> Found:
    """Tokens of a thought for the J of finely tuned GRPO; training tokens, read ones too, for its best J."""
    fewer = token_efficiency(tuned("mrt_regret_to_go"), tuned("grpo"))
    yield "token_efficiency", fewer, "times fewer tokens"
    found = tokens_to_best(_arm("mrt_regret_to_go"), _arm("grpo"), read=True)
    yield "tokens_to_grpo_best_read", found, "share of GRPO's tokens"


def _arm(name: str, runs: Path = RUNS) -> ArmRuns:
    if (found := arm_runs(name, runs)) is None:
        raise FileNotFoundError(f"no committed runs of {name}; `make experiments` makes them")
    return found


def _lead(arm: ArmRuns, rival: ArmRuns, episodes: int) -> Interval:
    own, other = paired(arm, rival, "value")
    return over_seeds(difference, own[..., episodes], other[..., episodes], seed=0)
