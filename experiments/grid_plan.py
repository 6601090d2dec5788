"""The field side by side: which runs there are, in which order, and what tuning has chosen; see GRID.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments.load import setting_runs
from experiments.plan import ARMS, SEQUENCE_MEAN, UNSCALED, ArmSpec, Run, at_fine_seeds, best_setting, paid
from experiments.records import read_facts
from experiments.statistics import difference
from mrt_lib.arms import BRPO, DLER, GRPO, IGPO, MIG, SGRPO, Arm, LengthPenalty, MRTExact, MRTOnline
from mrt_lib.measure.stats import over_seeds

RUNS = Path("data/results/grid")
TASK, BUDGET = "root_search_63", 5
SCORE = f"validation_J{BUDGET}"
RATES = (5e-4, 1e-3, 2e-3)
FURTHER = 0.7  # times the best rate: tried by an arm with only one other setting of its own
SAMPLED = 4
SEEDS, MORE_SEEDS = range(5), range(5, 10)


def _credit(rule: str, alpha: float, branches: int | None = None) -> ArmSpec:
    build = partial(MRTOnline, branches) if branches else MRTExact
    return ArmSpec(paid(build, alpha, rule=rule), (alpha, alpha / 4, UNSCALED))


def _brpo(branches: int | None = None) -> ArmSpec:
    def arm(knob: str) -> Arm:
        own = {"baseline": knob} if knob == "v2only" else {"prior": knob}
        return BRPO(branches=branches, **own)

    return ArmSpec(arm, ("uniform", "linear", "v2only"))


def _mig(branches: int | None = None) -> ArmSpec:
    return ArmSpec(paid(MIG, 1.0, branches=branches), (1.0, 0.25, UNSCALED))


def _fixed(build: Callable[..., Arm]) -> ArmSpec:
    """An arm without a setting of its own, or with the loss averaged per rollout."""
    return ArmSpec(lambda _: build(), ("own", SEQUENCE_MEAN))


GRID: dict[str, ArmSpec] = {
    "grpo": ARMS["grpo"],
    "grpo_exact": ARMS["grpo_exact"],
    "mrt_regret_to_go": _credit("regret_to_go", 2.0),
    "brpo": _brpo(),
    "mrt_progress": _credit("progress", 2.0),
    "igpo": _fixed(IGPO),
    "mrt_regret_to_go_4": _credit("regret_to_go", 2.0, SAMPLED),
    "brpo_4": _brpo(SAMPLED),
    "mrt_online_4": _credit("progress", 2.0, SAMPLED),
    "dler": _fixed(DLER),
    "s_grpo": ArmSpec(SGRPO, ("exits", "right")),
    "mrt_offline": ARMS["mrt_offline"],
    "mig": _mig(),
    "mig_4": _mig(SAMPLED),
    "mrt_log_progress": _credit("log_progress", 0.5),
    "length_penalty": ArmSpec(LengthPenalty, (0.3, 0.1, 0.03)),
}
# Each wave is tuned, then run; what is cut first when time is short comes last.
WAVES = (
    ("grpo", "grpo_exact", "mrt_regret_to_go"),
    ("brpo", "mrt_progress", "igpo"),
    ("mrt_regret_to_go_4", "brpo_4", "mrt_online_4", "dler", "s_grpo", "mrt_offline"),
    ("mrt_log_progress", "mig", "mig_4", "length_penalty"),
)
ON_WEAK = ("grpo", "grpo_exact", "mrt_regret_to_go", "brpo", "dler", "mrt_online_4")


@dataclass(frozen=True)
class GridRun(Run):
    """One run on the harder set."""

    task: str = TASK

    def make_arm(self) -> Arm:
        """The arm with its knob set; an untrained run never uses its own."""
        return GRID[self.arm].build(self.knob) if self.steps else GRPO()

    def done(self, runs: Path = RUNS) -> bool:
        """Its records are complete."""
        return read_facts(self.name, runs) is not None


UNTRAINED = GridRun("untrained", UNSCALED, 0.0, 0, steps=0)


def tuning(arm: str, runs: Path = RUNS) -> list[list[GridRun]]:
    """Five settings, three seeds each: three rates, then other knobs, or one and a rate, at the best."""
    first, *others = GRID[arm].knobs
    rates = [at_fine_seeds(GridRun(arm, first, rate, 0)) for rate in RATES]
    best = best_setting(rates, runs, SCORE)
    if best is None:
        return rates
    more = [replace(best, knob=knob) for knob in others]
    if len(others) == 1:
        more.append(replace(best, rate=round(FURTHER * best.rate, 6)))
    return rates + [at_fine_seeds(setting) for setting in more]


def chosen(arm: str, runs: Path = RUNS) -> GridRun | None:
    """The setting with the highest mean J after five episodes over its validation seeds; None before."""
    settings = tuning(arm, runs)
    return best_setting(settings, runs, SCORE) if len(settings) > len(RATES) else None


def contenders(runs: Path = RUNS) -> list[str]:
    """Arms whose J after five episodes is not surely below the best one's; none before all are done."""
    found = {arm: setting_runs(best, runs) for arm in GRID if (best := chosen(arm, runs))}
    values = {
        arm: own.only(list(SEEDS))["value"][..., BUDGET]
        for arm, own in found.items()
        if own and set(SEEDS) <= set(own.seeds)
    }
    if len(values) < len(GRID):
        return []
    best = max(values, key=lambda arm: values[arm].mean())
    return [arm for arm in values if over_seeds(difference, values[arm], values[best], seed=0).high >= 0]


def plan(runs: Path = RUNS) -> list[GridRun]:
    """Every run that can be started now or is done, most needed first."""
    order = [UNTRAINED, replace(UNTRAINED, base="weak")]
    for wave in WAVES:
        order += [run for arm in wave for setting in tuning(arm, runs) for run in setting]
        order += _by_seed(wave, SEEDS, runs)
    order += _by_seed(contenders(runs), MORE_SEEDS, runs)
    return order + _by_seed(ON_WEAK, SEEDS, runs, base="weak")


def _by_seed(arms: Sequence[str], numbers: Iterable[int], runs: Path, **changes: Any) -> list[GridRun]:
    """All arms at one seed before the next, so that any interim table compares like with like."""
    tuned = [best for arm in arms if (best := chosen(arm, runs))]
    return [replace(best, seed=n, **changes) for n in numbers for best in tuned]
