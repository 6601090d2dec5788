"""Adapters go onto their own base alone, merge without drift, and files are whole or not there."""

import copy
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mrt_lib import reasoner
from mrt_lib.adapters import FACTS, load_adapter, merged_weights, read_facts, write_facts
from mrt_lib.arms import GRPO
from mrt_lib.engines import Sampling
from mrt_lib.files import new_folder, sha256, weights_digest
from mrt_lib.provenance import ROOT
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import RootSearch
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Trainer
from mrt_lib.training.lora import LoraSettings

SHIPPED = sorted(Path("data/models/adapters").iterdir())
BASE, STRONG = Path("data/models/base"), Path("data/models/strong")
TASK = RootSearch(31)
PROBLEMS = TASK.problems["test"][:6]
CYCLES = 60
LORA = LoraSettings(4, 16)


def trainer(dtype="float32", lora=LORA):
    """Two steps of GRPO on the strong reasoner are ahead."""
    sizes = {"steps": 2, "prompts": 2, "group": 8, "thinking_tokens": 24, "lora": lora}
    config = TrainConfig(learning_rate=1e-2, warmup=1, **sizes)
    return Trainer(Reasoner.load(STRONG, dtype=dtype), TASK, TASK.problems["train"][:5], GRPO(), config)


@pytest.fixture(scope="module")
def trained():
    one = trainer()
    for _ in range(2):
        one.step()
    return one


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "adapter"
    trained.trained().save(path)
    return path


@cache
def shipped(path, dtype="float32"):
    return Reasoner.load(path, dtype=dtype)


def plain(path, dtype="float32"):
    """A shipped model of one's own."""
    return copy.deepcopy(shipped(path, dtype).model)


def parameters(model):
    return dict(model.named_parameters())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def thoughts(reasoner):
    return [t.thought_ids for t in reasoner.think(PROBLEMS, Sampling(12, temperature=0))]


def test_what_is_kept_is_complete_and_says_where_it_came_from(trained, folder):
    names = {
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
        "template.json",
        "README.md",
    }
    assert {path.name for path in folder.iterdir()} == names
    facts = read_facts(folder)
    assert (facts["base"], facts["dtype"], facts["template"]) == (str(STRONG), "float32", "testbed")
    assert (facts["arm"], facts["task"]) == ("GRPO(scale=True)", "root_search_31")
    assert facts["base_digest"] == weights_digest(shipped(STRONG).model)
    assert facts["numbers"]["steps"] == 2
    assert facts["numbers"]["last step: reward"] == trained.log[-1]["reward"]
    card = (folder / "README.md").read_text()
    assert facts["base_digest"] in card
    assert f"| last step: reward | {trained.log[-1]['reward']:.4g} |" in card


def test_the_card_of_a_trained_adapter_runs_and_merges_w_plus_b_a(trained, folder, tmp_path):
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    code = code.replace("this/folder", str(folder)).replace('"merged"', f'"{tmp_path / "merged"}"')
    scope = {}
    exec(code, scope)
    merged = Reasoner.load(tmp_path / "merged")
    adapted = dict(merged_weights(scope["reasoner"].adapter))
    expected = {**parameters(shipped(STRONG).model), **adapted}
    assert adapted
    assert same(parameters(merged.model), expected)
    assert same(parameters(merged.model), parameters(trained.learner.sampler))


def test_half_precision_adapters_go_onto_half_precision_alone(tmp_path):
    half = trainer("bfloat16")
    half.step()
    half.trained().save(tmp_path / "adapter")
    assert same(parameters(Reasoner.load(tmp_path / "adapter").model), parameters(half.learner.sampler))
    with pytest.raises(ValueError, match=r"made for data/models/strong in bfloat16 .* in float32"):
        load_adapter(plain(STRONG), tmp_path / "adapter")


def test_a_half_precision_adapter_in_float32_is_the_same_numbers(tmp_path, monkeypatch):
    half = trainer("bfloat16")
    half.step()
    half.trained().save(tmp_path / "adapter")
    own, wide = (Reasoner.load(tmp_path / "adapter", dtype=dtype) for dtype in (None, "float32"))
    assert wide.model.dtype == torch.float32
    assert same(parameters(wide.model), {n: w.float() for n, w in parameters(own.model).items()})
    wide.save(tmp_path / "again")
    assert same(parameters(Reasoner.load(tmp_path / "again").model), parameters(own.model))
    for hardware, expected in (("bfloat16", "bfloat16"), ("float32", "float32"), ("float16", "float32")):
        monkeypatch.setattr(reasoner, "hardware_dtype", lambda found=hardware: (found, "a reason"))
        best = Reasoner.load(tmp_path / "adapter", dtype="auto").model.dtype
        assert str(best) == f"torch.{expected}"
    with pytest.raises(ValueError, match="in bfloat16: dtype can be that or float32, got float16"):
        Reasoner.load(tmp_path / "adapter", dtype="float16")


def test_a_base_is_found_from_the_folders_around_its_adapter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Reasoner.load(ROOT / "data/models/adapters/grpo").facts["base"] == "data/models/base"


def test_an_adapter_for_another_base_is_refused(folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"made for data/models/strong in float32 .* not for data/models/base"
    ):
        load_adapter(plain(BASE), folder)
    shutil.copytree(folder, tmp_path / "copy")
    facts = read_facts(folder)
    write_facts(tmp_path / "copy", {**facts, "base": str(BASE)})  # as if that had changed since
    with pytest.raises(ValueError, match=r"made for data/models/base .* not for data/models/base"):
        Reasoner.load(tmp_path / "copy")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", FACTS])
def test_a_missing_file_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}"):
        Reasoner.load(tmp_path / "copy")
    (tmp_path / "copy" / "adapter_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_config\.json, "):
        load_adapter(plain(STRONG), tmp_path / "copy")


def test_facts_that_do_not_name_the_base_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / FACTS).write_text('{"base": "somewhere"}')
    with pytest.raises(ValueError, match="does not say base_digest, dtype"):
        Reasoner.load(tmp_path / "copy")


def test_nothing_is_left_half(tmp_path):
    with pytest.raises(FileNotFoundError):
        _half(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def _half(path):
    with new_folder(path) as filling:
        (filling / "first").write_text("there")
        (filling / "second").read_text()


def test_a_run_without_adapters_has_none_to_keep(tmp_path):
    with pytest.raises(ValueError, match="no adapter to save"):
        trainer(lora=None).trained().save(tmp_path / "adapter")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_adapters_go_onto_the_shipped_base_and_their_cards_follow_from_their_facts(path, tmp_path):
    facts = read_facts(path)
    assert facts["numbers"]["base sha256"] == sha256(f"{facts['base']}/model.safetensors")
    assert thoughts(Reasoner.load(path)) != thoughts(shipped(facts["base"], facts["dtype"]))
    write_facts(tmp_path, facts)
    assert (tmp_path / "README.md").read_text() == (path / "README.md").read_text()


def test_merging_in_place_drifts_in_bf16_and_ours_does_not():
    """PEFT adds and subtracts the update in bf16, which rounds each time; W + B A out of place cannot."""
    base = shipped(STRONG, "bfloat16").model
    config = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(copy.deepcopy(base), config)
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
            (w.float(), base.get_submodule(n).weight.detach().float())
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
