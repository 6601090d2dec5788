"""MRTTrainer: our arms' credit inside TRL, on one process and on two."""

import importlib
import json
import math
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrt_lib.arms import BRPO, GRPO, SGRPO, LengthPenalty, MRTOffline, STaR
from mrt_lib.arms.base import Policy, Rollout, stream
from mrt_lib.arms.mrt import continued_rollouts, stale_prefixes
from mrt_lib.engines.base import Sampling
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.integrations.trl import TRLEngine, check_sharding
from mrt_lib.measure.prover import ExactProver
from mrt_lib.provenance import ROOT
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import from_callable
from mrt_lib.thoughts.templates import encode
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.updates import token_row
from recipes import train_with_trl
from tests.trl_runs import ARMS, GROUP, TASK, batch, trainer

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
TRAIN = TASK.problems["train"]
PROBLEMS = {p.id: p for p in TRAIN}
FORCED = "time up </think>"


@pytest.fixture(scope="module")
def strong():
    return Reasoner.load("data/models/strong")


def own_policy(reasoner):
    return Policy(reasoner, ExactProver(reasoner, TASK), Sampling(24), Sampling(2))


@pytest.mark.parametrize(
    "arm", [*ARMS.values(), GRPO(), LengthPenalty(0.5)], ids=lambda arm: type(arm).__name__
)
def test_the_batch_is_what_our_own_loop_collects_and_credits(tmp_path, strong, arm):
    made = trainer(tmp_path, arm)
    found = batch(made)
    problems = [made.rollouts[i].problem for i in range(0, 3 * GROUP, GROUP)]
    rollouts = arm.collect(own_policy(strong), problems, GROUP, stream(made._seed(), 0))
    assert [r.trace.thought_ids for r in made.rollouts] == [r.trace.thought_ids for r in rollouts]
    mask = (found["completion_mask"] * found["tool_mask"]).bool()
    assert (found["advantages"][~mask] == 0).all()
    for i, (rollout, credit) in enumerate(zip(rollouts, arm.credit(rollouts, 4), strict=True)):
        np.testing.assert_allclose(found["advantages"][i][mask[i]], credit, atol=1e-6)
        learnt = strong.tokenizer.decode(found["completion_ids"][i][mask[i]])
        trace = rollout.trace
        closing = [strong.tokenizer.convert_tokens_to_ids("</think>")] * trace.finished
        assert learnt == strong.tokenizer.decode([*trace.thought_ids, *closing, *trace.answer_ids])
        text = strong.tokenizer.decode(found["completion_ids"][i][found["completion_mask"][i].bool()])
        assert (FORCED in text) == bool(trace.answer_ids and not trace.finished)
    assert np.abs(found["advantages"].numpy()).max() > 0.1


def test_a_thought_that_the_models_own_end_of_text_ended_is_learnt_with_it_and_no_further(tmp_path):
    made = trainer(tmp_path, ARMS["mrt_online"])
    ends = made.reasoner.tokenizer.convert_tokens_to_ids(["0", "1"])
    made.model.generation_config.eos_token_id = ends
    found = batch(made)
    traces = [rollout.trace for rollout in made.rollouts]
    assert any(trace.eos_id >= 0 for trace in traces)
    for i, trace in enumerate(traces):
        if trace.eos_id >= 0:
            kept = found["completion_ids"][i][found["completion_mask"][i].bool()].tolist()
            assert kept == [*trace.thought_ids, trace.eos_id]
            assert found["advantages"][i][len(kept) :].abs().sum() == 0
            assert trace.eos_id in ends
            assert trace.answer_ids


def test_a_batch_learnt_in_parts_keeps_each_token_with_its_advantage(tmp_path):
    made = trainer(tmp_path, ARMS["mrt_online"], per_device_train_batch_size=GROUP, steps_per_generation=3)
    made.model.train()
    parts = [made._prepare_inputs(next(iter(made.get_train_dataloader())))]
    for made._step in (1, 2):
        parts.append(made._prepare_inputs(None))
    found = {
        tuple(ids[mask.bool()].tolist()): a[mask.bool()].tolist()
        for part in parts
        for ids, mask, a in zip(
            part["completion_ids"], part["completion_mask"], part["advantages"], strict=True
        )
    }
    expected = {}
    for rollout, credit in zip(made.rollouts, made.advantages, strict=True):
        row = token_row(made.reasoner, rollout, credit)
        start = int(row.generated.argmax())
        expected[tuple(row.ids[start:].tolist())] = row.advantages[start:]
    assert found.keys() == expected.keys()
    for ids, advantages in expected.items():
        np.testing.assert_allclose(found[ids], advantages, atol=1e-6)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What each of two processes found, see `tests.trl_runs`."""
    folder = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    done = subprocess.run(
        [*launch, "-m", "tests.trl_runs", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARMS)
def test_two_processes_credit_their_rollouts_as_one_would(two_processes, name):
    first, second = (found[name] for found in two_processes)
    assert first["rollouts"] == second["rollouts"]
    groups = defaultdict(list)
    for problem, trace, reward in first["rollouts"]:
        groups[problem].append(Rollout(PROBLEMS[problem], Trace(**trace), len(groups), reward))
    assert [len(members) for members in groups.values()] == [GROUP] * 3
    middle = [problem for problem, *_ in first["rollouts"][3 * GROUP // 2 - 1 : 3 * GROUP // 2 + 1]]
    assert len(set(middle)) == 1
    rollouts = [replace(r, group=number) for number, members in enumerate(groups.values()) for r in members]
    assert len({tuple(r.trace.thought_ids) for r in rollouts}) > len(rollouts) // 2
    advantages = first["advantages"] + second["advantages"]
    for found, credit in zip(advantages, ARMS[name].credit(rollouts, 4), strict=True):
        np.testing.assert_allclose(found, credit, atol=1e-6)


@pytest.mark.slow
def test_two_processes_value_their_rollouts_exactly(two_processes, strong):
    rollouts = [(PROBLEMS[p], Trace(**t)) for p, t, _ in two_processes[0]["mrt_exact"]["rollouts"]]
    values = ExactProver(strong, TASK).values(*zip(*rollouts, strict=True))
    for (_, trace), value in zip(rollouts, values, strict=True):
        np.testing.assert_allclose(trace.values, value.value, atol=1e-6)


@pytest.mark.slow
def test_two_processes_learn_to_spend_their_tokens_better(two_processes):
    first, second = (found["learning"] for found in two_processes)
    before, after = (np.mean(first[name] + second[name]) for name in ("before", "after"))
    assert after > before + 0.05
    assert first["weights"] == second["weights"]
    log = first["log"][0]
    assert log["mrt/value"] == pytest.approx(log["reward"], abs=1e-6)
    assert 0 < log["mrt/progress"] < log["mrt/value"] < 1
    assert 0 < log["mrt/regret"] < 1


def unanswerable():
    return from_callable(lambda rng, n, split: [], lambda problem, text: 0, name="open")


TWINS = [replace(TRAIN[0], id="twin", answer="0"), *TRAIN[:3]]
BAD = {
    "no room to think": ({"answer_tokens": 26}, "answer_tokens must be 1..25, got 26"),
    "top-k": ({"top_k": 5}, "need {'top_k': 0}, got {'top_k': 5}"),
    "cut thoughts masked": ({"mask_truncated_completions": True}, "'mask_truncated_completions': False"),
    "loss": ({"loss_type": "vespo"}, "loss_type must be one of .*'vespo'"),
    "stale policy": ({"arm": MRTOffline()}, "MRTOffline needs a stale policy"),
    "whole groups": ({"arm": SGRPO()}, "SGRPO needs .*whole groups on one process"),
    "few problems": ({"problems": TRAIN[:2]}, "a batch takes 3 different problems, got 2"),
    "context": ({"max_completion_length": 2048}, "thinking_tokens=2046 does not fit.*context"),
    "no finite answers": ({"task": unanswerable()}, "lists no finite set of right answers"),
    "no finite answers for a rival": ({"task": unanswerable(), "arm": BRPO()}, "lists no finite set"),
    "imitation": ({"arm": STaR()}, "STaR needs .*imitates a step of its own"),
    "two answers": ({"problems": TWINS}, "ask the same, answers differ"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_before_training(tmp_path, name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, **{"arm": ARMS["mrt_exact"], **changes})


class Stale:
    """An arm that asks for the stale policy without saying so before."""

    def collect(self, policy, problems, group, seed):
        prefixes = stale_prefixes(policy, problems, seed)
        return continued_rollouts(policy, problems, prefixes, [True] * len(prefixes), group, seed)

    def credit(self, rollouts, horizon):
        return [np.zeros(r.tokens) for r in rollouts]


def test_another_arm_with_a_stale_policy_fails_at_its_first_question(tmp_path):
    with pytest.raises(ValueError, match="holds no stale snapshot"):
        batch(trainer(tmp_path, Stale()))


def test_sampled_values_need_no_finite_answers(tmp_path):
    assert trainer(tmp_path, ARMS["mrt_online"], task=unanswerable()).task.name == "open"


def test_a_budget_within_the_first_episode_stops_the_first_step(tmp_path):
    with pytest.raises(ValueError, match="cut inside its first episode"):
        trainer(tmp_path, ARMS["mrt_exact"], max_completion_length=6, max_steps=1).train()


def test_a_sharded_model_is_only_sampled_and_only_by_vllm():
    check_sharding(False, False, ARMS["mrt_exact"])
    check_sharding(True, True, ARMS["mrt_online"])
    with pytest.raises(ValueError, match="MRTExact reads exact values from the whole model"):
        check_sharding(True, True, ARMS["mrt_exact"])
    with pytest.raises(ValueError, match="set use_vllm=True"):
        check_sharding(True, False, ARMS["mrt_online"])


class StandIn:
    """TRL's `VLLMGeneration` as `TRLEngine` sees it; the tokens come from Transformers."""

    def __init__(self, model):
        self.engine = TransformersEngine(model)
        self.max_completion_length, self.generation_kwargs = 26, {}

    def generate(self, prompts, images, num_generations):
        assert (images, num_generations) == (None, 1)
        assert self.generation_kwargs["ignore_eos"]
        stop = tuple((token,) for token in self.generation_kwargs["stop_token_ids"])
        made = self.engine.generate(prompts, Sampling(self.max_completion_length, stop=stop))
        log_probs = [[[None if i == 0 else p] for i, p in enumerate(g.log_probs)] for g in made]
        return prompts, [g.token_ids for g in made], log_probs, None


def test_the_engine_over_vllm_asks_for_the_budget_and_the_stop_of_each_phase(strong):
    model = strong.model
    (close,) = encode(strong.tokenizer, "</think>")
    prompts = [strong.prompt(p.question) for p in TRAIN[:3]]
    sampling = Sampling(18, stop=((close,),), n=2)
    stand_in = StandIn(model)
    found = TRLEngine(stand_in).generate(prompts, sampling)
    expected = TransformersEngine(model).generate(prompts, sampling)
    assert [(g.token_ids, g.finish) for g in found] == [(g.token_ids, g.finish) for g in expected]
    assert {g.finish for g in found} == {"stop", "length"}
    assert math.isnan(found[0].log_probs[0])
    assert found[0].log_probs[1:] == pytest.approx(expected[0].log_probs[1:], abs=1e-4)
    assert (stand_in.max_completion_length, stand_in.generation_kwargs) == (26, {})


@pytest.mark.parametrize("problems", ["root_search_31", "own.jsonl"])
def test_the_command_line_trains_and_saves(tmp_path, monkeypatch, strong, problems):
    if problems == "own.jsonl":
        problems = str(tmp_path / problems)
        rows = [json.dumps({"question": p.question, "answer": p.answer}) for p in TRAIN[:4]]
        Path(problems).write_text("\n".join(rows))
    options = {
        "model_name_or_path": "data/models/strong",
        "problems": problems,
        "template": "testbed",
        "arm": "mrt_exact",
        "rule": "regret_to_go",
        "answer_tokens": 2,
        "output_dir": str(tmp_path / "run"),
        "max_steps": 1,
        "learning_rate": 1e-3,
        "max_completion_length": 26,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["train_with_trl", *words])
    train_with_trl.main()
    trained = Reasoner.load(tmp_path / "run")
    assert encode(trained.tokenizer, FORCED) == encode(strong.tokenizer, FORCED)
    moved = [
        (a != b).any() for a, b in zip(trained.model.parameters(), strong.model.parameters(), strict=True)
    ]
    assert any(moved)


def test_without_trl_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "mrt_lib.integrations.trl")
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ImportError, match=r"pip install 'mrt-lib\[trl\]'"):
        importlib.import_module("mrt_lib.integrations.trl")


def test_the_command_line_names_the_arms_it_knows():
    own = train_with_trl.Experiment("root_search_31", "testbed", "ppo", 2)
    with pytest.raises(ValueError, match=r"unknown arm 'ppo'; known: .*mrt_online"):
        train_with_trl.make_arm(own)
