"""The experiment on the pretrained model: its plan, and one run of every arm in miniature."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from experiments import words, words_page, words_plan
from experiments.records import read_arrays
from experiments.words import SHOWN
from experiments.words_page import THOUGHTS
from experiments.words_plan import BUILD, FIRST, KNOBS, STEPS, TASK, TESTED, WordsRun, plan
from mrt_lib.files import write_json
from mrt_lib.reasoner import Reasoner
from recipes.words.model import language_model
from recipes.words.search import PairSum
from recipes.words.text import WORDS


def finished(folder, run, value):
    (folder / run.name).mkdir(parents=True)
    (folder / run.name / "run.json").write_text(json.dumps({"validation_J4": value}))


def test_the_plan_tunes_first_and_takes_the_best_setting(tmp_path):
    assert [run.arm for run in plan(tmp_path)[1:4]] == ["grpo"] * 3
    for i, run in enumerate(words_plan.tuning_runs("grpo", tmp_path)):
        finished(tmp_path, run, [0.1, 0.3, 0.2][i])
    others = words_plan.tuning_runs("grpo", tmp_path)[3:]
    assert {(run.knob, run.rate) for run in others} == {(False, 3e-4), ("sequence_mean", 3e-4)}
    assert words_plan.chosen("grpo", tmp_path) is None
    for run in others:
        finished(tmp_path, run, 0.4 if run.knob is False else 0.0)
    best = words_plan.chosen("grpo", tmp_path)
    assert (best.knob, best.rate, best.steps) == (False, 3e-4, STEPS)
    seeds = [run.seed for run in plan(tmp_path) if run.arm == "grpo" and run.steps == STEPS]
    assert seeds == list(range(5))
    assert len({run.name for run in plan(tmp_path)}) == len(plan(tmp_path))


def test_every_arm_has_its_knobs_and_what_is_unseen_is_not_trained_on():
    for arm, knobs in KNOBS.items():
        assert len({repr(BUILD[arm](knob)) + repr(WordsRun(arm, knob, 1, 0).loss) for knob in knobs}) == len(
            knobs
        )
    assert set(FIRST) < set(BUILD) == set(KNOBS)
    questions = {p.question for p in TASK.problems["train"]}
    for family in (family for families in TESTED.values() for family in families):
        assert not questions & {p.question for p in family.problems["test"]}


def test_the_mixture_asks_each_familys_own_verifier():
    problems = TASK.problems["train"][:4]
    assert len({p.task for p in problems}) == 4
    assert all(TASK.score(p, p.answer) == 1 and TASK.answers(p) for p in problems)
    pair = next(p for p in problems if p.task == PairSum().name)
    assert len(TASK.answers(pair)) == 2
    assert {p.task for p in TASK.sample(np.random.default_rng(0), 40)} == {p.task for p in problems}
    with pytest.raises(KeyError):
        TASK.score(replace(pair, task="other"), "1")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    try:
        tokenizer = AutoTokenizer.from_pretrained(language_model())
    except ConnectionError as error:
        pytest.skip(f"no registry: {error}")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=2, **sizes))
    folder = tmp_path_factory.mktemp("words") / "warm"
    # It knows no tries, so every second token of its thoughts opens an episode.
    Reasoner(model, tokenizer, replace(WORDS, episode_marker="", episode_tokens=2)).save(folder, merged=True)
    return folder


@pytest.mark.parametrize("arm", BUILD)
def test_a_run_in_miniature_is_recorded_whole(arm, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(words, "warm_model", lambda: tiny)
    monkeypatch.setattr(words, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(words, "SCRATCH", tmp_path / "scratch")
    for name, small in {
        "THINKING_TOKENS": 6,
        "PROMPTS": 4,
        "GROUP": 2,
        "VALIDATED": 1,
        "TESTED_PROBLEMS": 2,
    }.items():
        monkeypatch.setattr(words, name, small)
    monkeypatch.setattr(words, "VALIDATE_EVERY", 1)
    run = WordsRun(arm, KNOBS[arm][0], 1e-3, 0, 1)
    if arm == "mrt_star":
        with pytest.raises(ValueError, match="none of 8 rollouts"):  # a random model is never right
            words.execute(run)
        return
    words.execute(run)
    facts = json.loads((tmp_path / "runs" / run.name / "run.json").read_text())
    assert facts["policy_tokens"] > 0
    assert 0 <= facts["validation_J4"] < 0.1
    arrays = read_arrays(run.name, tmp_path / "runs")
    families = [family.name for group in TESTED.values() for family in group]
    assert set(arrays) == {f"{kind}_{name}" for kind in ("values", "tokens", "finished") for name in families}
    assert arrays["values_pair_sum_6_12"].shape == arrays["tokens_pair_sum_6_12"].shape == (2, 4, 9)
    assert (np.diff(arrays["tokens_equation_15_5"].astype(int), axis=2) >= 0).all()
    shown = json.loads((tmp_path / "runs" / run.name / THOUGHTS).read_text())
    assert len(shown) == SHOWN
    assert all(len(own["values"]) == len(own["episodes"]) + 1 for own in shown)


def test_the_page_shows_the_same_ten_problems_before_and_after(tmp_path, monkeypatch):
    about = {
        "family": "pair_sum_6_12",
        "question": "Which two add up?",
        "answer": "3 and 4",
        "finished": True,
    }
    thoughts = [{**about, "episodes": ["Try 3 and 5.\n"], "values": [0.1, 0.25]}] * SHOWN
    best = WordsRun("grpo", True, 1e-4, 5)
    monkeypatch.setattr(words_page, "chosen", lambda arm, _: best if arm == "grpo" else None)
    for one in (words_plan.UNTRAINED, replace(best, seed=0)):
        words_page.write_page(tmp_path, tmp_path / "traces.md")
        assert not (tmp_path / "traces.md").exists()
        write_json(tmp_path / one.name / THOUGHTS, thoughts)
    words_page.write_page(tmp_path, tmp_path / "traces.md")
    page = (tmp_path / "traces.md").read_text()
    assert page.count("Which two add up?") == SHOWN
    assert page.count("> Try 3 and 5. **0.25**") == 2 * SHOWN
