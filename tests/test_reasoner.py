"""Finding a model: a folder, weights in parts, a hub name in the cache, and what is missing."""

import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from mrt_lib.reasoner import find_model, load_reasoner

BASE = Path("data/models/base")


def test_weights_in_parts_are_loaded(tmp_path):
    model, tokenizer = load_reasoner(BASE)
    model.save_pretrained(tmp_path, max_shard_size="1MB")
    tokenizer.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    parts, _ = load_reasoner(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), parts.parameters(), strict=True))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path, file):
    shutil.copytree(BASE, tmp_path / "base")
    (tmp_path / "base" / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {file}"):
        load_reasoner(tmp_path / "base")


def test_a_name_on_the_hub_is_found_in_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "models--owner--reasoner-1.5B"
    shutil.copytree(BASE, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    assert find_model("owner/reasoner-1.5B") == cached / "snapshots" / "abc"
    load_reasoner("owner/reasoner-1.5B")
    with pytest.raises(FileNotFoundError, match="the hub does not give it"):
        find_model("owner/another")


@pytest.mark.parametrize("name", ["nowhere", "data/models/nowhere", "../x/y", "/x/y"])
def test_what_is_neither_folder_nor_hub_name_is_refused(name):
    with pytest.raises(FileNotFoundError, match=f"no folder {name}"):
        find_model(name)
