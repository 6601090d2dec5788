"""`python -m recipes.problems data/problems` writes every shipped split as JSONL."""

import sys
from pathlib import Path

from mrt_lib.tasks import SHIPPED, ListedTask, write_problems
from recipes.backtracking.base import TASK

TASKS: tuple[ListedTask, ...] = (*SHIPPED, TASK)


def write_splits(task: ListedTask, root: str | Path) -> None:
    """Write `root`/<task name>/<split>.jsonl for every split."""
    for split, problems in task.problems.items():
        write_problems(Path(root) / task.name / f"{split}.jsonl", problems)


if __name__ == "__main__":
    for task in TASKS:
        write_splits(task, sys.argv[1])
