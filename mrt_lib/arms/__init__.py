"""Training methods: an arm collects rollouts and credits their tokens, or keeps some to imitate."""

from mrt_lib.arms.base import Arm, ImitationArm, Policy, Rollout
from mrt_lib.arms.grpo import GRPO
from mrt_lib.arms.grpo_exact import GRPOExact
from mrt_lib.arms.length_penalty import LengthPenalty
from mrt_lib.arms.mrt_exact import MRTExact
from mrt_lib.arms.mrt_offline import MRTOffline
from mrt_lib.arms.mrt_online import MRTOnline
from mrt_lib.arms.mrt_star import MRTSTaR
from mrt_lib.arms.star import ImitateAll, STaR

__all__ = [
    "GRPO",
    "Arm",
    "GRPOExact",
    "ImitateAll",
    "ImitationArm",
    "LengthPenalty",
    "MRTExact",
    "MRTOffline",
    "MRTOnline",
    "MRTSTaR",
    "Policy",
    "Rollout",
    "STaR",
]
