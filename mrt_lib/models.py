"""A pretrained model and its tokenizer: found in a folder, the hub's cache or a GGUF file, and loaded."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")  # whole, or in parts
DTYPES = ("float32", "bfloat16", "float16")


def load_model(name: str | Path, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder with safetensors or one GGUF file, or hub name; see `Reasoner.load`."""
    folder = find_model(name)
    quantised = [] if (folder / FILES[0]).is_file() else sorted(folder.glob("*.gguf"))
    # Transformers would quietly make up an empty tokenizer.
    missing = [file for file in FILES if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in WEIGHTS):
        missing.append(WEIGHTS[0])
    if missing and not quantised:
        raise FileNotFoundError(f"{folder} is no model's folder, it lacks {', '.join(missing)}")
    if dtype == "auto":
        dtype, reason = hardware_dtype()
        print(f"weights in {dtype}: {reason}")
    check_dtype(dtype)
    logging.disable_progress_bar()
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        if quantised:
            model, tokenizer = _dequantised(quantised, getattr(torch, dtype))
        else:
            model, info = load(folder, dtype=getattr(torch, dtype), output_loading_info=True)
            if lost := sorted(info["missing_keys"]):
                raise ValueError(
                    f"{folder} has no weights for {len(lost)} parts of its model: {lost[0]}, ..."
                )
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except SafetensorError as error:
        raise ValueError(f"the weights in {folder} are damaged ({error}); get them again") from error
    finally:
        logging.enable_progress_bar()
    device: Any = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).eval(), tokenizer


def _dequantised(files: list[Path], dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """What the one file holds, as a plain model: one marked as quantised could not be saved."""
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"{files[0].parent} holds {names}; give a folder with one GGUF file")
    own: Any = {"gguf_file": files[0].name}
    plain: Any = {"quantization_config": GgufConfig(dequantize=True), "output_loading_info": True}
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        marked, info = load(files[0].parent, dtype=dtype, **plain, **own)
        tokenizer = AutoTokenizer.from_pretrained(files[0].parent, **own)
    except ImportError as error:
        raise ImportError(f"to read {files[0].name}, `pip install gguf accelerate`") from error
    except (ValueError, KeyError, IndexError, OSError, NotImplementedError) as error:
        raise ValueError(f"{files[0]} is damaged, or no GGUF of a known model: {error}") from error
    if lost := sorted(info["missing_keys"]):
        raise ValueError(f"{files[0]} has no weights for {len(lost)} parts of its model, as {lost[0]}")
    config = marked.config
    vars(config).pop("quantization_config", None)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(marked.state_dict())
    model.generation_config = marked.generation_config
    # The file's own ids: the tokenizer made from it may name others.
    for kind in ("bos", "eos", "pad"):
        if (own_id := getattr(config, f"{kind}_token_id")) is not None:
            setattr(tokenizer, f"{kind}_token", tokenizer.convert_ids_to_tokens(own_id))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.clean_up_tokenization_spaces = False
    return model, tokenizer


def find_model(name: str | Path) -> Path:
    """The folder of a model: `name` itself, or the hub's cache of "owner/model" or "owner/model@revision".

    FileNotFoundError: no such folder, and the hub does not give it. Open models need no account.
    """
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?", str(name)):
        raise FileNotFoundError(f"no folder {name}, and a name on the hub looks like owner/model")
    from huggingface_hub import snapshot_download

    repository, _, revision = str(name).partition("@")
    asked: Any = {"revision": revision or None, "allow_patterns": ["*.json", "*.jinja", "*.safetensors"]}
    try:
        return Path(snapshot_download(repository, **asked))
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):  # offline, a revision that is here may be refused above
            return Path(snapshot_download(repository, **asked, local_files_only=True))
        raise FileNotFoundError(f"no folder {name}, and the hub does not give it: {error}") from error


def check_dtype(dtype: str) -> None:
    """ValueError unless weights can be loaded in it."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be {', '.join(DTYPES)}, got {dtype!r}")


def hardware_dtype() -> tuple[str, str]:
    """`choose_dtype` for the GPU at hand, or for this CPU."""
    if torch.cuda.is_available():
        return choose_dtype(torch.cuda.get_device_capability())
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return choose_dtype(None, bool(features.get("avx512_bf16") or features.get("amx_bf16")))


def choose_dtype(capability: tuple[int, int] | None, cpu_bf16: bool = False) -> tuple[str, str]:
    """The torch dtype's name and the reason, from the GPU's compute capability or None for a CPU."""
    if capability is None:
        name, has = ("bfloat16", "") if cpu_bf16 else ("float32", "no ")
        return name, f"this CPU has {has}bf16 instructions"
    name = f"sm{capability[0]}{capability[1]}"
    if capability >= (8, 0):
        return "bfloat16", f"{name} computes bf16 natively"
    return "float16", f"{name} has no bf16, which starts at sm80"
