"""Training with vLLM as the sampler, on real vLLM; `make test-vllm` runs it on vLLM's CPU build."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mrt_lib.arms import MRTExact, MRTOffline
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.engines.vllm_engine import check_version
from mrt_lib.reasoner import Reasoner
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Trainer, run
from mrt_lib.training.presets import get_preset
from tests.small_training import SETTINGS, TASK, ending, same_bits

pytestmark = pytest.mark.vllm

GREEDY = Sampling(24, temperature=0)
ARM = MRTExact("regret_to_go", 1.0)


@pytest.fixture(scope="module")
def engine():
    """What a preset that wants vLLM loads."""
    return replace(get_preset("cpu"), engine="vllm", vllm_gib=1.0).load("data/models/strong").engine


def trainer(engine, arm=ARM, **changes):
    reasoner = Reasoner.load("data/models/strong")
    reasoner.engine = engine or reasoner.engine
    config = TrainConfig(**{**SETTINGS, **changes})
    return Trainer(reasoner, TASK, TASK.problems["train"][:5], arm, config)


def greedy(engine, reasoner):
    """Tokens and log-probabilities of an engine with the reasoner's prompts."""
    generations = engine.generate([reasoner.prompt(p.question) for p in TASK.problems["test"][:16]], GREEDY)
    return [g.token_ids for g in generations], np.array([g.log_probs for g in generations])


def test_every_weight_is_handed_over_and_nothing_cached_survives(engine):
    """Base and strong differ in all weights, the embedding that is also the output layer included."""
    for name in ("base", "strong", "base"):
        reasoner = Reasoner.load(f"data/models/{name}")
        engine.load_weights(reasoner.model.named_parameters())
        tokens, log_probs = greedy(engine, reasoner)
        expected, expected_log_probs = greedy(reasoner.engine, reasoner)
        assert tokens == expected
        np.testing.assert_allclose(log_probs, expected_log_probs, atol=1e-3)


@pytest.mark.parametrize("arm", [ARM, MRTOffline()], ids=["exact", "offline"])
def test_after_updates_vllm_speaks_as_the_model_with_its_adapter_on(engine, arm):
    ours = trainer(engine, arm, learning_rate=3e-2)
    before, _ = greedy(TransformersEngine(ours.learner.model), ours.base)
    rows = [ours.step() for _ in range(3)]
    engine.load_weights(ours.learner.sampler.named_parameters())
    tokens, log_probs = greedy(engine, ours.base)
    expected, expected_log_probs = greedy(TransformersEngine(ours.learner.model), ours.base)
    assert tokens == expected != before
    np.testing.assert_allclose(log_probs, expected_log_probs, atol=1e-3)
    assert all(0 < row["engine_gap"] <= row["engine_gap_max"] < 1e-3 for row in rows)


def test_the_gap_is_large_where_the_weights_are_not_handed_over(engine, monkeypatch):
    ours = trainer(engine, learning_rate=3e-2)
    ours.step()
    old = list(Reasoner.load("data/models/base").model.named_parameters())
    load = engine.load_weights
    monkeypatch.setattr(engine, "load_weights", lambda weights: load(old))
    assert ours.step()["engine_gap_max"] > 0.05


def test_a_sleeping_engine_says_so_instead_of_waiting_for_ever(engine):
    reasoner = Reasoner.load("data/models/strong")
    engine.sleep()
    with pytest.raises(RuntimeError, match="call load_weights first"):
        greedy(engine, reasoner)
    engine.load_weights(reasoner.model.named_parameters())
    greedy(engine, reasoner)


def test_a_resumed_run_ends_as_a_straight_one(engine, tmp_path):
    run(trainer(engine), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(trainer(engine), tmp_path / "resumed", lambda log: stop_at(3, log))  # the checkpoint is of step 2
    run(trainer(engine), tmp_path / "resumed")
    assert same_bits(ending(tmp_path / "straight"), ending(tmp_path / "resumed"))


def stop_at(step, log):
    if len(log) == step:
        raise KeyboardInterrupt


def test_a_run_of_the_other_engine_is_not_resumed(engine, tmp_path):
    run(trainer(engine, steps=1), tmp_path)
    with pytest.raises(ValueError, match="another engine"):
        run(trainer(None, steps=1), tmp_path)


@pytest.mark.parametrize("version", ["0.30.1", "0.33.0"])
def test_an_untested_version_is_refused(version):
    with pytest.raises(ImportError, match=f"vLLM {version} is installed, but"):
        check_version(version)


def test_the_tested_versions_are_accepted():
    for version in ("0.31.0", "0.32.0", "0.32.0+cu129", None):
        check_version(version)


def test_half_precision_is_handed_over(engine):
    """bf16 weights go into the fp32 engine as they are."""
    half = Reasoner.load("data/models/strong", dtype="bfloat16")
    engine.load_weights(half.model.named_parameters())
    tokens, _ = greedy(engine, half)
    assert tokens == greedy(TransformersEngine(half.model.to(torch.float32)), half)[0]
