"""A report's thoughts as JSON and as a log that Inspect itself reads."""

import json

import pytest

import mrt_lib
from mrt_lib import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.traces import load_traces
from recipes.inspect_log import rows, write_log, write_values

PROBLEMS = RootSearch(31).problems["test"][:2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, reasoner = tmp_path_factory.mktemp("report"), Reasoner.load("data/models/weak")
    mrt_lib.report(reasoner, PROBLEMS, folder=folder, rollouts=2, thinking_tokens=33, branches=2)
    return reasoner, folder


def test_every_thought_has_values_and_forced_answers_after_every_episode(made):
    reasoner, folder = made
    found = json.loads(write_values(reasoner, PROBLEMS, folder).read_text())
    assert found == rows(reasoner, PROBLEMS, folder)
    assert [(row["problem"], row["thought"]) for row in found] == [
        (p.id, n) for p in PROBLEMS for n in (1, 2)
    ]
    for row, trace in zip(found, load_traces(folder / "thoughts" / "0000.parquet"), strict=True):
        assert row["values"] == trace.values
        assert len(row["episodes"]) + 1 == len(row["values"]) == len(row["forced_answers"])
        assert {len(answers) for answers in row["forced_answers"]} == {2}


def test_a_folder_without_a_report_is_refused(made, tmp_path):
    with pytest.raises(FileNotFoundError):
        rows(made[0], PROBLEMS, tmp_path)


def test_inspect_reads_the_log(made):
    log = pytest.importorskip("inspect_ai.log")
    reasoner, folder = made
    found = log.read_eval_log(str(write_log(reasoner, PROBLEMS, folder)))
    assert (found.status, found.eval.task, found.eval.model) == ("success", "root_search_31", "weak")
    # Inspect reads its samples epoch by epoch.
    own = sorted(rows(reasoner, PROBLEMS, folder), key=lambda row: (row["thought"], row["problem"]))
    found.samples.sort(key=lambda sample: (sample.epoch, sample.id))
    assert [(s.id, s.epoch, s.target) for s in found.samples] == [
        (row["problem"], row["thought"], row["gold"]) for row in own
    ]
    assert [s.scores["J"].value for s in found.samples] == [row["values"][-1] for row in own]
    assert found.samples[0].metadata["values"] == own[0]["values"]
