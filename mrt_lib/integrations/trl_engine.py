"""TRL's vLLM, in the process or a server, as an `Engine`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from accelerate.utils import gather_object

from mrt_lib.engines.base import Generation, Sampling, cut_at_stop


class TRLEngine:
    """Generates with the vLLM that TRL keeps in step with the weights in training.

    The draws are vLLM's own: `sampling.seed` is not used. The temperature is TRL's.
    """

    def __init__(self, generation: Any) -> None:
        """`generation`: a GRPOTrainer's `vllm_generation`."""
        self.generation = generation

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        limits: Sequence[int] | None = None,
        progress: bool = False,  # noqa: ARG002
    ) -> list[Generation]:
        """See `Engine.generate`; in a distributed run every process must call it.

        Raises:
            ValueError: prompts with limits of their own, which TRL's vLLM cannot have.
        """
        if limits is not None and set(limits) != {sampling.max_new_tokens}:
            raise ValueError("TRL's vLLM generates all prompts with one limit; use an arm that thinks once")
        own = [list(prompt) for prompt in prompts for _ in range(sampling.n)]
        # TRL cuts a server's results into equal shares, so every process asks for equally many.
        most = max(gather_object([len(own)]))
        with self._asking_for(sampling):
            _, token_ids, log_probs, _ = self.generation.generate(own + own[-1:] * (most - len(own)), None, 1)
        return [
            cut_at_stop(list(ids), [_sampled(place) for place in places], sampling.stop)
            for ids, places, _ in zip(token_ids, log_probs, own, strict=False)
        ]

    @contextmanager
    def _asking_for(self, sampling: Sampling) -> Iterator[None]:
        before = vars(self.generation).copy()
        stop = [sequence[0] for sequence in sampling.stop if len(sequence) == 1]
        self.generation.max_completion_length = sampling.max_new_tokens
        self.generation.generation_kwargs = {"stop_token_ids": stop, "ignore_eos": True}
        try:
            yield
        finally:
            for name in ("max_completion_length", "generation_kwargs"):
                setattr(self.generation, name, before[name])


def _sampled(place: Sequence[float | None]) -> float:
    """The sampled token's log-probability; TRL has None where vLLM gave nan."""
    return math.nan if place[0] is None else place[0]
