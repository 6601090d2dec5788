"""Which packages are installed, and how a hosted runtime gets the ones it lacks."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDGETS = "ipywidgets>=7.7"  # Colab's own; newer ones need a custom manager there
HOSTED = ("transformers>=5.5.3", "peft>=0.19", "accelerate>=1.14", "seaborn>=0.13.2", "pyarrow>=18", WIDGETS)
# Never replaced under a running kernel; distribution name to module name.
KEEP = {"torch": "torch", "numpy": "numpy", "pandas": "pandas", "pillow": "PIL"}


def prepare(hosted: bool) -> None:
    """Called by every notebook's set-up cell: fill up a hosted runtime, refuse a half-updated one.

    Args:
        hosted: the notebook runs on Colab or Kaggle; elsewhere nothing is installed.

    Raises:
        RuntimeError: a loaded package is not the installed one, so the kernel must restart.
        subprocess.CalledProcessError: pip failed; its own message stands above.
    """
    if hosted:
        install_missing()
    if stale := stale_packages():
        raise RuntimeError(f"restart the runtime, then run this cell again: {'; '.join(stale)}")


def install_missing() -> None:
    """Install this checkout, and what is missing or too old at the versions in constraints.txt.

    The packages in KEEP are pinned where they are: pip fails rather than replace one of them.
    """
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    if installed("mrt-lib") is None:
        subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
    lacking = [name_of(r) for r in HOSTED if not satisfies(installed(name_of(r)) or "0", r)]
    if lacking:
        tested = pinned_versions()
        kept = [f"{name}=={installed(name)}" for name in KEEP if installed(name)]
        subprocess.run([*pip, *(f"{name}=={tested[name]}" for name in lacking), *kept], check=True)
    importlib.invalidate_caches()


def stale_packages() -> list[str]:
    """Packages that this process loaded in another version than the one now installed."""
    stale = []
    for name, module in {**{name_of(r): name_of(r) for r in HOSTED}, **KEEP}.items():
        loaded, present = getattr(sys.modules.get(module), "__version__", None), installed(name)
        # torch itself names its build, 2.11.0+cu130, where the package's metadata may leave it out.
        if loaded and present not in (None, loaded, loaded.split("+")[0]):
            stale.append(f"{name} {loaded} is loaded, {present} is installed")
    return stale


def pinned_versions() -> dict[str, str]:
    """Distribution name to version, from constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def installed(name: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def name_of(requirement: str) -> str:
    """The distribution's name in a requirement like "vllm>=0.29,<0.33"."""
    return re.split(r"[<>=]", requirement)[0]


def satisfies(version: str, requirement: str) -> bool:
    """Whether a version lies in the bounds of a requirement like "vllm>=0.29,<0.33"."""
    number = _numbers(version)
    for operator, bound in re.findall(r"(>=|<)([\d.]+)", requirement):
        if (number >= _numbers(bound)) is (operator == "<"):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    release = re.match(r"[\d.]*", version)
    numbers = [int(n) for n in (release[0] if release else "").split(".") if n]
    return tuple(numbers + [0] * (4 - len(numbers)))
