"""Models whose layers carry a state, or forget: exact values and samples are right there too, if slower."""

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.engines.transformers_engine import attends
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from recipes.reference import SeparateProver
from tests.test_prover import SIZES, TASK, TOKENIZER, some_traces

LINEAR = {f"linear_{name}": size for name, size in (("key_head_dim", 8), ("value_head_dim", 8))}
LINEAR |= {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "head_dim": 16}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MAMBA = {"use_mamba_kernels": False, "mamba_d_state": 8, "mamba_dt_rank": 4}
# Model type: settings beside SIZES; the last four only look back over a window of 8 tokens.
SLOW = {
    "qwen3_next": {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16, "num_hidden_layers": 4},
    "qwen3_5_text": {**LINEAR, "num_hidden_layers": 4},
    "lfm2": {"full_attn_idxs": [1]},
    "jamba": {**MAMBA, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
    "mamba": {"state_size": 8},
    "mistral": {"sliding_window": 8, "head_dim": 16},
    "gemma2": {"sliding_window": 8, "head_dim": 16},
    "gemma3_text": {"sliding_window": 8, "head_dim": 16},
    "gpt_oss": {"sliding_window": 8, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
}
FAST = {"olmo2": {}, "granite": {}, "qwen3_moe": EXPERTS, "mixtral": {"num_local_experts": 4}, "gpt_neox": {}}


def reasoner_of(family):
    torch.manual_seed(0)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = CONFIG_MAPPING[family](**{**SIZES, **(SLOW | FAST)[family], **ends})
    return Reasoner(AutoModelForCausalLM.from_config(config).eval(), TOKENIZER)


@pytest.mark.parametrize("family", [*SLOW, *FAST])
def test_exact_values_are_those_of_one_pass_per_prefix_and_answer(family):
    reasoner, (problems, traces) = reasoner_of(family), some_traces(4)
    assert attends(reasoner.model) is (family in FAST)
    found, slow = (
        prover(reasoner, TASK).values(problems, traces) for prover in (ExactProver, SeparateProver)
    )
    for a, b in zip(found, slow, strict=True):
        np.testing.assert_allclose(a.log_value, b.log_value, atol=1e-4)
    if family in SLOW:
        assert [a.tokens for a in found] == [b.tokens for b in slow]


@pytest.mark.parametrize("family", [*SLOW, *FAST])
def test_what_is_sampled_does_not_depend_on_the_batch(family):
    """Prompts of different lengths, several generations of each: a state must not see padding."""
    engine = TransformersEngine(reasoner_of(family).model)
    prompts, sampling = [[5, 6, 7, 8, 9] * 3, [10, 11, 12], [5, 6, 7]], Sampling(12, temperature=0.0, n=2)
    together = engine.generate(prompts, sampling)
    alone = [g for prompt in prompts for g in engine.generate([prompt], sampling)]
    assert [g.token_ids for g in together] == [g.token_ids for g in alone]
    gaps = [np.abs(np.subtract(a.log_probs, b.log_probs)).max() for a, b in zip(together, alone, strict=True)]
    assert max(gaps) < 1e-4
