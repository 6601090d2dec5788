"""One setting says where the project lives; until its owner says so, nothing does."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

from mrt_lib.provenance import ROOT
from tools import bundle, notebook_files, publish
from tools.notebook_template import repository

CITED = "CMU-AIRe/MRT"  # the authors' re-run of the paper
ADDRESS = re.compile(r"(?<![\w.-])(?:github\.com|google\.com/github)/([\w.-]+/[\w-]+)")
WRITTEN = ("README.md", "CITATION.cff", "pyproject.toml")


def test_no_address_but_the_projects_own_stands_in_any_tracked_file():
    own = {CITED, repository().removeprefix("https://github.com/"), "owner/name", "other/name"}
    for name in bundle.tracked(ROOT):
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        assert {found for found in ADDRESS.findall(text) if "name}" not in found} <= own, name


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of what is written, with links to the rest."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("notebooks", "tools", "mrt_lib", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in WRITTEN:
        shutil.copy(ROOT / name, folder)
    for name in ("data", "experiments", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(folder, *arguments):
    command = [sys.executable, "-m", "tools.publish", *arguments]
    environment = {"PYTHONPATH": str(folder), "PATH": "", "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def files(folder):
    return {
        p.name: p.read_bytes() for p in (*(folder / "notebooks").iterdir(), *(folder / n for n in WRITTEN))
    }


def test_a_repository_is_written_everywhere_and_taken_out_again(copy):
    assert run(copy, "none").returncode == 0
    without = files(copy)
    done = run(copy, "owner/name")
    assert done.stdout == "the project lives at https://github.com/owner/name: 0 problems\n", done.stderr
    published = files(copy)
    project = tomllib.loads(published["pyproject.toml"].decode())
    assert project["project"]["urls"] == {"Repository": "https://github.com/owner/name"}
    assert project["tool"]["mrt"] == {"repository": "owner/name"}
    assert yaml.safe_load(published["CITATION.cff"])["repository-code"] == "https://github.com/owner/name"
    for path in notebook_files.find(copy / "notebooks"):
        link = f"https://colab.research.google.com/github/owner/name/blob/main/notebooks/{path.name}"
        assert published["README.md"].decode().count(link) == 1
        head, first = notebook_files.read(path).cells[:2]
        assert link in head.source
        assert 'REPOSITORY = "https://github.com/owner/name"' in first.source
    assert run(copy, "owner/name").returncode == 0
    assert files(copy) == published
    done = run(copy, "none")
    assert done.stdout == "the project lives at no address: 0 problems\n"
    assert files(copy) == without
    assert b"Open in Colab" not in b"".join(without.values())


def test_what_does_not_agree_is_named(copy):
    (copy / "CITATION.cff").write_text((ROOT / "CITATION.cff").read_text() + 'repository-code: "x"\n')
    (copy / "README.md").write_text((copy / "README.md").read_text().replace("| minutes |", "| ? |"))
    code = "from tools.publish import problems\nprint(*problems(), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["CITATION.cff", "README.md"]


REFUSED = [
    "",
    "owner",
    "owner/",
    "/name",
    "owner/name/more",
    "https://github.com/owner/name",
    "owner/name.git",
]
REFUSED += ["-owner/name", "owner-/name", "own--er/name", "own er/name", "owner/na me", "owner/.", "owner/.."]
REFUSED += ['owner/name"', "owner/name\n", "NONE", "o" * 40 + "/name", "owner/" + "n" * 101, "öwner/name"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_owner_and_name_is_refused_untouched(name):
    before = files(ROOT)
    with pytest.raises(ValueError, match="REPO=owner/name`, or `make publish REPO=none`"):
        publish.publish(name)
    assert files(ROOT) == before


@pytest.mark.parametrize("name", ["o/n", "an-owner/a.name_1-x", "o" * 39 + "/" + "n" * 100, "owner/.github"])
def test_names_that_github_allows_are_taken(name):
    assert publish.OWNER_AND_NAME.fullmatch(name)
