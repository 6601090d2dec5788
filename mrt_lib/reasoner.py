"""Loading a reasoner: model and tokenizer from a folder or the hub, on the best device at hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from mrt_lib.environment import hardware_dtype

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")  # whole, or in parts
DTYPES = ("float32", "bfloat16", "float16")


def load_reasoner(
    name: str | Path, dtype: str = "float32"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (evaluation mode, on the GPU if there is one) and tokenizer of a saved reasoner.

    Args:
        name: folder with the model, in safetensors, and its tokenizer, or a hub name; see `find_model`.
        dtype: of the weights: "float32", "bfloat16", "float16", or "auto" for what the hardware
            computes best, printed with the reason. LoRA adapters are fp32 in any case.

    Raises:
        ValueError: another dtype.
        FileNotFoundError: the model or one of its files is missing; the files are named, because
            Transformers would quietly make up an empty tokenizer instead.
    """
    folder = find_model(name)
    missing = [file for file in FILES if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in WEIGHTS):
        missing.append(WEIGHTS[0])
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}; `make base` trains the shipped reasoners"
        )
    if dtype == "auto":
        dtype, reason = hardware_dtype()
        print(f"weights in {dtype}: {reason}")
    check_dtype(dtype)
    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    logging.enable_progress_bar()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def find_model(name: str | Path) -> Path:
    """The folder of a model: `name` itself, or what the hub has under a name like "owner/model".

    Files from the hub are kept in its cache. Nobody needs an account for an open model.

    Raises:
        FileNotFoundError: no such folder, and the hub does not give it.
    """
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)):
        raise FileNotFoundError(f"no folder {name}, and a name on the hub looks like owner/model")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"no folder {name}, and the hub does not give it: {error}") from error


def check_dtype(dtype: str) -> None:
    """ValueError unless weights can be loaded in it."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be {', '.join(DTYPES)}, got {dtype!r}")
