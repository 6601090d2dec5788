"""Dashboards, for those who ask: pass one to `mrt_lib.training.train` as a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def tensorboard(folder: str | Path) -> Callable[[Sequence[Mapping[str, float]]], None]:
    """A report that writes every step's row for TensorBoard; after a resume, over the rows it repeats.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(f"TensorBoard is missing ({error}): pip install -e '.[tensorboard]'") from error
    writer: SummaryWriter | None = None

    def report(log: Sequence[Mapping[str, float]]) -> None:
        nonlocal writer
        row = log[-1]
        writer = writer or SummaryWriter(folder, purge_step=int(row["step"]))
        for name in row.keys() - {"step"}:
            writer.add_scalar(name, row[name], int(row["step"]))
        writer.flush()

    return report
