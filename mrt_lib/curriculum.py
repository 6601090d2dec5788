"""A thinking budget that changes during a training run (paper, Figure 12: first short, then long)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from itertools import pairwise

from mrt_lib.algorithms.base import Arm


@dataclass(frozen=True)
class Stage:
    """Steps of a training run that share a thinking budget.

    Attributes:
        start: first step, counted from 0.
        stop: the step after the last.
        thinking_tokens: budget of a thought.
        episodes: the same in episodes, for regret.
    """

    start: int
    stop: int
    thinking_tokens: int
    episodes: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(
                f"a stage from step {self.start} to step {self.stop} has no steps; "
                "start must be at least 0 and stop above start"
            )
        for name in ("thinking_tokens", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a stage must be at least 1, got {getattr(self, name)}")


def check_stages(stages: Sequence[Stage], steps: int) -> None:
    """ValueError unless the stages follow each other from step 0 to the last of `steps`."""
    if not stages:
        return
    names = [f"stage {i} (steps {s.start} to {s.stop - 1})" for i, s in enumerate(stages)]
    if stages[0].start:
        raise ValueError(f"{names[0]} leaves out the steps before it; the first stage must start at 0")
    for i, (one, other) in enumerate(pairwise(stages)):
        if other.start != one.stop:
            fault = "overlap" if other.start < one.stop else "leave a gap"
            raise ValueError(
                f"{names[i]} and {names[i + 1]} {fault}; stage {i + 1} must start at {one.stop}, "
                f"where stage {i} stops"
            )
    if stages[-1].stop != steps:
        raise ValueError(f"{names[-1]} is the last stage of a run of {steps} steps; it must stop at {steps}")


def for_stage(arm: Arm, stage: Stage) -> Arm:
    """The arm with the stage's episodes as its `budget`, if it has one.

    Regret-to-go is the gradient of the regret up to a budget, and a thought that was cut keeps its last
    value up to there (`mrt_lib.progress.regret_to_go`). With the longest stage's budget, early progress in
    a short stage would count hardly more than late progress, and the stage would train another objective
    than a run of that budget alone.
    """
    if is_dataclass(arm) and hasattr(arm, "budget"):
        return replace(arm, budget=stage.episodes)  # type: ignore[arg-type, call-arg]
    return arm
