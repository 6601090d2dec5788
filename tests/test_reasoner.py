"""A reasoner is found, loaded, checked, saved and loaded again."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from transformers import Gemma3Config, LlavaConfig, MambaConfig, MambaForCausalLM, Qwen3Config

from mrt_lib.adapters import FACTS
from mrt_lib.arms import GRPO
from mrt_lib.engines import Sampling
from mrt_lib.engines.base import context_of
from mrt_lib.models import FILES, find_model
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.thoughts.templates import R1, TESTBED
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Trainer
from mrt_lib.training.lora import LoraSettings

BASE, STRONG = Path("data/models/base"), Path("data/models/strong")
TASK = RootSearch(31)
PROBLEMS = TASK.problems["test"][:6]
GREEDY = Sampling(12, temperature=0)


@cache
def shipped(path):
    """Not to be trained."""
    return Reasoner.load(path)


def trained(dtype="float32"):
    """Two steps on the strong reasoner."""
    sizes = {"steps": 2, "prompts": 2, "group": 8, "thinking_tokens": 24, "lora": LoraSettings(4, 16)}
    config = TrainConfig(learning_rate=1e-2, warmup=1, **sizes)
    problems = TASK.problems["train"][:5]
    trainer = Trainer(Reasoner.load(STRONG, dtype=dtype), TASK, problems, GRPO(), config)
    for _ in range(2):
        trainer.step()
    return trainer


@pytest.fixture(scope="module")
def run():
    return trained()


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "adapter"
    run.trained().save(path)
    return path


def same(a, b):
    """Whether two models have the same weights under the same names, bit for bit."""
    a, b = dict(a.named_parameters()), dict(b.named_parameters())
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- loading ---


def test_a_model_is_loaded_ready_to_think():
    base = shipped(BASE)
    assert (base.name, base.template, base.adapter) == (str(BASE), TESTBED, None)
    assert not base.model.training
    assert base.context == base.model.config.max_position_embeddings
    assert len(base.think(PROBLEMS, GREEDY)) == len(PROBLEMS)


def test_weights_in_parts_are_loaded(tmp_path):
    shipped(BASE).model.save_pretrained(tmp_path, max_shard_size="1MB")
    shipped(BASE).tokenizer.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert same(Reasoner.load(tmp_path).model, shipped(BASE).model)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path, file):
    shutil.copytree(BASE, tmp_path / "base")
    (tmp_path / "base" / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {file}"):
        Reasoner.load(tmp_path / "base")


def test_a_name_on_the_hub_is_found_in_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    revision = "0123456789abcdef" * 2 + "01234567"
    cached = tmp_path / "models--owner--reasoner-1.5B"
    shutil.copytree(BASE, cached / "snapshots" / revision)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    assert find_model("owner/reasoner-1.5B") == cached / "snapshots" / revision
    assert Reasoner.load("owner/reasoner-1.5B").name == f"owner/reasoner-1.5B@{revision}"
    assert find_model(f"owner/reasoner-1.5B@{revision}") == cached / "snapshots" / revision
    with pytest.raises(FileNotFoundError, match="the hub does not give it"):
        find_model("owner/another")


@pytest.mark.parametrize("name", ["nowhere", "data/models/nowhere", "../x/y", "/x/y"])
def test_what_is_neither_folder_nor_hub_name_is_refused(name):
    with pytest.raises(FileNotFoundError, match=f"no folder {name}"):
        find_model(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tgi"}, "engine must be one of transformers, vllm, got 'tgi'"),
        ({"dtype": "int8"}, "dtype must be float32, bfloat16, float16, got 'int8'"),
        ({"template": "r2"}, "unknown template 'r2'; known: "),
        ({"template": "r1"}, r"lacks \['<｜end▁of▁sentence｜>'\] .* 'r1' needs; .*that fit: \['testbed'\]"),
    ],
    ids=["engine", "dtype", "template", "template of another tokenizer"],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Reasoner.load(BASE, **options)


def test_a_template_that_does_not_fit_is_refused_at_construction():
    base = shipped(BASE)
    with pytest.raises(ValueError, match=r"template 'r1' needs; known templates that fit: \['testbed'\]"):
        Reasoner(base.model, base.tokenizer, R1)
    own = replace(TESTBED, name="own", answer_end="</think>")
    assert Reasoner(base.model, base.tokenizer, own).template is own


# --- context ---

TEXT = {"max_position_embeddings": 96, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("config", "context"),
    [
        (Qwen3Config(**TEXT), 96),
        (Gemma3Config(text_config=TEXT), 96),
        (LlavaConfig(text_config=Qwen3Config(**TEXT)), 96),
        (MambaConfig(), None),
    ],
    ids=["plain", "gemma3", "llava", "without limit"],
)
def test_the_context_is_the_text_models(config, context):
    assert context_of(config) == context


def test_without_a_limit_everything_has_room():
    tokenizer = shipped(BASE).tokenizer
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4)
    endless = Reasoner(MambaForCausalLM(config), tokenizer)
    assert (endless.context, endless.room(PROBLEMS, 2)) == (None, None)
    endless.check_room(PROBLEMS, 10**9, 2)
    assert len(endless.engine.generate([[7] * 2000], Sampling(1))[0].token_ids) == 1


def test_what_leaves_no_room_is_refused_and_the_room_is_exact():
    base = shipped(BASE)
    room = base.room(PROBLEMS, 2)
    longest = max(len(base.prompt(p.question)) for p in PROBLEMS)
    assert room == base.context - longest - len(["time", "up", "</think>"]) - 2
    base.check_room(PROBLEMS, room, 2)
    with pytest.raises(ValueError, match=rf"thinking_tokens={room + 1} does not fit: .* at most {room} "):
        base.check_room(PROBLEMS, room + 1, 2)
    full = r"fill the model's context of \d+; shorten the questions or answer_tokens"
    with pytest.raises(ValueError, match=full):
        base.check_room(PROBLEMS, 1, base.context)
    with pytest.raises(ValueError, match="problem 'odd': the tokenizer has no token for a part of"):
        base.room([replace(PROBLEMS[0], id="odd", question="y = 4")], 2)


# --- saving what was trained ---


def test_an_adapters_folder_is_loaded_onto_its_base_with_the_samplers_weights(run, folder):
    found = Reasoner.load(folder)
    assert same(found.model, run.learner.sampler)
    assert not same(found.model, shipped(STRONG).model)
    assert (found.name, found.template) == (str(folder), TESTBED)
    expected = run.trained().think(PROBLEMS, GREEDY)
    assert found.think(PROBLEMS, GREEDY) == expected
    unmerged = Reasoner(found.adapter, found.tokenizer).think(PROBLEMS, GREEDY)  # the same up to rounding
    assert [t.thought_ids for t in unmerged] == [t.thought_ids for t in expected]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapter_and_merged_model_come_back_as_they_were_saved(run, tmp_path, dtype):
    ours = (run if dtype == "float32" else trained(dtype)).trained()
    ours.save(tmp_path / "adapter")
    again = Reasoner.load(tmp_path / "adapter")
    again.save(tmp_path / "again")
    again.save(tmp_path / "merged", merged=True)
    merged = Reasoner.load(tmp_path / "merged", dtype=dtype)
    for other in (again, Reasoner.load(tmp_path / "again"), merged):
        assert same(other.model, ours.model)
        assert str(other.model.dtype) == f"torch.{dtype}"
    facts, copied = ((tmp_path / name / FACTS).read_text() for name in ("adapter", "again"))
    assert facts.split('"provenance"')[0] == copied.split('"provenance"')[0]
    assert set(FILES) <= {path.name for path in (tmp_path / "merged").iterdir()}
    assert not list((tmp_path / "merged").glob("adapter*"))
    assert merged.tokenizer.get_vocab() == ours.tokenizer.get_vocab()
    assert type(merged.model) is type(shipped(STRONG).model)


def test_an_adapter_is_for_transformers_alone(folder):
    with pytest.raises(ValueError, match="holds an adapter; save it merged, then load that with"):
        Reasoner.load(folder, engine="vllm")


def test_without_an_adapter_there_is_none_to_save(tmp_path):
    with pytest.raises(ValueError, match="no adapter to save: train with LoRA first, or use merged=True"):
        shipped(BASE).save(tmp_path / "adapter")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(run, folder):
    for merged in (False, True):
        with pytest.raises(FileExistsError, match="choose a new folder"):
            run.trained().save(folder, merged)
