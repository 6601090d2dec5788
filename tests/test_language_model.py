"""The way of a language model: R1's template, mathematics from a file, exact and sampled values, an adapter.

The model is small and of a real architecture (Qwen2), its tokenizer is byte-level with R1's special
tokens, and it has learnt to think in R1's manner about sums of digits, sometimes with a wrong answer.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import mrt_lib
from benchmarks import language_model
from mrt_lib.arms import GRPO, MRTExact, MRTOffline, MRTOnline
from mrt_lib.engines import Sampling
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import MathTask
from mrt_lib.thoughts.templates import R1, R1_SHORT, encode
from mrt_lib.training.loop import Trainer, run
from mrt_lib.training.presets import get_preset
from mrt_lib.training.supervised import Example, FinetuneConfig, finetune
from tests.test_short_answer import build_tokenizer

pytest.importorskip("math_verify")
THINKING = 64


def thought(rng, right):
    """Three episodes that guess, the last one being what is then answered."""
    guesses = [*rng.integers(2, 7, 2), right]
    lines = (
        f"{opener} {guess}\n\na\n\nb" for opener, guess in zip(("So", "Wait", "Wait"), guesses, strict=True)
    )
    return "\n\n".join(lines)


def lesson(tokenizer, task, rng):
    """One problem thought through and answered in a box, often by force, rightly three times out of four."""
    problem = task.sample(rng, 1)[0]
    answer = int(problem.answer) if rng.random() < 0.75 else int(rng.integers(2, 7))
    prompt = R1_SHORT.prompt_ids(tokenizer, problem.question)
    forced = R1_SHORT.separator + R1_SHORT.forced_answer
    closing = str(rng.choice([R1_SHORT.finished_answer, forced]))
    written = encode(tokenizer, thought(rng, answer) + f"{closing}{answer}}}")
    return Example(prompt + written, [False] * len(prompt) + [True] * len(written))


def write_sums(path):
    """Sums of two digits, as a file."""
    rows = [{"question": f"{a}+{b}?", "answer": str(a + b)} for a in range(1, 4) for b in range(1, 4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_model(path, task):
    """The model, taught that task, as a folder."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes))

    def lessons(step):
        rng = np.random.default_rng(step)
        return [lesson(tokenizer, task, rng) for _ in range(8)]

    finetune(model, lessons, FinetuneConfig(steps=120, learning_rate=5e-3, warmup=10))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return MathTask.from_jsonl(write_sums(tmp_path_factory.mktemp("problems") / "sums.jsonl"))


@pytest.fixture(scope="module")
def folder(task, tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("language_model"), task)


def test_the_report(folder, task, tmp_path):
    options = {"rollouts": 2, "thinking_tokens": THINKING, "answer_tokens": 8, "branches": 4}
    with pytest.raises(ValueError, match="'r1': 0% of the first forced answers can be read"):
        mrt_lib.report(Reasoner.load(folder, R1), task.problems["train"][:4], task, **options)
    reasoner = Reasoner.load(folder, R1_SHORT)
    found = mrt_lib.report(reasoner, task.problems["train"][:4], task, folder=tmp_path, **options)
    assert found.settings["values"] == "exact"  # though "}." and "}}" end an answer too
    assert found.number("episodes").value > 1
    assert (tmp_path / "report.html").is_file()


ARMS = (MRTExact("regret_to_go", 1.0), GRPO(), MRTOnline(branches=2), MRTOffline())
HALF = [pytest.param(arm, "bfloat16", marks=pytest.mark.slow) for arm in ARMS[1:]]


@pytest.mark.parametrize(
    ("arm", "dtype"),
    [*((arm, "float32") for arm in ARMS), (ARMS[0], "bfloat16"), *HALF],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_training_and_keeping_the_adapter(folder, task, tmp_path, arm, dtype):
    sizes = {"steps": 2, "prompts": 4, "group": 4, "thinking_tokens": THINKING, "answer_tokens": 4}
    config = replace(get_preset("t4").config, learning_rate=1e-2, warmup=1, **sizes)
    reasoner = Reasoner.load(folder, R1_SHORT, dtype)
    trainer = Trainer(reasoner, task, task.problems["train"], arm, config)
    log = run(trainer, tmp_path / "run")
    assert log[0]["clip_share"] == 0  # on-policy: every ratio is 1 up to rounding
    assert any(row["grad_norm"] > 0 for row in log)
    assert all(np.isfinite(row["loss"]) for row in log)
    assert all(row["episodes"] > 0 for row in log)  # a mean; MRTOffline also ends thoughts before their first
    trainer.trained().save(tmp_path / "adapter")
    Reasoner.load(tmp_path / "adapter", base=folder).save(tmp_path / "merged", merged=True)
    merged = Reasoner.load(tmp_path / "merged", R1_SHORT, dtype)
    ours, theirs = (
        [t.thought_ids for t in r.think(task.problems["train"][:4], Sampling(THINKING, temperature=0))]
        for r in (trainer.trained(), merged)
    )
    assert ours == theirs


def test_the_benchmark_for_a_gpu_runs_in_miniature(monkeypatch):
    monkeypatch.setattr(language_model, "REPEATS", 1)
    step = language_model.step("tiny", 64)
    assert min(step[f"{phase}_seconds"] for phase in ("generate", "prove", "update")) > 0
    found = language_model.values("tiny", 64, 8)
    assert {name.partition("_")[0] for name in found} == {"packed", "separate", "sampled4"}
