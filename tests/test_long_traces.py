"""Exact values at the scale of real models: real head shapes, thousands of tokens, many boundaries."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.long_trace import BOUNDARIES, TEMPLATE, long_trace, small_model
from mrt_lib.measure import prover
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from recipes.reference import SeparateProver
from tests.test_prover import TASK, TOKENIZER, SeveralAnswers, reasoner_of, some_traces

BASE = "data/models/base"


@pytest.mark.parametrize("block", [1, 3, 16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_branches_in_blocks_are_branches_in_one_pass(monkeypatch, block, attention):
    exact, pairs = ExactProver(reasoner_of("qwen3", attention), SeveralAnswers()), some_traces()
    whole = exact.values(*pairs)
    monkeypatch.setattr(prover, "BLOCK", block)
    parts = exact.values(*pairs)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.log_value, b.log_value, atol=1e-5)


@pytest.mark.parametrize("tokens", [300, pytest.param(700, marks=pytest.mark.slow)])
def test_a_long_trace_has_the_values_of_one_pass_per_prefix(tokens):
    reasoner = Reasoner(small_model(intermediate=256), TOKENIZER, TEMPLATE)
    problem, trace = long_trace(tokens)
    exact = ExactProver(reasoner, TASK).values([problem], [trace])[0]
    separate = SeparateProver(reasoner, TASK).values([problem], [trace])[0]
    assert len(exact.value) == BOUNDARIES + 1
    np.testing.assert_allclose(exact.log_value, separate.log_value, atol=1e-5)


@pytest.mark.slow
def test_the_packed_pass_needs_less_than_twice_the_memory_of_a_plain_forward_pass():
    def peak(method):
        command = [sys.executable, "-m", "benchmarks.long_trace", "--only", method, "--tokens", "3072"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["peak_bytes"]

    assert 0 < peak("packed") < 2 * peak("plain")


def test_in_bf16_packing_moves_values_less_than_bf16_itself_does():
    """One rounding of a bf16 logit moves J by more than 1e-3, so that bound can hold on average alone."""
    problems, traces = some_traces(12)
    whole, half = Reasoner.load(BASE), Reasoner.load(BASE, dtype="bfloat16")

    def values(prover, reasoner):
        found = prover(reasoner, TASK).values(problems, traces)
        return np.concatenate([v.value for v in found])

    reference = values(SeparateProver, half)
    packing = np.abs(values(ExactProver, half) - reference)
    precision = np.abs(values(SeparateProver, whole) - reference)
    assert packing.mean() < 1e-3
    assert packing.mean() < 0.5 * precision.mean()
    assert packing.max() < 2 * precision.max()
