"""Tasks: problems, verifiers, right answers and known optima."""

from mrt_lib.tasks.base import Problem, Task, read_problems, select, write_problems
from mrt_lib.tasks.callable import CallableTask, from_callable
from mrt_lib.tasks.countdown import Countdown
from mrt_lib.tasks.math import MathTask
from mrt_lib.tasks.math_sources import PRESETS, Fields, Source
from mrt_lib.tasks.root_search import RootSearch

SHIPPED: tuple[RootSearch, ...] = (
    RootSearch(31),
    RootSearch(63),
    RootSearch(127),
    RootSearch(31, "xx+b"),
)


def get_task(name: str) -> Task:
    """The task of that name; ValueError lists the known names."""
    for task in SHIPPED:
        if task.name == name:
            return task
    raise ValueError(f"unknown task {name!r}; known: {[task.name for task in SHIPPED]}")


__all__ = [
    "PRESETS",
    "SHIPPED",
    "CallableTask",
    "Countdown",
    "Fields",
    "MathTask",
    "Problem",
    "RootSearch",
    "Source",
    "Task",
    "from_callable",
    "get_task",
    "read_problems",
    "select",
    "write_problems",
]
