"""`python -m mrt_lib.tasks data/problems` writes every shipped split as JSONL."""

import sys

from mrt_lib.tasks import SHIPPED
from mrt_lib.tasks.root_search import write_splits

for task in SHIPPED:
    write_splits(task, sys.argv[1])
