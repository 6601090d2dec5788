"""A verifier learns, states what comes true, stays on its own base; calibration by hand."""

import math

import numpy as np
import pytest
import torch

from mrt_lib.engines import Sampling
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.test_time import BestOfN, Solver, stopped
from mrt_lib.thoughts.templates import TESTBED, encode
from recipes.verifier import (
    Bin,
    Verifier,
    VerifierSettings,
    area_under_roc,
    calibration,
    load_verifier,
    reliability,
    save_verifier,
    train_verifier,
)

TASK = RootSearch(31)
STRONG, BASE = "data/models/strong", "data/models/base"
REASONER = Reasoner.load(STRONG)
SOLVER = Solver(REASONER, TASK, Sampling(66), Sampling(2))
SETTINGS = VerifierSettings(("high", "low"), batch=16, learning_rate=4e-3, epochs=4)
FACTS = {"task": TASK.name, "numbers": {"traces": 160}}


def graded(problems, seed):
    traces = SOLVER.answer(SOLVER.think(problems, seed), seed)
    right = [float(SOLVER.read(p, t) == p.answer) for p, t in zip(problems, traces, strict=True)]
    return traces, right


@pytest.fixture(scope="module")
def examples():
    return graded(TASK.problems["train"][:300], 0)


@pytest.fixture(scope="module")
def verifier(examples):
    return train_verifier(Reasoner.load(STRONG), *examples, SETTINGS)


def test_it_tells_right_from_wrong_on_problems_that_it_has_not_seen(verifier):
    traces, right = graded(TASK.problems["validation"], 1)
    stated = verifier.score(SOLVER, [], traces).value
    untrained = Verifier(REASONER, ("high", "low")).score(SOLVER, [], traces).value
    found = calibration(stated[:, None], np.array(right)[:, None])
    assert found.auc.low > 0.6
    assert found.brier.value < np.mean((untrained - right) ** 2)
    assert found.brier.value < np.var(right)


def test_the_same_seed_gives_the_same_verifier(examples, verifier):
    traces, right = examples[0][:32], examples[1][:32]
    found = [
        train_verifier(Reasoner.load(STRONG), traces, right, SETTINGS).score(SOLVER, [], traces)
        for _ in range(2)
    ]
    assert np.array_equal(found[0].value, found[1].value)


def test_what_it_reads_is_counted_and_padding_changes_nothing(verifier, examples):
    traces = [*examples[0][:5], stopped(examples[0][0], 1), stopped(examples[0][1], 0)]
    scores = verifier.score(SOLVER, [], traces)
    rows = [verifier.row(t) for t in traces]
    forced = encode(REASONER.tokenizer, "time up </think>")
    assert rows[-1] == traces[-1].prompt_ids + forced
    assert rows[0][-2:] == traces[0].answer_ids
    assert scores.verifier.tolist() == [len(row) for row in rows]
    assert not scores.prover.any()
    alone = [float(verifier.probabilities([row])[0]) for row in rows]
    assert scores.value == pytest.approx(alone, abs=1e-5)


def test_best_of_n_with_it_pays_for_its_reading(verifier):
    problems = TASK.problems["validation"][:4]
    outcome = BestOfN(3, verifier).solve(SOLVER, problems, 0)
    assert (outcome.verifier > outcome.policy).all()  # it also reads prompts


def test_kept_and_loaded_it_is_the_same_and_goes_on_no_other_base(verifier, examples, tmp_path):
    save_verifier(verifier, tmp_path / "kept", REASONER, FACTS)
    loaded = load_verifier(Reasoner.load(STRONG), tmp_path / "kept")
    rows = [verifier.row(t) for t in examples[0][:8]]
    weights = [dict(one.model.named_parameters()) for one in (loaded, verifier)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    # On some processors the last bit depends on where in memory a weight lies.
    assert np.allclose(loaded.probabilities(rows), verifier.probabilities(rows), rtol=0, atol=1e-6)
    assert (loaded.verdicts, loaded.reasoner.template) == (("high", "low"), TESTBED)
    with pytest.raises(ValueError, match=r"made for data/models/strong .* not for data/models/base"):
        load_verifier(Reasoner.load(BASE), tmp_path / "kept")
    with pytest.raises(FileExistsError):
        save_verifier(verifier, tmp_path / "kept", REASONER, FACTS)


def test_the_shipped_verifier_tells_right_from_wrong():
    base = Solver(Reasoner.load(BASE), TASK, Sampling(88), Sampling(2))
    problems = TASK.problems["validation"]
    traces = base.answer(base.think(problems, 1), 1)
    right = [[float(base.read(p, t) == p.answer)] for p, t in zip(problems, traces, strict=True)]
    verifier = load_verifier(Reasoner.load(BASE), "data/models/verifier")
    assert calibration(verifier.score(base, [], traces).value[:, None], right).auc.low > 0.7


def test_a_policys_adapter_is_no_verifier():
    with pytest.raises(ValueError, match="not a verifier"):
        load_verifier(Reasoner.load(BASE), "data/models/adapters/grpo")


def test_bad_input(examples):
    for right in ([1.0, 0.0], [1.0] * 3, [0.5, 1.0, 0.0]):
        with pytest.raises(ValueError, match="one label for each of 3 traces"):
            train_verifier(REASONER, examples[0][:3], right, SETTINGS)
    with pytest.raises(ValueError, match="two different tokens"):
        Verifier(REASONER, ("low", "low"))
    with pytest.raises(ValueError, match="expected one"):
        Verifier(REASONER, ("low", "try high"))


# --- calibration ----------------------------------------------------------------------------------------

STATED = np.array([[0.1, 0.1], [0.9, 0.9], [1.0, 0.3]])
RIGHT = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])


def test_reliability_by_hand():
    bins = reliability(STATED, RIGHT, 2)
    assert [b.count for b in bins] == [3, 3]
    assert [b.stated for b in bins] == pytest.approx([0.5 / 3, 2.8 / 3])
    assert [b.found for b in bins] == pytest.approx([1 / 3, 1])
    found = calibration(STATED, RIGHT, bins=2)
    assert found.ece.value == pytest.approx((0.5 / 3 + 0.2 / 3) / 2)
    assert found.brier.value == pytest.approx((0.01 + 0.81 + 0.01 + 0.01 + 0 + 0.09) / 6)
    assert found.ece.low <= found.ece.value <= found.ece.high
    assert found.ece.n == 3


def test_auc_by_hand():
    # right: .1 .9 .9 1; wrong: .1 .3. Pairs: 1/2 + 0, then 6 wins
    assert area_under_roc(STATED, RIGHT) == pytest.approx(6.5 / 8)
    assert math.isnan(area_under_roc(STATED, np.ones_like(RIGHT)))


def test_statements_that_come_true_are_calibrated():
    rng = np.random.default_rng(0)
    stated = rng.random((300, 10))
    found = calibration(stated, (rng.random(stated.shape) < stated).astype(float))
    assert found.ece.value < 0.05
    off = calibration(stated**3, (rng.random(stated.shape) < stated).astype(float))
    assert off.ece.low > 0.1
    assert off.auc.value == pytest.approx(found.auc.value, abs=0.02)


@pytest.mark.parametrize(
    ("stated", "right", "bins", "message"),
    [
        ([[0.5]], [[1, 0]], 10, "must both be"),
        ([0.5], [1], 10, "must both be"),
        ([[1.5]], [[1]], 10, "probabilities"),
        ([[float("nan")]], [[1]], 10, "probabilities"),
        ([[0.5]], [[0.5]], 10, "0 or 1"),
        ([[0.5]], [[1]], 0, "bins"),
    ],
)
def test_what_cannot_be_calibrated(stated, right, bins, message):
    with pytest.raises(ValueError, match=message):
        calibration(stated, right, bins)


def test_an_empty_bin_is_left_out():
    assert reliability(np.array([[1.0]]), np.array([[1.0]]), 10) == (Bin(1, 1.0, 1.0),)
