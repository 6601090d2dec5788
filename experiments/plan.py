"""Which runs there are, in which order, and which settings tuning has chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from experiments.records import RUNS, read_facts
from mrt_lib.arms import GRPO, Arm, GRPOExact, LengthPenalty, MRTExact, MRTOffline, MRTOnline
from mrt_lib.tasks import SHIPPED
from mrt_lib.training.losses import LossConfig
from recipes.controls import PrefixOutcome, ShuffledProgress

STEPS, PROMPTS, GROUP = 160, 8, 4
PLENTY = {"steps": 80, "prompts": 32, "group": 8}
RATES = (7e-4, 1.5e-3, 3e-3)
TUNING_SEED = 1000
FINE_RATES = (3.5e-4, 7e-4, 1e-3, 1.5e-3)
FINE_SEEDS = range(1010, 1013)
TASKS = {task.name: task for task in SHIPPED}
BUDGETS = {"root_search_31": 4, "root_search_63": 5}
HEADLINE = ("grpo", "grpo_exact", "mrt_regret_to_go", "mrt_log_progress")
RATE_CONTROLS = ("grpo_exact_at_mrt_rate", "grpo_at_mrt_rate", "mrt_regret_to_go_at_grpo_rate")
ON_WEAK = HEADLINE[:3]
FINE_ORDER = ("mrt_regret_to_go", "grpo_exact", "grpo", "mrt_log_progress")
FIVE_SEEDS = ("mrt_progress", "mrt_offline", "mrt_online_4", "length_penalty_0.3")
SLOWEST = "mrt_online_16"

UNSCALED, SEQUENCE_MEAN = "unscaled", "sequence_mean"
LOSSES = (True, False, SEQUENCE_MEAN)


@dataclass(frozen=True)
class ArmSpec:
    """An arm and its tuning.

    Attributes:
        build: the arm for one value of its knob.
        knobs: the value at which learning rates are tried, and two others to try at the best rate.
        like: the arm whose tuned learning rate and knob are taken over instead.
        rate_of: the arm whose tuned learning rate is taken, in a control of the rate.
        fine: other values of the knob, tried in the fine tuning at its best rate.
    """

    build: Callable[[Any], Arm]
    knobs: tuple[Any, ...] = ()
    like: str = ""
    rate_of: str = ""
    fine: tuple[Any, ...] = ()


def _scaled(build: Callable[..., Arm]) -> Callable[[Any], Arm]:
    """An arm whose knob only says whether advantages are divided by the group's standard deviation."""
    return lambda knob: build(scale=knob not in (False, UNSCALED))


def paid(build: Callable[..., Arm], alpha: float, **fixed: Any) -> Callable[[Any], Arm]:
    """An arm whose knob is alpha, or "unscaled" with the first alpha."""

    def arm(knob: Any) -> Arm:
        own = alpha if knob == UNSCALED else knob
        return build(alpha=own, scale=knob != UNSCALED, **fixed)

    return arm


def _other_rate(arm: str, rate_of: str) -> ArmSpec:
    return replace(ARMS[arm], knobs=(), like=arm, rate_of=rate_of)


def _offline(knob: Any) -> Arm:
    return MRTOffline("group", scale=False) if knob == UNSCALED else MRTOffline(knob)


def _length_penalty(weight: float, correct_only: bool = True) -> ArmSpec:
    return ArmSpec(_scaled(partial(LengthPenalty, weight, correct_only)), like="grpo")


def _exact(rule: str, alpha: float) -> ArmSpec:
    fine = (alpha, alpha / 2, alpha / 4)
    return ArmSpec(paid(MRTExact, alpha, rule=rule), (alpha, 4 * alpha, UNSCALED), fine=fine)


def _online(branches: int, rule: str = "progress") -> ArmSpec:
    arm = paid(MRTOnline, 2.0, branches=branches, rule=rule)
    if (branches, rule) == (4, "progress"):
        return ArmSpec(arm, (2.0, 8.0, UNSCALED))
    return ArmSpec(arm, like="mrt_online_4" if rule == "progress" else "mrt_regret_to_go")


ARMS: dict[str, ArmSpec] = {
    "grpo": ArmSpec(_scaled(GRPO), LOSSES, fine=LOSSES),
    "grpo_exact": ArmSpec(_scaled(GRPOExact), LOSSES, fine=LOSSES),
    "mrt_regret_to_go": _exact("regret_to_go", 2.0),
    "mrt_log_progress": _exact("log_progress", 0.5),
    "mrt_progress": _exact("progress", 2.0),
    "mrt_offline": ArmSpec(_offline, ("group", "termination", UNSCALED)),
    "mrt_online_4": _online(4),
    "length_penalty_0.1": _length_penalty(0.1),
    "length_penalty_0.3": _length_penalty(0.3),
    "length_penalty_1": _length_penalty(1.0),
    "length_penalty_0.3_all": _length_penalty(0.3, correct_only=False),
    "mrt_online_1": _online(1),
    "mrt_online_16": _online(16),
    "mrt_online_4_regret_to_go": _online(4, "regret_to_go"),
    "shuffled_progress": ArmSpec(paid(ShuffledProgress, 2.0, rule="regret_to_go"), like="mrt_regret_to_go"),
    "prefix_outcome": ArmSpec(_scaled(PrefixOutcome), like="mrt_offline"),
}
ARMS |= {
    "grpo_at_mrt_rate": _other_rate("grpo", "mrt_regret_to_go"),
    "grpo_exact_at_mrt_rate": _other_rate("grpo_exact", "mrt_regret_to_go"),
    "mrt_regret_to_go_at_grpo_rate": _other_rate("mrt_regret_to_go", "grpo"),
}


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        arm: key of `ARMS`, or "untrained".
        knob: the arm's one tuned setting.
        rate: peak learning rate.
        seed: of the run.
        base: name of the shipped reasoner.
        steps: collections of rollouts.
        task: what it is trained and tested on.
        prompts, group: problems per step and rollouts of each.
    """

    arm: str
    knob: Any
    rate: float
    seed: int
    base: str = "base"
    steps: int = STEPS
    task: str = "root_search_31"
    prompts: int = PROMPTS
    group: int = GROUP

    @property
    def name(self) -> str:
        """Folder of the run's records."""
        size = f"{self.steps}x{self.prompts}x{self.group}"
        return f"{self.arm}-{self.knob}-lr{self.rate:g}-seed{self.seed}-{self.base}-{self.task}-{size}"

    @property
    def budget(self) -> int:
        """Thinking budget in training, in episodes: as many as the optimal policy needs."""
        return BUDGETS[self.task]

    @property
    def tuning(self) -> bool:
        """Tuning runs see validation problems only."""
        return self.seed >= TUNING_SEED

    @property
    def loss(self) -> LossConfig:
        """DAPO's normalisation, or GRPO's own mean per rollout where that is the knob."""
        return LossConfig("grpo" if self.knob == SEQUENCE_MEAN else "dapo")

    def make_arm(self) -> Arm:
        """The arm with its knob set; an untrained run never uses its own."""
        return ARMS[self.arm].build(self.knob) if self.steps else GRPO()

    def done(self, runs: Path = RUNS) -> bool:
        """Its records are complete."""
        return read_facts(self.name, runs) is not None


class Named(Protocol):
    """What its records are found by."""

    @property
    def name(self) -> str:
        """Folder of the run's records."""


SomeRun = TypeVar("SomeRun", bound=Run)
SomeNamed = TypeVar("SomeNamed", bound=Named)


def tuning_runs(arm: str, runs: Path = RUNS) -> list[Run]:
    """Five runs for every arm: three learning rates, then the knob's other two values at the best of them."""
    first, *others = ARMS[arm].knobs
    rates = [Run(arm, first, rate, TUNING_SEED) for rate in RATES]
    best = best_setting([[run] for run in rates], runs)
    return rates + [replace(best, knob=knob) for knob in others] if best else rates


def weak_grid() -> list[Run]:
    """The settings that tuning tried on the main base, tried on the weak base as well."""
    return [run for arm in ON_WEAK for run in _weak_tuning(arm)]


def _weak_tuning(arm: str, runs: Path = RUNS) -> list[Run]:
    return [replace(run, base="weak") for run in tuning_runs(arm, runs)]


def chosen_on_weak(arm: str, runs: Path = RUNS) -> Run | None:
    """The best setting on the weak base, under the name of the control that has this setting; or None."""
    best = best_setting([[run] for run in _weak_tuning(arm, runs)], runs)
    return replace(best, arm=_named(best, runs)) if best else None


def fine_tuning(arm: str, runs: Path = RUNS) -> list[list[Run]]:
    """Six settings, three seeds each: four rates at the chosen knob, then two other knobs at the best."""
    first = chosen(arm, runs)
    if first is None:
        return []
    rates = [at_fine_seeds(replace(first, rate=rate)) for rate in FINE_RATES]
    best = best_setting(rates, runs)
    knobs = [knob for knob in ARMS[arm].fine if knob != first.knob]
    return rates + [at_fine_seeds(replace(best, knob=knob)) for knob in knobs] if best else rates


def finely_chosen(arm: str, runs: Path = RUNS) -> Run | None:
    """The best of the fine tuning, under the name of the control that has this setting; or None."""
    grid = fine_tuning(arm, runs)
    best = best_setting(grid, runs) if len(grid) > len(FINE_RATES) else None
    return replace(best, arm=_named(best, runs)) if best else None


def at_fine_seeds(setting: SomeRun) -> list[SomeRun]:
    """The setting at each seed of the fine tuning."""
    return [replace(setting, seed=seed) for seed in FINE_SEEDS]


def best_setting(grid: list[list[SomeRun]], runs: Path, score: str = "validation_J4") -> SomeRun | None:
    """The setting with the highest mean score over its seeds; None if a run is missing."""
    facts = [[read_facts(run.name, runs) for run in setting] for setting in grid]
    if not all(all(own) for own in facts):
        return None
    scores = [sum(f[score] for f in own if f) for own in facts]
    return grid[scores.index(max(scores))][0]


def _named(run: Run, runs: Path) -> str:
    """The control of the rate whose runs have this setting, or the arm's own name."""
    for name in RATE_CONTROLS:
        control = chosen(name, runs)
        if ARMS[name].like == run.arm and control and (control.knob, control.rate) == (run.knob, run.rate):
            return name
    return run.arm


def chosen(arm: str, runs: Path = RUNS) -> Run | None:
    """The tuned setting, by J after 4 episodes at the last two validations; None before tuning ended."""
    spec = ARMS[arm]
    if spec.rate_of:
        own, other = chosen(spec.like, runs), chosen(spec.rate_of, runs)
        return replace(own, arm=arm, rate=other.rate) if own and other else None
    grid = tuning_runs(spec.like or arm, runs)
    best = best_setting([[run] for run in grid], runs) if len(grid) > len(RATES) else None
    return replace(best, arm=arm) if best else None


def seeds(arm: str, numbers: range, **changes: Any) -> list[Run]:
    """Runs of the tuned arm; none before it is tuned."""
    best = chosen(arm)
    return [replace(best, seed=n, **changes) for n in numbers] if best else []


def plan() -> list[Run]:
    """Every run that can be started now or is done, most needed first."""
    tuned = [arm for arm in ARMS if ARMS[arm].knobs]
    rest = [arm for arm in ARMS if arm not in HEADLINE]
    order = _fair_control()
    order += [Run("untrained", None, 0.0, 0, base, 0) for base in ("base", "weak", "strong")]
    order += [run for arm in HEADLINE for run in tuning_runs(arm)] + _by_seed(HEADLINE, range(5))
    order += [run for arm in tuned for run in tuning_runs(arm)]
    order += _by_seed([arm for arm in rest if arm != SLOWEST], range(3)) + _by_seed(HEADLINE, range(5, 10))
    order += _elsewhere(HEADLINE[:3]) + _by_seed([*FIVE_SEEDS], range(3, 5)) + _by_seed((SLOWEST,), range(3))
    order += weak_grid() + _by_seed(("grpo_at_mrt_rate", *HEADLINE[:3]), range(5), base="weak")
    order += _by_seed(("grpo",), range(3), steps=3 * STEPS) + _elsewhere(HEADLINE)
    return list(dict.fromkeys(order))


def _fair_control() -> list[Run]:
    """Does credit add to a tuned outcome? Equal rates, each arm tuned on the weak base, a finer tuning."""
    on_weak = [best for arm in ON_WEAK if (best := chosen_on_weak(arm))]
    order = weak_grid() + [replace(best, seed=n) for n in range(5) for best in on_weak]
    order += _by_seed(RATE_CONTROLS, range(3, 10))
    order += [run for arm in FINE_ORDER for setting in fine_tuning(arm) for run in setting]
    fine = [best for arm in HEADLINE if (best := finely_chosen(arm))]
    order += [replace(best, seed=n) for n in range(10) for best in fine]
    return order + _by_seed(HEADLINE, range(3), **PLENTY)


def _elsewhere(arms: Sequence[str]) -> list[Run]:
    """On the other bases."""
    return [run for base in ("weak", "strong") for run in _by_seed(arms, range(3), base=base)]


def _by_seed(arms: Sequence[str], numbers: range, **changes: Any) -> list[Run]:
    """All arms at one seed before the next, so that any interim table compares like with like."""
    return [run for n in numbers for arm in arms for run in seeds(arm, range(n, n + 1), **changes)]
