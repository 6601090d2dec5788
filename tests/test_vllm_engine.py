"""VLLMEngine against TransformersEngine on real vLLM; `make test-vllm` runs it on vLLM's CPU build."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from mrt_lib.base_reasoner import build_model, build_tokenizer
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.engines.vllm_engine import VLLMEngine
from mrt_lib.prover import ExactProver, SampledProver
from mrt_lib.rollouts import think
from mrt_lib.tasks.root_search import RootSearch
from mrt_lib.templates import TESTBED

pytestmark = pytest.mark.vllm

TRAINED = Path(__file__).parents[1] / "data" / "models" / "base"
MODELS = ["random", *(["trained"] if TRAINED.is_dir() else [])]
NEW_TOKENS = 16
GREEDY = Sampling(NEW_TOKENS, temperature=0)
SAMPLED = Sampling(NEW_TOKENS, temperature=0.8, top_p=0.9, seed=3)


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    """A saved reasoner: random weights, scaled so that the distribution is not flat, or trained."""
    if request.param == "trained":
        return TRAINED
    model = build_model(build_tokenizer(), seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8 if weight.ndim == 2 else 1)
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def engine(folder):
    return VLLMEngine(folder, dtype="float32", max_num_seqs=64)


@pytest.fixture(scope="module")
def prompts(model):
    """32 prompts of 1 to 63 tokens: questions with a random thought, so that the model is unsure."""
    rng = np.random.default_rng(0)
    return [rng.integers(5, model.config.vocab_size, n).tolist() for n in range(1, 65, 2)]


@torch.inference_mode()
def reported(model, prompt, generation, sampling):
    """What `TransformersEngine` would report for these tokens, (tokens,), by one unpadded pass."""
    token_ids, temperature = generation.token_ids, sampling.temperature or 1.0
    logits = model(torch.tensor([prompt + token_ids])).logits[0, len(prompt) - 1 : -1].float()
    probabilities, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = torch.zeros_like(logits).scatter(-1, order, probabilities * (before < sampling.top_p))
    return (kept / kept.sum(-1, keepdim=True)).log()[torch.arange(len(token_ids)), token_ids]
