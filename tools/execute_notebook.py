"""Execute one notebook in a process of its own: `python -m tools.execute_notebook IN OUT REPORT`.

OUT gets the executed notebook if every cell ran; REPORT gets JSON with `error` (null, or which cell
failed and how) and `peak_bytes`, the largest memory of the kernel or a process that it started. Two
more arguments may follow: the seconds that a cell may take, and "solutions" to run those of the
exercises after the last cell.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets.config import Config

from tools.notebook_files import normalise, read, solutions, write
from tools.processes import orderly


def execute(notebook: NotebookNode, folder: Path, timeout: int, sockets: str) -> dict | None:
    """Run all cells in place, in `folder`, at most `timeout` seconds each; the kernel listens in `sockets`.

    Returns:
        None, or the first failure as {"cell", "source", "error"}; cells count from 1.
    """
    last = 0

    def started(cell: NotebookNode, cell_index: int) -> None:  # noqa: ARG001 - nbclient names them
        nonlocal last
        last = cell_index
        if sys.stdout.isatty():
            print(f"\r    cell {cell_index + 1}/{len(notebook.cells)}", end="", flush=True)

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        # By files: a port that is free when it is chosen may be another process's when the kernel starts.
        config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"}),
        extra_arguments=["--log-level=ERROR"],
        timeout=timeout,
        startup_timeout=300,
        iopub_timeout=60,  # a busy machine must not lose outputs
        force_raise_errors=True,
        record_timing=False,
        store_widget_state=True,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=started,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return {"cell": last + 1, "source": notebook.cells[last].source, "error": _plain(str(error))}
    finally:
        if sys.stdout.isatty():
            print("\r" + " " * 30 + "\r", end="", flush=True)
    return None


def main(source: str, target: str, report: str, timeout: str = "1800", more: str = "") -> None:
    """Execute, normalise, write; the exit status is 0 even if a cell failed."""
    # A user's own kernels and start-up files must not change what runs.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["IPYTHONDIR"] = tempfile.mkdtemp(dir=Path(report).parent)
    notebook = read(Path(source))
    if more == "solutions":
        notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    # The path of a socket is to be short.
    with orderly(), tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        error = execute(notebook, Path(source).resolve().parent, int(timeout), sockets)
    if error is None:
        normalise(notebook)
        write(notebook, Path(target))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    Path(report).write_text(json.dumps({"error": error, "peak_bytes": peak}))


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


if __name__ == "__main__":
    main(*sys.argv[1:])
