"""Keeping what was learnt: an adapter with its model card, loaded onto its own base alone, or merged."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from mrt_lib.checkpoints import new_folder
from mrt_lib.guards import weights_digest
from mrt_lib.learner import merged_weights, write_weights
from mrt_lib.reasoner import load_reasoner
from mrt_lib.results import provenance, write_json
from mrt_lib.star import StarTrainer
from mrt_lib.training import Trainer

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
from mrt_lib.adapters import load_adapter, merge
from mrt_lib.reasoner import load_reasoner

model, tokenizer = load_reasoner("{base}", dtype="{dtype}")
model = load_adapter(model, "this/folder")  # an error on any other base
merge("{base}", "this/folder", "merged")  # or a plain model, for any engine
```
"""


def save_adapter(trainer: Trainer | StarTrainer, folder: str | Path) -> None:
    """Write the newest adapter, what it was made by and for, and a model card, whole or not at all.

    Raises:
        ValueError: the run trains every weight.
        FileExistsError: there is something at `folder`.
    """
    learner = trainer.learner
    if learner.lora is None:
        raise ValueError("this run trains every weight, there is no adapter; save learner.model itself")
    run = {name: trainer.identity[name] for name in ("arm", "task", "template")}
    values = (learner.sampler.name_or_path, trainer.identity["base"], dtype_name(learner.sampler))
    base = dict(zip(BASE, values, strict=True))
    last = {f"last step: {name}": number for name, number in (trainer.log or [{}])[-1].items()}
    numbers = {"steps": len(trainer.log), **last}
    with new_folder(folder) as filling:
        learner.model.save_pretrained(filling, save_embedding_layers=False)
        write_facts(filling, {**run, **base, "numbers": numbers, "provenance": provenance()})


def write_facts(folder: str | Path, facts: Mapping[str, Any]) -> None:
    """Write training.json, and README.md, the model card, from it.

    Args:
        facts: arm, task, template; base (folder or hub name), base_digest, dtype; numbers and provenance,
            which are mappings and become the card's table.
    """
    write_json(Path(folder) / FACTS, facts)
    rows = [f"| {name} | {_short(x)} |" for name, x in {**facts["numbers"], **facts["provenance"]}.items()]
    (Path(folder) / "README.md").write_text(CARD.format(**facts, rows="\n".join(rows)))


def load_adapter(model: PreTrainedModel, folder: str | Path) -> Any:
    """The peft model of a plain model, which it takes over, and an adapter made for it.

    Raises:
        FileNotFoundError: a file is missing; an adapter without training.json does not say its base.
        ValueError: the adapter was made for another base, or for the same in another dtype.
    """
    from peft import PeftModel

    facts, digest = read_facts(folder), weights_digest(model)
    if facts["base_digest"] != digest:
        raise ValueError(
            f"{folder} was made for {facts['base']} in {facts['dtype']} (digest {facts['base_digest']}), "
            f"not for {model.name_or_path} in {dtype_name(model)} (digest {digest})"
        )
    return PeftModel.from_pretrained(model, str(folder)).eval()


def merge(model_folder: str | Path, adapter_folder: str | Path, target: str | Path) -> None:
    """Write base plus adapter as a plain model: config, weights and tokenizer, whole or not at all.

    The weights are those that the training's own sampler had, bit for bit, in the base's dtype.

    Raises:
        FileNotFoundError, ValueError: see `load_reasoner` and `load_adapter`.
        FileExistsError: there is something at `target`.
    """
    with new_folder(target) as filling:
        base, tokenizer = load_reasoner(model_folder, read_facts(adapter_folder)["dtype"])
        plain = copy.deepcopy(base)
        write_weights(merged_weights(load_adapter(base, adapter_folder)), plain)
        plain.save_pretrained(filling)
        tokenizer.save_pretrained(filling)


def read_facts(folder: str | Path) -> dict[str, Any]:
    """training.json of an adapter.

    Raises:
        FileNotFoundError: names the files that the folder lacks.
        ValueError: training.json does not say which base it is for.
    """
    folder = Path(folder)
    if missing := [name for name in (*WEIGHTS, FACTS) if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; `save_adapter` writes all of them")
    facts = json.loads((folder / FACTS).read_text())
    if missing := [name for name in BASE if name not in facts]:
        raise ValueError(f"{folder / FACTS} does not say {', '.join(missing)}, so its base is unknown")
    return facts


def dtype_name(model: PreTrainedModel) -> str:
    """Such as "float32"."""
    return str(model.dtype).removeprefix("torch.")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
