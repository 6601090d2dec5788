"""What all notebooks have in common: the head, the set-up cell and the version cell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from mrt_lib.provenance import ROOT

MEASURED = ("<!-- measured -->", "<!-- /measured -->")
GITHUB = "https://github.com"
COLAB = "https://colab.research.google.com"
KAGGLE = "https://www.kaggle.com"
NO_GPU = "not needed"
APPENDIX = "9"  # how the number of a notebook starts that others link to and that is not read in order


def repository() -> str:
    """The repository's address, or "" while `[tool.mrt] repository` in pyproject.toml is empty."""
    name = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mrt"]["repository"]
    return name and f"{GITHUB}/{name}"


def setup(address: str) -> str:
    """The set-up cell, which clones from `address` where it finds neither the project nor a bundle of it."""
    return _SETUP.replace('REPOSITORY = ""', f'REPOSITORY = "{address}"')


# A bundle is what `python -m tools.bundle` writes; Kaggle unpacks the archives of a data set.
_SETUP = """\
# Set-up: finds the project, on Colab and Kaggle in an uploaded mrt.zip too, and checks the installation.
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""
kaggle = "KAGGLE_KERNEL_RUN_TYPE" in os.environ
hosted = kaggle or "google.colab" in sys.modules or any(name.startswith("COLAB_") for name in os.environ)
home = Path("/kaggle/working" if kaggle else "/content")
drive, data, own = home / "drive/MyDrive", Path("/kaggle/input"), "tools/notebook_template.py"
notebook = Path(globals().get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")).absolute()
library = Path(getattr(importlib.util.find_spec("mrt_lib"), "origin", None) or "")
near = [*notebook.parents, Path.cwd(), *Path.cwd().parents, *library.parents, home / "mrt", drive / "mrt"]
root = next((f for f in near if (f / own).is_file()), None)
if hosted and root is None:
    zips = [f for p in (Path.cwd(), home, drive, *data.glob("**/")) for f in p.glob("mrt[. (]*zip")]
    found = [*(f.parents[1] for f in data.glob(f"**/{own}")), *sorted(zips, key=os.path.getmtime)]
    shutil.rmtree(part := home / "mrt.part", ignore_errors=True)
    if found and found[-1].is_dir():
        shutil.copytree(found[-1], part / "mrt")
    elif found:
        shutil.unpack_archive(found[-1], part)
    elif REPOSITORY:
        subprocess.run(["git", "clone", "--depth=1", REPOSITORY, str(part / "mrt")], check=True)
    else:
        places = f"{home} or a data set ({data})" if kaggle else f"{home} or {drive} (mount your Drive first)"
        raise FileNotFoundError(f"no mrt.zip in {places}: `make bundle` writes it, upload it there")
    root = (part / "mrt").rename(home / "mrt")
    shutil.rmtree(part)
if root is None:
    raise ModuleNotFoundError("no mrt_lib here: open the notebook inside the repository, or with its kernel")
sys.path.insert(0, str(root))
os.chdir(root / "notebooks")
from tools import environment

environment.prepare(hosted)"""
SETUP = setup(repository())

VERSIONS = "environment.versions()"


def head(
    file: str,
    title: str,
    summary: str,
    learn: Sequence[str],
    previous: str | None = None,
    next: str | None = None,
    gpu: str = NO_GPU,
) -> str:
    """Markdown of a notebook's first cell.

    Args:
        file: the notebook's own file name, like "02_episodes.ipynb"; its digits are the number.
        title: without the number.
        summary: one sentence; the index page shows it.
        learn: what the reader will learn, one line each.
        previous: file name of the notebook before, or None.
        next: file name of the notebook after, or None.
        gpu: whether a GPU is needed and which; anything but NO_GPU asks Colab and Kaggle for a T4.

    Raises:
        ValueError: the file name does not start with two digits and an underscore.
    """
    number, _, rest = file.partition("_")
    if not (len(number) == 2 and number.isdigit() and rest.endswith(".ipynb")):
        raise ValueError(f"a notebook is named like 02_episodes.ipynb, got {file!r}")
    return "\n".join(
        [
            *(f"# {number} · {title}", "", summary, "", *([badges(file), ""] if badges(file) else [])),
            "| GPU | minutes | peak memory | measured on |",
            "|---|---|---|---|",
            f"| {gpu} | {MEASURED[0]}– | – | –{MEASURED[1]} |",
            *("", "**You will learn**", "", *(f"- {line}" for line in learn)),
            *("", links(previous, next)),
        ]
    ).rstrip()


def hosts(head: str) -> dict[str, Any]:
    """Metadata by which Colab and Kaggle choose the machine: a T4 where the head names a GPU, and internet.

    Args:
        head: Markdown of the notebook's first cell.
    """
    row = re.search(rf"^\| (.+) \| {MEASURED[0]}", head, re.MULTILINE)
    gpu = row is not None and row[1] != NO_GPU
    accelerator = "nvidiaTeslaT4" if gpu else "none"
    kaggle = {"accelerator": accelerator, "isGpuEnabled": gpu, "isInternetEnabled": True}
    return {"kaggle": kaggle, **({"accelerator": "GPU", "colab": {"gpuType": "T4"}} if gpu else {})}


def badges(file: str) -> str:
    """Links that open the committed notebook on Colab and on Kaggle; "" while there is no repository."""
    if not repository():
        return ""
    page = f"{repository()}/blob/main/notebooks/{file}"
    colab = f"{COLAB}/github/{page.removeprefix(f'{GITHUB}/')}"
    kaggle = f"{KAGGLE}/kernels/welcome?src={page}"
    return (
        f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Kaggle]({KAGGLE}/static/images/open-in-kaggle.svg)]({kaggle})"
    )


def links(previous: str | None, next: str | None) -> str:
    """Links to the notebooks before and after, where there are any."""
    parts = []
    if previous:
        parts.append(f"← [{_label(previous)}]({previous})")
    if next:
        parts.append(f"[{_label(next)}]({next}) →")
    return " · ".join(parts)


def _label(file: str) -> str:
    return file.removesuffix(".ipynb").replace("_", " ")
