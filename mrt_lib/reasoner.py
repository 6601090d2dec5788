"""Loading a reasoner: model and tokenizer from a folder, on the best device at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from mrt_lib.environment import hardware_dtype

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
DTYPES = ("float32", "bfloat16", "float16")


def load_reasoner(
    folder: str | Path, dtype: str = "float32"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (evaluation mode, on the GPU if there is one) and tokenizer of a saved reasoner.

    Args:
        folder: with the model, in safetensors, and its tokenizer.
        dtype: of the weights: "float32", "bfloat16", "float16", or "auto" for what the hardware
            computes best, printed with the reason. LoRA adapters are fp32 in any case.

    Raises:
        ValueError: another dtype.
        FileNotFoundError: the folder or one of its files is missing; the files are named, because
            Transformers would quietly make up an empty tokenizer instead.
    """
    folder = Path(folder)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
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


def check_dtype(dtype: str) -> None:
    """ValueError unless weights can be loaded in it."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be {', '.join(DTYPES)}, got {dtype!r}")
