"""Loading a reasoner: model and tokenizer from a folder, on the best device at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def load_reasoner(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model (fp32, evaluation mode, on the GPU if there is one) and tokenizer of a shipped reasoner.

    Raises:
        FileNotFoundError: the folder or one of its files is missing; the files are named, because
            Transformers would quietly make up an empty tokenizer instead.
    """
    folder = Path(folder)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}; `make base` trains the shipped reasoners"
        )
    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    logging.enable_progress_bar()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return model.eval(), AutoTokenizer.from_pretrained(folder)
