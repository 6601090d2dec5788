"""Generation with Transformers: the engine that runs everywhere, LoRA adapters on or off."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import (
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    generation,
)

import mrt_lib.engines.base as base
from mrt_lib.engines.base import Generation, Limits, Prompts, Sampling

# Weights of an output layer; of a larger one, on a CPU, `generate` makes a copy for every prompt it reads.
SMALL = 2**22


class TransformersEngine:
    """Generates with `model.generate`; a peft model samples with its active adapter.

    Every generation has its own random stream, made from the seed and its position in the result, so how
    prompts are batched does not change what is drawn. Prompts that are the same are read once.
    """

    def __init__(self, model: PreTrainedModel, batch_tokens: int = 65_536) -> None:
        """`batch_tokens`: most tokens of one batch, padding and new ones included."""
        self.model: Any = model
        self.batch_tokens = batch_tokens

    def generate(
        self, prompts: Prompts, sampling: Sampling, limits: Limits = None, progress: bool = False
    ) -> list[Generation]:
        """See `Engine.generate`. Prompts of similar length run together."""
        context, n = base.context_of(self.model.config), sampling.n
        limits = base.check_prompts(prompts, sampling, limits, context)
        results = [Generation([], [], "length")] * (len(prompts) * n)
        asked = [i for i, limit in enumerate(limits) if limit]
        sizes, rooms = [len(prompts[i]) for i in asked], [limits[i] for i in asked]
        with tqdm(total=len(asked), desc="generate", unit="prompt", disable=not progress) as bar:
            for batch in self._batches(sizes, self.batch_tokens // n, rooms, context or math.inf):
                rows = [asked[place] * n + branch for place in batch for branch in range(n)]
                room = [limits[row // n] for row in rows]
                found = self._generate_batch([prompts[asked[place]] for place in batch], rows, room, sampling)
                for row, own in zip(rows, found, strict=True):
                    results[row] = own
                bar.update(len(batch))
        return results

    def _batches(self, sizes: list[int], most: int, rooms: list[int], context: float) -> list[list[int]]:
        """Batches by length; without padding where a layer carries a state, which padding would enter."""
        batches = base.by_length(sizes, most, rooms, context)
        if attends(self.model):
            return batches
        return [
            [i for i in batch if sizes[i] == size] for batch in batches for size in {sizes[j] for j in batch}
        ]

    @torch.inference_mode()
    def _generate_batch(
        self, prompts: list[Sequence[int]], rows: list[int], room: list[int], sampling: Sampling
    ) -> list[Generation]:
        """Generations `rows` of the result, which may have `room` tokens each."""
        every = [prompt for prompt in prompts for _ in range(sampling.n)]
        ids, mask = (own.to(self.model.device) for own in _padded(every))
        longest = ids.shape[1]
        sampler = _Sampler(rows, max(room), sampling)
        training, settings = self.model.training, self.model.generation_config
        self.model.eval()
        # The policy itself is sampled: a checkpoint's own penalties, bans and limits are not of it.
        self.model.generation_config = generation.GenerationConfig()
        try:
            output = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=self._read_once(every, sampling.n),
                max_new_tokens=max(room),
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                logits_processor=generation.LogitsProcessorList([sampler]),
                stopping_criteria=generation.StoppingCriteriaList([_Ends(sampling.stop, room, longest)]),
            )
        finally:
            self.model.train(training)
            self.model.generation_config = settings
        new_tokens = output[:, longest:].tolist()
        log_probs = torch.stack(sampler.log_probs, dim=1).tolist()
        found = zip(new_tokens, log_probs, room, strict=True)
        return [base.cut_at_stop(ids[:most], own[:most], sampling.stop) for ids, own, most in found]

    def _read_once(self, prompts: Prompts, n: int) -> Any:
        """Keys and values of all but the last token of every prompt, equal ones read once, without logits.

        None where `generate` may as well read one prompt a row, or could not go on from them.
        """
        model, own = self.model, [tuple(prompt[:-1]) for prompt in prompts]
        small = model.get_output_embeddings().weight.numel() <= SMALL
        if (n == 1 and small) or not any(own) or not attends(model):
            return None
        distinct = list(dict.fromkeys(own))
        ids, mask = (part.to(model.device) for part in _padded(distinct))
        asked = {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        cache = model.get_decoder()(ids, **asked, use_cache=True).past_key_values
        cache.batch_select_indices(torch.tensor([distinct.index(p) for p in own], device=model.device))
        return cache


def _padded(prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids with padding on the left, and the mask that hides it."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts])
    return ids, torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])


@torch.inference_mode()
def attends(model: Any) -> bool:
    """Whether every layer of a model looks back by attention alone, over the whole sequence.

    Only then can several continuations hang on one prefix, apart by a mask, or on copies of its keys and
    values. Layers that carry a state (convolutions, Mamba, linear attention) read no masks: seen by trying.
    """
    if (known := getattr(model, "_mrt_attends", None)) is None:
        text = model.config.get_text_config(decoder=True)
        window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
        kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
        # No layer forgets what is too long ago.
        whole = kinds == {"full_attention"} and (window is None or hasattr(text, "layer_types"))
        known = model._mrt_attends = whole and _reads_masks(model)
    return known


def _reads_masks(model: Any) -> bool:
    """A token that a mask hides changes nothing: the last of four, which sees the first, is as if second."""
    training = model.training
    ids = torch.arange(4, device=model.device)[None] % model.get_input_embeddings().num_embeddings
    seen = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]], dtype=torch.bool)
    added = torch.zeros(1, 1, 4, 4, dtype=model.dtype, device=model.device)
    added.masked_fill_(~seen.to(model.device), torch.finfo(model.dtype).min)
    positions = torch.tensor([[0, 1, 2, 1]], device=model.device)
    model.eval()
    try:
        hidden = model(input_ids=ids, attention_mask=added, position_ids=positions, use_cache=False)
        masked, alone = hidden.logits[0, 3], model(input_ids=ids[:, [0, 3]], use_cache=False).logits[0, 1]
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError, NotImplementedError):
        return False
    finally:
        model.train(training)
    close = 1e-4 if model.dtype == torch.float32 else 0.05
    return bool((masked - alone).abs().max() <= close * alone.float().std().clamp(min=1e-6))


class _Sampler(generation.LogitsProcessor):
    """Draws the next token by inverting the cumulative distribution at the row's next uniform number."""

    def __init__(self, rows: list[int], most: int, sampling: Sampling) -> None:
        self.log_probs: list[torch.Tensor] = []
        self._greedy = sampling.temperature == 0
        self._uniforms = np.array([np.random.default_rng((sampling.seed, row)).random(most) for row in rows])
        self._warpers: Any = generation.LogitsProcessorList()
        if sampling.temperature not in (0, 1):
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k and not self._greedy:
            self._warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1 and not self._greedy:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        log_probs = torch.log_softmax(self._warpers(input_ids, scores.float()), dim=-1)
        if log_probs.amax(-1).isnan().any():  # greedy, a nan would be a token like any other
            raise FloatingPointError("the model gives no probabilities (nan): load it in another dtype")
        if self._greedy:
            chosen = log_probs.argmax(-1, keepdim=True)
        else:
            cumulative = log_probs.exp().cumsum(-1, dtype=torch.float64)
            uniform = torch.from_numpy(self._uniforms[:, len(self.log_probs)]).to(cumulative.device)
            chosen = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
        self.log_probs.append(log_probs.gather(1, chosen)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


class _Ends(generation.StoppingCriteria):
    """Marks rows whose last new tokens are a stop sequence, or that have no room left."""

    def __init__(self, sequences: base.Stop, room: list[int], start: int) -> None:
        self._sequences, self._room, self._start = sequences, torch.tensor(room), start

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:  # noqa: ARG002
        new = input_ids[:, self._start :]
        done = (self._room <= new.shape[1]).to(input_ids.device)
        for sequence in (s for s in self._sequences if len(s) <= new.shape[1]):
            done |= (new[:, -len(sequence) :] == new.new_tensor(sequence)).all(1)
        return done
