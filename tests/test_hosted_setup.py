"""The committed set-up cell in clean environments with what Colab, Kaggle or the declared floors have.

The project comes from a bundle in a Drive or in a data set, or from a repository, where there is one.
Not imitated: their Python (3.12 and 3.13) and their torch, which is a CUDA build of gigabytes; the pinned
CPU build stands in. ipywidgets comes without the Jupyter server that its old versions ask for. COLAB and
KAGGLE are as seen in August 2026, but for Kaggle's accelerate and numpy, which are guesses like PICTURES.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from mrt_lib.provenance import ROOT
from tools import bundle
from tools.environment import KEEP, MATHEMATICS, hosted_requirements, pinned_versions
from tools.notebook_template import GITHUB, setup

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.usefixtures("registry")]

# Reports as JSON which commands a run of the cell started, how it failed, and what it loaded.
RUN_CELL = """
ran, error = [], None
def watch(event, given):
    if event == "subprocess.Popen":
        ran.append([*map(str, given[1])])
sys.addaudithook(watch)
try:
    exec(compile({cell!r}, "set-up cell", "exec"), globals())
except (RuntimeError, FileNotFoundError) as raised:
    error = str(raised)
print(json.dumps([ran, error, [m for m in ("transformers", *{keep}) if m in sys.modules]]))
"""
# What a notebook goes on with: sample, save, measure, train, draw.
WORK = """
import io, json, tempfile
import matplotlib.pyplot as plt, numpy as np, torch
import experiments, mrt_lib
from mrt_lib import MRTExact, Reasoner, TrainConfig, Trainer, plots
from mrt_lib.engines import Sampling
from mrt_lib.measure.prover import ExactProver
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.traces import load_traces, save_traces
from recipes.root_search.checks import read_trials

torch.set_num_threads(1)
task = RootSearch(31)
problems = task.problems["test"][:4]
reasoner = Reasoner.load("../data/models/base")
traces = reasoner.think(problems, Sampling(max_new_tokens=44, seed=0))
with tempfile.TemporaryDirectory() as folder:
    save_traces(f"{folder}/traces.parquet", traces)
    assert load_traces(f"{folder}/traces.parquet") == traces
values = [v.value for v in ExactProver(reasoner, task).values(problems, traces)]
plots.draw_curves(plots.curve_frame("base", [0, 1], np.array([v[:2] for v in values])), "episode", "J")
plt.savefig(io.BytesIO(), format="png")
settings = TrainConfig(steps=2, prompts=2, group=4)
trainer = Trainer(reasoner, task, task.problems["train"], MRTExact("regret_to_go", 2.0), settings)
rows = [trainer.step() for _ in range(2)]
rows = [{k: row[k] for k in ("value", "thought_tokens", "loss", "grad_norm")} for row in rows]
thoughts = [t.thought_ids for t in traces]
print(json.dumps([mrt_lib.__file__, thoughts, [list(v) for v in values], rows]))
"""
VERSIONS = """
import json
from importlib.metadata import distributions
print(json.dumps({d.name.lower().replace("_", "-"): d.version for d in distributions()}))
"""


@dataclass(frozen=True)
class Host:
    """What the cell finds: a variable, a folder, packages, and those that it has to replace there.

    `source`: where on its disk a bundle is, or a data set that Kaggle unpacked; or "clone".
    `offline`: there is no registry, and the bundle has wheels.
    """

    variable: str
    folder: str
    packages: dict[str, str]
    source: str
    replaced: tuple[str, ...] = ()
    offline: bool = False


def floors():
    """The lowest version that pyproject.toml allows of each package that notebooks import."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]
    stated = [*map(Requirement, stated), *hosted_requirements()]
    lowest = {r.name: re.search(r">=([\d.]+)", str(r.specifier))[1] for r in stated}
    return {name: lowest[name] for name in (*COMMON, "transformers", "peft", "accelerate", "numpy")}


COMMON = {"pandas": "2.2.2", "pyarrow": "18.1.0", "seaborn": "0.13.2", "ipywidgets": "7.7.1"}
COMMON |= {"psutil": "5.9.5", "tqdm": "4.67.1"}
COLAB = {"transformers": "5.15.0", "peft": "0.20.0", "accelerate": "1.14.0", "numpy": "2.1.3"}
KAGGLE = {"transformers": "5.0.0", "peft": "0.19.1", "accelerate": "1.13.0", "numpy": "2.0.2"}
PICTURES = {"matplotlib": "3.10.0", "pillow": "11.3.0"}
HOSTS = {
    "colab": Host("COLAB_RELEASE_TAG", "/content", COMMON | PICTURES | COLAB, "drive/MyDrive/mrt.zip"),
    "kaggle": Host(
        "KAGGLE_KERNEL_RUN_TYPE",
        "/kaggle/working",
        COMMON | PICTURES | KAGGLE,
        "input/ann/mine/mrt",
        ("transformers", "accelerate"),
    ),
    "offline": Host(
        "KAGGLE_KERNEL_RUN_TYPE",
        "/kaggle/working",
        COMMON | PICTURES | KAGGLE,
        "input/mine/mrt.zip",
        ("transformers", "accelerate"),
        offline=True,
    ),
    "floors": Host("COLAB_RELEASE_TAG", "/content", floors(), "clone"),
}


def output(command, **options):
    """The last line that a command prints, which must be JSON."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def leading_to(folder, target):
    """The absolute path `folder` leads into `target` for a while."""
    top, rest = Path("/", Path(folder).parts[1]), Path(*Path(folder).parts[2:])
    (target / rest).mkdir(parents=True, exist_ok=True)
    try:
        top.symlink_to(target)
    except OSError as error:
        pytest.skip(f"{top} cannot be made ({error.strerror}); remove it if a killed test left it")
    try:
        yield
    finally:
        top.unlink()


@pytest.fixture(scope="module")
def workshop():
    """A folder with an environment that has torch alone, and a repository of this working tree."""
    if torch.version.cuda:
        pytest.skip("torch here is a CUDA build: a clean environment would take gigabytes")
    with tempfile.TemporaryDirectory() as folder:
        base, origin = Path(folder, "base"), Path(folder, "origin")
        subprocess.run([sys.executable, "-m", "venv", base], check=True)
        pip(base, f"torch=={pinned_versions()['torch']}")
        git = ["git", "-C", origin, "--work-tree", ROOT, "-c", "user.name=test", "-c", "user.email=test"]
        subprocess.run(["git", "init", "--quiet", origin], check=True)
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "-c", "commit.gpgsign=no", "commit", "--quiet", "-m", "now"], check=True)
        yield Path(folder)


def pip(environment, *arguments):
    command = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
    subprocess.run([*command, "--only-binary=:all:", *arguments], check=True, capture_output=True)


def upload(place, with_wheels):
    """Put a bundle of this working tree there, or, if it is a folder, what Kaggle makes of one."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder, "wheels") if with_wheels else None
        if wheels:
            bundle.download_wheels(wheels, [".".join(map(str, sys.version_info[:2]))])
        made = bundle.bundle(Path(folder, "mrt.zip"), wheels=wheels)
        place.parent.mkdir(parents=True)
        if place.suffix:
            shutil.move(made, place)
        else:
            shutil.unpack_archive(made, place.parent)


class Runtime:
    """One host's environment; `run` is a kernel of its own, in which the cell runs first."""

    def __init__(self, host, workshop, folder, disk):
        self.host, self.folder, self.python = host, folder, folder / "bin" / "python"
        self.cell = setup(f"{GITHUB}/owner/name" if host.source == "clone" else "")
        dropped = ("PYTHON", "JPY_", *(["PIP_"] if host.offline else []))
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        if host.offline:
            self.variables |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        self.variables |= {host.variable: "x", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        self.variables |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_VALUE_0": f"{GITHUB}/owner/name"}
        self.variables["GIT_CONFIG_KEY_0"] = f"url.file://{workshop / 'origin'}.insteadOf"
        self.before = self.versions()
        if host.source != "clone":
            self.without = self.run()
            upload(disk / host.source, host.offline)
        self.first = self.run(before="import transformers")
        self.after = self.versions()

    def versions(self):
        return output([self.python, "-c", VERSIONS])

    def run(self, before="", after=""):
        cell = RUN_CELL.format(cell=self.cell, keep=[*KEEP.values()])
        code = f"import json, sys\n{before}\n{cell}\n{after}"
        return output([self.python, "-c", code], env=self.variables, cwd=self.folder)


@pytest.fixture(scope="module", params=HOSTS)
def runtime(request, workshop):
    """A host on which the cell ran once, in a kernel that had loaded transformers already."""
    host, folder = HOSTS[request.param], workshop / request.param
    shutil.copytree(workshop / "base", folder, symlinks=True, copy_function=os.link)
    given = {name: f"{name}=={version}" for name, version in host.packages.items()}
    pip(folder, "--no-deps", given.pop("ipywidgets"))
    pip(folder, *given.values())
    disk = workshop / f"{request.param}-home"
    with leading_to(host.folder, disk):
        yield Runtime(host, workshop, folder, disk)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def work_here():
    """What the same work gives in the environment of these tests."""
    here = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    return output([sys.executable, "-c", WORK], cwd=ROOT / "notebooks", env=here)


def test_without_the_project_the_cell_says_what_to_upload(runtime):
    if runtime.host.source != "clone":
        ran, error, loaded = runtime.without
        assert (ran, loaded) == ([], [])
        assert re.fullmatch(rf"no mrt\.zip in {runtime.host.folder} or .*`make bundle`.*", error)


def test_only_what_is_too_old_is_replaced(runtime):
    before, after = runtime.before, runtime.after
    given = {*runtime.host.packages, *KEEP}
    assert {name for name in given if before[name] != after[name]} == set(runtime.host.replaced)
    assert {name: after[name] for name in KEEP} == {name: before[name] for name in KEEP}
    assert all(after[r.name] in r.specifier for r in hosted_requirements())


def test_a_package_replaced_after_it_was_loaded_asks_for_a_restart(runtime):
    _, error, loaded = runtime.first
    assert "transformers" in loaded
    if "transformers" in runtime.host.replaced:
        was, now = runtime.before["transformers"], runtime.after["transformers"]
        assert error.startswith("restart the runtime")
        assert error.endswith(f"transformers {was} is loaded, {now} is installed")
    else:
        assert error is None


def test_after_a_restart_the_cell_loads_nothing_and_starts_nothing(runtime):
    assert runtime.run() == [[], None, []]
    assert runtime.versions() == runtime.after


def test_the_library_samples_measures_trains_and_draws_there(runtime, work_here):
    file, thoughts, values, rows = runtime.run(after=WORK)
    assert file == f"{runtime.host.folder}/mrt/mrt_lib/__init__.py"
    _, own_thoughts, own_values, own_rows = work_here
    assert thoughts == own_thoughts
    for theirs, ours in zip(values + rows, own_values + own_rows, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-3, abs=1e-5)
    assert all(row["grad_norm"] > 0 for row in rows)


def test_what_grades_mathematics_is_installed_when_asked_for(runtime):
    after = "environment.prepare(hosted, environment.MATHEMATICS)\nimport datasets, math_verify\nprint('[]')"
    runtime.run(after=after)
    assert set(MATHEMATICS) <= set(runtime.versions())
