"""What is declared, what is pinned, and what `import mrt_lib` needs."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from mrt_lib.provenance import ROOT
from tools.environment import pinned_versions

PYTHONS = ("3.11", "3.12", "3.13")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
HEAVY = ("vllm", "peft", "trl", "seaborn", "datasets", "matplotlib", "pandas", "pyarrow")

# Imports every module of the library but those that draw figures or need TRL.
IMPORT_ALL = """
import importlib, pkgutil, sys, mrt_lib
for module in pkgutil.walk_packages(mrt_lib.__path__, "mrt_lib."):
    optional = module.name.startswith("mrt_lib.integrations.")
    if not optional and not module.name.endswith((".plots", ".page")):
        importlib.import_module(module.name)
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def closure(names, version):
    """What these need on Linux and that Python but CUDA, from the metadata of what is installed."""
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    linux |= {"python_version": version, "python_full_version": f"{version}.0"}
    needed, todo = {}, [Requirement(name) for name in names]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        seen = (name, *sorted(requirement.extras))
        if seen in needed:
            needed[seen].append(requirement.specifier)
            continue
        needed[seen] = [requirement.specifier]
        for line in importlib.metadata.requires(name) or []:
            dependency = Requirement(line)
            environments = [{**linux, "extra": extra} for extra in ("", *requirement.extras)]
            active = dependency.marker is None or any(map(dependency.marker.evaluate, environments))
            if active and not dependency.name.startswith(("nvidia", "cuda", "triton")):
                todo.append(dependency)
    return needed


# By file: the extras, and the versions of Python.
ENVIRONMENTS = {
    "environment.yml": ({"notebooks", "math"}, PYTHONS),
    "environment-gpu.yml": ({"notebooks", "math", "vllm"}, PYTHONS[-1:]),
}


def conda(name):
    """What conda installs, and the lines that it hands to pip."""
    file = yaml.safe_load((ROOT / name).read_text())
    *plain, pip = file["dependencies"]
    return file["name"], plain, pip["pip"]


@pytest.mark.parametrize("file", ENVIRONMENTS)
def test_environments_of_conda_agree_with_pyproject_and_the_constraints(file):
    extras, pythons = ENVIRONMENTS[file]
    name, plain, (constraints, editable) = conda(file)
    assert name == file.replace("environment", "mrt").removesuffix(".yml")
    stated = {r.name: r.specifier for r in map(Requirement, plain)}
    assert set(stated) == {"python", "pip"}
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in pythons)
    assert [v for v in ("3.10", *PYTHONS, "3.14") if v in stated["python"]] == list(pythons)
    assert constraints == "-c constraints.txt"
    assert set(re.fullmatch(r"-e \.\[(.+)\]", editable)[1].split(",")) == extras <= set(EXTRAS)


@pytest.mark.parametrize("version", PYTHONS)
def test_the_constraints_pin_exactly_what_is_installed_and_fit_together(version):
    pinned = pinned_versions()
    needed = closure(PROJECT["dependencies"] + EXTRAS["notebooks"] + EXTRAS["dev"] + EXTRAS["docs"], version)
    names = {name for name, *_ in needed}
    assert names <= set(pinned), f"not pinned: {sorted(names - set(pinned))}"
    for (name, *_), specifiers in needed.items():
        for specifier in specifiers:
            assert pinned[name] in specifier, f"{name}=={pinned[name]} is not {specifier}"
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        assert set(pinned) == names, f"pinned for nothing: {sorted(set(pinned) - names)}"


def test_importing_the_library_loads_nothing_heavy():
    done = python(f"{IMPORT_ALL}\nprint([name for name in {HEAVY} if name in sys.modules])")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_library_imports_with_its_declared_dependencies_alone():
    allowed = {name for name, *_ in closure(PROJECT["dependencies"], PYTHONS[0])}
    modules = importlib.metadata.packages_distributions()
    allowed.add("mrt-lib")
    hidden = [m for m, owners in modules.items() if not allowed & set(map(canonicalize_name, owners))]
    assert {"gguf", "jupyterlab", "pytest", "trl"} <= set(hidden)
    hide = f"""
import sys
from importlib.machinery import PathFinder
sys.path.insert(0, {str(ROOT)!r})
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {set(hidden)!r} else super().find_spec(name, path, target)
sys.meta_path[:] = [f for f in sys.meta_path if f is not PathFinder and "editable" not in repr(f)] + [Bare]
"""
    check = "import importlib.util\nassert importlib.util.find_spec('gguf') is None"
    done = python(f"{hide}\n{check}\n{IMPORT_ALL}")
    assert done.returncode == 0, done.stderr


def dry_run(version, *options):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--target=unused"]
    command += ["--only-binary=:all:", f"--python-version={version}", "--ignore-installed", *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.usefixtures("registry")
def test_every_pinned_package_has_a_wheel(version):
    done = dry_run(version, "--requirement", str(ROOT / "constraints.txt"))
    assert done.returncode == 0, done.stderr


# pip takes the wheels of --python-version, but in conditions "python_version" is that of its own Python.
PIP_AS = """
import platform, sys
version = sys.argv.pop(1)
platform.python_version = lambda: version + ".0"
platform.python_version_tuple = lambda: (*version.split("."), "0")
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("file", ENVIRONMENTS)
@pytest.mark.usefixtures("registry")
def test_pip_finds_what_conda_hands_to_it(file, tmp_path):
    """With conda's own way: the lines become a file of requirements beside the environment's."""
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "mrt_lib", tmp_path / "mrt_lib")
    (tmp_path / "requirements.txt").write_text("\n".join(conda(file)[2]))
    python = ENVIRONMENTS[file][1][-1]
    command = [sys.executable, "-c", PIP_AS, python, "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += [f"--python-version={python}", "--only-binary=:all:", "--target=unused"]
    command += ["--report", "report.json", "-r", "requirements.txt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [item["metadata"] for item in json.loads((tmp_path / "report.json").read_text())["install"]]
    chosen = {canonicalize_name(item["name"]): item["version"].partition("+")[0] for item in found}
    assert {"mrt-lib", "jupyterlab", "math-verify", "datasets"} <= set(chosen)
    assert ("vllm" in chosen) == ("gpu" in file)
    pinned = pinned_versions()
    assert {name: v for name, v in chosen.items() if name in pinned and v != pinned[name]} == {}
