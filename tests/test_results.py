"""Measured numbers keep their provenance, and files appear whole."""

import pytest

from mrt_lib.files import sha256, write_json
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import provenance
from tools.summary import read_summary, record


def test_record_replaces_by_name_and_sorts(tmp_path):
    path = tmp_path / "deep" / "summary.json"
    record("b", Interval(1.0, 0.5, 1.5, 3), "times faster", "make b", path)
    record("a", Interval(2.0, 1.0, 3.0, 4), "probability", "make a", path)
    record("b", Interval(9.0, 8.0, 10.0, 5), "times faster", "make b", path)
    summary = read_summary(path)
    assert list(summary) == ["a", "b"]
    assert set(summary["b"]) == {"name", "value", "low", "high", "unit", "n", "command", "commit"}
    assert (summary["b"]["value"], summary["b"]["n"]) == (9.0, 5)
    assert read_summary(tmp_path / "none.json") == {}


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert path.read_text() == '{\n "old": 1\n}\n'


def test_provenance_and_digest(tmp_path):
    assert {"date", "commit", "python", "torch", "device"} <= set(provenance())
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f").startswith("ba7816bf")
