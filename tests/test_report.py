"""`mrt_lib.report` on a shipped reasoner: exact, sampled, interrupted, and refused."""

import inspect
import json
import math
import subprocess
import sys
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

import mrt_lib
from mrt_lib.engines import TransformersEngine
from mrt_lib.measure.evaluation import assess
from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.reporting import observation
from mrt_lib.tasks import MathTask, Problem, RootSearch, from_callable, write_problems
from mrt_lib.thoughts.templates import R1_SHORT, TESTBED
from mrt_lib.thoughts.traces import load_traces

FOLDER = "data/models/strong"
TASK = RootSearch(31)
PROBLEMS = TASK.problems["test"][:4]
SMALL = {"rollouts": 2, "thinking_tokens": 55, "branches": 4}


@pytest.fixture(scope="module")
def reasoner():
    return Reasoner.load(FOLDER)


def with_engine(reasoner, engine, template=None):
    """The same reasoner, sampled by another engine."""
    return Reasoner(reasoner.model, reasoner.tokenizer, template, engine)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, mrt_lib.report(FOLDER, PROBLEMS, folder=folder, **SMALL)


def test_exact_values_of_the_saved_thoughts(straight, reasoner):
    folder, found = straight
    traces = load_traces(folder / "thoughts" / "0000.parquet")
    assert [t.problem_id for t in traces] == [p.id for p in PROBLEMS for _ in range(2)]
    prover = ExactProver(reasoner, TASK)
    again = assess(reasoner, prover, PROBLEMS, traces, found.settings["mean_answer_tokens"])
    assert found.settings["values"] == "exact"
    np.testing.assert_allclose(
        [t.values[-1] for t in again.traces], [t.values[-1] for t in traces], atol=1e-6
    )
    budget = found.settings["budgets"][2]
    for optimum, name in ((None, "regret_oracle"), (TASK.optimal_values(5), "regret_optimum")):
        number = found.number(name, tokens=budget)
        assert number.value == pytest.approx(again.regret(budget, optimum).mean(), abs=1e-6)
        assert number.low <= number.value <= number.high
    assert number.n == 4


def test_the_saved_report_is_the_returned_one(straight):
    folder, found = straight
    numbers = json.loads((folder / "report.json").read_text(encoding="utf-8"))["numbers"]
    assert [row["measure"] for row in numbers] == [m.measure for m in found.numbers]
    for row, own in zip(numbers, found.numbers, strict=True):
        assert row["value"] == (own.value if math.isfinite(own.value) else None)
    page = (folder / "report.html").read_text()
    assert "How many tokens does strong waste?" in page
    explorer = found.explorer
    assert explorer["thoughts"][explorer["start"]]["episodes"][0] in page
    assert len(explorer["thoughts"]) == 2 * len(PROBLEMS)
    names = {
        "model",
        "weights",
        "task",
        "template",
        "problems",
        "rollouts",
        "thinking_tokens",
        "seed",
        "engine",
    }
    assert names <= set(found.settings)
    assert {"commit", "torch", "device", "date"} <= set(found.provenance)


def test_without_listed_answers_j_is_the_share_of_right_ones(reasoner, tmp_path):
    task = from_callable(lambda *_: PROBLEMS, lambda problem, text: text.strip() == problem.answer)
    found = mrt_lib.report(reasoner, PROBLEMS[:2], task, folder=tmp_path, **SMALL)
    assert found.settings["values"] == "sampled"
    assert found.settings["model"] == "strong"
    assert not found.frame("regret_optimum").size
    traces = load_traces(tmp_path / "thoughts" / "0000.parquet")
    answers = json.loads((tmp_path / "thoughts" / "0000.json").read_text())["answers"]
    for i, (trace, prefixes) in enumerate(zip(traces, answers, strict=True)):
        gold = PROBLEMS[i // 2].answer
        assert trace.values == [np.mean([text == gold for text in texts]) for texts in prefixes]
    assert "J is sampled here, from 4 answers" in (tmp_path / "report.html").read_text()


def test_right_answers_of_any_spelling_vote_together(reasoner):
    task = from_callable(lambda *_: PROBLEMS, lambda problem, text: text.strip() != "")
    found = mrt_lib.report(reasoner, PROBLEMS[:2], task, **SMALL)
    assert found.number("final_accuracy").value == 1
    assert {m.value for m in found.numbers if m.measure == "vote_accuracy"} == {1}


def test_a_model_whose_answers_cannot_be_read_is_refused_after_eight_problems(tmp_path):
    pytest.importorskip("math_verify")
    from tests.test_short_answer import build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes))
    rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(3)]
    task = MathTask({"train": rows})
    options = {"rollouts": 1, "thinking_tokens": 24, "branches": 2, "answer_tokens": 4, "folder": tmp_path}
    with pytest.raises(
        ValueError, match="'r1_short': 0% of the first forced answers can be read; change its"
    ):
        mrt_lib.report(Reasoner(model, tokenizer, R1_SHORT), task.problems["train"], task, **options)
    assert not (tmp_path / "thoughts").exists()


class Interrupted(TransformersEngine):
    """Counts its calls and is interrupted in one of them."""

    calls, stop_at = 0, 0

    def generate(self, *arguments, **options):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return super().generate(*arguments, **options)


def test_a_run_that_was_interrupted_goes_on_and_ends_like_a_straight_one(reasoner, tmp_path, monkeypatch):
    monkeypatch.setattr(observation, "CHUNK", 4)
    monkeypatch.setattr(observation, "PROBED", 2)
    engines = [Interrupted(reasoner.model) for _ in range(3)]
    reasoners = [with_engine(reasoner, engine) for engine in engines]
    straight = mrt_lib.report(reasoners[0], PROBLEMS, **SMALL)
    engines[1].stop_at = 4  # the answers of the second chunk
    with pytest.raises(KeyboardInterrupt):
        mrt_lib.report(reasoners[1], PROBLEMS, folder=tmp_path, **SMALL)
    assert not (tmp_path / "report.json").exists()
    resumed = mrt_lib.report(reasoners[2], PROBLEMS, folder=tmp_path, **SMALL)
    assert [e.calls for e in engines] == [4, 4, 2]
    assert repr(resumed.numbers) == repr(straight.numbers)
    assert (resumed.thoughts, resumed.explorer) == (straight.thoughts, straight.explorer)


def test_the_seed_decides(straight, reasoner):
    _, found = straight
    same, other = (mrt_lib.report(reasoner, PROBLEMS, seed=seed, **SMALL) for seed in (0, 1))
    assert repr(same.numbers) == repr(found.numbers)
    assert other.thoughts != found.thoughts


def test_problems_from_a_file(reasoner, tmp_path):
    write_problems(tmp_path / "problems.jsonl", PROBLEMS[:2])
    found = mrt_lib.report(reasoner, tmp_path / "problems.jsonl", **SMALL)
    assert (found.settings["problems"], found.settings["task"]) == (2, "root_search_31")


class Untouched:
    """Fails the test if anything is generated."""

    def generate(self, *_, **__):
        raise AssertionError("generated before the error")


TWICE = [*PROBLEMS, replace(PROBLEMS[0], id="other")]


@pytest.mark.parametrize(
    ("problems", "options", "message"),
    [
        ([], {}, "at least 2 problems for its intervals, got 0"),
        (PROBLEMS[:1], {}, "at least 2 problems for its intervals, got 1"),
        ([*PROBLEMS, PROBLEMS[0]], {}, "2 problems have the id 'root_search_31"),
        (TWICE, {}, "2 problems have the question"),
        ([replace(p, answer="") for p in PROBLEMS], {}, "no gold answer"),
        ([replace(p, answer="30") for p in PROBLEMS], {}, "calls the gold answer '30' of .* wrong"),
        ([replace(p, answer="seven") for p in PROBLEMS], {}, "calls the gold answer 'seven' of .* wrong"),
        ([replace(p, task="mine") for p in PROBLEMS], {}, r"unknown task 'mine'.*give task="),
        ([*PROBLEMS, Problem("x", "mine", "q", "a")], {}, "belong to the tasks"),
        (PROBLEMS, {"task": from_callable(lambda *_: [], lambda p, t: False)}, "calls the gold answer"),
        ([PROBLEMS[0], replace(PROBLEMS[1], question="What is x?")], {}, "problem 'root_.*no token"),
        (PROBLEMS, {"thinking_tokens": 3000}, "leave at most 1999 of the model's context of 2048"),
        (PROBLEMS, {"thinking_tokens": 0}, "thinking_tokens must be a whole number of at least 1"),
        (PROBLEMS, {"rollouts": 0}, "rollouts must be a whole number of at least 1, got 0"),
        (PROBLEMS, {"rollouts": 1.5}, "rollouts must be a whole number of at least 1, got 1.5"),
        (PROBLEMS, {"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        (PROBLEMS, {"temperature": float("nan")}, "temperature must be a number of at least 0, got nan"),
        (PROBLEMS, {"branches": 1}, "branches must be a whole number of at least 2"),
        (PROBLEMS, {"budgets": 50}, "budgets must be a list of whole numbers, got 50"),
        (PROBLEMS, {"budgets": [0, 50]}, "a budget must be an integer"),
        (PROBLEMS, {"temperature": 0}, "temperature must be above 0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_generated(reasoner, tmp_path, problems, options, message):
    with pytest.raises(ValueError, match=message):
        mrt_lib.report(with_engine(reasoner, Untouched()), problems, folder=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_model_without_room_for_a_thought_is_refused(reasoner):
    tokenizer = reasoner.tokenizer
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=40,
    )
    with pytest.raises(
        ValueError, match=r"fill the model's context of 40; shorten the questions or answer_tokens"
    ):
        mrt_lib.report(Reasoner(Qwen3ForCausalLM(config), tokenizer, None, Untouched()), PROBLEMS)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"seed": 1}, "seed"), ({"rollouts": 1}, "rollouts"), ({"problems": PROBLEMS[:3]}, "problems")],
)
def test_a_folder_of_another_run_is_refused(straight, reasoner, changes, named):
    folder, _ = straight
    before = (folder / "report.json").read_bytes()
    arguments = {"problems": PROBLEMS, "folder": folder, **SMALL, **changes}
    with pytest.raises(ValueError, match=f"holds a run with another {named}; use a new folder"):
        mrt_lib.report(reasoner, **arguments)
    assert (folder / "report.json").read_bytes() == before


def test_missing_files_are_named(reasoner):
    with pytest.raises(FileNotFoundError, match="no problem file at nowhere"):
        mrt_lib.report(reasoner, "nowhere.jsonl")
    with pytest.raises(FileNotFoundError, match="no folder nowhere"):
        mrt_lib.report("nowhere", PROBLEMS)


def test_another_template_is_another_run(straight, reasoner):
    other = with_engine(reasoner, None, replace(TESTBED, continue_markers=("hit",)))
    with pytest.raises(ValueError, match="holds a run with another template; use a new folder"):
        mrt_lib.report(other, PROBLEMS, folder=straight[0], **SMALL)


def test_the_example_in_the_docstring_runs(tmp_path):
    example = inspect.getdoc(mrt_lib.report).split("::\n")[1].split("\nThe reasoner")[0]
    exec(dedent(example), {"folder": tmp_path})
    assert (tmp_path / "report.html").exists()


def test_importing_the_package_loads_nothing_and_its_functions_only_what_they_need():
    heavy = {"matplotlib", "pandas", "seaborn", "trl", "datasets", "vllm", "peft"}
    code = f"""
import sys, mrt_lib
assert not {{"torch", "numpy"}} & set(sys.modules)
for name in mrt_lib.__all__:
    getattr(mrt_lib, name)
print(sorted({heavy!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
