"""The way of a language model: R1's template, mathematics from a file, exact and sampled values, an adapter.

The model is small and of a real architecture (Qwen2), its tokenizer is byte-level with R1's special
tokens, and it has learnt to think in R1's manner about sums of digits, sometimes with a wrong answer.
"""

import json

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import mrt_lib
from benchmarks import language_model
from mrt_lib.training.adapters import merge, save_adapter
from mrt_lib.arms import GRPO, MRTExact, MRTOffline, MRTOnline
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.training.supervised import Example, FinetuneConfig, finetune
from mrt_lib.training.presets import get_preset
from mrt_lib.reasoner import load_reasoner
from mrt_lib.tasks import MathTask
from mrt_lib.thoughts.templates import R1, R1_SHORT, encode, encode_prompt
from mrt_lib.training.loop import Trainer, train
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
    """One problem thought through, answered rightly three times out of four, with the short forced text."""
    problem = task.sample(rng, 1)[0]
    answer = int(problem.answer) if rng.random() < 0.75 else int(rng.integers(2, 7))
    prompt = encode_prompt(tokenizer, R1_SHORT, problem.question)
    written = encode(tokenizer, thought(rng, answer) + f"{R1_SHORT.finished_answer}{answer}}}")
    return Example(prompt + written, [False] * len(prompt) + [True] * len(written))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model on disk beside its problems."""
    path = tmp_path_factory.mktemp("language_model")
    rows = [{"question": f"{a}+{b}?", "answer": str(a + b)} for a in range(1, 4) for b in range(1, 4)]
    (path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer, task = build_tokenizer(), MathTask.from_jsonl(path / "sums.jsonl")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes))

    def lessons(step):
        rng = np.random.default_rng(step)
        return [lesson(tokenizer, task, rng) for _ in range(8)]

    finetune(model, lessons, FinetuneConfig(steps=250, learning_rate=5e-3, warmup=10), path / "lessons")
    model.save_pretrained(path / "model")
    tokenizer.save_pretrained(path / "model")
    return path


@pytest.mark.parametrize(
    ("template", "values"), [(R1_SHORT, "sampled"), (R1, "sampled")], ids=["short", "long"]
)
def test_the_report(folder, tmp_path, template, values):
    task = MathTask.from_jsonl(folder / "sums.jsonl")
    found = mrt_lib.report(
        folder / "model",
        task.problems["train"][:4],
        task,
        template,
        folder=tmp_path,
        rollouts=2,
        thinking_tokens=THINKING,
        answer_tokens=8,
        branches=4,
    )
    assert found.settings["values"] == "sampled"  # the tokenizer has "}." and "}}", which end an answer too
    assert found.number("episodes").value > 1
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "arm",
    [GRPO(), MRTExact("regret_to_go", 1.0), MRTOnline(branches=2), MRTOffline()],
    ids=lambda arm: type(arm).__name__,
)
def test_training_and_keeping_the_adapter(folder, tmp_path, arm, dtype):
    task = MathTask.from_jsonl(folder / "sums.jsonl")
    model, tokenizer = load_reasoner(folder / "model", dtype)
    config = get_preset("t4").train_config(
        steps=2, prompts=4, group=4, thinking_tokens=THINKING, answer_tokens=4, learning_rate=1e-2, warmup=1
    )
    trainer = Trainer(model, tokenizer, R1_SHORT, task, task.problems["train"], arm, config)
    log = train(trainer, tmp_path / "run")
    assert log[0]["clip_share"] == 0  # on-policy: every ratio is 1 up to rounding
    assert any(row["grad_norm"] > 0 for row in log)
    assert all(np.isfinite(row["loss"]) for row in log)
    assert all(row["episodes"] > 0 for row in log)  # a mean; MRTOffline also ends thoughts before their first
    save_adapter(trainer, tmp_path / "adapter")
    merge(folder / "model", tmp_path / "adapter", tmp_path / "merged")
    merged, _ = load_reasoner(tmp_path / "merged", dtype)
    prompts = [encode_prompt(tokenizer, R1_SHORT, p.question) for p in task.problems["train"][:4]]
    ours, theirs = (
        [g.token_ids for g in TransformersEngine(m).generate(prompts, Sampling(THINKING, temperature=0))]
        for m in (trainer.learner.sampler, merged)
    )
    assert ours == theirs


def test_the_benchmark_for_a_gpu_runs_in_miniature(monkeypatch):
    monkeypatch.setattr(language_model, "REPEATS", 1)
    step = language_model.step("tiny", 64)
    assert min(step[f"{phase}_seconds"] for phase in ("generate", "prove", "update")) > 0
    found = language_model.values("tiny", 64, 8)
    assert {name.partition("_")[0] for name in found} == {"packed", "separate", "sampled4"}
