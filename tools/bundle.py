"""The project as one archive to upload: `python -m tools.bundle [--models FOLDER ...] [--wheels]`.

It holds the tracked files as they lie here, under `mrt/`, and what a machine without internet would miss:
folders of further models, as `data/models/NAME`, and wheels, of what the set-up cell needs and of the
pretrained model. Not in it: torch and what else every hosted runtime has, and data sets, which can be given
as JSONL files.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement

from mrt_lib.files import whole
from mrt_lib.provenance import COMMIT_FILE, ROOT, git_commit
from tools.environment import HOSTED, KEEP, LANGUAGE_MODEL, MATHEMATICS, WHEELS, pinned_versions

BUNDLE = ROOT / "build" / "mrt.zip"
TOP = "mrt"
HOSTED_PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")


def bundle(target: Path, models: Sequence[Path] = (), wheels: Path | None = None, root: Path = ROOT) -> Path:
    """Write the archive, whole or not at all; the same files give the same bytes.

    Args:
        target: the archive.
        models: folders of further models, each with a config.json.
        wheels: a folder of wheels, or None.
        root: a git checkout; its changes that are not committed come along, and the commit then says so.

    Raises:
        ValueError: `root` is no git checkout, or a folder of `models` holds no model.
    """
    for model in models:
        if not (model / "config.json").is_file():
            raise ValueError(f"{model} holds no model: it has no config.json")
    files = {name: root / name for name in tracked(root)}
    for model in models:
        files |= {f"data/models/{model.resolve().name}/{name}": path for name, path in _inside(model)}
    files |= {f"{WHEELS}/{name}": path for name, path in _inside(wheels)} if wheels else {}
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    with whole(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry(COMMIT_FILE), git_commit(root) + (" with changes" if changed else "") + "\n")
        for name, path in sorted(files.items()):
            with path.open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as kept:
                while block := source.read(2**22):
                    kept.write(block)
    return target


def tracked(root: Path) -> list[str]:
    """The files that git tracks and that are there; ValueError where there is no git checkout."""
    names = _git(root, "ls-files", "-z").split("\0")
    return [name for name in names if name and (root / name).is_file()]


def download_wheels(folder: Path, pythons: Iterable[str] = HOSTED_PYTHONS) -> None:
    """Fill a folder with the wheels that a set-up cell may want, for Linux and these versions of Python.

    Raises:
        subprocess.CalledProcessError: pip found one of them nowhere; its own message stands above.
    """
    pinned = pinned_versions()
    given = set(needed(KEEP))
    wanted = [f"{name}=={pinned[name]}" for name in needed((*HOSTED, *MATHEMATICS)) if name not in given]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    for python in pythons:
        where = [f"--python-version={python}", *platforms, f"--dest={folder}"]
        subprocess.run([*command, *where, *wanted, LANGUAGE_MODEL], check=True)


def needed(names: Iterable[str]) -> list[str]:
    """These packages and whatever they need on Linux, by the metadata of what is installed here."""
    found: dict[str, None] = {}
    todo = list(names)
    while todo:
        name = todo.pop().lower().replace("_", "-").replace(".", "-")
        if name not in found:
            found[name] = None
            todo += [r.name for r in map(Requirement, importlib.metadata.requires(name) or []) if _applies(r)]
    return sorted(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 with the reason."""
    parser = argparse.ArgumentParser(prog="bundle", description="the project as one archive to upload")
    parser.add_argument("--models", nargs="+", type=Path, default=(), help="folders of further models")
    parser.add_argument("--wheels", action="store_true", help="add packages for a machine without internet")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if options.wheels:
                download_wheels(Path(folder))
            path = bundle(BUNDLE, options.models, Path(folder) if options.wheels else None)
        except (ValueError, subprocess.CalledProcessError) as error:
            print(f"no bundle was written: {error}")
            return 1
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.0f} MB")
    return 0


def _applies(requirement: Requirement) -> bool:
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(linux)


def _inside(folder: Path) -> Iterator[tuple[str, Path]]:
    return ((str(path.relative_to(folder)), path) for path in folder.rglob("*") if path.is_file())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"{TOP}/{name}")
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"a bundle holds what git tracks, but git says: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
