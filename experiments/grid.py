"""The field side by side on the harder set: `python -m experiments.grid [--jobs N]`. Resumes."""

from functools import cached_property

from experiments import run
from experiments.grid_plan import RUNS, GridRun, plan
from experiments.grid_results import write_results
from experiments.schedule import command_line
from mrt_lib.tasks import SHIPPED, Problem, RootSearch

FAR_OFFSETS = range(32, 48)


class FarOffsets(RootSearch):
    """x(x+b) with offsets b that no stage of any base has seen: functions that are new to it."""

    @property
    def name(self) -> str:
        """Folder-safe name."""
        return f"{super().name}_far"

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Test problems alone."""
        return {"test": [self.problem(x, b) for b in FAR_OFFSETS for x in range(1, self.candidates + 1)]}


OTHERS = (*SHIPPED, FarOffsets(31))


def execute(grid_run: GridRun) -> None:
    """Do a run from its newest checkpoint on and write its records."""
    run.execute(grid_run, RUNS, OTHERS, forced=False)


if __name__ == "__main__":
    command_line("experiments.grid", __doc__, plan, execute, write_results)
