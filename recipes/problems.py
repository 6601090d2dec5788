"""`python -m recipes.problems data/problems` writes every shipped split as JSONL."""

import sys
from pathlib import Path

from mrt_lib.tasks import SHIPPED, ListedTask, Problem, write_problems
from recipes.backtracking.base import TASK

TASKS: tuple[ListedTask, ...] = (*SHIPPED, TASK)
UNSEEN = "root_search_127"  # nothing trains on it, so its test problems alone are shipped


def shipped_splits(task: ListedTask) -> dict[str, list[Problem]]:
    """Split to problems."""
    return {s: found for s, found in task.problems.items() if task.name != UNSEEN or s == "test"}


def write_splits(task: ListedTask, root: str | Path) -> None:
    """Write `root`/<task name>/<split>.jsonl for every shipped split."""
    for split, problems in shipped_splits(task).items():
        write_problems(Path(root) / task.name / f"{split}.jsonl", problems)


if __name__ == "__main__":
    for task in TASKS:
        write_splits(task, sys.argv[1])
