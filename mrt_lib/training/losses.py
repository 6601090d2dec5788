"""Clipped policy-gradient losses of groups of rollouts: GRPO, Dr. GRPO and DAPO.

A batch has one row per rollout and one column per token. Every loss is a weighted sum over tokens,

    loss = sum_it w_it * (-min(rho_it A_it, clip(rho_it, 1 - low, 1 + high) A_it) + beta rho_it KL_it),

with rho_it = pi(token) / pi_old(token). In the KL term rho corrects for tokens drawn from pi_old; its
own gradient makes the whole that of KL(pi, reference) (DeepSeek-V3.2, arXiv 2512.02556). The losses
differ in the weights w alone, which are one number per rollout and known before the first forward
pass, so micro-batches add up to the whole.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch

from mrt_lib.engines.base import check_numbers

Normalisation = Literal["grpo", "dr_grpo", "dapo"]


@dataclass(frozen=True)
class LossConfig:
    """Which loss.

    Attributes:
        normalisation: "grpo" averages within each rollout and then over rollouts, "dr_grpo" divides
            by rollouts times the token limit, "dapo" by the generated tokens of the batch.
        clip_low, clip_high: how far the ratio may fall and rise before the gradient stops.
        kl: beta, weight of the KL divergence from the reference policy; 0 leaves it out.
    """

    normalisation: Normalisation = "dapo"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: float = 0.0

    def __post_init__(self) -> None:
        if self.normalisation not in ("grpo", "dr_grpo", "dapo"):
            raise ValueError(f"normalisation must be grpo, dr_grpo or dapo, got {self.normalisation!r}")
        check_numbers(self, "loss.", clip_low=0, clip_high=0, kl=0)
        if self.clip_low >= 1:
            raise ValueError(f"loss.clip_low must be below 1, got {self.clip_low}")


def rollout_weights(lengths: torch.Tensor, normalisation: Normalisation, limit: int) -> torch.Tensor:
    """Weight of every token of each rollout in the loss, shape (rollouts,).

    `lengths`: (rollouts,) tokens that the policy generated; `limit`: most a rollout may have (dr_grpo).
    """
    if normalisation == "grpo":
        return 1 / (len(lengths) * lengths.clamp(min=1))
    if normalisation == "dr_grpo":
        return torch.full(lengths.shape, 1 / (len(lengths) * limit))
    return torch.full(lengths.shape, 1 / max(1, int(lengths.sum())))


def policy_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    weights: torch.Tensor,
    config: LossConfig,
    reference: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of some rows of a batch, and what to log of it.

    Args:
        log_probs, old_log_probs, reference: (rollouts, tokens) in nats, under the policy in training, the one
            that generated them, and the reference policy, if `config.kl` is not 0.
        advantages, mask: (rollouts, tokens); whether the policy generated the token.
        weights: (rollouts,) from `rollout_weights` of the whole batch.

    `clip_share` and `kl` are sums over the rows' tokens with the same weights as the loss.
    """
    per_token = weights[:, None] * mask
    log_ratio = torch.where(mask, log_probs - old_log_probs, 0.0)
    # Where the clip takes over, an infinite ratio would still turn the gradient into nan.
    ratio = torch.where(advantages > 0, log_ratio.clamp(max=20.0), log_ratio).exp()
    gain, clipped = (r * advantages for r in (ratio, ratio.clamp(1 - config.clip_low, 1 + config.clip_high)))
    losses = -torch.minimum(gain, clipped)
    divergence = torch.zeros_like(losses)
    if reference is not None:
        divergence = ratio * kl_estimate(torch.where(mask, reference - log_probs, 0.0))
        losses = losses + config.kl * divergence
    logged = {"clip_share": gain > clipped, "kl": divergence.detach()}
    return (per_token * losses).sum(), {name: float((per_token * x).sum()) for name, x in logged.items()}


def kl_estimate(log_ratio: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimate of KL(policy, reference), log_ratio = log reference - log policy.

    Never negative, and unbiased for tokens drawn from the policy.
    """
    return log_ratio.exp() - log_ratio - 1


def autocast(model: Any) -> AbstractContextManager:
    """bf16 autocast on GPUs that compute it natively, and on a CPU for weights in bf16, whose fp32 adapters
    then cost no more than the weights; fp32 elsewhere."""
    device, half = model.device, model.dtype == torch.bfloat16
    native = torch.cuda.get_device_capability(device) >= (8, 0) if device.type == "cuda" else half
    return torch.autocast(device.type, torch.bfloat16) if native else nullcontext()
