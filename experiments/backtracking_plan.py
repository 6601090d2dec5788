"""Which backtracking runs there are, in which order, and which learning rates tuning has chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from experiments.plan import TUNING_SEED
from experiments.records import SCRATCH, read_facts
from mrt_lib.arms import GRPO, Arm, ImitationArm, MRTExact, MRTSTaR, STaR
from recipes.backtracking.arm import MRTBacktrack

RUNS = Path("data/results/backtracking")
SEEDS = range(5)
RL_RATES, STAR_RATES = (2e-4, 4e-4, 8e-4, 1.6e-3), (4e-4, 8e-4, 1.6e-3, 3.2e-3)
WARM_STEPS, WARM_TOKENS = 50, 2048
RL_STEPS = 80
ITERATIONS, STAR_STEPS, STEP_TOKENS = 3, 40, 1024
SCHEMES = {"warm_start": "backtrack", "rise": "rise", "star_data": "star"}
LOSS_ONLY = "star_data"
RL: dict[str, Arm] = {
    "grpo": GRPO(),
    "mrt_backtrack": MRTBacktrack(),
    "mrt_regret_to_go": MRTExact("regret_to_go", alpha=2.0),
}
STAR: dict[str, ImitationArm] = {"star": STaR(), "mrt_star": MRTSTaR("cut")}
ARMS: dict[str, Arm | ImitationArm] = RL | STAR


@dataclass(frozen=True)
class BacktrackingRun:
    """One run: "untrained", a warm start (key of `SCHEMES`) or an arm (key of `ARMS`); peak rate, seed."""

    arm: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Folder of the run's records."""
        return f"backtracking-{self.arm}-lr{self.rate:g}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def tuning(self) -> bool:
        """Tuning runs see validation problems only."""
        return self.seed >= TUNING_SEED

    @property
    def tested(self) -> bool:
        """Its model meets the test problems."""
        return not self.tuning and self.arm != LOSS_ONLY

    @property
    def warms(self) -> bool:
        """Supervised, from the shipped base."""
        return self.arm in SCHEMES

    @property
    def imitates(self) -> bool:
        """In iterations, as STaR does."""
        return self.arm in STAR

    @property
    def scheme(self) -> str:
        """Of a warm start."""
        return SCHEMES[self.arm]

    @property
    def warm_start(self) -> BacktrackingRun:
        """The run that made the model which this one starts from."""
        return warm(self.seed)

    @property
    def model_folder(self) -> Path:
        """Where a warm start leaves its model for the arms."""
        return SCRATCH / self.name / "model"

    def done(self) -> bool:
        """Its records are complete."""
        return facts(self) is not None


def facts(run: BacktrackingRun) -> dict | None:
    """run.json of a complete run."""
    return read_facts(run.name, RUNS)


def warm(seed: int, arm: str = "warm_start") -> BacktrackingRun:
    """The warm start of one seed; its rate is not tuned."""
    return BacktrackingRun(arm, 1e-3, seed)


def tuning_runs(arm: str) -> list[BacktrackingRun]:
    """Four learning rates for every arm."""
    rates = STAR_RATES if arm in STAR else RL_RATES
    return [BacktrackingRun(arm, rate, TUNING_SEED) for rate in rates]


def chosen(arm: str) -> BacktrackingRun | None:
    """The tuning run with the highest validation J; None before all are done."""
    found = [(facts(run), run) for run in tuning_runs(arm)]
    if any(own is None for own, _ in found):
        return None
    return max(found, key=lambda pair: pair[0]["validation_J"])[1]  # type: ignore[index]


def seed_runs(arm: str) -> list[BacktrackingRun]:
    """The runs of an arm after tuning; none before."""
    if arm == "untrained":
        return [BacktrackingRun(arm, 0.0, 0)]
    first = warm(0, arm) if arm in SCHEMES else chosen(arm)
    return [replace(first, seed=seed) for seed in SEEDS] if first else []


def plan() -> list[BacktrackingRun]:
    """Every run that can be started now or is done: tuning first, then seed by seed."""
    tuning = [run for arm in ARMS for run in tuning_runs(arm)]
    order = [*seed_runs("untrained"), warm(TUNING_SEED), *tuning]
    for seed in SEEDS:
        order += [run for arm in (*SCHEMES, *ARMS) for run in seed_runs(arm) if run.seed == seed]
    return order
