"""`python -m mrt_lib.tasks data/problems` writes every shipped split as JSONL."""

import sys

from mrt_lib.tasks import TASKS
from mrt_lib.tasks.base import write_splits

for task in TASKS:
    write_splits(task, sys.argv[1])
