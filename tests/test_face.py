"""The face of the library: a few lines to measure and train, errors before any work."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mrt_lib
from mrt_lib import GRPO, MRTExact, Problem, Reasoner, TrainConfig, from_callable
from mrt_lib.engines import Sampling
from mrt_lib.files import grading, settings_of
from mrt_lib.measure.evaluation import evaluate
from mrt_lib.measure.prover import ExactProver
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts import TESTBED
from mrt_lib.training.loop import Trainer, run
from mrt_lib.training.presets import get_preset
from tests.small_training import SETTINGS, TASK, ending, same_bits, trainer

SMALL = {name: value for name, value in SETTINGS.items() if name != "steps"}
PROBLEMS = TASK.problems["train"][:5]


class Halving:
    """A plain class, no dataclass: the outcome, and less of it for every further episode."""

    def __init__(self, factor):
        self.factor = factor

    def collect(self, policy, problems, group, seed):
        repeated = [p for p in problems for _ in range(group)]
        traces = policy.answer(policy.think(repeated, seed), seed + 1)
        return [
            mrt_lib.Rollout(p, t, i // group, policy.score(p, t) * self.factor**t.n_episodes)
            for i, (p, t) in enumerate(zip(repeated, traces, strict=True))
        ]

    def credit(self, rollouts, horizon):
        mean = np.mean([r.reward for r in rollouts])
        return [np.full(r.tokens, r.reward - mean) for r in rollouts]


def test_an_arm_that_is_a_plain_class_resumes_and_is_told_from_another(tmp_path):
    def started():
        return trainer(Halving(0.5), checkpoint_every=1)

    straight = run(started(), tmp_path / "straight")

    def lights_out(log):
        if len(log) == 3:
            raise RuntimeError("lights out")

    with pytest.raises(RuntimeError, match="lights out"):
        run(started(), tmp_path / "resumed", lights_out)
    assert len(run(started(), tmp_path / "resumed")) == len(straight)
    assert same_bits(ending(tmp_path / "straight"), ending(tmp_path / "resumed"))
    with pytest.raises(ValueError, match="holds a run with another arm; use a new folder"):
        run(trainer(Halving(0.25), checkpoint_every=1), tmp_path / "resumed")


def test_the_loop_gives_one_horizon_and_checks_it():
    seen = []

    class Watching(GRPO):
        def credit(self, rollouts, horizon):
            seen.append(horizon)
            return super().credit(rollouts, horizon)

    trainer(Watching(), episodes=3).step()
    assert seen == [3]
    with pytest.raises(
        ValueError, match=r"most thoughts of up to 44 tokens have more than episodes=1, the horizon"
    ):
        trainer(MRTExact("regret_to_go", 1.0), thinking_tokens=44, episodes=1).step()


def test_training_raises_j_within_twenty_steps(tmp_path):
    reasoner = Reasoner.load("data/models/base")

    def value():
        found = evaluate(
            reasoner, ExactProver(reasoner, TASK), TASK.problems["validation"][:40], 2, Sampling(44), 2
        )
        return found.by_episode(4)[:, :, 4].mean()

    before = value()
    config = TrainConfig(steps=20, learning_rate=1.5e-3, warmup=2)
    log = mrt_lib.train(reasoner, "root_search_31", MRTExact("regret_to_go", 2.0), tmp_path / "run", config)
    assert len(log) == 20
    assert value() > before + 0.08


def test_train_goes_on_in_its_folder_and_gives_the_trained_reasoner_back(tmp_path):
    config = replace(TrainConfig(**SETTINGS), steps=2)
    reasoner = Reasoner.load("data/models/strong")
    first = mrt_lib.train(reasoner, PROBLEMS, GRPO(), tmp_path / "run", config)
    again = Reasoner.load("data/models/strong")
    assert same_bits(mrt_lib.train(again, PROBLEMS, GRPO(), tmp_path / "run", config), first)
    for one in (reasoner, again):
        assert one.facts["task"] == "root_search_31"
        assert one.facts["numbers"]["steps"] == 2
    a, b = (dict(one.model.named_parameters()) for one in (reasoner, again))
    assert all((a[name] == b[name]).all() for name in a)
    base = dict(Reasoner.load("data/models/strong").model.named_parameters())
    assert any((a[name] != base[name]).any() for name in a)


@pytest.mark.parametrize("given", ["name", "task", "file", "listed"])
def test_problems_come_as_a_name_a_task_a_file_or_a_list(given, tmp_path):
    path = "data/problems/root_search_31/train.jsonl"
    problems = {"name": "root_search_31", "task": TASK, "file": path, "listed": TASK.problems["train"]}[given]
    config = TrainConfig(**{**SETTINGS, "steps": 1})
    mrt_lib.train("data/models/strong", problems, GRPO(), tmp_path / "run", config)
    text = (tmp_path / "run" / "config.json").read_text()
    assert '"task": "root_search_31"' in text
    assert f'"problems": "{len(TASK.problems["train"])}, ' in text


def test_a_task_that_lists_no_problems_is_sampled(tmp_path):
    drawn = from_callable(
        lambda rng, n, _: [PROBLEMS[i] for i in rng.integers(len(PROBLEMS), size=n)],
        lambda problem, text: text.strip() == problem.answer,
        name="own",
    )
    log = mrt_lib.train(
        "data/models/strong", drawn, GRPO(), tmp_path / "run", TrainConfig(**{**SETTINGS, "steps": 1})
    )
    assert log[0]["policy_tokens"] > 0


def test_after_an_error_or_an_interrupt_the_same_call_with_the_same_reasoner_goes_on(tmp_path):
    config, reasoner = TrainConfig(**SETTINGS), Reasoner.load("data/models/strong")
    base = {name: p.clone() for name, p in reasoner.model.named_parameters()}

    def interrupt(log):
        if len(log) == 2:
            raise KeyboardInterrupt

    bad = replace(config, thinking_tokens=44, episodes=1)
    with pytest.raises(ValueError, match="most thoughts of up to 44"):
        mrt_lib.train(reasoner, PROBLEMS, MRTExact("progress", 1.0), tmp_path / "bad", bad)
    with pytest.raises(KeyboardInterrupt):
        mrt_lib.train(reasoner, PROBLEMS, GRPO(), tmp_path / "run", config, reports=[interrupt])
    assert all((base[name] == p).all() for name, p in reasoner.model.named_parameters())
    log = mrt_lib.train(reasoner, PROBLEMS, GRPO(), tmp_path / "run", config)
    mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path / "straight", config)
    assert len(log) == config.steps
    assert same_bits(ending(tmp_path / "run"), ending(tmp_path / "straight"))
    with pytest.raises(ValueError, match=r"has an adapter already, .* save this one with merged=True"):
        mrt_lib.train(reasoner, PROBLEMS, GRPO(), tmp_path / "again", config)


def test_a_reasoner_keeps_its_own_template(tmp_path):
    own = replace(TESTBED, name="mine", forced_answer="low </think>")
    reasoner = Reasoner.load("data/models/strong", own)
    mrt_lib.train(reasoner, PROBLEMS, GRPO(), tmp_path / "run", TrainConfig(**{**SETTINGS, "steps": 1}))
    for merged in (False, True):
        reasoner.save(tmp_path / str(merged), merged)
        assert Reasoner.load(tmp_path / str(merged)).template == own


@pytest.mark.parametrize(
    ("credit", "message"),
    [
        (lambda rollouts: [np.zeros(r.tokens) for r in rollouts[1:]], "a list of 16 arrays, got 15"),
        (lambda rollouts: [0.5 for r in rollouts], r"finite advantages, got shape \(\), 1 of them finite"),
        (lambda rollouts: [np.zeros((r.tokens, 1)) for r in rollouts], r"got shape \(\d+, 1\)"),
        (lambda _: None, "`credit` must give a list of 16 arrays, got 0"),
    ],
)
def test_advantages_of_another_shape_are_refused_with_the_arms_own_words(credit, message):
    class Odd(GRPO):
        def credit(self, rollouts, horizon):
            return credit(rollouts)

    with pytest.raises(ValueError, match=message):
        trainer(Odd()).step()


@pytest.mark.parametrize("given", [lambda found: found[:3], iter, lambda found: [r.trace for r in found]])
def test_rollouts_of_another_number_or_kind_are_refused(given):
    class Odd(GRPO):
        def collect(self, *parts):
            return given(super().collect(*parts))

    with pytest.raises(ValueError, match="`collect` must give a list of 16 rollouts"):
        trainer(Odd()).step()


def test_another_grading_is_another_run(tmp_path):
    config = TrainConfig(**{**SETTINGS, "steps": 1})

    def task(score):
        return from_callable(lambda *_: PROBLEMS, score, name="own")

    def within(distance):
        return lambda p, t: t.isdecimal() and abs(int(t) - int(p.answer)) <= distance

    assert grading(task(within(1))) == grading(task(within(1))) != grading(task(within(2)))
    mrt_lib.train(
        "data/models/strong", PROBLEMS, GRPO(), tmp_path, config, task=task(lambda p, t: t == p.answer)
    )
    lenient = task(lambda p, t: t.strip() == p.answer or t == "19")
    with pytest.raises(ValueError, match="holds a run with another grading"):
        mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path, config, task=lenient)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 2.5}, "steps must be a whole number of at least 1, got 2.5"),
        ({"learning_rate": -1.0}, "learning_rate must be a number of at least 0, got -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number of at least 0, got nan"),
        ({"micro_batch_tokens": 0}, "micro_batch_tokens must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"group": 2.5}, "group must be a whole number, got 2.5"),
        ({"prompts": True}, "prompts must be a whole number of at least 1, got True"),
        ({"warmup": 2.5}, "warmup must be a whole number of at least 0, got 2.5"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number of at least 0, got '1e-3'"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"gradient_checkpointing": "no"}, "gradient_checkpointing must be True or False, got 'no'"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)


def test_a_gold_that_can_never_be_given_is_refused(tmp_path):
    long = from_callable(lambda *_: [], lambda *_: True, lambda p: [f"{p.answer} {p.answer}"], "long")
    with pytest.raises(ValueError, match="has 3 tokens with its end, so answer_tokens=2 can never be right"):
        mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path / "run", task=long)
    wrong = from_callable(lambda *_: [], lambda *_: False, name="wrong")
    with pytest.raises(ValueError, match=r"task 'wrong' calls the gold answer '.*' of .* wrong"):
        mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path / "run", task=wrong)
    with pytest.raises(ValueError, match="task= goes with problems given by themselves"):
        mrt_lib.train("data/models/strong", TASK, GRPO(), tmp_path / "run", task=wrong)


def test_settings_of_a_class_count_as_those_of_its_objects():
    class Shared:
        factor = 0.5

    before = settings_of(Shared())
    Shared.factor = 0.25
    assert (before["factor"], settings_of(Shared())["factor"]) == (0.5, 0.25)


def test_a_typing_error_leaves_the_folder_free(tmp_path):
    with pytest.raises(ValueError, match="rule must be one of progress, log_progress, regret_to_go"):
        MRTExact("regret", 1.0)
    bad = TrainConfig(**{**SETTINGS, "thinking_tokens": 5})
    with pytest.raises(ValueError, match="thinking_tokens=5 is less than one episode"):
        mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path, bad)
    mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path, TrainConfig(**{**SETTINGS, "steps": 1}))


def test_a_damaged_checkpoint_or_model_is_named(tmp_path):
    config = TrainConfig(**{**SETTINGS, "steps": 1})
    mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path / "run", config)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint.pt is damaged; remove it, and the run starts anew"):
        mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path / "run", config)
    with pytest.raises(ValueError, match="holds a verifier, which scores answers and gives none"):
        Reasoner.load("data/models/verifier")
    with pytest.raises(ValueError, match="in float32: dtype can be that or float32, got bfloat16"):
        Reasoner.load("data/models/adapters/grpo", dtype="bfloat16")


def test_a_step_at_a_time():
    one = Trainer(Reasoner.load("data/models/strong"), TASK, PROBLEMS, GRPO(), TrainConfig(**SETTINGS))
    assert [one.step()["step"] for _ in range(2)] == [0, 1]
    assert one.trained().model is one.learner.sampler


class NoCredit:
    def collect(self, *_):
        raise AssertionError("something was generated")


class Both(NoCredit):
    def credit(self, *_): ...

    def keep(self, *_): ...


@pytest.mark.parametrize("arm", [NoCredit(), Both(), object(), GRPO])
def test_what_is_no_arm_is_refused_before_anything_is_generated(arm, tmp_path):
    if arm is GRPO:
        pytest.skip("a class has the methods of its instances; it fails when it is called")
    with pytest.raises(
        TypeError, match=r"is no arm: it needs collect\(.*\) and either credit\(rollouts, horizon\)"
    ):
        mrt_lib.train("data/models/strong", PROBLEMS, arm, tmp_path / "run", TrainConfig(**SETTINGS))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("problems", "changes", "message"),
    [
        ([], {}, "there are no problems"),
        (
            [Problem("q", "root_search_31", "solve", "")],
            {},
            "'q' has no gold answer, so no answer to it can be right",
        ),
        (
            [Problem("q", "unheard_of", "why?", "so")],
            {},
            r"unknown task 'unheard_of'; known: .*from_callable",
        ),
        ([PROBLEMS[0], replace(PROBLEMS[1], task="other")], {}, "belong to the tasks"),
        ([replace(PROBLEMS[0], question="what?")], {}, "problem .* has no token for a part of"),
        (PROBLEMS, {"thinking_tokens": 4000}, "thinking_tokens=4000 does not fit: .* leave at most 2029 of"),
    ],
)
def test_bad_problems_are_refused_before_anything_is_generated(problems, changes, message, tmp_path):
    config = TrainConfig(**{**SETTINGS, **changes})
    with pytest.raises(ValueError, match=message):
        mrt_lib.train("data/models/strong", problems, GRPO(), tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_the_folder_of_another_run_is_refused_and_left_alone(tmp_path):
    config = TrainConfig(**{**SETTINGS, "steps": 1})
    mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path, config)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = [replace(PROBLEMS[0], question=PROBLEMS[1].question), *PROBLEMS[1:]]  # the same ids
    for problems, arm, name in ((changed, GRPO(), "problems"), (PROBLEMS, GRPO(scale=False), "arm")):
        with pytest.raises(ValueError, match=f"holds a run with another {name}; use a new folder"):
            mrt_lib.train("data/models/strong", problems, arm, tmp_path, config)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_preset_for_another_machine_says_so_before_the_first_step(tmp_path):
    """The testbed's reasoner has a context of 2,048 tokens."""
    with pytest.raises(ValueError, match="thinking_tokens=8192 does not fit"):
        mrt_lib.train("data/models/strong", PROBLEMS, GRPO(), tmp_path / "run", get_preset("a100").config)


def test_every_name_of_the_face_is_there_and_has_a_docstring():
    for name in mrt_lib.FACE:
        assert getattr(mrt_lib, name).__doc__, name
        assert name in dir(mrt_lib)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'; it has Reasoner, report, train"):
        _ = mrt_lib.nonsense


@pytest.mark.parametrize("name", ["Reasoner.load", "report", "train", "from_callable"])
def test_the_example_in_a_docstring_runs(name, tmp_path):
    thing = mrt_lib
    for part in name.split("."):
        thing = getattr(thing, part)
    block = re.search(r"::\n\n((?: {4,}.*\n|\n)+)", inspect.getdoc(thing).replace("\n", "\n") + "\n")
    code = inspect.cleandoc(block[1]) if block else ""
    assert code, f"{name} has no example after '::'"
    exec(compile(code, name, "exec"), {"folder": tmp_path / "run"})


def test_importing_the_library_is_light():
    heavy = {"seaborn", "matplotlib", "pandas", "trl", "datasets", "vllm", "peft", "torch", "transformers"}
    program = f"import sys, mrt_lib; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def public_functions():
    for path in sorted(Path("mrt_lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (
                not node.name.startswith("_") or node.name == "__init__"
            ):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                yield path, node, [a.arg for a in arguments if a.arg not in ("self", "cls")]


def test_no_public_function_has_more_than_eight_parameters_or_takes_the_parts_of_a_reasoner():
    options = {("mrt_lib/reporting/run.py", "report"), ("mrt_lib/training/run.py", "train")}
    parts = {("mrt_lib/reasoner.py", "__init__")}
    for path, node, names in public_functions():
        where = (path.as_posix(), node.name)
        assert len(names) <= 8 or where in options, f"{where}: {names}"
        assert not {"tokenizer", "template"} <= set(names) or where in parts, f"{where}: {names}"


def test_root_search_is_found_by_name():
    assert importlib.import_module("mrt_lib.tasks").get_task("root_search_31") == RootSearch(31)
