"""The common head and the set-up cell, also as Colab and Kaggle would run it."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

from mrt_lib.provenance import ROOT
from tools import environment
from tools import notebook_template as template


def test_the_head_has_the_badges_of_its_file_and_a_row_to_fill():
    text = template.head(
        "02_x.ipynb", "Cutting", "One idea.", ["how", "why"], "01_w.ipynb", None, "T4 or none"
    )
    lines = text.splitlines()
    assert lines[0] == "# 02 · Cutting"
    address = template.repository().removeprefix("https://github.com/")
    assert f"/github/{address}/blob/main/notebooks/02_x.ipynb" in text
    assert f"src={template.repository()}/blob/main/notebooks/02_x.ipynb" in text
    assert "| T4 or none | <!-- measured -->– | – | –<!-- /measured --> |" in lines
    assert "- why" in lines
    assert lines[-1] == "← [01 w](01_w.ipynb)"


@pytest.mark.parametrize("gpu", ["not needed; used if there is one", "needed, a T4 will do"])
def test_a_head_that_names_a_gpu_asks_for_one(gpu):
    asked = template.hosts(template.head("02_x.ipynb", "t", "s", [], gpu=gpu))
    assert (asked["accelerator"], asked["colab"]) == ("GPU", {"gpuType": "T4"})
    assert asked["kaggle"] == {
        "accelerator": "nvidiaTeslaT4",
        "isGpuEnabled": True,
        "isInternetEnabled": True,
    }


def test_other_heads_ask_for_internet_alone():
    asked = {"accelerator": "none", "isGpuEnabled": False, "isInternetEnabled": True}
    for text in (template.head("02_x.ipynb", "t", "s", []), "no row"):
        assert template.hosts(text) == {"kaggle": asked}


@pytest.mark.parametrize("file", ["x.ipynb", "2_x.ipynb", "02_x.py"])
def test_the_head_refuses_a_file_name_without_a_number(file):
    with pytest.raises(ValueError, match="named like"):
        template.head(file, "t", "s", [])


def test_the_setup_cell_is_short_and_loads_nothing_heavy():
    assert len(template.SETUP.splitlines()) <= 20
    code = f"{template.SETUP}\nprint(sorted({{'torch', 'numpy', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def run_elsewhere(cwd, after):
    """The set-up cell in a process of its own, by a Python that has not this checkout on its path."""
    code = f"import sys\nsys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]\n"
    code += "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
    code += f"{template.SETUP}\n{after}"
    return subprocess.run([sys.executable, "-P", "-c", code], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("folder", [".", "notebooks", "docs/figures"])
def test_the_setup_cell_finds_the_repository_from_any_folder_in_it(folder):
    after = "import experiments, mrt_lib, recipes\nprint(os.getcwd(), mrt_lib.__file__, recipes.__file__)"
    done = run_elsewhere(ROOT / folder, after)
    expected = [ROOT / "notebooks", ROOT / "mrt_lib/__init__.py", ROOT / "recipes/__init__.py"]
    assert done.stdout.split() == list(map(str, expected)), done.stderr


def test_outside_the_repository_the_setup_cell_says_where_to_open_it(tmp_path):
    done = run_elsewhere(tmp_path, "")
    assert done.returncode == 1
    assert "inside the repository" in done.stderr.splitlines()[-1]


def test_a_kernel_without_the_packages_is_told_which_to_choose(monkeypatch):
    monkeypatch.setattr(environment, "installed", {"torch": "2.13.0", "packaging": "25"}.get)
    with pytest.raises(RuntimeError, match=r"lacks transformers>=.*, numpy>=.*make lab"):
        environment.prepare(hosted=False)


@pytest.fixture
def hosted(monkeypatch, tmp_path):
    """Run the set-up cell on a made-up host; returns the commands that it ran."""
    commands = []

    def fake(command, check):
        commands.append(command)
        if command[0] == "git":
            (Path(command[-1]) / "notebooks").mkdir(parents=True)

    def run(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        source = template.SETUP.replace('"/content"', repr(str(tmp_path / "colab")))
        exec(
            compile(source.replace('"/kaggle/working"', repr(str(tmp_path / "kaggle"))), "setup", "exec"), {}
        )
        return commands

    monkeypatch.setattr(subprocess, "run", fake)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.parametrize(
    ("variable", "where"), [("COLAB_RELEASE_TAG", "colab"), ("KAGGLE_KERNEL_RUN_TYPE", "kaggle")]
)
def test_a_hosted_runtime_clones_once_and_installs_nothing_else(hosted, monkeypatch, variable, where):
    monkeypatch.setattr(environment, "installed", dict.fromkeys(environment.HOSTED, "99").get)
    monkeypatch.setattr(environment, "stale_packages", list)
    hosted(**{variable: "x"})
    commands = hosted()
    assert [c[:2] for c in commands] == [["git", "clone"]]
    assert commands[0][3] == template.repository()
    assert Path.cwd() == Path(commands[0][4]) / "notebooks"
    assert Path.cwd().parts[-3:] == (where, "mrt", "notebooks")


def test_what_is_missing_comes_at_pinned_versions_and_torch_stays(monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    versions = {"transformers": "5.0.0", "torch": "2.10.0+cu128", "numpy": "2.0.2", "pyarrow": "18.1"}
    monkeypatch.setattr(environment, "installed", versions.get)
    environment.install_missing()
    tested = environment.pinned_versions()
    (command,) = commands
    assert f"transformers=={tested['transformers']}" in command
    assert f"peft=={tested['peft']}" in command
    assert command[-2:] == ["torch==2.10.0+cu128", "numpy==2.0.2"]
    assert not any(item.startswith("pyarrow") for item in command)


def test_a_replaced_package_asks_for_a_restart(monkeypatch):
    import numpy

    monkeypatch.setattr(environment, "required", list)
    monkeypatch.setattr(environment, "installed", {"numpy": "9.9.9"}.get)
    with pytest.raises(
        RuntimeError, match=f"restart the runtime.*numpy {numpy.__version__} is loaded, 9.9.9"
    ):
        environment.prepare(hosted=False)


@pytest.mark.parametrize("name", [*environment.KEEP, *environment.HOSTED])
def test_every_package_that_the_cell_may_install_or_keep_is_compared(monkeypatch, name):
    loaded = types.SimpleNamespace(__version__="1.0+cu130")
    monkeypatch.setitem(sys.modules, environment.KEEP.get(name, name), loaded)
    for same in ("1.0", "1.0+cu130"):
        monkeypatch.setattr(environment, "installed", {name: same}.get)
        assert environment.stale_packages() == []
    for other in ("1.1", "1.0+cpu"):
        monkeypatch.setattr(environment, "installed", {name: other}.get)
        assert environment.stale_packages() == [f"{name} 1.0+cu130 is loaded, {other} is installed"]
