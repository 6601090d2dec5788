"""Is this machine ready for the notebooks? Run `python -m tools.environment` or notebook 00."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.packages import ROOT, WIDGETS, installed, name_of, prepare, satisfies

__all__ = ["Check", "check", "prepare", "report", "versions"]

REQUIRED = ("torch>=2.9", "transformers>=5.5.3", "numpy>=2.0")
OPTIONAL = {
    "peft>=0.19": "LoRA adapters",
    "seaborn>=0.13.2": "figures",
    "vllm>=0.31,<0.33": "fast sampling on a large GPU",
}
MIN_MEMORY_GB = 3.0


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
        *(check_package(requirement) for requirement in REQUIRED),
        *(check_package(requirement, use) for requirement, use in OPTIONAL.items()),
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


def versions() -> dict[str, str]:
    """Python, package versions, device and git commit: what a result must be read with."""
    names = ("torch", "transformers", "peft", "numpy")
    return {
        "python": platform.python_version(),
        **{name: installed(name) or "not installed" for name in names},
        "device": device_name(),
        "commit": git_commit(),
    }


def check_python(version: tuple[int, ...]) -> Check:
    """Python 3.11 or newer."""
    text = ".".join(map(str, version))
    return Check("python", version >= (3, 11), text, "install Python 3.11 or newer")


def check_package(requirement: str, use: str = "") -> Check:
    """A package like "torch>=2.9": installed, new enough and, unless optional, importable.

    Args:
        requirement: name and bounds.
        use: what an optional package is for; such a package may be absent, but not outdated.
    """
    name = name_of(requirement)
    version = installed(name)
    hint = f'pip install "{requirement}"'
    if version is None:
        return Check(name, bool(use), f"not installed{f' (optional: {use})' if use else ''}", hint)
    if not satisfies(version, requirement):
        return Check(name, False, f"{version}, but {requirement} is needed", hint)
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

        if torch.cuda.is_available():
            torch.zeros(1, device="cuda")
        dtype, reason = hardware_dtype()
    except Exception as error:
        hint = "check that the driver fits torch's CUDA version, or set CUDA_VISIBLE_DEVICES= to use the CPU"
        return Check("device", False, f"unusable: {error}", hint)
    return Check("device", True, f"{device_name()}, {dtype} for large models ({reason})")


def hardware_dtype() -> tuple[str, str]:
    """`choose_dtype` for the GPU at hand, or for this CPU."""
    import torch

    if torch.cuda.is_available():
        return choose_dtype(torch.cuda.get_device_capability())
    return choose_dtype(None, cpu_has_bf16())


def choose_dtype(capability: tuple[int, int] | None, cpu_bf16: bool = False) -> tuple[str, str]:
    """The torch dtype's name and the reason, from the GPU's compute capability or None for a CPU."""
    if capability is None:
        if cpu_bf16:
            return "bfloat16", "this CPU has bf16 instructions"
        return "float32", "this CPU has no bf16 instructions"
    name = f"sm{capability[0]}{capability[1]}"
    if capability >= (8, 0):
        return "bfloat16", f"{name} computes bf16 natively"
    return "float16", f"{name} has no bf16, which starts at sm80"


def cpu_has_bf16() -> bool:
    """Whether the CPU has AVX-512 or AMX bf16 instructions, as torch sees it."""
    import torch

    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def device_name() -> str:
    """Name of the first GPU, or the CPU with its number of cores."""
    try:
        import torch
    except ImportError:
        return "unknown (torch is not installed)"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"


def check_memory() -> Check:
    """Free main memory in GiB, and the GPU's."""
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
    found = check_package(WIDGETS)
    return Check("widgets", found.ok, found.detail, f"{found.hint}, then restart Jupyter")


def git_commit(root: Path = ROOT) -> str:
    """The commit checked out at `root`, a clone or a worktree, read without git; "unknown" elsewhere."""
    git = root / ".git"
    try:
        own = root / git.read_text().strip().removeprefix("gitdir: ") if git.is_file() else git
        head = (own / "HEAD").read_text().strip()
        git = own / (own / "commondir").read_text().strip() if git.is_file() else git
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), "unknown")
    except OSError:
        return "unknown"


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
