"""Training methods: an arm collects rollouts and credits their tokens, or keeps some to imitate."""

from mrt_lib.arms.base import Arm, ImitationArm, Policy, Rollout
from mrt_lib.arms.mrt import MRTExact, MRTOffline, MRTOnline
from mrt_lib.arms.outcome import GRPO, GRPOExact, LengthPenalty
from mrt_lib.arms.star import MRTSTaR, STaR

__all__ = ["GRPO", "Arm", "GRPOExact", "ImitationArm", "LengthPenalty", "MRTExact", "MRTOffline"]
__all__ += ["MRTOnline", "MRTSTaR", "Policy", "Rollout", "STaR"]
