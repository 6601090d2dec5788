"""Mathematics tasks: reading, grading by math-verify, and what cannot be graded."""

import json
import subprocess
import sys
import time
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrt_lib.tasks import PRESETS, Fields, MathTask, Problem, Source, base
from mrt_lib.tasks.grading import Grader

HANGING = "9^{9^{9^{9}}}"


def rows(*golds):
    return [{"question": f"question {i}", "answer": gold} for i, gold in enumerate(golds)]


def golds_of_every_kind():
    """Integers, fractions, roots, intervals and tuples; no two are equal, and none is 7777."""
    rng = np.random.default_rng(0)
    integers = [str(n) for n in rng.choice(np.arange(-2000, 2000), 15, replace=False)]
    fractions = {Fraction(int(a), int(b)) for a, b in rng.integers(1, 40, size=(30, 2))}
    fractions = [f"\\frac{{{f.numerator}}}{{{f.denominator}}}" for f in fractions if f.denominator > 1][:15]
    roots = [f"{a}\\sqrt{{{b}}}" for a in (2, 3, 5) for b in (2, 3, 7)]
    intervals = [f"{left}{a},{a + 3}{right}" for a in (-4, 0, 9) for left in "([" for right in ")]"]
    tuples = [f"({a},{b},{c})" for a, b, c in rng.choice(np.arange(50), (8, 3), replace=False)]
    return integers, fractions, roots, intervals, tuples


@pytest.fixture(scope="module")
def task():
    return MathTask({"train": rows(*(gold for kind in golds_of_every_kind() for gold in kind))})


@pytest.fixture(scope="module")
def two():
    """An integer and a fraction."""
    return MathTask({"train": rows("19", "\\frac{1}{2}")}, name="two")


# --- grading ---


def test_every_gold_is_right_for_itself_and_for_no_other_problem(task):
    problems = task.problems["train"]
    assert len(problems) == 15 + 15 + 9 + 12 + 8
    assert task.dropped == []
    assert all(task.score(p, p.answer) == 1.0 for p in problems)
    for constant in ("7777", "\\frac{77}{7}x", problems[0].answer, problems[-1].answer):
        assert [p.answer for p in problems if task.score(p, constant)] == [constant] * (
            constant in {p.answer for p in problems}
        )
    assert task.ungraded == []


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("19", "19", 1),
        ("19", " 019\n", 1),
        ("19", "+19", 1),
        ("19", "19.0", 1),
        ("19", "x = 19", 1),
        ("19", "-19", 0),
        ("19", "１９", 1),
        ("19", "18, 19", 0),
        ("19", "19 or 20", 0),
        ("19", "1 9", 0),
        ("19", "I do not know", 0),
        ("19", "", 0),
        ("19", " ", 0),
        ("1,234", "1234", 1),
        ("1234", "1,234", 1),
        ("\\frac{1}{2}", "0.5", 1),
        ("\\frac{1}{2}", "2/4", 1),
        ("\\frac{1}{2}", "0.5001", 0),
        ("2\\sqrt{2}", "\\sqrt{8}", 1),
        ("[0,1)", "[0,1]", 0),
        ("(1,2,3)", "(3,2,1)", 0),
    ],
)
def test_answers_written_out_by_hand(task, gold, answer, right):
    assert task.score(Problem("by hand", "math", "?", gold), answer) == right
    assert task.ungraded == []


def test_the_short_way_for_integers_agrees_with_math_verify(two):
    integer = two.problems["train"][0]
    for answer in ("19", "019", "+19", "-19", "20", "1,900", "19,000", "0"):
        assert two.score(integer, answer) == two.grader.compare("19", answer).right


def test_only_integers_have_a_finite_set_of_answers(task):
    integers, *others = golds_of_every_kind()
    listed = [task.answers(p) for p in task.problems["train"]]
    assert [a[0] for a in listed[:15]] == integers
    assert listed[15:] == [None] * sum(map(len, others))
    for problem, answers in zip(task.problems["train"], listed, strict=True):
        assert all(task.score(problem, text) for text in answers or ())
    large = MathTask({"train": rows(" 1,234,567 ")}).problems["train"][0]
    assert task.answers(large) == ("1234567", "1,234,567")
    assert task.optimal_values(3) is None


def test_threads_share_a_grader(two):
    half = two.problems["train"][1]
    answers = [f"\\frac{{{n}}}{{24}}" for n in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        scores = list(pool.map(lambda answer: two.score(half, answer), answers))
    assert scores == [float(n == 12) for n in range(1, 40)]


@settings(max_examples=60)
@given(st.one_of(st.text(max_size=40), st.text(alphabet="0123456789\\{}()[],.^_$%xfrac", max_size=25)))
def test_no_text_makes_the_score_raise(two, text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert two.score(two.problems["train"][1], text) in (0.0, 1.0)


def test_text_is_not_evaluated(two, tmp_path):
    mark = tmp_path / "evaluated"
    for text in (f"__import__('os').system('touch {mark}')", f"open('{mark}','w')", "exec('1')"):
        assert two.score(two.problems["train"][1], text) == 0.0
    assert not mark.exists()


# --- what cannot be graded ---


def test_a_hanging_expression_meets_the_deadline_and_is_on_record(two):
    half = two.problems["train"][1]
    before, two.grader.deadline = two.grader.deadline, 1.0
    with pytest.warns(RuntimeWarning, match="count as wrong"):
        assert two.score(half, HANGING) == 0.0
    with ThreadPoolExecutor(1) as pool, pytest.warns(RuntimeWarning, match="count as wrong"):
        assert pool.submit(two.score, half, f"{HANGING}+1").result() == 0.0
    two.grader.deadline = before
    reasons = [(u.answer, u.reason) for u in two.ungraded[-2:]]
    assert reasons == [(text, "no verdict within 1 s") for text in (HANGING, f"{HANGING}+1")]
    assert [two.score(half, text) for text in ("3/6", "0.4")] == [1.0, 0.0]  # a new worker grades on


def test_what_waits_for_nothing_meets_the_clock_on_the_wall(monkeypatch):
    monkeypatch.setattr(
        "mrt_lib.tasks.grading._start",
        lambda: subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ),
    )
    with pytest.warns(RuntimeWarning, match="no verdict within 0.01 s"):
        assert Grader(0.01).compare("\\pi", "2").reason == "no verdict within 0.01 s"


def test_an_answer_of_any_length_is_graded_or_on_record(two):
    with pytest.warns(RuntimeWarning, match="longer than 1000 characters"):
        assert two.score(two.problems["train"][0], "19" * 501) == 0.0
    assert two.ungraded[-1].reason == "longer than 1000 characters"


def test_a_worker_that_died_is_replaced(two):
    two.grader._worker.kill()
    found = two.grader.compare("\\pi", "\\pi")
    assert (found.right, found.reason) == (True, "")


def test_an_interrupt_leaves_no_stale_reply(two, monkeypatch):
    assert two.grader.compare("\\pi", "\\pi").right

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(two.grader._worker.stdout, "readline", interrupted)
    with pytest.raises(KeyboardInterrupt):
        two.grader.compare("\\pi", "\\pi")
    monkeypatch.undo()
    assert not two.grader.compare("\\pi", "3").right


def test_the_worker_leaves_when_its_parent_is_killed():
    code = (
        "import os, signal\nfrom mrt_lib.tasks.grading import Grader\ng = Grader()\ng.compare('1', 'x')\n"
        "print(g._worker.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    pid = int(done.stdout)
    for _ in range(100):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
        if state.strip()[:1] in ("", "Z"):
            return
        time.sleep(0.1)
    pytest.fail("the grading process outlived its parent")


@pytest.mark.parametrize("deadline", [0, -1, float("inf"), float("nan")])
def test_bad_deadlines(deadline):
    with pytest.raises(ValueError, match="deadline must be a positive number of seconds"):
        Grader(deadline)


# --- reading problems ---


def write(path, *lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_jsonl_file_with_other_field_names(tmp_path):
    file = write(
        tmp_path / "mine.jsonl", {"q": "1+1?", "sol": "so \\boxed{2}"}, {"q": "f?", "sol": "\\boxed{3}"}
    )
    task = MathTask.from_jsonl(file, Fields("q", "sol", extract="last box"), name="mine")
    first, last = task.problems["train"]
    assert (first.question, first.answer, first.task, last.answer) == ("1+1?", "2", "mine", "3")
    again = MathTask.from_jsonl({"test": file}, Fields("q", "sol", extract="last box"), name="mine")
    assert again.problems == {"test": [first, last]}
    assert {p.id for p in task.sample(np.random.default_rng(0), 30)} == {first.id, last.id}
    with pytest.raises(ValueError, match=r"unknown split 'test'; known: \['train'\]"):
        task.sample(np.random.default_rng(0), 1, "test")


def test_unreadable_gold_is_dropped_and_counted():
    with pytest.warns(RuntimeWarning, match="math: 2 rows dropped, listed in `dropped`"):
        task = MathTask({"train": rows("19", "19 ☃", "\\pi", "\\frac{")})
    assert [p.answer for p in task.problems["train"]] == ["19", "\\pi"]
    assert [d.where for d in task.dropped] == ["train row 2", "train row 4"]
    assert all(d.reason.startswith("unreadable gold") for d in task.dropped)


def test_no_problem_left():
    with pytest.raises(ValueError, match=r"split 'train' has no problems; the first was dropped: .*row 1"):
        MathTask({"train": rows("19 ☃")})
    with pytest.raises(ValueError, match=r"math: split 'test' has no problems$"):
        MathTask({"test": []})


GOOD = {"question": "1+1?", "answer": "2"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"question": " 1+1? ", "answer": "3"}, r"{file}:3: repeats the problem at {file}:1"),
        ({"question": " ", "answer": "3"}, r"{file}:3: field 'question' must be a non-empty text"),
        ({"question": "x", "answer": ""}, r"{file}:3: field 'answer' must be a non-empty text"),
        ({"question": "x", "answer": None}, r"{file}:3: field 'answer' must be .* got None"),
        ({"question": "x", "answer": True}, r"{file}:3: field 'answer' must be .* got True"),
        ({"question": "x"}, r"{file}:3: field 'answer' is missing; the row has \['question'\]"),
        ("{oops", r"{file}:3: not JSON"),
        ("[" * 100_000, r"{file}:3: not JSON"),
        ("[1]", r"{file}:3: expected one JSON object per line, got list"),
    ],
)
def test_bad_lines_are_refused_with_file_and_line(tmp_path, line, message):
    file = write(tmp_path / "bad.jsonl", GOOD, "", line)
    with pytest.raises(ValueError, match=message.format(file=file)):
        MathTask.from_jsonl(file)


def test_a_problem_in_two_splits_is_refused(tmp_path):
    files = {"train": write(tmp_path / "a", GOOD), "test": write(tmp_path / "b", GOOD)}
    with pytest.raises(ValueError, match=rf"{tmp_path}/b:1: repeats the problem at {tmp_path}/a:1"):
        MathTask.from_jsonl(files)


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no problem file at .*nowhere"):
        MathTask.from_jsonl(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="binary: not UTF-8 text"):
        MathTask.from_jsonl(tmp_path / "binary")


# --- data sets ---


def test_a_data_set_in_a_folder(tmp_path):
    pytest.importorskip("datasets")
    lines = [GOOD, GOOD, {"question": "x?", "answer": "proof"}, {"question": "y?", "answer": "5 #### 1,000"}]
    write(tmp_path / "train.jsonl", *lines)
    source = Source(str(tmp_path), {"train": "train"}, Fields(skip=("proof",)))
    with pytest.warns(RuntimeWarning, match="rows dropped"):
        task = MathTask.from_dataset(source, limit=3)
    assert [p.question for p in task.problems["train"]] == ["1+1?"]
    where = f"{tmp_path} [train] row"
    assert [(d.where, d.reason) for d in task.dropped] == [
        (f"{where} 2", f"repeats the problem at {where} 1"),
        (f"{where} 3", "the gold answer is 'proof'"),
    ]
    hashes = Source(str(tmp_path), {"test": "train"}, Fields(extract="after ####"))
    with pytest.warns(RuntimeWarning, match="3 rows dropped"):
        task = MathTask.from_dataset(hashes)
    assert [p.answer for p in task.problems["test"]] == ["1000"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_reads_rows_as_its_data_set_publishes_them(name, monkeypatch):
    golds = {"gsm8k": "18 + 1 = 19\n#### 19", "aime2025": 19}

    def load_dataset(dataset, config, split):
        assert (dataset, config) == (PRESETS[name].dataset, PRESETS[name].config)
        text = {"gsm8k": "question"}.get(name, "problem")
        return [{text: f"{split}?", "answer": golds.get(name, "19"), "solution": "thus \\boxed{19}"}]

    fake = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setattr("mrt_lib.tasks.math_sources.require", lambda module, extra: None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    task = MathTask.from_dataset(name)
    found = {s: [(p.question, p.answer) for p in problems] for s, problems in task.problems.items()}
    assert found == {ours: [(f"{theirs}?", "19")] for ours, theirs in PRESETS[name].splits.items()}


def test_unknown_names():
    with pytest.raises(
        ValueError, match=r"unknown preset 'gsm9k'; known: \['aime2024', .*'numinamath_cot'\]"
    ):
        MathTask.from_dataset("gsm9k")
    with pytest.raises(ValueError, match=r"unknown extract 'first box'; known: \['after ####', 'last box'"):
        Fields(extract="first box")


def test_what_is_missing_names_its_extra(monkeypatch):
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"math_verify is not installed; .*pip install 'mrt-lib\[math\]'"):
        MathTask({"train": rows("19")})
    with pytest.raises(ImportError, match=r"datasets is not installed; .*mrt-lib\[math\]"):
        next(PRESETS["gsm8k"].rows("test"))


def test_the_tasks_import_without_their_extras():
    extras = "{'math_verify', 'datasets', 'reasoning_gym', 'sympy'}"
    code = f"import sys, mrt_lib.tasks\nprint({extras} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr
