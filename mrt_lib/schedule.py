"""Learning rates over a run."""

from __future__ import annotations

import math


def warmup_cosine(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up to `peak` over `warmup` steps, then a cosine down to a hundredth of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.505 + 0.495 * math.cos(math.pi * done))
