"""Adapters go onto their own base alone, merge without drift, and files are whole or not there."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mrt_lib.training.adapters import FACTS, load_adapter, merge, read_facts, save_adapter, write_facts
from mrt_lib.arms import GRPO
from mrt_lib.files import new_folder
from mrt_lib.engines import Sampling, TransformersEngine
from mrt_lib.training.guards import weights_digest
from mrt_lib.training.lora import merged_weights
from mrt_lib.reasoner import FILES, load_reasoner
from mrt_lib.provenance import sha256
from mrt_lib.thoughts.templates import TESTBED, encode_prompt
from mrt_lib.training.loop import TrainConfig, Trainer
from tests.small_training import SETTINGS, TASK, trainer

SHIPPED = sorted(Path("data/models/adapters").iterdir())
BASE, STRONG = Path("data/models/base"), Path("data/models/strong")
PROMPTS = [problem.question for problem in TASK.problems["test"][:6]]
CYCLES = 60


@pytest.fixture(scope="module")
def trained():
    """Two steps of GRPO on the strong reasoner."""
    one = trainer(GRPO())
    for _ in range(2):
        one.step()
    return one


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "adapter"
    save_adapter(trained, path)
    return path


@pytest.fixture(scope="module")
def merged(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("merged") / "model"
    merge(STRONG, folder, path)
    return path


def parameters(model):
    return dict(model.named_parameters())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def texts(model, tokenizer):
    prompts = [encode_prompt(tokenizer, TESTBED, question) for question in PROMPTS]
    return [g.token_ids for g in TransformersEngine(model).generate(prompts, Sampling(12, temperature=0))]


def test_what_is_kept_is_complete_and_says_where_it_came_from(trained, folder):
    names = {"adapter_config.json", "adapter_model.safetensors", "training.json", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    facts = read_facts(folder)
    assert (facts["base"], facts["dtype"], facts["template"]) == (str(STRONG), "float32", "testbed")
    assert (facts["arm"], facts["task"]) == ("GRPO(scale=True)", "root_search_31")
    assert facts["base_digest"] == weights_digest(load_reasoner(STRONG)[0])
    assert facts["numbers"]["steps"] == 2
    assert facts["numbers"]["last step: reward"] == trained.log[-1]["reward"]
    card = (folder / "README.md").read_text()
    assert facts["base_digest"] in card
    assert f"| last step: reward | {trained.log[-1]['reward']:.4g} |" in card


def test_the_card_of_a_trained_adapter_runs(folder, tmp_path):
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    code = code.replace("this/folder", str(folder)).replace('"merged"', f'"{tmp_path / "merged"}"')
    scope = {}
    exec(code, scope)
    assert same(parameters(load_reasoner(tmp_path / "merged")[0]), dict(_plain(scope["model"])))


def _plain(peft_model):
    """Names and merged weights of the plain model, adapted layers and others."""
    changed = dict(merged_weights(peft_model))
    for name, weight in load_reasoner(STRONG)[0].named_parameters():
        yield name, changed.get(name, weight)


def test_loaded_and_merged_adapters_write_what_the_trainings_sampler_wrote(trained, folder, merged):
    base, tokenizer = load_reasoner(STRONG)
    expected = texts(trained.learner.sampler, tokenizer)
    assert texts(load_adapter(base, folder), tokenizer) == expected
    assert texts(*load_reasoner(merged)) == expected


def test_the_merged_model_is_the_sampler_bit_for_bit_and_a_complete_plain_model(trained, merged):
    model, tokenizer = load_reasoner(merged)
    assert same(parameters(model), parameters(trained.learner.sampler))
    assert not same(parameters(model), parameters(load_reasoner(STRONG)[0]))
    assert set(FILES) <= {path.name for path in merged.iterdir()}
    assert not list(merged.glob("adapter*"))
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert tokenizer.get_vocab() == load_reasoner(STRONG)[1].get_vocab()


def test_half_precision_adapters_merge_in_the_dtype_they_were_trained_in(tmp_path):
    model, tokenizer = load_reasoner(STRONG, "bfloat16")
    problems, config = TASK.problems["train"][:5], TrainConfig(**SETTINGS)
    half = Trainer(model, tokenizer, TESTBED, TASK, problems, GRPO(), config)
    half.step()
    save_adapter(half, tmp_path / "adapter")
    merge(STRONG, tmp_path / "adapter", tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    found, _ = load_reasoner(tmp_path / "model", "bfloat16")
    assert same(parameters(found), parameters(half.learner.sampler))
    with pytest.raises(ValueError, match=r"made for data/models/strong in bfloat16 .* in float32"):
        load_adapter(load_reasoner(STRONG)[0], tmp_path / "adapter")


def test_an_adapter_for_another_base_is_refused(folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"made for data/models/strong in float32 .* not for data/models/base"
    ):
        load_adapter(load_reasoner(BASE)[0], folder)
    with pytest.raises(ValueError, match="made for data/models/strong"):
        merge(BASE, folder, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", FACTS])
def test_a_missing_file_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}"):
        load_adapter(load_reasoner(STRONG)[0], tmp_path / "copy")
    with pytest.raises(FileNotFoundError, match=name):
        merge(STRONG, tmp_path / "copy", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_facts_that_do_not_name_the_base_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / FACTS).write_text('{"base": "somewhere"}')
    with pytest.raises(ValueError, match="does not say base_digest, dtype"):
        load_adapter(load_reasoner(STRONG)[0], tmp_path / "copy")


def test_nothing_is_overwritten_or_left_half(trained, folder, tmp_path):
    with pytest.raises(FileExistsError, match="choose a new folder"):
        save_adapter(trained, folder)
    with pytest.raises(FileExistsError, match="choose a new folder"):
        merge(STRONG, folder, folder)
    with pytest.raises(FileNotFoundError):
        _half(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def _half(path):
    with new_folder(path) as filling:
        (filling / "first").write_text("there")
        (filling / "second").read_text()


def test_a_run_without_adapters_has_none_to_keep(tmp_path):
    with pytest.raises(ValueError, match="trains every weight"):
        save_adapter(trainer(GRPO(), lora=None), tmp_path / "adapter")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_adapters_go_onto_the_shipped_base_and_their_cards_follow_from_their_facts(path, tmp_path):
    facts = read_facts(path)
    assert facts["numbers"]["base sha256"] == sha256(f"{facts['base']}/model.safetensors")
    base, tokenizer = load_reasoner(facts["base"], facts["dtype"])
    untrained = texts(base, tokenizer)
    assert texts(load_adapter(base, path), tokenizer) != untrained
    write_facts(tmp_path, facts)
    assert (tmp_path / "README.md").read_text() == (path / "README.md").read_text()


def test_merging_in_place_drifts_in_bf16_and_ours_does_not():
    """PEFT adds and subtracts the update in bf16, which rounds each time; W + B A out of place cannot."""
    plain = load_reasoner(STRONG, "bfloat16")[0]
    config = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(copy.deepcopy(plain), config)
    generator = torch.Generator().manual_seed(0)

    def learn():
        """What an optimiser step does between two merges: another update."""
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.data = 0.05 * torch.randn(weight.shape, generator=generator)

    def drift():
        """Largest and mean distance from the base, in units of the base's mean weight."""
        layers = [n for n, m in adapted.get_base_model().named_modules() if hasattr(m, "get_base_layer")]
        own = [adapted.get_base_model().get_submodule(n).get_base_layer().weight.detach() for n in layers]
        pairs = [
            (w.float(), plain.get_submodule(n).weight.detach().float())
            for n, w in zip(layers, own, strict=True)
        ]
        far = torch.cat([(a - b).abs().flatten() for a, b in pairs])
        scale = torch.cat([b.abs().flatten() for _, b in pairs]).mean()
        return float(far.max() / scale), float(far.mean() / scale)

    for _ in range(CYCLES):
        learn()
        list(merged_weights(adapted))
    assert drift() == (0, 0)
    found = []
    for _ in range(CYCLES):
        learn()
        adapted.merge_adapter()
        adapted.unmerge_adapter()
        found.append(drift())
    assert found[0][1] > 0
    assert found[-1][1] > 3 * found[0][1]
