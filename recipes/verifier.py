"""A separately trained verifier, and whether its stated probabilities come true.

The verifier is a LoRA adapter on the base that reads a trace and says "right" or not. Its verdict is the
difference of two tokens' logits after the last token, trained with the binary cross-entropy on traces graded
by the task. That loss is proper, so on traces like those it was trained on the probabilities are calibrated;
`calibration` shows it on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from mrt_lib.adapters import base_facts, load_adapter, read_facts, save_adapter
from mrt_lib.engines.base import by_length
from mrt_lib.files import new_folder
from mrt_lib.measure.stats import Interval, bootstrap
from mrt_lib.provenance import provenance
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time import Scores, Solver
from mrt_lib.thoughts.templates import get_template, token_id
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.lora import Learner, LoraSettings

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

    def __init__(self, reasoner: Reasoner, verdicts: tuple[str, str], adapted: Any = None) -> None:
        """`verdicts`: the tokens for right and wrong; `adapted`: the peft model, None for the reasoner's own.

        Raises:
            ValueError: a verdict is not a single token, or both are the same.
        """
        self.reasoner, self.verdicts = reasoner, verdicts
        self.model = reasoner.model if adapted is None else adapted
        self.ids = [token_id(reasoner.tokenizer, text) for text in verdicts]
        if self.ids[0] == self.ids[1]:
            raise ValueError(f"the verdicts must be two different tokens, got {verdicts}")

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:  # noqa: ARG002
        """See `Scorer.score`; the verifier reads the prompt in the trace, not the problem."""
        rows = [self.row(t) for t in traces]
        read = np.array([len(row) for row in rows], dtype=float)
        return Scores(self.probabilities(rows), np.zeros(len(rows)), read)

    def row(self, trace: Trace) -> list[int]:
        """Prompt, thought, the text that ends it and the answer if there is one."""
        k = trace.n_episodes
        return trace.prefix(k) + self.reasoner.close(trace, k) + trace.answer_ids

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
    base: Reasoner, traces: Sequence[Trace], right: Sequence[float], settings: VerifierSettings
) -> Verifier:
    """A verifier for this base, whose model it takes over; on a small one it takes seconds, so nothing is
    kept on the way.

    Args:
        base: the plain reasoner.
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
    learner = Learner(base.model, LORA, settings.seed)
    verifier = Verifier(base, settings.verdicts, learner.model)
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


def save_verifier(verifier: Verifier, folder: str | Path, base: Reasoner, facts: Mapping[str, Any]) -> None:
    """Write the adapter, its base's digest and a model card, whole or not at all.

    Args:
        verifier: with adapters.
        folder: new.
        base: the plain reasoner that it was trained on, loaded anew.
        facts: `task`, its name, and `numbers`, a mapping for the card.

    Raises:
        FileExistsError: there is something at `folder`.
    """
    own = {"arm": "verifier", "template": base.template.name, "verdicts": list(verifier.verdicts)}
    own |= base_facts(base.model, base.name)
    with new_folder(folder) as filling:
        save_adapter(verifier.model, filling, {**own, **facts, "provenance": provenance()})


def load_verifier(base: Reasoner, folder: str | Path) -> Verifier:
    """The verifier saved in a folder, on its base, whose model it takes over.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: it was made for another base, or is no verifier.
    """
    facts = read_facts(folder)
    if "verdicts" not in facts:
        raise ValueError(f"{folder} holds an adapter of {facts.get('arm')}, not a verifier")
    right, wrong = facts["verdicts"]
    adapted = load_adapter(base.model, folder)
    own = Reasoner(base.model, base.tokenizer, get_template(facts["template"]), base.engine)
    return Verifier(own, (right, wrong), adapted)


@dataclass(frozen=True)
class Bin:
    """Statements of similar probability: their number, their mean, and the share that came true."""

    count: int
    stated: float
    found: float


@dataclass(frozen=True)
class Calibration:
    """Of statements about several traces of each problem.

    Attributes:
        bins: of equal width over [0, 1], the empty ones left out.
        ece: mean distance of stated and found over the bins, weighted by their counts. Noise alone makes it
            positive, and a resampled one larger.
        auc: probability that a right trace gets a higher number than a wrong one, ties 1/2; nan where all
            are right or all wrong.
        brier: mean squared distance from the outcome.
    """

    bins: tuple[Bin, ...]
    ece: Interval
    auc: Interval
    brier: Interval


def calibration(stated: ArrayLike, right: ArrayLike, bins: int = 10, seed: int = 0) -> Calibration:
    """Calibration with 95% bootstrap intervals over problems.

    Args:
        stated: probabilities, shape (problems, traces), at least 2 problems.
        right: 0 or 1, the same shape.
        bins: at least 1.
        seed: of the bootstrap.

    Raises:
        ValueError: shapes differ, a number is no probability, or `bins` < 1.
    """
    p, y = np.asarray(stated, dtype=float), np.asarray(right, dtype=float)
    if p.shape != y.shape or p.ndim != 2:
        raise ValueError(f"stated and right must both be (problems, traces), got {p.shape} and {y.shape}")
    if not ((p >= 0) & (p <= 1)).all() or not np.isin(y, (0, 1)).all():
        raise ValueError("stated must be probabilities in [0, 1], and right 0 or 1")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")

    def error(p: np.ndarray, y: np.ndarray) -> float:
        return sum(b.count * abs(b.stated - b.found) for b in reliability(p, y, bins)) / p.size

    return Calibration(
        reliability(p, y, bins),
        bootstrap(error, p, y, seed=seed),
        bootstrap(area_under_roc, p, y, seed=seed),
        bootstrap(lambda p, y: float(((p - y) ** 2).mean()), p, y, seed=seed),
    )


def reliability(stated: np.ndarray, right: np.ndarray, bins: int) -> tuple[Bin, ...]:
    """The bins that hold a statement, rising; probability 1 belongs to the last."""
    place = np.minimum((stated * bins).astype(int), bins - 1)
    chosen = [place == i for i in range(bins)]
    return tuple(
        Bin(int(c.sum()), float(stated[c].mean()), float(right[c].mean())) for c in chosen if c.any()
    )


def area_under_roc(stated: np.ndarray, right: np.ndarray) -> float:
    """Area under the ROC curve, from ranks."""
    good, bad = stated[right == 1], np.sort(stated[right == 0])
    if not good.size or not bad.size:
        return float("nan")
    below = [np.searchsorted(bad, good, side) for side in ("left", "right")]
    return float(np.mean(below) / len(bad))
