"""Meta reinforcement fine-tuning: measure how a reasoner spends its tokens, train it to spend them better.

    import mrt_lib

    reasoner = mrt_lib.Reasoner.load("data/models/base")
    mrt_lib.report(reasoner, "data/problems/root_search_31/test.jsonl", folder="build/before")
    mrt_lib.train(reasoner, "root_search_31", mrt_lib.MRTExact("regret_to_go", 2.0), "build/run")
    reasoner.save("build/mine")

Everything is loaded when it is first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

ARMS = "Arm GRPO GRPOExact LengthPenalty MRTExact MRTOffline MRTOnline MRTSTaR Rollout STaR"
RIVALS = "BRPO DLER IGPO MIG SGRPO"
# name: the module it comes from
FACE = {
    "Reasoner": "mrt_lib.reasoner",
    "report": "mrt_lib.reporting.run",
    "train": "mrt_lib.training.run",
    "TrainConfig": "mrt_lib.training.config",
    "Trainer": "mrt_lib.training.loop",
    "Problem": "mrt_lib.tasks",
    "from_callable": "mrt_lib.tasks",
    "Template": "mrt_lib.thoughts",
    **dict.fromkeys(f"{ARMS} {RIVALS}".split(), "mrt_lib.arms"),
}
__all__ = [*FACE, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in FACE:
        raise AttributeError(f"module 'mrt_lib' has no attribute {name!r}; it has {', '.join(FACE)}")
    return getattr(importlib.import_module(FACE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *FACE])
