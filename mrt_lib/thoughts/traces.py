"""A trace: one problem thought through once, cut into episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mrt_lib.files import whole


@dataclass(frozen=True)
class Trace:
    """Token ids of one thought and its answer.

    Attributes:
        problem_id: which problem was thought about.
        prompt_ids: the prompt, up to and including the open thinking block.
        thought_ids: the thought, without the token that closes it.
        boundaries: number of thought tokens at the end of each episode, strictly increasing; the last one is
            the whole thought. Empty for an empty thought.
        finished: the model ended the thought itself (False: the budget cut it), with `end_ids`.
        answer_ids: the answer, after the thought was closed by the model or by force.
        thought_log_probs: log-probability of each thought token and of those that ended it if `finished`,
            under the distribution it was sampled from.
        answer_log_probs: the same for the answer.
        values: J_0 .. J_k, the meta-prover's value at each prefix; empty until a prover ran.
        eos_id: the model's own end-of-text token if the thought ended with that, unclosed; -1 otherwise.
        end_ids: the tokens that ended the thought; empty if the budget did, and in files older than this.
    """

    problem_id: str
    prompt_ids: list[int]
    thought_ids: list[int]
    boundaries: list[int]
    finished: bool
    answer_ids: list[int] = field(default_factory=list)
    thought_log_probs: list[float] = field(default_factory=list)
    answer_log_probs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    eos_id: int = -1
    end_ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        ends = [0, *self.boundaries]
        if ends != sorted(set(ends)) or ends[-1] != len(self.thought_ids):
            end = f"end at the thought's {len(self.thought_ids)} tokens"
            raise ValueError(f"boundaries {self.boundaries} must rise strictly and {end}")

    @property
    def n_episodes(self) -> int:
        """Number of episodes k; the trace has k + 1 prefixes c_0 .. c_k."""
        return len(self.boundaries)

    @property
    def end_tokens(self) -> int:
        """How many tokens the model spent on ending the thought."""
        return max(1, len(self.end_ids)) if self.finished else 0

    def prefix(self, j: int) -> list[int]:
        """c_j: the prompt and the first j episodes; IndexError unless 0 <= j <= k."""
        if not 0 <= j <= self.n_episodes:
            raise IndexError(f"prefix {j} of a trace with {self.n_episodes} episodes")
        return self.prompt_ids + self.thought_ids[: [0, *self.boundaries][j]]

    def episode(self, j: int) -> list[int]:
        """Tokens of episode z_j; IndexError unless 0 <= j < k."""
        if not 0 <= j < self.n_episodes:
            raise IndexError(f"episode {j} of a trace with {self.n_episodes} episodes")
        return self.thought_ids[[0, *self.boundaries][j] : self.boundaries[j]]


def save_traces(path: str | Path, traces: Sequence[Trace]) -> None:
    """Write traces as one Parquet file, whole or not at all. Needs pyarrow."""
    import pyarrow
    import pyarrow.parquet

    columns = {f.name: [getattr(t, f.name) for t in traces] for f in fields(Trace)}
    with whole(path) as temporary:
        table = pyarrow.table(columns, schema=_schema())
        pyarrow.parquet.write_table(table, temporary, write_page_checksum=True)


def load_traces(path: str | Path) -> list[Trace]:
    """Read traces written by `save_traces`, also before they told how they ended.

    FileNotFoundError without a file; ValueError if it is not Parquet or damaged, or a column is missing, of
    the wrong type or has empty cells.
    """
    import pyarrow
    import pyarrow.parquet

    if not Path(path).is_file():
        raise FileNotFoundError(f"no trace file at {path}")
    try:
        table = pyarrow.parquet.read_table(path, page_checksum_verification=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no readable Parquet file: {error}") from None
    for name, missing in (("eos_id", -1), ("end_ids", [])):
        if name not in table.column_names:
            column = pyarrow.array([missing] * len(table), _schema().field(name).type)
            table = table.append_column(name, column)
    for name, expected in zip(_schema().names, _schema().types, strict=True):
        if name not in table.column_names:
            raise ValueError(f"{path}: column {name!r} is missing")
        if (found := table.schema.field(name).type) != expected:
            raise ValueError(f"{path}: column {name!r} is {found}, expected {expected}")
        if table[name].null_count:
            raise ValueError(f"{path}: column {name!r} has empty cells")
    return [Trace(**row) for row in table.select(_schema().names).to_pylist()]


def _schema() -> Any:
    import pyarrow as pa

    ints, floats = pa.list_(pa.int32()), pa.list_(pa.float64())
    types = {"problem_id": pa.string(), "finished": pa.bool_(), "eos_id": pa.int32()}
    types |= dict.fromkeys(("prompt_ids", "thought_ids", "boundaries", "answer_ids", "end_ids"), ints)
    types |= dict.fromkeys(("thought_log_probs", "answer_log_probs", "values"), floats)
    return pa.schema([(f.name, types[f.name]) for f in fields(Trace)])
