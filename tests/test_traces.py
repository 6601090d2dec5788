"""Traces: what a trace refuses, its prefixes and episodes, and the Parquet file."""

from dataclasses import fields, replace

import pytest

from mrt_lib.thoughts.traces import Trace, load_traces, save_traces

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FULL = Trace(
    problem_id="root_search_31:b=6:N=475",
    prompt_ids=[1, 2],
    thought_ids=[10, 11, 12, 13, 14],
    boundaries=[2, 3, 5],
    finished=True,
    answer_ids=[20],
    thought_log_probs=[-0.1, -0.2, -0.3, -0.4, -0.5, -0.6],
    answer_log_probs=[-0.7],
    values=[1 / 31, 3 / 31, 7 / 31, 1.0],
)
NAMES = [f.name for f in fields(Trace)]
EMPTY = Trace(problem_id="π", prompt_ids=[1], thought_ids=[], boundaries=[], finished=False)


@pytest.mark.parametrize("boundaries", [[], [3], [6], [2, 2, 5], [3, 2, 5], [0, 5], [-1, 5], [2, 5, 5]])
def test_boundaries_must_rise_to_the_end_of_the_thought(boundaries):
    with pytest.raises(ValueError, match="must rise strictly and end at the thought's 5 tokens"):
        replace(FULL, boundaries=boundaries)


def test_an_empty_thought_has_no_boundaries():
    with pytest.raises(ValueError, match="end at the thought's 0 tokens"):
        replace(EMPTY, boundaries=[0])


def test_prefixes_and_episodes():
    assert FULL.n_episodes == 3
    assert [FULL.prefix(j) for j in range(4)] == [
        [1, 2],
        [1, 2, 10, 11],
        [1, 2, 10, 11, 12],
        [1, 2, 10, 11, 12, 13, 14],
    ]
    assert [FULL.episode(j) for j in range(3)] == [[10, 11], [12], [13, 14]]


def test_an_empty_thought_has_one_prefix():
    assert (EMPTY.n_episodes, EMPTY.prefix(0)) == (0, [1])


@pytest.mark.parametrize(("trace", "j"), [(FULL, -1), (FULL, 4), (EMPTY, 1)])
def test_prefixes_that_do_not_exist(trace, j):
    with pytest.raises(IndexError, match=f"prefix {j} of a trace with {trace.n_episodes} episodes"):
        trace.prefix(j)


# --- the file ---


@pytest.mark.parametrize("traces", [[FULL, EMPTY, replace(FULL, eos_id=7)], []], ids=["three", "none"])
def test_traces_come_back_as_they_were_saved(tmp_path, traces):
    path = tmp_path / "run" / "traces.parquet"
    save_traces(path, traces)
    assert load_traces(path) == traces
    assert [p.name for p in path.parent.iterdir()] == ["traces.parquet"]


def test_saving_again_replaces_the_file(tmp_path):
    save_traces(tmp_path / "t.parquet", [FULL, FULL])
    save_traces(tmp_path / "t.parquet", [EMPTY])
    assert load_traces(tmp_path / "t.parquet") == [EMPTY]


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no trace file at .*none\.parquet"):
        load_traces(tmp_path / "none.parquet")


@pytest.mark.parametrize("content", [b"", b"problem_id,values\n1,2\n"], ids=["empty", "csv"])
def test_not_a_parquet_file(tmp_path, content):
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.parquet is no readable Parquet file"):
        load_traces(tmp_path / "t.parquet")


def test_a_flipped_byte_in_any_column_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    for column in range(len(NAMES)):
        save_traces(path, [FULL, EMPTY])
        chunk = parquet.read_metadata(path).row_group(0).column(column)
        content = bytearray(path.read_bytes())
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        content[start + chunk.total_compressed_size - 1] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"t\.parquet is no readable Parquet file"):
            load_traces(path)


def test_any_missing_column_or_wrong_type_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    save_traces(path, [FULL])
    table = parquet.read_table(path)
    for i, name in enumerate(NAMES):
        parquet.write_table(table.drop_columns([name]), path)
        if name in ("eos_id", "end_ids"):  # files from before there were any
            assert load_traces(path) == [FULL]
        else:
            with pytest.raises(ValueError, match=rf"t\.parquet: column '{name}' is missing"):
                load_traces(path)
        parquet.write_table(table.set_column(i, name, pyarrow.array([1.5])), path)
        with pytest.raises(ValueError, match=rf"t\.parquet: column '{name}' is double, expected "):
            load_traces(path)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_cell_is_named(name, tmp_path):
    path = tmp_path / "t.parquet"
    save_traces(path, [FULL])
    table, i = parquet.read_table(path), NAMES.index(name)
    empty = pyarrow.array([None], table.schema.field(name).type)
    parquet.write_table(table.set_column(i, table.schema.field(name), empty), path)
    with pytest.raises(ValueError, match=rf"t\.parquet: column '{name}' has empty cells"):
        load_traces(path)
