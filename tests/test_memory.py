"""The dry step: nothing is learnt or drawn, what does not fit is said before it is too late."""

import subprocess
import sys

import pytest
import torch

from mrt_lib.arms import GRPO, MRTExact
from mrt_lib.training.memory import check_fits, free_bytes
from tests.small_training import same_bits, trainer

PHASES = ("generating", "proving", "updating")


def test_a_dry_step_measures_every_phase_and_learns_nothing():
    one, other = trainer(MRTExact("regret_to_go", 1.0)), trainer(MRTExact("regret_to_go", 1.0))
    found = check_fits(one)
    assert tuple(found) == PHASES
    assert all(2**20 < taken < free_bytes() * 100 for taken in found.values())
    assert same_bits(one.state(), other.state())
    same = [{k: v for k, v in run.step().items() if "seconds" not in k} for run in (one, other)]
    assert same_bits(*same)


@pytest.mark.parametrize(
    ("changes", "phase", "knob"),
    [
        ({"group": 2048, "generation_batch_tokens": 10**6}, "generating", "generation_batch_tokens;"),
        ({"group": 2048, "prover_batch_tokens": 10**6}, "proving", "prover_batch_tokens;"),
        ({"group": 2048, "micro_batch_tokens": 10**5}, "updating", "micro_batch_tokens, or set gradient"),
    ],
)
def test_the_phase_that_does_not_fit_is_named_before_it_runs_in_full(changes, phase, knob):
    """Half a GiB is free, says the machine; so the largest shapes are never tried."""
    small = {"generation_batch_tokens": 100, "prover_batch_tokens": 100, "micro_batch_tokens": 100}
    program = f"""
import torch
torch.set_num_threads(1)
from mrt_lib.arms import GRPO
from mrt_lib.training.memory import check_fits
from tests.small_training import trainer
check_fits(trainer(GRPO(), **{small | changes!r}), lambda: 2**27)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith(f"MemoryError: {phase} with "), last
    assert f"reduce {knob}" in last


def test_running_out_of_memory_inside_a_phase_says_what_to_reduce(monkeypatch):
    one = trainer(GRPO())
    full = RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes\nand more")
    monkeypatch.setattr(one.policy.prover, "values", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(
        MemoryError, match=r"proving with 1 of \d+ .*tried to allocate 9 bytes\): reduce prover"
    ):
        check_fits(one)
    other = trainer(GRPO())
    monkeypatch.setattr(
        other.policy.prover, "values", lambda *_: (_ for _ in ()).throw(RuntimeError("shape"))
    )
    with pytest.raises(RuntimeError, match=r"^shape$"):
        check_fits(other)


def test_a_model_whose_values_cannot_be_exact_is_not_asked_for_them(monkeypatch):
    one = trainer(GRPO())
    monkeypatch.setattr(type(one.policy.task), "answers", lambda *_: None)
    assert tuple(check_fits(one)) == ("generating", "updating")
    assert torch.is_grad_enabled()
