"""Files that are there whole or not at all, whose folder this is, and what tells two models apart."""

import csv
import errno
import hashlib
import json
import os
import pickle
import platform
import re
import secrets
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cached_property, partial
from pathlib import Path
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError

WAYS = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room in the quota of its disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f, or that of the disk)",
    errno.EIO: "choose another disk, this one does not keep what it is given",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a place that may be written to"),
}


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A file to write, its folder made, which becomes `path` at the end; until then the old one stays.

    OSError for a full disk and the like says what and why; nothing half written is left.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    temporary = _unique(path)
    with _explained(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _unique(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What a disk does not take, whichever library says so, is an OSError with path, cause and way out."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        told = re.search(r"\(os error (\d+)\)", str(error)) if isinstance(error, SafetensorError) else None
        own = error.__context__ if isinstance(error, RuntimeError) else error
        number = int(told[1]) if told else getattr(own, "errno", None)
        if number not in WAYS:
            raise
        cause = f"{path} could not be written ({os.strerror(number)}) and is as it was before"
        raise OSError(number, f"{cause}: {WAYS[number]}, then do the same again") from error


@contextmanager
def put_back(path: Path) -> Iterator[None]:
    """Within it, an error gives `path` what it had before, or nothing."""
    spare = _unique(path)
    try:
        with _explained(path):
            if path.exists():
                shutil.copyfile(path, spare)
        yield
    except BaseException:
        if spare.exists():
            spare.replace(path)
        else:
            path.unlink(missing_ok=True)
        raise
    finally:
        spare.unlink(missing_ok=True)


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
    """Write tensors, numbers and strings whole or not at all; the one before stays beside it."""
    path = Path(os.path.realpath(path))
    with whole(path) as temporary:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        if not _intact(temporary):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if path.exists():
            path.replace(_previous(path))


def load_checkpoint(path: str | Path, device: torch.device, keys: Iterable[str] = ()) -> dict | None:
    """The newest intact state with these keys; None if there is none yet, ValueError if all are damaged.

    A damaged one that is newer is put aside with a warning. Unpickles nothing but tensors and plain values.
    """
    path, damaged = Path(os.path.realpath(path)), []
    for file in filter(Path.exists, (path, _previous(path))):
        if (state := _state(file, device, keys)) is None:
            damaged.append(str(file))
            continue
        if damaged:
            path.replace(path.with_name(f"{path.name}.damaged"))
            warnings.warn(f"{path} is damaged; the run goes on from {file.name}", stacklevel=2)
        return state
    if damaged:
        raise ValueError(f"{' and '.join(damaged)} is damaged; remove it, and the run starts anew")
    return None


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def _state(file: Path, device: torch.device, keys: Iterable[str]) -> dict | None:
    if not _intact(file):
        return None
    try:
        state = torch.load(file, weights_only=True, map_location=device)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if "memory" in str(error):
            raise
        return None
    return state if isinstance(state, dict) and state.keys() >= set(keys) else None


def _intact(file: Path) -> bool:
    """Every part has its checksum, which torch does not look at."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (PermissionError, IsADirectoryError):
        raise
    except Exception:  # damaged bytes make a parser fail in any way
        return False


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder to fill, which becomes `path` at the end; after an error there is nothing.

    FileExistsError if there is something at `path`; for a full disk as in `whole`.
    """
    path = Path(path)
    taken = f"{path} exists; choose a new folder or remove it"
    if path.exists():
        raise FileExistsError(taken)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as parent:
            filling = Path(parent) / path.name
            filling.mkdir()
            yield filling
            if path.exists():
                raise FileExistsError(taken)
            filling.rename(path)


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Within it no other process or thread has the folder, which is made; also ends if the process is killed.

    BlockingIOError says who has it.
    """
    folder = Path(folder)
    owner = folder / ".owner"
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", is_singleton=True)
        first = not lock.is_locked
        try:
            lock.acquire(timeout=1)
        except Timeout:
            who = owner.read_text() if owner.exists() else "another process"
            raise BlockingIOError(f"{folder} is in use by {who}; wait for it, or use a new folder") from None
    try:
        if first:
            for left in folder.glob(".*.tmp"):  # of a process that was killed
                left.unlink(missing_ok=True)
            owner.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        if first:
            owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def claim(folder: str | Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Have a folder `alone` for the run whose identity its config.json says, or shall say from now on.

    ValueError for a folder with another run names the settings that differ, or a file that is no run's.
    """
    path, own = Path(folder) / "config.json", json.loads(json.dumps(identity))
    with alone(folder):
        try:
            found = dict(json.loads(path.read_text())) if path.exists() else {}
        except (ValueError, TypeError):
            raise ValueError(f"{path} is damaged; {folder} holds some run, use a new one") from None
        different = sorted(key for key in own | found if own.get(key) != found.get(key))
        # A run that ended before its first checkpoint has left nothing to protect.
        kept = sorted(f.name for f in Path(folder).iterdir() if f != path and not f.name.startswith("."))
        if different and kept:
            what = f"a run with another {', '.join(different)}" if found else f"{kept[0]} and no run"
            raise ValueError(f"{folder} holds {what}; use a new folder")
        if different or not path.exists():
            write_json(path, own)
        yield


PLAIN = (object.__reduce__, object.__reduce_ex__, SimpleNamespace.__reduce__)


def settings_of(thing: Any) -> Any:
    """What an arm or a template is, as JSON: its class and its settings, so that equal ones are equal.

    Settings are the attributes of an object and the plain ones of its classes; a function is its name, its
    code and the values that it has caught. ValueError for what has no settings of its own, such as an array.
    """
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    if isinstance(thing, list | tuple):
        return [settings_of(item) for item in thing]
    if isinstance(thing, dict):
        return {str(key): settings_of(value) for key, value in thing.items()}
    if isinstance(thing, partial):
        return settings_of([thing.func, thing.args, thing.keywords])
    if isinstance(thing, MethodType):
        return settings_of([thing.__func__, thing.__self__])
    if isinstance(thing, FunctionType):
        caught = [cell.cell_contents for cell in thing.__closure__ or () if cell.cell_contents is not thing]
        own = settings_of([*caught, *(thing.__defaults__ or ()), thing.__kwdefaults__])
        return f"{thing.__qualname__} {digest(json.dumps([_code(thing.__code__), own]))}"
    kind = type(thing)
    # What pickles in a way of its own, such as a tensor, has more than attributes.
    own_way = any(getattr(kind, n) not in PLAIN for n in ("__reduce__", "__reduce_ex__"))
    if not hasattr(thing, "__dict__") or own_way or isinstance(thing, type):
        plain = "numbers, texts, lists, dicts, functions or objects with such attributes"
        raise ValueError(f"{thing!r} is no plain setting to tell a run by; keep {plain}")
    shared = {k: v for base in reversed(kind.__mro__) for k, v in vars(base).items() if k[0] != "_"}
    kept = {k: v for k, v in vars(thing).items() if not isinstance(shared.get(k), cached_property)}
    own = {k: v for k, v in shared.items() if isinstance(v, str | int | float | tuple)} | kept
    return {"class": kind.__qualname__} | {name: settings_of(value) for name, value in own.items()}


def _code(code: Any) -> list[Any]:
    """What a function does: its instructions, names and constants, those of functions within it too."""
    constants = [sorted(map(repr, c)) if isinstance(c, frozenset) else c for c in code.co_consts]
    own = [_code(c) if hasattr(c, "co_code") else repr(c) for c in constants]
    return [code.co_code.hex(), code.co_names, own]


def grading(task: Any) -> Any:
    """What tells a task's grading apart: the code that scores, and a dataclass's settings or its name."""
    scores = settings_of(getattr(type(task), "score", None))
    try:
        return [scores, settings_of({f.name: getattr(task, f.name) for f in fields(task)})]
    except (TypeError, ValueError):
        return [scores, task.name]


def digest(*texts: str) -> str:
    """Sixteen hex digits of a row of texts."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


def sha256(path: str | Path) -> str:
    """Hex digest of a file; FileNotFoundError if there is none."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(model: torch.nn.Module) -> str:
    """Sixteen hex digits that tell models apart: of every bit of all weights; 1 s for about 1 GB."""
    found = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()[:16]
