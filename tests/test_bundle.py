"""The archive to upload: what git tracks, as it lies there, and what is asked for beside it."""

import subprocess
import zipfile

import pytest

from mrt_lib.provenance import ROOT, git_commit
from tools import bundle
from tools.environment import HOSTED, KEEP, MATHEMATICS


def git(folder, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test", "-c", "commit.gpgsign=no"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A checkout with two tracked files, one of them deleted since, and one that is not tracked."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--quiet")
    for name in ("ü.txt", "gone.txt"):
        (root / name).write_text("first")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "now")
    (root / "secret.txt").write_text("not tracked")
    return root


def names(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_tracked_files_and_the_commit_are_in_it_and_nothing_else(checkout, tmp_path):
    found = names(bundle.bundle(tmp_path / "new" / "mrt.zip", root=checkout))
    assert found == {
        "mrt/ü.txt": "first",
        "mrt/gone.txt": "first",
        "mrt/COMMIT": git_commit(checkout) + "\n",
    }
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mrt.zip"]


def test_changes_come_along_and_the_commit_says_so(checkout, tmp_path):
    (checkout / "ü.txt").write_text("second")
    (checkout / "gone.txt").unlink()
    found = names(bundle.bundle(tmp_path / "mrt.zip", root=checkout))
    assert found == {"mrt/ü.txt": "second", "mrt/COMMIT": git_commit(checkout) + " with changes\n"}


def test_the_same_files_give_the_same_bytes(checkout, tmp_path):
    first, second = (bundle.bundle(tmp_path / f"{i}.zip", root=checkout).read_bytes() for i in range(2))
    assert first == second


def test_models_and_wheels_come_along(checkout, tmp_path):
    for name in ("own/config.json", "own/parts/model.safetensors", "wheels/peft.whl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = names(bundle.bundle(tmp_path / "mrt.zip", [tmp_path / "own"], tmp_path / "wheels", checkout))
    assert found["mrt/data/models/own/config.json"] == "own/config.json"
    assert found["mrt/data/models/own/parts/model.safetensors"] == "own/parts/model.safetensors"
    assert found["mrt/wheels/peft.whl"] == "wheels/peft.whl"
    with pytest.raises(ValueError, match=r"wheels holds no model: it has no config\.json"):
        bundle.bundle(tmp_path / "mrt.zip", [tmp_path / "wheels"], root=checkout)


def test_a_folder_without_git_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"git says: .*not a git repository"):
        bundle.bundle(tmp_path / "mrt.zip", root=tmp_path)


def test_the_unpacked_bundle_knows_its_commit(checkout, tmp_path):
    with zipfile.ZipFile(bundle.bundle(tmp_path / "mrt.zip", root=checkout)) as archive:
        archive.extractall(tmp_path)
    assert git_commit(tmp_path / "mrt") == git_commit(checkout)


def test_the_shipped_reasoners_are_tracked():
    tracked = set(bundle.tracked(ROOT))
    for name in ("base", "weak", "strong", "backtracker"):
        assert {f"data/models/{name}/{file}" for file in ("config.json", "model.safetensors")} <= tracked


def test_what_a_package_needs_is_followed_to_the_end():
    found = bundle.needed(["peft"])
    assert {"peft", "transformers", "tokenizers", "safetensors", "torch", "sympy", "mpmath"} <= set(found)
    assert not {"pytest", "vllm"} & set(found)


def test_wheels_are_fetched_for_every_python_but_never_torch(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    bundle.download_wheels(tmp_path)
    versions = [item for command in commands for item in command if item.startswith("--python-version")]
    assert versions == [f"--python-version={version}" for version in ("3.11", "3.12", "3.13")]
    wanted = {item.partition("==")[0] for item in commands[0] if "==" in item}
    assert {*HOSTED, *MATHEMATICS, "tokenizers", "latex2sympy2-extended"} <= wanted
    assert not {*KEEP, "sympy"} & wanted
