"""Parents that are ended take their children with them; what is in progress is not started twice."""

import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from mrt_lib.provenance import ROOT
from tests.processes import start, wait_for

PLAN = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from experiments import schedule

FOLDER = Path({folder!r})
schedule.SCRATCH = FOLDER / "scratch"

@dataclass(frozen=True)
class Run:
    name: str
    def done(self):
        return (FOLDER / f"{{self.name}}.done").exists()

def execute(run):
    with (FOLDER / f"{{run.name}}.started").open("a") as file:
        print(os.getpid(), file=file)
    try:
        while not (FOLDER / "go").exists():
            time.sleep(0.05)
        (FOLDER / f"{{run.name}}.done").touch()
    finally:
        (FOLDER / f"{{run.name}}.cleaned").touch()

if __name__ == "__main__":
    schedule.WAIT = 0.2
    schedule.command_line("own_plan", "", lambda: [Run("a"), Run("b")], execute)
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    (tmp_path / "own_plan.py").write_text(PLAN.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    own = []

    def parent():
        own.append(subprocess.Popen([sys.executable, "-m", "own_plan"], cwd=tmp_path))
        return own[-1]

    yield parent
    for process in own:
        process.kill()
    for pid in pids(tmp_path, "a") + pids(tmp_path, "b"):
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def pids(folder, name):
    path = folder / f"{name}.started"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGHUP, signal.SIGINT))],
)
def test_the_experiments_end_with_their_parent(plan, tmp_path, number):
    parent = plan()
    wait_for(lambda: pids(tmp_path, "a") and pids(tmp_path, "b"))
    parent.send_signal(number)
    assert parent.wait(60) != 0
    assert not any(psutil.pid_exists(pid) for name in "ab" for pid in pids(tmp_path, name))
    assert all((tmp_path / f"{name}.cleaned").exists() for name in "ab")


def test_a_run_in_progress_is_left_to_who_does_it(plan, tmp_path):
    first = plan()
    wait_for(lambda: pids(tmp_path, "a") and pids(tmp_path, "b"))
    first.kill()  # nobody can clean up after this
    first.wait()
    second = plan()
    time.sleep(5)
    assert second.poll() is None
    (tmp_path / "go").touch()
    assert second.wait(60) == 0
    assert len(pids(tmp_path, "a")) == len(pids(tmp_path, "b")) == 1


CELL = """
import os, subprocess, sys, tempfile, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({path!r}, "w").write(f"{{os.getpid()}} {{os.getppid()}} {{child.pid}}")
time.sleep(600)
"""


def test_the_notebook_runner_ends_with_everything_that_it_started(tmp_path, monkeypatch):
    for name in ("notebooks", "temporary"):
        (tmp_path / name).mkdir()
    told = tmp_path / "pids"
    head = nbformat.v4.new_markdown_cell("# A title")
    cell = nbformat.v4.new_code_cell(CELL.format(path=str(told)))
    path = tmp_path / "notebooks" / "00_a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[head, cell]), path)
    before = path.read_bytes()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.delenv("MRT_TIER", raising=False)
    arguments = ["--notebooks", path.parent, "--results", tmp_path / "r.json", "--html", tmp_path / "html"]
    runner = start("-m", "tools.run_notebooks", *arguments)
    wait_for(lambda: told.exists() and len(told.read_text().split()) == 3)
    second = start("-m", "tools.run_notebooks", *arguments, stdout=subprocess.PIPE, text=True)
    assert "being run already" in second.communicate(timeout=60)[0]
    assert second.returncode == 1
    runner.terminate()
    assert runner.wait(60) == 128 + signal.SIGTERM
    assert not [pid for pid in map(int, told.read_text().split()) if psutil.pid_exists(pid)]
    assert not list((tmp_path / "temporary").iterdir())
    assert path.read_bytes() == before


def test_both_files_of_a_report_or_neither(tmp_path, monkeypatch):
    from mrt_lib.reporting.page import write_report
    from tests.test_overthinking import measured

    old, new = measured(), measured(optimum=[0.1, 1.0])
    write_report(old, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace = os.replace
    for name in ("report.json", "report.html"):

        def failing(source, target, name=name):
            if str(target).endswith(name):
                raise OSError("no")
            replace(source, target)

        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="no"):
            write_report(new, tmp_path)
        monkeypatch.setattr(os, "replace", replace)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write_report(new, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())
    assert (tmp_path / "report.html").read_bytes() != before["report.html"]
