"""What all notebooks have in common: the head, the set-up cell and the version cell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from mrt_lib.provenance import ROOT

MEASURED = ("<!-- measured -->", "<!-- /measured -->")
COLAB = "https://colab.research.google.com"
KAGGLE = "https://www.kaggle.com"
NO_GPU = "not needed"


def repository() -> str:
    """The repository's address, from pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


SETUP = f'''\
# Set-up: fetches the project on Colab and Kaggle; elsewhere it only checks the installation.
import os
import subprocess
import sys
from pathlib import Path

kaggle = "KAGGLE_KERNEL_RUN_TYPE" in os.environ
hosted = kaggle or "google.colab" in sys.modules or any(name.startswith("COLAB_") for name in os.environ)
root = next((f for f in (Path.cwd(), *Path.cwd().parents) if (f / "mrt_lib").is_dir()), None)
if hosted and root is None:
    root = Path("/kaggle/working" if kaggle else "/content") / "mrt"
    if not root.exists():
        subprocess.run(["git", "clone", "--depth=1", "{repository()}", str(root)], check=True)
if root is None:
    raise ModuleNotFoundError("no mrt_lib here: open the notebook inside the repository")
sys.path.insert(0, str(root))
os.chdir(root / "notebooks")
from tools import environment

environment.prepare(hosted)'''

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
            *(f"# {number} · {title}", "", summary, "", badges(file), ""),
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
    """Links that open the committed notebook on Colab and on Kaggle."""
    page = f"{repository()}/blob/main/notebooks/{file}"
    colab = f"{COLAB}/github/{page.removeprefix('https://github.com/')}"
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
