"""What docs/troubleshooting.md names exists."""

import re

from mrt_lib.provenance import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"`([^`\n]+)`", PAGE)
TESTS = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
# Strings that a message is put together from, without the breaks between them.
SOURCES = [p.read_text() for f in ("mrt_lib", "tools") for p in (ROOT / f).rglob("*.py")]
MESSAGES = re.sub(r'"\s+f?"', "", "".join(SOURCES))


def named(pattern):
    found = {match[1] for match in (re.fullmatch(pattern, text) for text in QUOTED) if match}
    assert found, f"nothing like {pattern} is named any more; adapt this test"
    return found


def test_files_and_folders_exist():
    # build/ is made by running things.
    named_ones = named(r"(\w+(?:/[\w.]+)+|\w+\.(?:txt|toml))")
    assert [p for p in named_ones if not (ROOT / p).exists() and not p.startswith("build/")] == []


def test_tests_exist():
    assert [name for name in named(r"(test_\w+)") if f"def {name}(" not in TESTS] == []


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    assert [t for t in named(r"make ([a-z-]+)") if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []


def test_modules_exist():
    modules = [name.replace(".", "/") for name in named(r"python -m ([\w.]+)")]
    assert [name for name in modules if not (ROOT / f"{name}.py").is_file()] == []


def test_messages_are_those_of_the_code():
    symptoms = re.findall(r"^\| `([^`]+ [^`]+)`", PAGE, re.MULTILINE)
    assert len(symptoms) > 5
    assert [text for text in symptoms if text not in MESSAGES] == []


def test_the_allocator_keeps_buffers_where_small_reasoners_generate_and_nowhere_else():
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"^SMALL := (.*)$", makefile, re.MULTILINE) == ["notebooks test experiments bench"]
    told = [line for line in makefile.splitlines() if "MALLOC_" in line]
    assert len(told) == 3
    assert all(line.startswith("$(SMALL): export MALLOC_") for line in told)
