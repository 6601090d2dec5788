"""Files that are there whole or not at all, whose folder this is, and what tells two models apart."""

from __future__ import annotations

import csv
import hashlib
import json
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A file to write, its folder made, which becomes `path` at the end; until then the old one stays."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path.with_suffix(".tmp")
    path.with_suffix(".tmp").replace(path)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: str | Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write rows with the union of their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and strings whole or not at all."""
    with whole(path) as temporary:
        torch.save(dict(state), temporary)


def load_checkpoint(path: str | Path, device: torch.device) -> dict[str, Any] | None:
    """The state, or None if there is no such file; ValueError for a damaged one.

    Unpickles nothing but tensors and plain values.
    """
    if not Path(path).exists():
        return None
    try:
        return torch.load(path, weights_only=True, map_location=device)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is damaged; remove it, and the run starts anew") from error


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `path` at the end; after an error there is nothing.

    FileExistsError if there is something at `path`.
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


def claim(folder: str | Path, identity: Mapping[str, Any]) -> None:
    """Write a run's identity into the folder's config.json, or check that the folder holds this very run.

    ValueError for a folder with another run names the settings that differ.
    """
    path, own = Path(folder) / "config.json", json.loads(json.dumps(identity))
    try:
        found = json.loads(path.read_text()) if path.exists() else own
    except ValueError:
        raise ValueError(
            f"{path} is damaged ({folder} holds the rest of some run); use a new folder"
        ) from None
    if found != own and all(file == path for file in Path(folder).iterdir()):
        found = own  # a run that ended before its first checkpoint has left nothing to protect
        path.unlink()
    if not path.exists():
        write_json(path, own)
    elif found != own:
        different = sorted(key for key in own | found if own.get(key) != found.get(key))
        raise ValueError(f"{folder} holds a run with another {', '.join(different)}; use a new folder")


def settings_of(thing: Any) -> Any:
    """What an arm or a template is, as JSON: its class and its settings, so that equal ones are equal.

    Settings are the attributes of an object and the plain ones of its class; a function is its name, its code
    and the values that it has caught. ValueError for what has no settings of its own, such as an array.
    """
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    if isinstance(thing, list | tuple):
        return [settings_of(item) for item in thing]
    if isinstance(thing, dict):
        return {str(key): settings_of(value) for key, value in thing.items()}
    if (code := getattr(thing, "__code__", None)) is not None:
        caught = [cell.cell_contents for cell in thing.__closure__ or () if cell.cell_contents is not thing]
        own = settings_of([*caught, *(thing.__defaults__ or ())])
        return f"{thing.__qualname__} {digest(json.dumps([_code(code), own]))}"
    if not hasattr(thing, "__dict__"):
        raise ValueError(
            f"{thing!r} is no plain setting, so a run with it could not be told from another; keep numbers, "
            "texts, lists, dicts, functions or objects with such attributes"
        )
    plain = str | int | float | bool | tuple
    shared = {k: v for k, v in vars(type(thing)).items() if isinstance(v, plain) and not k.startswith("_")}
    own = {name: settings_of(value) for name, value in (shared | vars(thing)).items()}
    return {"class": type(thing).__qualname__} | own


def _code(code: Any) -> list[Any]:
    """What a function does: its instructions, names and constants, those of functions within it too."""
    constants = [sorted(map(repr, c)) if isinstance(c, frozenset) else c for c in code.co_consts]
    return [
        code.co_code.hex(),
        code.co_names,
        [_code(c) if hasattr(c, "co_code") else repr(c) for c in constants],
    ]


def grading(task: Any) -> Any:
    """What tells a task's grading apart: a dataclass's settings, functions by their code; or its name."""
    try:
        return settings_of({f.name: getattr(task, f.name) for f in fields(task)})
    except (TypeError, ValueError):
        return task.name


def digest(*texts: str) -> str:
    """Sixteen hex digits of a row of texts."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def sha256(path: str | Path) -> str:
    """Hex digest of a file; FileNotFoundError if there is none."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def weights_digest(model: torch.nn.Module) -> str:
    """Sixteen hex digits that tell models apart: of the first 64 numbers of every weight."""
    found = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        found.update(name.encode() + weight.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return found.hexdigest()[:16]
