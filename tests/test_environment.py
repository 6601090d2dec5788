"""The environment checker: every check passes on a sound machine and fails on a broken one."""

import json
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from safetensors.numpy import save_file

from mrt_lib.models import choose_dtype
from tools import environment
from tools.environment import Check


def test_every_package_that_is_looked_for_has_bounds():
    names = {*environment.OPTIONAL, *environment.HOSTED} - {"ipywidgets"}
    assert all(environment.requirement(name).specifier for name in names)
    assert {r.name for r in environment.required()} >= {"torch", "transformers", "numpy"}
    with pytest.raises(KeyError):
        environment.requirement("no-such-package")


def test_old_python_fails():
    assert environment.check_python((3, 11, 0)).ok
    assert not environment.check_python((3, 10, 13)).ok


def test_an_installed_package_passes_and_an_absent_one_fails(monkeypatch):
    assert environment.check_package(Requirement("numpy>=2.0")).ok
    absent = environment.check_package(Requirement("no-such-package>=1"))
    assert (absent.ok, absent.detail) == (False, "not installed")
    assert absent.hint == 'pip install "no-such-package>=1"'
    assert environment.check_package(Requirement("no-such-package>=1"), "something").ok


@pytest.mark.parametrize(
    ("version", "ok"),
    [("0.28.9", False), ("0.29.0", True), ("0.32.1+cu129", True), ("0.33", False), ("1.0rc1", False)],
)
def test_a_package_out_of_bounds_fails_even_if_optional(monkeypatch, version, ok):
    monkeypatch.setattr(environment, "installed", lambda name: version)
    found = environment.check_package(Requirement("vllm>=0.29,<0.33"), "fast sampling")
    assert found.ok is ok
    assert version in found.detail


def test_a_package_that_does_not_import_fails(monkeypatch):
    monkeypatch.setattr(environment, "installed", lambda name: "2.13.0")
    monkeypatch.setitem(sys.modules, "torch", None)
    found = environment.check_package(Requirement("torch>=2.9"))
    assert not found.ok
    assert "does not import" in found.detail


@pytest.mark.parametrize(
    ("capability", "cpu_bf16", "dtype"),
    [
        ((7, 5), False, "float16"),
        ((8, 0), False, "bfloat16"),
        ((9, 0), True, "bfloat16"),
        (None, True, "bfloat16"),
        (None, False, "float32"),
    ],
)
def test_the_number_format_follows_the_hardware(capability, cpu_bf16, dtype):
    chosen, reason = choose_dtype(capability, cpu_bf16)
    assert chosen == dtype
    assert ("CPU" in reason) is (capability is None)


@pytest.fixture
def gpu(monkeypatch):
    """A made-up T4."""
    cuda = {"is_available": lambda: True, "get_device_name": lambda: "Tesla T4"}
    for name, value in (cuda | {"get_device_capability": lambda: (7, 5)}).items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: None)


@pytest.mark.usefixtures("gpu")
def test_the_device_check_names_the_gpu():
    found = environment.check_device()
    assert (found.ok, found.detail[:20]) == (True, "Tesla T4, float16 fo")


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_cannot_be_used_fails(monkeypatch):
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: 1 / 0)
    found = environment.check_device()
    assert not found.ok
    assert "unusable" in found.detail


def test_the_real_device_passes():
    assert environment.check_device().ok


@pytest.mark.parametrize(("free_gb", "ok"), [(2.9, False), (3.1, True)])
def test_little_memory_fails(monkeypatch, free_gb, ok):
    psutil = types.ModuleType("psutil")
    psutil.virtual_memory = lambda: types.SimpleNamespace(available=free_gb * 2**30)
    monkeypatch.setitem(sys.modules, "psutil", psutil)
    found = environment.check_memory()
    assert (found.ok, found.detail) == (ok, f"{free_gb} GB free")


def test_unknown_memory_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert not environment.check_memory().ok


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    (folder / "base").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / "base" / name).write_text("{}")
    save_file({"w": np.zeros(3)}, folder / "base" / "model.safetensors")
    return folder


def test_a_whole_model_passes(models):
    assert environment.check_models(models) == Check(
        "models", True, "base", environment.check_models(models).hint
    )


def test_missing_or_damaged_models_fail(models):
    assert not environment.check_models(models.parent / "nowhere").ok
    weights = models / "base" / "model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1")
    assert "damaged" in environment.check_models(models).detail
    weights.unlink()
    assert "model.safetensors is missing" in environment.check_models(models).detail
    (models / "base" / "config.json").unlink()
    assert "none in" in environment.check_models(models).detail


def test_problem_files_are_read_whole(tmp_path):
    line = json.dumps({"id": "1", "task": "t", "question": "q", "answer": "a"})
    assert "none in" in environment.check_problems(tmp_path).detail
    file = tmp_path / "task" / "test.jsonl"
    file.parent.mkdir()
    file.write_text("")
    assert "none in" in environment.check_problems(tmp_path).detail
    other = line.replace('"1"', '"2"')
    file.write_text(f"{line}\n{other}\n")
    found = environment.check_problems(tmp_path)
    assert (found.ok, found.detail) == (True, "2 in 1 files")
    file.write_text(f"{line}\n{line[:-5]}\n")
    found = environment.check_problems(tmp_path)
    assert not found.ok
    assert "test.jsonl:2" in found.detail
    file.write_bytes(b"\xff\xfe\x00")
    assert not environment.check_problems(tmp_path).ok


def test_widgets_missing_fails(monkeypatch):
    assert environment.check_widgets().ok
    monkeypatch.setattr(environment, "installed", lambda name: None)
    found = environment.check_widgets()
    assert (found.name, found.ok) == ("widgets", False)
    assert "restart Jupyter" in found.hint


def test_the_report_covers_everything_and_survives_an_empty_checkout(tmp_path, capsys):
    checks = environment.check(tmp_path)
    packages = [*(needed.name for needed in environment.required()), *environment.OPTIONAL]
    others = ["device", "memory", "models", "problems", "widgets"]
    assert [item.name for item in checks] == ["python", *packages, *others]
    assert {item.name for item in checks if not item.ok} == {"models", "problems"}
    environment.report([Check("a", True, "1"), Check("b", False, "2", "do this"), Check("c", False, "3")])
    assert capsys.readouterr().out == "[OK]   a: 1\n[FAIL] b: 2\n       -> do this\n[FAIL] c: 3\n"


def test_the_command_line_status_says_whether_all_is_well(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tools.environment"], capture_output=True, text=True)
    assert done.stdout.count("[OK]") + done.stdout.count("[FAIL]") == 19
    assert done.returncode == int("[FAIL]" in done.stdout)
