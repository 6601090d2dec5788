"""What stops a training run early, with a message that says what would be right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from mrt_lib.algorithms import Arm, Policy, Rollout, StarArm
from mrt_lib.engines.base import Engine
from mrt_lib.results import write_json
from mrt_lib.rollouts import think
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.templates import Template
from mrt_lib.train_config import StarConfig, TrainConfig

PROBE_TOKENS = 8


def identity(
    base: PreTrainedModel,
    template: Template,
    task: Task,
    problems: Sequence[Problem],
    arm: Arm | StarArm,
    config: TrainConfig | StarConfig,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Everything that a run's result depends on, as JSON: settings, and digests of base and problems."""
    ids = hashlib.sha256("\n".join(problem.id for problem in problems).encode())
    own = {"base": weights_digest(base), "task": task.name, "template": template.name}
    own |= {"problems": f"{len(problems)}, {ids.hexdigest()[:16]}", "arm": repr(arm)}
    if engine is not None:
        own["engine"] = type(engine).__name__
    return json.loads(json.dumps(own | asdict(config)))


def weights_digest(model: PreTrainedModel) -> str:
    """Sixteen hex digits that tell models apart: of the first 64 numbers of every weight."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        digest.update(name.encode() + weight.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def claim(folder: Path, own: dict[str, Any]) -> None:
    """Write a run's identity into config.json, or check that the folder holds this very run."""
    path = folder / "config.json"
    if not path.exists():
        write_json(path, own)
    elif (found := json.loads(path.read_text())) != own:
        different = sorted(key for key in own | found if own.get(key) != found.get(key))
        raise ValueError(f"{folder} holds a run with another {', '.join(different)}; use a new folder")


def check_budget(policy: Policy, rollouts: Sequence[Rollout]) -> None:
    """ValueError if the thinking budget ends inside the first episode of every thought.

    A thought that was cut may have just finished its first episode; whether a second one follows is seen
    from thoughts that are a few tokens longer.
    """
    budget = policy.thinking.max_new_tokens
    thoughts = [r for r in rollouts if not r.stopped]
    if not thoughts or any(r.trace.n_episodes > 1 or len(r.trace.thought_ids) < budget for r in thoughts):
        return
    longer = replace(policy.thinking, max_new_tokens=budget + PROBE_TOKENS)
    parts = (policy.engine, policy.tokenizer, policy.template)
    probe = think(*parts, [r.problem for r in thoughts], longer)
    if all(t.n_episodes < 2 or t.boundaries[0] > budget for t in probe):
        raise ValueError(
            f"every thought was cut inside its first episode: thinking_tokens={budget} "
            "is less than one episode, raise it"
        )


@contextmanager
def memory_advice(step: int) -> Iterator[None]:
    """Turn running out of memory into a MemoryError that says what to reduce."""
    try:
        yield
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise MemoryError(
            f"step {step} does not fit in memory; reduce micro_batch_tokens, generation_batch_tokens or "
            f"prover_batch_tokens, then prompts x group: {str(error).splitlines()[0]}"
        ) from error
