"""What a machine is used for is said, with the reason, before anything long."""

import os
import re
import subprocess
import sys
import types
from dataclasses import replace

import pytest
import torch

from mrt_lib import Reasoner
from mrt_lib.engines.base import Generation
from mrt_lib.tasks import RootSearch
from mrt_lib.training import presets
from mrt_lib.training.config import TrainConfig
from tools import machine

GIB = 2**30


@pytest.fixture
def card(monkeypatch):
    """Makes up a GPU, and whether a vLLM is installed."""

    def make(name, capability, gib, vllm=None):
        found = {"is_available": lambda: True, "get_device_name": lambda: name}
        found |= {"get_device_capability": lambda: capability}
        found |= {"mem_get_info": lambda: (int(gib * GIB), int(gib * GIB))}
        for key, value in found.items():
            monkeypatch.setattr(torch.cuda, key, value)
        for module in (presets, machine):
            monkeypatch.setattr(module, "installed", {"vllm": vllm}.get)

    return make


LARGER = "The card has room for {}, but that needs vllm>=0.31,<0.33, and here is {}."


@pytest.mark.parametrize(
    ("given", "name", "said"),
    [
        (
            ("Tesla T4", (7, 5), 14.6),
            "t4",
            "Preset t4 on Tesla T4 (15 GiB, compute capability 7.5): float16, ",
        ),
        (("NVIDIA L4", (8, 9), 22.2, "0.32.0"), "t4", "sampled with transformers."),
        (("A100", (8, 0), 39.4, "0.32.0"), "a100", "bfloat16, sampled with vllm."),
        (("A100", (8, 0), 39.4), "t4", LARGER.format("a100", "no vLLM")),
        (("A100", (8, 0), 39.4, "0.19.1"), "t4", LARGER.format("a100", "vLLM 0.19.1")),
        (("H100", (9, 0), 79.1), "t4", LARGER.format("h100", "no vLLM")),
        (("H100", (9, 0), 79.1, "0.31.2"), "h100", "Preset h100 on H100 (79 GiB, compute capability 9.0)"),
        (
            ("Tesla P100-PCIE-16GB", (6, 0), 15.9),
            "cpu",
            "for the models of this course, on Tesla P100-PCIE-16GB (16 GiB, ",
        ),
        (("Tesla V100", (7, 0), 31.7), "cpu", "larger ones need 14 GiB and capability 7.5."),
        (
            ("RTX 2060", (7, 5), 5.8),
            "cpu",
            "RTX 2060 (6 GiB, compute capability 7.5): larger ones need",
        ),
    ],
)
def test_a_card_gets_the_largest_preset_that_fits_it_and_what_is_installed(card, capsys, given, name, said):
    card(*given)
    assert machine.choose().name == name
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("apple", "features", "said"),
    [
        (True, {}, "there is an Apple GPU, which nothing here was tested on"),
        (False, {}, "no GPU that PyTorch can use. A large model would take float32: this CPU has no bf16"),
        (False, {"avx512_bf16": True}, "A large model would take bfloat16: this CPU has bf16 instructions."),
    ],
)
def test_machines_without_cuda_get_the_shipped_reasoners(monkeypatch, capsys, apple, features, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert machine.choose().name == "cpu"
    text = capsys.readouterr().out
    assert text.startswith("Preset cpu, for the models of this course, because there is ")
    assert said in text


P100 = """Traceback (most recent call last):
  File "<string>", line 2, in <module>
torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device
Search for `cudaErrorNoKernelImageForDevice` for more information.
"""


@pytest.fixture
def probe(monkeypatch):
    """A machine with an NVIDIA card, and how the probe ends there."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    started = []

    def ends(status, stderr=""):
        done = types.SimpleNamespace(returncode=status, stderr=stderr)
        monkeypatch.setattr(subprocess, "run", lambda command, **options: started.append(command) or done)
        return started

    yield ends
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)


@pytest.mark.parametrize(
    ("stderr", "reason"), [(P100, "no kernel image is available for execution"), ("", "no reason given")]
)
def test_a_gpu_that_cannot_be_used_is_hidden_with_the_reason(probe, capsys, stderr, reason):
    started = probe(1, stderr)
    machine.hide_unusable_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("The CPU is used: PyTorch cannot compute on this GPU (")
    assert reason in line
    machine.hide_unusable_gpu()
    assert len(started) == 1


def test_a_gpu_that_computes_or_is_in_use_stays(probe, capsys, monkeypatch):
    probe(0)
    machine.hide_unusable_gpu()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert len(probe(1)) == 1
    machine.hide_unusable_gpu()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert capsys.readouterr().out == ""


def test_the_probe_runs_here():
    assert subprocess.run([sys.executable, "-c", machine.PROBE]).returncode == 0


class Clock:
    """Time that only generating takes: 1 ms to read a token, 50 ms to write one in every row at once."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def generate(self, prompts, sampling):
        self.calls.append((len(prompts), len(prompts[0]), sampling.max_new_tokens))
        written = 1 if sampling.max_new_tokens == 1 else sampling.max_new_tokens // 2  # all end early
        self.now += 0.001 * len(prompts[0]) if sampling.max_new_tokens == 1 else 0.05 * written
        return [Generation([1] * written, [0.0] * written, "stop") for _ in prompts]


def test_the_forecast_counts_what_a_training_reads_and_writes(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(machine.time, "perf_counter", lambda: clock.now)
    reasoner = types.SimpleNamespace(prompt=lambda question: [7] * 10, engine=clock)
    problems = [types.SimpleNamespace(question="?")] * 3
    config = TrainConfig(steps=100, prompts=8, group=4, thinking_tokens=2000, episodes=9, answer_tokens=10)
    config = replace(config, generation_batch_tokens=32_000)
    assert machine.pace(reasoner, problems, config) == pytest.approx((0.001, 0.05))
    assert clock.calls == [(1, 10, 1), (1, 2010, 1), (16, 10, 16)]
    # Two batches of 16 thoughts, 320 prefixes of 1000 tokens, 1280 answers in 80 batches, four passes.
    step = 2 * 2000 * 0.05 + 320 * 1000 * 0.001 + 80 * 10 * 0.05 + 4 * 32 * 2000 * 0.001
    # 24 thoughts of 4000 in three batches of 8, 240 prefixes of 2000, 960 answers in 120 batches.
    report = 3 * 4000 * 0.05 + 240 * 2000 * 0.001 + 120 * 10 * 0.05
    said = machine.forecast(reasoner, problems, config, reported=24)
    assert said.startswith(f"About {(100 * step + report) / 3600:.1f} hours at most on this machine: ")
    assert f"100 steps of {step / 60:.1f} minutes and {report / 60:.1f} minutes of reports" in said


def test_the_forecast_of_the_shipped_reasoner_is_short_and_has_the_right_size():
    task = RootSearch(31)
    reasoner = Reasoner.load("data/models/base")
    said = machine.forecast(reasoner, task.problems["train"], TrainConfig(steps=10), reported=8)
    seconds = float(re.match(r"About ([\d.]+) (seconds|minutes)", said)[1])
    assert 0.05 < seconds < 60
