"""Which families of models work here: `python -m tools.model_zoo` tries each and writes docs/models.md.

A tiny random model of every family goes through a report, two steps of training with LoRA, and merging and
loading again. Nothing is downloaded. Names given as arguments are tried alone, and nothing is written then.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from mrt_lib.adapters import load_adapter, merged_weights, write_weights
from mrt_lib.arms import MRTExact
from mrt_lib.engines.transformers_engine import attends
from mrt_lib.measure.stats import Interval
from mrt_lib.provenance import installed
from mrt_lib.reasoner import Reasoner
from mrt_lib.reporting.run import report
from mrt_lib.tasks import RootSearch
from mrt_lib.training.config import TrainConfig
from mrt_lib.training.loop import Trainer
from mrt_lib.training.lora import LoraSettings
from tools.summary import record

COMMAND = "python -m tools.model_zoo"
PAGE, TOKENIZER = Path("docs/models.md"), "data/models/base"
TASK = RootSearch(31)
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.1}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
LINEAR = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_value_heads": 4}
LINEAR |= {"linear_num_key_heads": 2, "head_dim": 16, "num_hidden_layers": 4}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
WINDOW = {"sliding_window": 8, "head_dim": 16}
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}
LATENT |= {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_shared_experts": 1,
}
LATENT |= {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "num_key_value_heads": 4}
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"image_size": 8, "patch_size": 4}
# Model type of Transformers: settings beside SIZES.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "smollm3": {},
    "granite": {},
    "olmo2": {},
    "phi3": {},
    "glm4": {"head_dim": 16},
    "cohere": {},
    "gemma": {"head_dim": 16},
    "falcon": {},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "gpt_neox": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "qwen3_moe": EXPERTS,
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "mixtral": {"num_local_experts": 4},
    "deepseek_v2": {**LATENT, "topk_method": "greedy"},
    "deepseek_v3": LATENT,
    "mistral": WINDOW,
    "gemma2": WINDOW,
    "gemma3_text": WINDOW,
    "gemma3": {"text_config": SIZES | WINDOW | ENDS, "vision_config": VISION, "mm_tokens_per_image": 4},
    "gpt_oss": {**WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_next": {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3_5_text": LINEAR,
    "lfm2": {"full_attn_idxs": [1]},
    "jamba": {"use_mamba_kernels": False, "mamba_d_state": 8, "mamba_dt_rank": 4, "num_experts": 2}
    | {"attn_layer_period": 2, "attn_layer_offset": 1},
    "mamba": {"state_size": 8},
}
# Of these, the classes without an entry of their own in vLLM's registry (model_executor/models/registry.py).
NOT_IN_VLLM = {"SmolLM3ForCausalLM"}


@dataclass(frozen=True)
class Family:
    """What was found out about one family: a word or a reason in every column of the page."""

    name: str
    report: str
    training: str
    merging: str
    vllm: str

    @property
    def works(self) -> bool:
        """Reported, trained, merged and loaded again, on the slow way or not."""
        return not any(cell.startswith(("refused", "crashes", "not tried")) for cell in self.cells[1:4])

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the page."""
        return self.name, self.report, self.training, self.merging, self.vllm


def build(name: str) -> Reasoner:
    """A tiny random model of a family, with the shipped reasoners' tokenizer and template."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    torch.manual_seed(0)
    own = FAMILIES[name]
    sizes = SIZES | ENDS | {"vocab_size": len(tokenizer)}
    if "text_config" in own:
        own = own | {"text_config": own["text_config"] | {"vocab_size": len(tokenizer)}}
    config = CONFIG_MAPPING[name](**(ENDS if "text_config" in own else sizes) | own)
    return Reasoner(AutoModelForCausalLM.from_config(config).eval(), tokenizer)


def try_family(name: str) -> Family:
    """Put a family through everything; no cell is better than what came of it."""
    reasoner = build(name)
    known = type(reasoner.model).__name__ not in NOT_IN_VLLM
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        reasoner.model.save_pretrained(base)
        reasoner.name = str(base)
        reported = _tried(lambda: _report(reasoner))
        trained = _tried(lambda: _train(reasoner))
        merged = _tried(lambda: _merge(reasoner, Path(folder))) if trained == "works" else "not tried"
    return Family(
        f"`{name}`", reported, trained, merged, "in its registry" if known else "not in its registry"
    )


def _tried(attempt: Callable[[], str]) -> str:
    """What an attempt says; why it was refused, and the way out; or how it crashed."""
    try:
        return attempt()
    except ValueError as error:
        reason, _, way = str(error).splitlines()[0].rpartition("; ")
        return f"refused: {reason.split('. ')[0]}; {way}"
    except Exception as error:
        return f"crashes: {type(error).__name__}: {str(error)[:200]}"


def _report(reasoner: Reasoner) -> str:
    found = report(
        reasoner, TASK.problems["test"][:2], rollouts=1, thinking_tokens=16, branches=2, answer_tokens=3
    )
    way = "works" if attends(reasoner.model) else "slow way"
    return f"{way}, {found.settings['values']} values"


def _train(reasoner: Reasoner) -> str:
    """Two steps; the merged weights must give the trained policy's logits."""
    sizes: Any = {"steps": 2, "prompts": 2, "group": 8, "thinking_tokens": 48, "answer_tokens": 3}
    config = TrainConfig(learning_rate=1e-2, warmup=1, lora=LoraSettings(4, 16), **sizes)
    trainer = Trainer(reasoner, TASK, TASK.problems["train"][:2], MRTExact("regret_to_go", 1.0), config)
    before = _logits(reasoner.model)
    for _ in range(2):
        trainer.step()
    trainer.trained()
    after = _logits(reasoner.model)
    if torch.equal(before, after):
        raise RuntimeError("training changed nothing")
    torch.testing.assert_close(_logits(reasoner.adapter), after, atol=1e-4, rtol=1e-4)
    return "works"


def _merge(reasoner: Reasoner, folder: Path) -> str:
    """Both ways of keeping it: the merged model, and the adapter on its base."""
    expected = _logits(reasoner.model)
    reasoner.save(folder / "merged", merged=True)
    reasoner.save(folder / "adapter")
    load: Any = AutoModelForCausalLM.from_pretrained
    merged, base = (load(folder / part, dtype=torch.float32) for part in ("merged", "base"))
    plain = load(folder / "base", dtype=torch.float32)
    write_weights(merged_weights(load_adapter(base, folder / "adapter")), plain)
    for again in (merged, plain):
        torch.testing.assert_close(_logits(again), expected, atol=1e-5, rtol=1e-5)
    return "works"


@torch.no_grad()
def _logits(model: PreTrainedModel) -> torch.Tensor:
    return model.eval()(input_ids=torch.arange(5, 29)[None], use_cache=False).logits


def page(found: list[Family]) -> str:
    """docs/models.md."""
    rows = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in one.cells)} |" for one in found)
    versions = ", ".join(f"{name} {installed(name)}" for name in ("torch", "transformers", "peft"))
    working = sum(one.works for one in found)
    return f"""# Models

Written by `{COMMAND}` from tiny random models of {len(found)} families, with {versions};
{working} work in all three columns. "Slow way": layers that carry a state, read no masks or look back over a
window, so that exact values take one pass per prefix and answer instead of one in all, with the same numbers.
Whether a model's layers read masks, and whether an adapter reaches all that its merged weights change, is
tried on the model at hand, before anything long, and not looked up: so other families work, or are refused.

| model type | report | training with LoRA (all linear layers) | adapter kept, merged, loaded again | vLLM |
|---|---|---|---|---|
{rows}

The last column says whether vLLM's registry has a class of its own for the model; nothing was run there, and
what it has no class for it may still run through Transformers.
"""


def main(arguments: list[str]) -> int:
    """Try the families named, or all of them with page and number; 1 if one crashed."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    found = []
    for name in arguments or FAMILIES:
        found.append(try_family(name))
        print(" | ".join(found[-1].cells), flush=True)
    if not arguments:
        PAGE.write_text(page(found))
        working = sum(one.works for one in found)
        record(
            "model_zoo.families_working", Interval(working, working, working, len(found)), "families", COMMAND
        )
    return any("crashes" in cell for one in found for cell in one.cells)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
