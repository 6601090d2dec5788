"""Files that are there whole or not at all."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and strings; the old file stays until the new one is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(dict(state), temporary)
    os.replace(temporary, path)


def load_checkpoint(path: str | Path, device: torch.device) -> dict[str, Any] | None:
    """The state, or None if there is no such file. Unpickles nothing but tensors and plain values."""
    path = Path(path)
    return torch.load(path, weights_only=True, map_location=device) if path.exists() else None


def write_csv(path: str | Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write rows with the union of their columns."""
    path = Path(path)
    temporary = path.with_suffix(".tmp")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `path` at the end; after an error there is nothing.

    Raises:
        FileExistsError: there is something at `path`.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; choose a new folder or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as parent:
        filling = Path(parent) / path.name
        filling.mkdir()
        yield filling
        filling.rename(path)
