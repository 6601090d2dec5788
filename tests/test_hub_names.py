"""A model of the hub is owner/model and its revision in everything that is saved, wherever its cache lies."""

import gzip
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest

import mrt_lib
from mrt_lib import GRPO, Reasoner, TrainConfig
from mrt_lib.tasks import RootSearch
from mrt_lib.training.lora import LoraSettings

STRONG = Path("data/models/strong")
REVISION = "0123456789abcdef0123456789abcdef01234567"
PROBLEMS = RootSearch(31).problems["train"][:4]
CONFIG = TrainConfig(
    steps=1, prompts=2, group=4, thinking_tokens=24, learning_rate=1e-2, lora=LoraSettings(4, 16)
)


def all_bytes(folder):
    """Every file, those that are packed too."""
    data = [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()]
    return b"\n".join([*data, *(gzip.decompress(d) for d in data if d[:2] == b"\x1f\x8b")])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "someones-home"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "someones-home" / "models--owner--a-model"
    shutil.copytree(STRONG, cached / "snapshots" / REVISION)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(REVISION)
    return cached / "snapshots" / REVISION


def test_nothing_that_is_saved_knows_the_cache(cache, tmp_path):
    full = f"owner/a-model@{REVISION}"
    for way, name in {"hub": "owner/a-model", "pinned": full, "folder": cache}.items():
        out = tmp_path / "out" / way
        reasoner = Reasoner.load(name)
        if way == "hub":
            found = mrt_lib.report(
                reasoner, PROBLEMS, folder=out / "report", rollouts=2, thinking_tokens=24, branches=2
            )
            assert found.settings["model"] == full
            assert f"How many tokens does {full} waste?" in (out / "report" / "report.html").read_text()
        mrt_lib.train(reasoner, PROBLEMS, GRPO(), out / "run", CONFIG)
        reasoner.save(out / "adapter")
        reasoner.save(out / "merged", merged=True)
        assert json.loads((out / "adapter" / "training.json").read_text())["base"] == full
        peft = json.loads((out / "adapter" / "adapter_config.json").read_text())
        assert (peft["base_model_name_or_path"], peft["revision"]) == ("owner/a-model", REVISION)
        assert f"`{full}`" in (out / "adapter" / "README.md").read_text()
        for secret in (b"someones-home", bytes(tmp_path)):
            assert secret not in all_bytes(out)
        assert Reasoner.load(out / "adapter").adapter is not None


def test_a_base_elsewhere_is_saved_by_its_own_name_and_found_beside_or_when_told(tmp_path):
    base = tmp_path / "someones-home" / "my-model"
    shutil.copytree(STRONG, base)
    reasoner = Reasoner.load(base)
    mrt_lib.train(reasoner, PROBLEMS, GRPO(), tmp_path / "out" / "run", CONFIG)
    reasoner.save(tmp_path / "out" / "adapter")
    assert b"someones-home" not in all_bytes(tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"no folder my-model.*say base="):
        Reasoner.load(tmp_path / "out" / "adapter")
    assert Reasoner.load(tmp_path / "out" / "adapter", base=base).adapter is not None
    with pytest.raises(ValueError, match="was made for my-model"):
        Reasoner.load(tmp_path / "out" / "adapter", base="data/models/base")
    (tmp_path / "out" / "my-model").symlink_to(base)
    assert Reasoner.load(tmp_path / "out" / "adapter").adapter is not None
