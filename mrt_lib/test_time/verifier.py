"""A separately trained verifier: a LoRA adapter on the base that reads a trace and says "right" or not.

Its verdict is the difference of two tokens' logits after the last token, trained with the binary
cross-entropy on traces graded by the task. That loss is proper, so on traces like those it was trained on
the probabilities are calibrated; `recipes.calibration` shows it on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrt_lib.training.adapters import dtype_name, load_adapter, read_facts, write_facts
from mrt_lib.engines.batching import by_length
from mrt_lib.files import new_folder
from mrt_lib.training.guards import weights_digest
from mrt_lib.training.lora import Learner, LoraSettings
from mrt_lib.provenance import provenance
from mrt_lib.rollouts import closing_ids
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import Template, get_template, token_id
from mrt_lib.test_time.base import Solver
from mrt_lib.test_time.scores import Scores
from mrt_lib.thoughts.traces import Trace

LORA = LoraSettings(rank=8, alpha=16)
BATCH_TOKENS = 16_384  # most of one pass


@dataclass(frozen=True)
class VerifierSettings:
    """How a verifier is trained.

    Attributes:
        verdicts: the tokens for right and wrong, two different single tokens.
        learning_rate: at the start; it falls to 0 on a line. AdamW without weight decay.
        batch: traces per step.
        epochs: times that every trace is read.
        seed: of the adapter's first values and the order of the traces.
    """

    verdicts: tuple[str, str]
    learning_rate: float = 2e-3
    batch: int = 64
    epochs: int = 1
    seed: int = 0


class Verifier:
    """Reads traces; a `Scorer` for best-of-N and beam search.

    An answered trace is read to the end of its answer, any other prefix up to the stop text: then the
    verdict is about the answer that would be forced.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        verdicts: tuple[str, str],
    ) -> None:
        """`model`: a causal model, peft's or plain; `verdicts`: the tokens for right and wrong.

        Raises:
            ValueError: a verdict is not a single token, or both are the same.
        """
        self.model, self.tokenizer, self.template, self.verdicts = model, tokenizer, template, verdicts
        self.ids = [token_id(tokenizer, text) for text in verdicts]
        if self.ids[0] == self.ids[1]:
            raise ValueError(f"the verdicts must be two different tokens, got {verdicts}")

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:  # noqa: ARG002
        """See `Scorer.score`; the verifier reads the prompt in the trace, not the problem."""
        rows = [self.row(t) for t in traces]
        read = np.array([len(row) for row in rows], dtype=float)
        return Scores(self.probabilities(rows), np.zeros(len(rows)), read)

    def row(self, trace: Trace) -> list[int]:
        """Prompt, thought, the text that ends it and the answer if there is one."""
        closing = closing_ids(self.tokenizer, self.template, trace, trace.n_episodes)
        return trace.prefix(trace.n_episodes) + closing + trace.answer_ids

    @torch.inference_mode()
    def probabilities(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Probability that each is right, shape (rows,)."""
        self.model.eval()
        found = np.zeros(len(rows))
        for chosen in by_length([len(row) for row in rows], BATCH_TOKENS):
            found[chosen] = self.logits([rows[i] for i in chosen]).double().sigmoid().cpu().numpy()
        return found

    def logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Log-odds of "right", shape (rows,)."""
        longest = max(len(row) for row in rows)
        # Padding stands on the left, so that every verdict is in the last column.
        ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        own = {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        placed = {name: tensor.to(self.model.device) for name, tensor in own.items()}
        output = self.model(input_ids=ids.to(self.model.device), **placed, use_cache=False, logits_to_keep=1)
        right, wrong = output.logits[:, -1, self.ids].float().T
        return right - wrong


def train_verifier(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    traces: Sequence[Trace],
    right: Sequence[float],
    settings: VerifierSettings,
) -> Verifier:
    """A verifier for this base, which it takes over; on a small model it takes seconds, so nothing is kept
    on the way.

    Args:
        base: the plain model.
        tokenizer: of the base.
        template: the text around a thought.
        traces: what it reads; prefixes without answer teach it to value these.
        right: 1 where the answer (of a prefix: one that was forced there) is right, else 0.
        settings: see `VerifierSettings`.

    Raises:
        ValueError: no traces, not one label each, a label other than 0 and 1, or all labels the same.
    """
    if len(traces) != len(right) or set(right) != {0, 1}:
        raise ValueError(
            f"need one label for each of {len(traces)} traces, 0 and 1 among them; "
            f"got {len(right)} with the values {sorted(set(right))}"
        )
    learner = Learner(base, LORA, settings.seed, keep_stale=False)
    verifier = Verifier(learner.model, tokenizer, template, settings.verdicts)
    rows, labels = [verifier.row(t) for t in traces], torch.tensor([float(y) for y in right])
    batches = _batches(rows, settings)
    optimiser = torch.optim.AdamW(learner.trained().values(), settings.learning_rate, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, len(batches))
    for chosen in batches:
        logits = verifier.logits([rows[i] for i in chosen])
        wanted = labels[chosen].to(logits.device)
        torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted).backward()
        optimiser.step()
        optimiser.zero_grad()
        falling.step()
    return verifier


def _batches(rows: Sequence[Sequence[int]], settings: VerifierSettings) -> list[list[int]]:
    """Every row once per epoch, in batches of similar length, the batches in random order."""
    rng, batches = np.random.default_rng(settings.seed), []
    for _ in range(settings.epochs):
        mixed = rng.permutation(len(rows))
        order = mixed[np.argsort([len(rows[i]) for i in mixed], kind="stable")]
        cut = [order[i : i + settings.batch].tolist() for i in range(0, len(order), settings.batch)]
        batches += [cut[i] for i in rng.permutation(len(cut))]
    return batches


def save_verifier(
    verifier: Verifier, folder: str | Path, base: PreTrainedModel, facts: Mapping[str, Any]
) -> None:
    """Write the adapter, its base's digest and a model card, whole or not at all.

    Args:
        verifier: with adapters.
        folder: new.
        base: the plain model that it was trained on.
        facts: `task`, its name, and `numbers`, a mapping for the card.

    Raises:
        FileExistsError: there is something at `folder`.
    """
    own: dict[str, Any] = {"arm": "verifier", "template": verifier.template.name}
    own |= {
        "verdicts": list(verifier.verdicts),
        "base": base.name_or_path,
        "base_digest": weights_digest(base),
        "dtype": dtype_name(base),
    }
    with new_folder(folder) as filling:
        verifier.model.save_pretrained(filling, save_embedding_layers=False)
        write_facts(filling, {**own, **facts, "provenance": provenance()})


def load_verifier(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> Verifier:
    """The verifier saved in a folder, on its base, which it takes over.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: it was made for another base, or is no verifier.
    """
    facts = read_facts(folder)
    if "verdicts" not in facts:
        raise ValueError(f"{folder} holds an adapter of {facts.get('arm')}, not a verifier")
    right, wrong = facts["verdicts"]
    return Verifier(load_adapter(base, folder), tokenizer, get_template(facts["template"]), (right, wrong))
