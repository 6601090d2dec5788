"""Where the project lives: `python -m tools.publish owner/name` writes it everywhere, `none` takes it out.

The one setting is `[tool.mrt] repository` in pyproject.toml. From it follow the project's URL there, the
citation, the badges, and the address that the set-up cells clone where they find no bundle.
"""

from __future__ import annotations

import re
import sys
import tomllib

from mrt_lib.provenance import ROOT
from tools import notebook_checks, notebook_files, readme
from tools.notebook_template import COLAB, badges, repository, setup

PROJECT, CITATION = ROOT / "pyproject.toml", ROOT / "CITATION.cff"
OWNER_AND_NAME = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}(?<!\.git)")
USAGE = "say where the project lives, `make publish REPO=owner/name`, or `make publish REPO=none` for nowhere"


def publish(where: str) -> None:
    """Write the repository into every file that names it; the same call again changes nothing.

    Args:
        where: "owner/name" on GitHub, or "none".

    Raises:
        ValueError: `where` is neither; nothing was written.
    """
    if where != "none" and not OWNER_AND_NAME.fullmatch(where):
        raise ValueError(f"{where!r} is not owner/name of a repository on GitHub; {USAGE}")
    name = "" if where == "none" else where
    setting = re.sub(r'^repository = ".*"$', f'repository = "{name}"', PROJECT.read_text(), flags=re.M)
    PROJECT.write_text(setting)
    address = repository()  # everything below follows from the setting
    PROJECT.write_text(_project(PROJECT.read_text(), address))
    CITATION.write_text(_citation(CITATION.read_text(), address))
    for path in notebook_files.find():
        notebook = notebook_files.read(path)
        notebook.cells[0].source = _head(notebook.cells[0].source, badges(path.name))
        for cell in notebook.cells:
            if cell.cell_type == "code" and notebook_files.is_setup(cell.source):
                cell.source = setup(address)
        notebook_files.write(notebook, path)
    for page in readme.PAGES:
        page.write_text(readme.filled(page.read_text()))


def problems() -> list[str]:
    """What does not agree with the setting, one line each."""
    address = repository()
    paths = notebook_files.find()
    names = [path.name for path in paths]
    found = [
        f"{path.name}: {problem}"
        for path in paths
        for problem in notebook_checks.problems(path, notebook_files.read(path), names)
    ]
    urls = tomllib.loads(PROJECT.read_text())["project"].get("urls", {})
    if urls != ({"Repository": address} if address else {}):
        found.append(f"pyproject.toml: the project's URLs are {urls}")
    if re.findall(r'^repository-code: "(.*)"$', CITATION.read_text(), re.M) != ([address] if address else []):
        found.append("CITATION.cff: repository-code is another")
    stale = [page.name for page in readme.PAGES if readme.filled(text := page.read_text()) != text]
    return [*found, *(f"{name}: run `python -m tools.readme`" for name in stale)]


def main(arguments: list[str]) -> int:
    """The exit status: 0, or 1 if the name was refused or something does not agree with it."""
    try:
        publish(arguments[0] if arguments else "")
    except ValueError as error:
        print(error)
        return 1
    for problem in (found := problems()):
        print(problem)
    print(f"the project lives at {repository() or 'no address'}: {len(found)} problems")
    return bool(found)


def _project(text: str, address: str) -> str:
    """pyproject.toml with the project's URL in front of its tools, or without one."""
    text = re.sub(r"^\[project\.urls\]\n(?:.+\n)*\n", "", text, flags=re.M)
    urls = f'[project.urls]\nRepository = "{address}"\n\n' if address else ""
    return text.replace("[tool.mrt]\n", f"{urls}[tool.mrt]\n")


def _citation(text: str, address: str) -> str:
    """CITATION.cff with the repository under the version, or without it."""
    text = re.sub(r"^repository-code: .*\n", "", text, flags=re.M)
    line = f'repository-code: "{address}"\n' if address else ""
    return re.sub(r"^version: .*\n", lambda found: found[0] + line, text, flags=re.M)


def _head(text: str, own: str) -> str:
    """A notebook's first cell with these badges as its third part, or without any."""
    parts = [part for part in text.split("\n\n") if not (part.startswith("[![") and COLAB in part)]
    return "\n\n".join([*parts[:2], *([own] if own else []), *parts[2:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
