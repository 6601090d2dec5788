"""Training methods: an arm collects rollouts and credits their tokens, or keeps some to imitate."""

from mrt_lib.algorithms.base import Arm, Policy, Rollout
from mrt_lib.algorithms.controls import PrefixOutcome, ShuffledProgress
from mrt_lib.algorithms.grpo import GRPO
from mrt_lib.algorithms.grpo_exact import GRPOExact
from mrt_lib.algorithms.length_penalty import LengthPenalty
from mrt_lib.algorithms.mrt_backtrack import MRTBacktrack
from mrt_lib.algorithms.mrt_exact import MRTExact
from mrt_lib.algorithms.mrt_offline import MRTOffline
from mrt_lib.algorithms.mrt_online import MRTOnline
from mrt_lib.algorithms.mrt_star import MRTSTaR
from mrt_lib.algorithms.star import ImitateAll, STaR, StarArm

__all__ = [
    "GRPO",
    "Arm",
    "GRPOExact",
    "ImitateAll",
    "LengthPenalty",
    "MRTBacktrack",
    "MRTExact",
    "MRTOffline",
    "MRTOnline",
    "MRTSTaR",
    "Policy",
    "PrefixOutcome",
    "Rollout",
    "STaR",
    "ShuffledProgress",
    "StarArm",
]
