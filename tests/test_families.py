"""Models whose layers carry a state, or forget: exact values and samples are right there too, if slower."""

import numpy as np
import pytest

from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.engines.transformers_engine import attends
from mrt_lib.measure.prover import ExactProver
from recipes.reference import SeparateProver
from tests.test_prover import TASK, some_traces
from tools.model_zoo import build

# What carries a state, reads no masks (bloom), or looks back over a window of 8 tokens alone.
SLOW = ["qwen3_next", "qwen3_5_text", "lfm2", "jamba", "mamba", "bloom", "mistral", "gemma2", "gemma3_text"]
SLOW += ["gemma3", "gpt_oss"]
FAST = ["olmo2", "granite", "qwen3_moe", "mixtral", "gpt_neox", "gpt2", "deepseek_v3"]


@pytest.mark.parametrize("family", [*SLOW, *FAST])
def test_exact_values_are_those_of_one_pass_per_prefix_and_answer(family):
    reasoner, (problems, traces) = build(family), some_traces(4)
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
    engine = TransformersEngine(build(family).model)
    prompts, sampling = [[5, 6, 7, 8, 9] * 3, [10, 11, 12], [5, 6, 7]], Sampling(12, temperature=0.0, n=2)
    together = engine.generate(prompts, sampling)
    alone = [g for prompt in prompts for g in engine.generate([prompt], sampling)]
    assert [g.token_ids for g in together] == [g.token_ids for g in alone]
    gaps = [np.abs(np.subtract(a.log_probs, b.log_probs)).max() for a, b in zip(together, alone, strict=True)]
    assert max(gaps) < 1e-4
