"""What the harder set offers before training: `python -m experiments.grid_start` records `grid.start_*`."""

import numpy as np
import torch

from experiments.grid_plan import BUDGET, TASK
from experiments.measure import ANSWER_TOKENS, EPISODE_TOKENS, ROLLOUTS, SEED
from experiments.plan import TASKS
from experiments.run import MODELS
from mrt_lib import Reasoner
from mrt_lib.engines import Sampling
from mrt_lib.measure.evaluation import evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.measure.stats import bootstrap
from tools.summary import record

COMMAND = "python -m experiments.grid_start"
PROBLEMS = 100


def main() -> None:
    """Mean J at the training budget and the chance of a mixed group of validation problems, both bases."""
    torch.set_num_threads(1)
    task = TASKS[TASK]
    problems = task.problems["validation"][:: len(task.problems["validation"]) // PROBLEMS][:PROBLEMS]
    asked = Sampling(EPISODE_TOKENS * BUDGET, seed=SEED)
    for base in ("base", "weak"):
        reasoner = Reasoner.load(MODELS / base)
        found = evaluate(reasoner, ExactProver(reasoner, task), problems, ROLLOUTS, asked, ANSWER_TOKENS)
        values = found.by_episode(BUDGET)[..., BUDGET]
        mixed = 1 - values.prod(1) - (1 - values).prod(1)
        for name, own in (("J", values.mean(1)), ("mixed", mixed)):
            record(f"grid.start_{name}_{base}", bootstrap(np.mean, own, seed=0), "probability", COMMAND)


if __name__ == "__main__":
    main()
