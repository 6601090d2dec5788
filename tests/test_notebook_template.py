"""The common head and the set-up cell, also as Colab and Kaggle would run it."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

import pytest

from mrt_lib.provenance import ROOT
from tools import environment
from tools import notebook_template as template


@pytest.mark.parametrize("address", ["", "https://github.com/owner/name"])
def test_the_head_has_a_row_to_fill_and_badges_if_there_is_a_repository(monkeypatch, address):
    monkeypatch.setattr(template, "repository", lambda: address)
    text = template.head(
        "02_x.ipynb", "Cutting", "One idea.", ["how", "why"], "01_w.ipynb", None, "T4 or none"
    )
    lines = text.splitlines()
    assert lines[0] == "# 02 · Cutting"
    page = "owner/name/blob/main/notebooks/02_x.ipynb)"
    badges = [line for line in lines if line.startswith("[![Open in Colab]")]
    assert len(badges) == bool(address)
    assert all(f"({template.COLAB}/github/{page}" in b and f"src={address[:18]}/{page}" in b for b in badges)
    assert "\n\n\n" not in text
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
    assert len(template.SETUP.splitlines()) <= 39
    code = f"{template.SETUP}\nprint(sorted({{'torch', 'numpy', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


WHERE = "import experiments, mrt_lib, recipes\nprint(os.getcwd(), mrt_lib.__file__, recipes.__file__)"
EXPECTED = [ROOT / "notebooks", ROOT / "mrt_lib/__init__.py", ROOT / "recipes/__init__.py"]


def run_elsewhere(cwd, after, before="", installed=False, **variables):
    """The set-up cell in a process of its own; without `installed`, by a Python that lacks this checkout."""
    code = "import sys\n"
    if not installed:
        code += f"sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]\n"
        code += "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
    code += f"{before}\n{template.SETUP}\n{after}"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "JPY_SESSION_NAME")}
    if installed:
        environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment | variables)


@pytest.mark.parametrize("folder", [".", "notebooks", "docs/figures"])
def test_the_setup_cell_finds_the_repository_from_any_folder_in_it(folder):
    done = run_elsewhere(ROOT / folder, WHERE)
    assert done.stdout.split() == list(map(str, EXPECTED)), done.stderr


NOTEBOOK = str(ROOT / "notebooks/00_start_here.ipynb")


@pytest.mark.parametrize(
    "options",
    [
        {"installed": True},  # a kernel with the library, such as the one of .venv
        {"JPY_SESSION_NAME": NOTEBOOK},  # Jupyter's servers name the notebook
        {"before": f"__vsc_ipynb_file__ = {NOTEBOOK!r}"},  # and so does VS Code
        {"JPY_SESSION_NAME": "no/such.ipynb", "installed": True},
    ],
    ids=["kernel", "jupyter", "vscode", "unknown notebook"],
)
def test_a_notebook_works_from_another_working_directory(tmp_path, options):
    (tmp_path / "mrt_lib").mkdir()  # no library
    done = run_elsewhere(tmp_path, WHERE, **options)
    assert done.stdout.split() == list(map(str, EXPECTED)), done.stderr


def test_the_notebooks_own_repository_comes_before_that_of_the_kernel(tmp_path):
    for name in (
        "tools/__init__.py",
        "tools/notebook_template.py",
        "tools/environment.py",
        "notebooks/x.ipynb",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("def prepare(hosted): print(__file__)")
    done = run_elsewhere("/", "", installed=True, JPY_SESSION_NAME=str(tmp_path / "notebooks/x.ipynb"))
    assert done.stdout.strip() == str(tmp_path / "tools/environment.py"), done.stderr


def test_outside_the_repository_the_setup_cell_says_where_to_open_it(tmp_path):
    done = run_elsewhere(tmp_path, "")
    assert done.returncode == 1
    assert "inside the repository, or with its kernel" in done.stderr.splitlines()[-1]


def test_a_kernel_without_the_packages_is_told_which_to_choose(monkeypatch):
    monkeypatch.setattr(environment, "installed", {"torch": "2.13.0", "packaging": "25"}.get)
    with pytest.raises(RuntimeError, match=r"lacks transformers>=.*, numpy>=.*make lab"):
        environment.prepare(hosted=False)


class Host:
    """A made-up host: a home, a Drive, data sets, and the commands that the cell runs in there."""

    def __init__(self, folder, variable):
        self.kaggle, self.folder, self.commands = variable.startswith("KAGGLE"), folder, []
        self.variable, self.home = variable, folder / "home"
        self.drive, self.data = self.home / "drive/MyDrive", folder / "input"
        self.home.mkdir()

    def fake(self, command, check=False):
        self.commands.append(command)
        if command[0] == "git":
            project(Path(command[-1]))

    def run(self, repository=""):
        source = template.setup(repository)
        for old, new in (
            ("/content", self.home),
            ("/kaggle/working", self.home),
            ("/kaggle/input", self.data),
        ):
            source = source.replace(f'"{old}"', repr(str(new)))
        found = {}
        exec(compile(source, "setup", "exec"), found)
        return found["root"]


def project(folder, note="one"):
    """As much of the project as the set-up cell looks at."""
    (folder / "tools").mkdir(parents=True)
    (folder / "tools" / "notebook_template.py").write_text(note)
    (folder / "notebooks").mkdir()
    return folder


def zipped(target, note="one", age=0):
    """A bundle of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project(Path(folder) / "mrt", note)
        made = shutil.make_archive(str(Path(folder) / "made"), "zip", folder, "mrt")
        shutil.move(made, target)
    os.utime(target, (time.time() - age,) * 2)


VARIABLES = ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"]


@pytest.fixture(params=VARIABLES)
def host(request, monkeypatch, tmp_path):
    """Colab and Kaggle, with every package there."""
    host = Host(tmp_path, request.param)
    monkeypatch.setenv(request.param, "x")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.setattr(subprocess, "run", host.fake)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(host.home)
    monkeypatch.setattr(environment, "satisfied", lambda needed: True)
    monkeypatch.setattr(environment, "stale_packages", list)
    return host


def note_of(root):
    return (root / "tools/notebook_template.py").read_text()


def test_without_bundle_and_repository_the_cell_says_what_to_upload_and_where(host):
    with pytest.raises(FileNotFoundError) as found:
        host.run()
    place = "data set" if host.kaggle else "mount your Drive first"
    assert str(found.value).startswith(f"no mrt.zip in {host.home} or ")
    assert place in str(found.value)
    assert str(found.value).endswith("`make bundle` writes it, upload it there")
    assert not (host.home / "mrt").exists()


def test_a_bundle_is_found_wherever_it_was_put(host, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    unpacked = host.data / "datasets/ann/mine/mrt"
    places = [here / "mrt.zip", host.home / "mrt (1).zip", host.data / "mine/mrt.zip"]
    places += [] if host.kaggle else [host.drive / "mrt.zip"]
    for place in [*places, unpacked]:
        zipped(place) if place != unpacked else project(place)
        monkeypatch.chdir(here)
        assert host.run() == host.home / "mrt"
        assert Path.cwd() == host.home / "mrt" / "notebooks"
        shutil.rmtree(host.home / "mrt")
        shutil.rmtree(place) if place == unpacked else place.unlink()
    assert host.commands == []


def test_the_newest_bundle_wins_and_the_repository_comes_last(host):
    zipped(host.home / "mrt.zip", "old", age=100)
    zipped(host.data / "mine/mrt (2).zip", "new")
    (host.home / "mrt.part" / "mrt").mkdir(parents=True)  # an earlier run was interrupted
    assert note_of(host.run("https://github.com/owner/name")) == "new"
    assert not (host.home / "mrt.part").exists()
    assert host.commands == []


def test_a_bundle_is_unpacked_once(host):
    zipped(host.home / "mrt.zip")
    note = host.run() / "tools/notebook_template.py"
    note.write_text("edited")
    assert note_of(host.run()) == "edited"


def test_half_an_upload_is_named_and_leaves_nothing(host):
    (host.home / "mrt.zip").write_bytes(b"PK half")
    with pytest.raises(shutil.ReadError, match=r"mrt\.zip"):
        host.run()
    assert not (host.home / "mrt").exists()


def test_without_a_bundle_the_repository_is_cloned_once(host):
    for _ in range(2):
        assert host.run("https://github.com/owner/name") == host.home / "mrt"
    clone = ["git", "clone", "--depth=1", "https://github.com/owner/name", str(host.home / "mrt.part/mrt")]
    assert host.commands == [clone]
    assert Path.cwd() == host.home / "mrt" / "notebooks"


@pytest.fixture
def pip(monkeypatch):
    """A Colab that lacks much, and a pip that does nothing; its commands and its exit statuses."""
    commands, statuses = [], []

    def fake(command):
        commands.append(command)
        return types.SimpleNamespace(returncode=statuses.pop(0) if statuses else 0)

    monkeypatch.setattr(subprocess, "run", fake)
    versions = {"transformers": "5.0.0", "torch": "2.10.0+cu128", "numpy": "2.0.2", "pyarrow": "18.1"}
    monkeypatch.setattr(environment, "installed", versions.get)
    monkeypatch.setattr(environment, "stale_packages", list)
    return commands, statuses


def test_what_is_missing_comes_at_pinned_versions_and_torch_stays(pip):
    environment.prepare(hosted=True)
    tested = environment.pinned_versions()
    (command,), _ = pip
    assert f"transformers=={tested['transformers']}" in command
    assert f"peft=={tested['peft']}" in command
    assert command[-2:] == ["torch==2.10.0+cu128", "numpy==2.0.2"]
    assert not any(item.startswith(("pyarrow", "math-verify", "--no-index")) for item in command)


def test_what_a_part_of_a_notebook_needs_is_installed_when_asked_for(pip):
    environment.prepare(hosted=True, extra=environment.MATHEMATICS)
    tested = environment.pinned_versions()
    (command,), _ = pip
    assert {f"{name}=={tested[name]}" for name in ("math-verify", "datasets")} <= set(command)


def test_elsewhere_it_is_asked_for_by_name(pip):
    with pytest.raises(
        RuntimeError, match=r"this kernel lacks .*math-verify>=0.9, datasets>=4: run `make lab`"
    ):
        environment.prepare(hosted=False, extra=environment.MATHEMATICS)
    assert pip[0] == []


def test_a_bundles_wheels_come_first_and_what_they_lack_from_the_registry(pip, tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    commands, statuses = pip
    environment.install(["peft"])
    assert [f"--find-links={tmp_path / 'wheels'}" in command for command in commands] == [True]
    assert "--no-index" in commands[0]
    statuses.extend([1, 0])
    environment.install(["peft"])
    assert ["--no-index" in command for command in commands[1:]] == [True, False]
    statuses.extend([1, 1])
    with pytest.raises(RuntimeError, match=r"could not install peft==.*Settings, Internet.*WHEELS=1"):
        environment.install(["peft"])


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
