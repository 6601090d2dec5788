"""Generation with Transformers: the engine that runs everywhere, LoRA adapters on or off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from mrt_lib.batching import by_length
from mrt_lib.engines.base import Generation, Sampling, check_prompts, cut_at_stop


class TransformersEngine:
    """Generates with `model.generate`; a peft model samples with its active adapter.

    Every generation has its own random stream, made from the seed and its position in the result, so
    how prompts are batched does not change what is drawn. A prompt is read once for all its generations.
    """

    def __init__(self, model: PreTrainedModel, batch_tokens: int = 65_536) -> None:
        """`batch_tokens`: most tokens (padding and new ones included) of one batch."""
        self.model: Any = model
        self.batch_tokens = batch_tokens

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, progress: bool = False
    ) -> list[Generation]:
        """See `Engine.generate`. Prompts of similar length run together."""
        check_prompts(prompts, sampling, self.model.config.max_position_embeddings)
        lengths = [(len(p) + sampling.max_new_tokens) * sampling.n for p in prompts]
        results: dict[int, Generation] = {}
        with _bar(len(prompts), progress) as bar:
            for chosen in by_length(lengths, self.batch_tokens):
                rows = [i * sampling.n + branch for i in chosen for branch in range(sampling.n)]
                generations = self._generate_batch([prompts[i] for i in chosen], rows, sampling)
                results |= dict(zip(rows, generations, strict=True))
                bar.update(len(chosen))
        return [results[row] for row in range(len(prompts) * sampling.n)]

    @torch.inference_mode()
    def _generate_batch(
        self, prompts: list[Sequence[int]], rows: list[int], sampling: Sampling
    ) -> list[Generation]:
        ids, mask = _pad_left(prompts, self.model.device)
        sampler = _Sampler(rows, sampling)
        training = self.model.training
        self.model.eval()
        output = self.model.generate(
            input_ids=ids.repeat_interleave(sampling.n, dim=0),
            attention_mask=mask.repeat_interleave(sampling.n, dim=0),
            past_key_values=self._read_once(ids, mask, sampling.n),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            logits_processor=LogitsProcessorList([sampler]),
            stopping_criteria=StoppingCriteriaList([_StopSequences(sampling.stop, ids.shape[1])]),
        )
        self.model.train(training)
        new_tokens = output[:, ids.shape[1] :].tolist()
        log_probs = torch.stack(sampler.log_probs, dim=1).tolist()
        return [cut_at_stop(*row, sampling.stop) for row in zip(new_tokens, log_probs, strict=True)]

    def _read_once(self, ids: torch.Tensor, mask: torch.Tensor, n: int) -> Any:
        """Keys and values of all but the last prompt token, `n` times; None if that saves nothing."""
        if n == 1 or ids.shape[1] == 1:
            return None
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        own = {"attention_mask": mask[:, :-1], "position_ids": positions[:, :-1]}
        cache = self.model(ids[:, :-1], **own, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(n)
        return cache


class _Sampler(LogitsProcessor):
    """Draws the next token by inverting the cumulative distribution at the row's next uniform."""

    def __init__(self, rows: list[int], sampling: Sampling) -> None:
        self.log_probs: list[torch.Tensor] = []
        self._greedy = sampling.temperature == 0
        self._uniforms = np.array(
            [np.random.default_rng((sampling.seed, row)).random(sampling.max_new_tokens) for row in rows]
        )
        self._warpers: Any = LogitsProcessorList()
        if sampling.temperature not in (0, 1):
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        log_probs = torch.log_softmax(self._warpers(input_ids, scores.float()), dim=-1)
        chosen = log_probs.argmax(-1, keepdim=True) if self._greedy else self._draw(log_probs)
        self.log_probs.append(log_probs.gather(1, chosen)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)

    def _draw(self, log_probs: torch.Tensor) -> torch.Tensor:
        cumulative = log_probs.double().exp().cumsum(-1)
        uniform = torch.from_numpy(self._uniforms[:, len(self.log_probs)]).to(cumulative.device)
        return torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)


class _StopSequences(StoppingCriteria):
    """Marks rows whose last new tokens are one of the stop sequences."""

    def __init__(self, sequences: tuple[tuple[int, ...], ...], start: int) -> None:
        self._sequences = sequences
        self._start = start

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:  # noqa: ARG002
        done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        new = input_ids[:, self._start :]
        for sequence in (s for s in self._sequences if len(s) <= new.shape[1]):
            done |= (new[:, -len(sequence) :] == new.new_tensor(sequence)).all(1)
        return done


def _pad_left(prompts: list[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(p) for p in prompts)
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return ids.to(device), mask.to(device)


def _bar(total: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="generate", unit="prompt", disable=not progress)
