"""Training methods: an arm collects rollouts and credits their tokens, or keeps some to imitate."""

from mrt_lib.arms.base import Arm, ImitationArm, Policy, Rollout
from mrt_lib.arms.mrt import MRTExact, MRTOffline, MRTOnline
from mrt_lib.arms.outcome import GRPO, GRPOExact, LengthPenalty
from mrt_lib.arms.rivals import BRPO, DLER, IGPO, MIG, SGRPO
from mrt_lib.arms.star import MRTSTaR, STaR

__all__ = ["BRPO", "DLER", "GRPO", "IGPO", "MIG", "SGRPO", "Arm", "GRPOExact", "ImitationArm"]
__all__ += ["LengthPenalty", "MRTExact", "MRTOffline", "MRTOnline", "MRTSTaR", "Policy", "Rollout", "STaR"]
