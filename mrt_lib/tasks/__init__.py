"""Tasks: problems, verifiers, right answers and known optima."""

from mrt_lib.tasks.base import ListedTask, Problem, Task, read_problems, select, write_problems
from mrt_lib.tasks.callable import CallableTask, from_callable
from mrt_lib.tasks.countdown import Countdown
from mrt_lib.tasks.math import MathTask
from mrt_lib.tasks.math_sources import PRESETS, Fields, Source
from mrt_lib.tasks.root_search import RootSearch
from mrt_lib.tasks.subset_sum import SubsetSum

SHIPPED: tuple[RootSearch, ...] = (
    RootSearch(31),
    RootSearch(63),
    RootSearch(127),
    RootSearch(31, "xx+b"),
)
TASKS: tuple[ListedTask, ...] = (*SHIPPED, SubsetSum())


def get_task(name: str) -> Task:
    """The task of that name; ValueError lists the known names."""
    for task in TASKS:
        if task.name == name:
            return task
    raise ValueError(f"unknown task {name!r}; known: {[task.name for task in TASKS]}")


__all__ = [
    "PRESETS",
    "SHIPPED",
    "TASKS",
    "CallableTask",
    "Countdown",
    "Fields",
    "MathTask",
    "Problem",
    "RootSearch",
    "Source",
    "SubsetSum",
    "Task",
    "from_callable",
    "get_task",
    "read_problems",
    "select",
    "write_problems",
]
