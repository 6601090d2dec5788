"""Versions and the commit that a result is marked with."""

import subprocess

import numpy as np

from mrt_lib import provenance
from mrt_lib.provenance import git_commit
from tools.environment import versions


def test_versions_name_packages_device_and_commit(monkeypatch):
    found = versions()
    assert list(found) == ["python", "torch", "transformers", "peft", "numpy", "device", "commit"]
    assert found["numpy"] == np.__version__
    monkeypatch.setattr(provenance, "installed", lambda name: None)
    assert versions()["peft"] == "not installed"


def test_the_commit_is_read_from_branch_packed_reference_or_detached_head(tmp_path):
    assert git_commit(tmp_path) == "unknown"
    heads = tmp_path / ".git" / "refs" / "heads"
    heads.mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert git_commit(tmp_path) == "unknown"
    (tmp_path / ".git" / "packed-refs").write_text("# pack-refs with: peeled\nabc refs/heads/main\n^def\n")
    assert git_commit(tmp_path) == "abc"
    (heads / "main").write_text("123\n")
    assert git_commit(tmp_path) == "123"
    (tmp_path / ".git" / "HEAD").write_text("456\n")
    assert git_commit(tmp_path) == "456"


def test_the_commit_of_a_worktree_is_its_own(tmp_path):
    def git(*arguments):
        command = [
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.c",
            "-C",
            str(tmp_path / "clone"),
            *arguments,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "clone").mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    git("worktree", "add", "-q", str(tmp_path / "tree"), "-b", "other")
    first = git("rev-parse", "HEAD")
    git("commit", "-q", "--allow-empty", "-m", "second")
    assert git_commit(tmp_path / "tree") == first
    assert git_commit(tmp_path / "clone") == git("rev-parse", "HEAD") != first
