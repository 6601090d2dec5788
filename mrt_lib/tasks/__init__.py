"""Tasks: problems, verifiers, right answers and known optima."""

from collections.abc import Sequence

from mrt_lib.tasks.base import ListedTask, Problem, Task, from_callable, read_problems, select  # noqa: F401
from mrt_lib.tasks.base import write_problems as write_problems
from mrt_lib.tasks.math import MathTask as MathTask
from mrt_lib.tasks.math_sources import PRESETS, Fields, Source  # noqa: F401
from mrt_lib.tasks.root_search import RootSearch

SHIPPED = (RootSearch(31), RootSearch(63), RootSearch(127), RootSearch(31, "xx+b"))
TASKS: dict[str, ListedTask] = {task.name: task for task in SHIPPED}


def register(task: ListedTask) -> None:
    """Let `get_task` find one more task, by its name."""
    TASKS[task.name] = task


def get_task(name: str) -> ListedTask:
    """The task of that name; ValueError lists the known names."""
    if name not in TASKS:
        own = "for a task of your own give task=, see mrt_lib.from_callable"
        raise ValueError(f"unknown task {name!r}; known: {list(TASKS)}; {own}")
    return TASKS[name]


def check_golds(task: Task, problems: Sequence[Problem]) -> None:
    """ValueError if the task calls a gold answer wrong."""
    for problem in problems:
        if not task.score(problem, problem.answer):
            wrong = f"task {task.name!r} calls the gold answer {problem.answer!r} of {problem.id!r} wrong"
            raise ValueError(f"{wrong}; give the task that these problems belong to")


def task_of(problems: Sequence[Problem], task: Task | None) -> Task:
    """The task of these problems, the given one or the one that they name.

    ValueError for no problems, one without a gold answer, or problems of several tasks or an unknown one.
    """
    if not problems:
        raise ValueError("there are no problems")
    for problem in problems:
        if not isinstance(problem, Problem):
            raise TypeError(f"{problem!r} is no Problem; `read_problems` and `MathTask` make them")
        if not problem.answer:
            raise ValueError(f"problem {problem.id!r} has no gold answer, so no answer to it can be right")
    named = sorted({p.task for p in problems})
    if task is None and len(named) > 1:
        raise ValueError(f"the problems belong to the tasks {named}; give one task at a time")
    return task or get_task(named[0])
