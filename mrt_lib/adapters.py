"""LoRA adapters: merged out of place, kept with a card, and put back onto their own base alone."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from mrt_lib.files import weights_digest, write_json, write_text

WEIGHTS = ("adapter_config.json", "adapter_model.safetensors")
FACTS = "training.json"
BASE = ("base", "base_digest", "dtype")
CARD = """# {arm}

LoRA adapter for `{base}` in {dtype} (digest `{base_digest}`), trained by `{arm}` on `{task}` with template
`{template}`.

| | |
|---|---|
{rows}

```python
from mrt_lib import Reasoner

reasoner = Reasoner.load("this/folder")  # with its base and template; an error on any other base
reasoner.save("merged", merged=True)  # a plain model, for any engine
```
"""


def write_facts(folder: str | Path, facts: Mapping[str, Any]) -> None:
    """Write training.json, and README.md, the model card, from it.

    `facts`: arm, task, template; base (folder or hub name), base_digest, dtype; numbers and provenance, which
    are the card's table.
    """
    write_json(Path(folder) / FACTS, facts)
    numbers = {**facts["numbers"], **facts["provenance"]}
    rows = [f"| {name} | {f'{x:.4g}' if isinstance(x, float) else x} |" for name, x in numbers.items()]
    write_text(Path(folder) / "README.md", CARD.format(**facts, rows="\n".join(rows)))


def save_adapter(adapter: Any, folder: str | Path, facts: Mapping[str, Any]) -> None:
    """Write a peft model's adapter, which names its base as `facts` do (see `write_facts`), and those."""
    own = adapter.peft_config["default"]
    own.base_model_name_or_path, _, revision = facts["base"].partition("@")
    own.revision = revision or None
    adapter.save_pretrained(folder, save_embedding_layers=False)
    write_facts(folder, facts)


def base_facts(base: PreTrainedModel, name: str) -> dict[str, str]:
    """What an adapter must say of the plain model that it is for."""
    return dict(zip(BASE, (portable(name), weights_digest(base), dtype_name(base)), strict=True))


def portable(name: str | Path, revision: str | None = None) -> str:
    """A model's name without a path of this machine.

    "owner/model@revision" for one of the hub, wherever its cache lies; a folder as it is seen from here, or,
    if an absolute path leads elsewhere, its own name alone.
    """
    path = Path(name)
    if found := re.search(r"models--([^/]+)/snapshots/(\w+)", path.as_posix()):
        return f"{found[1].replace('--', '/')}@{found[2]}"
    if not path.exists() and not path.is_absolute():
        return f"{name}@{revision}" if revision and "@" not in str(name) else str(name)
    if not path.is_absolute():
        return path.as_posix()
    here = Path(os.path.normpath(path))
    return here.relative_to(Path.cwd()).as_posix() if here.is_relative_to(Path.cwd()) else here.name


def load_adapter(model: PreTrainedModel, folder: str | Path) -> Any:
    """The peft model of a plain model, which it takes over, and an adapter made for it.

    ValueError for an adapter made for another base, or for the same in another dtype, or that adapts a tensor
    of two names; else as `read_facts`.
    """
    from peft import PeftModel

    facts, digest = read_facts(folder), weights_digest(model)
    if facts["base_digest"] != digest:
        own = f"{facts['base']} in {facts['dtype']} (digest {facts['base_digest']})"
        given = f"{model.name_or_path} in {dtype_name(model)} (digest {digest})"
        raise ValueError(f"{folder} was made for {own}, not for {given}")
    adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    check_names(adapted)
    return adapted


def read_facts(folder: str | Path) -> dict[str, Any]:
    """training.json of an adapter; FileNotFoundError names the files that the folder lacks, ValueError what
    training.json does not say of the base it is for."""
    folder = Path(folder)
    if missing := [name for name in (*WEIGHTS, FACTS) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; `Reasoner.save` writes all of them")
    try:
        facts = dict(json.loads((folder / FACTS).read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / FACTS} is damaged ({error}); get or save the adapter again") from None
    if missing := [name for name in BASE if name not in facts]:
        raise ValueError(f"{folder / FACTS} does not say {', '.join(missing)}, so its base is unknown")
    return facts


def adapted_layers(model: Any) -> dict[str, Any]:
    """The layers with an adapter, by the name that the adapted weight has in the plain model."""
    from peft.tuners.lora import LoraLayer

    found = [(n, m) for n, m in model.base_model.model.named_modules() if isinstance(m, LoraLayer)]
    # Several adapted parameters of one module, such as a mixture's experts, are wrapped in each other.
    names = (f"{n.replace('.base_layer', '')}.{getattr(m, 'parameter_name', 'weight')}" for n, m in found)
    return dict(zip(names, (layer for _, layer in found), strict=True))


def check_names(model: Any) -> None:
    """ValueError for an adapted weight that the model has under another name too."""
    names: dict[int, list[str]] = {}
    for name, weight in model.base_model.model.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name.replace(".base_layer", ""))
    for tied in names.values():
        if len(tied) > 1 and (wrong := sorted(set(tied) & set(adapted_layers(model)))):
            one = f"{' and '.join(tied)} are one tensor: an adapter on {wrong[0]} changes one use of it alone"
            raise ValueError(f"{one}; leave it out of LoraSettings.targets, or train all weights (lora=None)")


def merged_weights(model: Any, adapted: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
    """Name in the plain model, and W + (alpha / rank) B A or W, of every weight with an adapter, as new."""
    for name, layer in adapted_layers(model).items():
        weight = getattr(layer.get_base_layer(), name.rpartition(".")[2]).detach()
        delta = layer.get_delta_weight("default").detach().to(weight.dtype) if adapted else 0
        yield name, weight + delta


@torch.no_grad()
def write_weights(weights: Iterable[tuple[str, torch.Tensor]], model: torch.nn.Module) -> None:
    """Copy weights, by name, into a model."""
    own = dict(model.named_parameters())
    for name, weight in weights:
        own[name].copy_(weight)


def dtype_name(model: PreTrainedModel) -> str:
    """Such as "float32"."""
    return str(model.dtype).removeprefix("torch.")
