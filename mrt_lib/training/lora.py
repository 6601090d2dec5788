"""The weights in training: LoRA adapters or all of them, and plain copies that sample.

Sampling through adapters is slow, and merging them in place drifts in low precision. So the sampler
is a model of its own, without adapters, into which W + B A is written after every update.
"""

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from mrt_lib.adapters import adapted_layers, check_names, merged_weights, write_weights
from mrt_lib.engines.base import check_numbers


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685), scaled by alpha / rank; a larger rank learns more and costs more.

    `targets`: names of the layers that get one, or "all-linear" for all linear ones but the output layer,
    experts of a mixture included, and those that the model never calls.
    """

    rank: int = 16
    alpha: int = 32
    targets: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        check_numbers(self, "lora.", rank=1, alpha=1)


class Learner:
    """A model in training with the copies that its arms sample from.

    Attributes:
        model: what is trained; a peft model if there are adapters.
        sampler: plain model with the newest weights; `model` itself without adapters.
        stale: plain model with the weights of the last snapshot; None until somebody has asked for it.
    """

    def __init__(self, base: PreTrainedModel, lora: LoraSettings | None, seed: int) -> None:
        """`base` becomes the sampler; `lora=None` trains every weight. `seed` makes the first adapters.

        ValueError: every weight is to be trained in half precision, which rounds small updates away; an
        adapter's policy would not be the merged weights' (a weight of several names, a layer never called);
        peft cannot adapt a layer.
        """
        if lora is None and base.dtype != torch.float32:
            raise ValueError(f"weights in {base.dtype} cannot be trained; load float32, or train adapters")
        self.lora = lora
        self.stale: PreTrainedModel | None = None
        self.model: Any = base if lora is None else _with_adapters(base, lora, seed, [])
        self.sampler = base.requires_grad_(lora is None)

    def publish(self, adapted: bool = True) -> None:
        """Give the sampler the newest weights, or those that it came with."""
        if self.lora is not None:
            write_weights(merged_weights(self.model, adapted), self.sampler)

    def stale_model(self) -> PreTrainedModel:
        """The stale copy, held from the first time it is asked for: one more copy of the weights."""
        if self.stale is None:
            self.stale = copy.deepcopy(self.sampler).requires_grad_(False)
        return self.stale

    def snapshot(self) -> None:
        """Give the stale copy, if one is held, the sampler's weights."""
        if self.stale is not None:
            write_weights(self.sampler.named_parameters(), self.stale)

    def reference(self) -> AbstractContextManager[None]:
        """Within it, `model` is the reference policy: adapters off; ValueError if there are none."""
        if self.lora is None:
            raise ValueError("the KL term needs LoRA, whose absence is the reference; set kl=0 or lora")
        return self.model.disable_adapter()

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Trained parameters by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Everything that a checkpoint needs to go on."""
        trained = {name: p.detach() for name, p in self.trained().items()}
        stale = [] if self.stale is None else self.stale.named_parameters()
        return {"trained": trained, "stale": {name: p.detach() for name, p in stale}}

    def load(self, state: dict[str, dict[str, torch.Tensor]]) -> None:
        """Put back what `state` gave."""
        write_weights(state["trained"].items(), self.model)
        if state["stale"]:
            write_weights(state["stale"].items(), self.stale_model())
        self.publish()

    def checkpoint_layers(self) -> None:
        """Keep only the input of every layer for the backward pass, which computes the rest again.

        Transformers does so in training mode alone; the layers get it without what is in them, so that no
        dropout sets in. Evaluation mode, which sampling sets, ends it.
        """
        if not self.model.is_gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True


def _with_adapters(base: PreTrainedModel, lora: LoraSettings, seed: int, left_out: list[str]) -> Any:
    """A peft model of a copy of `base`; errors as in `Learner`."""
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    own: Any = {"r": lora.rank, "lora_alpha": lora.alpha, "exclude_modules": left_out or None}
    adapters = LoraConfig(task_type="CAUSAL_LM", target_modules=targets, **own)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = get_peft_model(copy.deepcopy(base), adapters)
        except (ValueError, TypeError) as error:
            linear = (n for n, m in base.named_modules() if isinstance(m, torch.nn.Linear))
            known = sorted({name.rpartition(".")[2] for name in linear})
            raise ValueError(f"{error}; name others in LoraSettings.targets, of {known}") from error
    check_names(model)
    if not (never := _never_called(model, base)):
        return model
    if targets != "all-linear":
        why = "without calling its layer, so that an adapter there has no effect before it is merged"
        way = f"leave it out of LoraSettings.targets, got {targets}"
        raise ValueError(f"the model computes with {never[0]} {why}; {way}")
    return _with_adapters(base, lora, seed, [name.rpartition(".")[0] for name in never])


@torch.no_grad()
def _never_called(model: Any, base: PreTrainedModel) -> list[str]:
    """Weights with an adapter whose layers the model never calls, though it computes with them: seen by
    trying, with nan in their place."""
    layers, called = adapted_layers(model), set[Any]()
    hooks = [layer.register_forward_hook(lambda own, *_: called.add(own)) for layer in layers.values()]
    ids = torch.arange(4, device=base.device)[None]
    model(input_ids=ids, use_cache=False)
    for hook in hooks:
        hook.remove()

    def reads(names: list[str]) -> bool:
        weights = [getattr(layers[name].get_base_layer(), name.rpartition(".")[2]) for name in names]
        for weight in weights:
            weight.fill_(torch.nan)
        logits = model(input_ids=ids, use_cache=False).logits
        for name, weight in zip(names, weights, strict=True):
            weight.copy_(base.get_parameter(name))
        return bool(logits.isnan().any())

    idle = [name for name, layer in layers.items() if layer not in called]
    return [name for name in idle if reads([name])] if idle and reads(idle) else []
