"""What an arm is, and what it may ask of the policy in training."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from mrt_lib.engines.base import Engine, Sampling
from mrt_lib.prover import ExactProver, PrefixValues, SampledProver
from mrt_lib.rollouts import answer, extend, think
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.templates import Template, decode, parse_answer
from mrt_lib.traces import Trace

T = TypeVar("T")


@dataclass(frozen=True)
class Rollout:
    """One trace to learn from.

    Attributes:
        problem: what was thought about.
        trace: with an answer if the arm sampled one, with values if it asked for them.
        group: rollouts of the same group are compared with each other.
        reward: what the outcome is worth.
        given: thought tokens at the start that the policy did not write and does not learn.
        stopped: the arm forced the answer at the end of the given tokens.
    """

    problem: Problem
    trace: Trace
    group: int
    reward: float
    given: int = 0
    stopped: bool = False

    @property
    def tokens(self) -> int:
        """Thought, the thought's own end and answer: what the policy can have written."""
        return len(self.trace.thought_ids) + self.trace.finished + len(self.trace.answer_ids)


class Arm(Protocol):
    """One training method.

    One that thinks with a stale snapshot has a class attribute `uses_stale`; one whose credit looks ahead is
    a dataclass with a field `budget`, in episodes, which a run with stages sets.
    """

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """`group` rollouts of each problem, in the order of the problems."""

    def credit(self, rollouts: Sequence[Rollout]) -> list[np.ndarray]:
        """One advantage for each of a rollout's `tokens`, for every rollout."""


class Policy:
    """The policy in training: thinks, answers and values prefixes, counting tokens and seconds.

    Attributes:
        tokens: generated "policy" and "prover" tokens (an exact prover's are tokens it read).
        seconds: of "generate" and "prove".
    """

    def __init__(
        self,
        engine: Engine,
        stale: Engine | None,
        prover: ExactProver,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        task: Task,
        thinking: Sampling,
        answering: Sampling,
    ) -> None:
        """`stale`: engine of a snapshot, if held; `thinking`, `answering`: budgets and temperature."""
        self.engine, self.stale, self.prover = engine, stale, prover
        self.tokenizer, self.template, self.task = tokenizer, template, task
        self.thinking, self.answering = thinking, answering
        self.tokens: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)

    def think(self, problems: Sequence[Problem], seed: int, stale: bool = False) -> list[Trace]:
        """One thought per problem, from the current weights or from the stale snapshot.

        Raises:
            ValueError: no snapshot is held.
        """
        engine = self.stale if stale else self.engine
        if engine is None:
            raise ValueError("no stale snapshot is held; an arm that needs one says `uses_stale = True`")
        with self._phase("generate"):
            sampling = replace(self.thinking, seed=seed)
            traces = think(engine, self.tokenizer, self.template, problems, sampling)
        self.tokens["policy"] += sum(len(t.thought_log_probs) for t in traces)
        return traces

    def extend(self, traces: Sequence[Trace], seed: int) -> list[Trace]:
        """The unfinished thoughts, thought on to the thinking budget."""
        with self._phase("generate"):
            sampling = replace(self.thinking, seed=seed)
            longer = extend(self.engine, self.tokenizer, self.template, traces, sampling)
        before = sum(len(t.thought_log_probs) for t in traces)
        self.tokens["policy"] += sum(len(t.thought_log_probs) for t in longer) - before
        return longer

    def answer(self, traces: Sequence[Trace], seed: int) -> list[Trace]:
        """The traces with a sampled answer each."""
        with self._phase("generate"):
            sampling = replace(self.answering, seed=seed)
            answered = answer(self.engine, self.tokenizer, self.template, traces, sampling)
        self.tokens["policy"] += sum(len(t.answer_ids) for t in answered)
        return answered

    def score(self, problem: Problem, trace: Trace) -> float:
        """Outcome reward of an answered trace, 0 or 1."""
        text = decode(self.tokenizer, trace.answer_ids)
        return self.task.score(problem, parse_answer(self.template, text))

    def exact_values(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[Trace]:
        """The traces with exact values of all prefixes."""
        with self._phase("prove"):
            return self._valued(traces, self.prover.values(problems, traces))

    def sampled_values(
        self, problems: Sequence[Problem], traces: Sequence[Trace], branches: int, seed: int
    ) -> list[Trace]:
        """The traces with values from `branches` sampled answers at each prefix."""
        sampling = replace(self.answering, seed=seed)
        parts = (self.engine, self.tokenizer, self.template, self.task)
        with self._phase("prove"):
            return self._valued(traces, SampledProver(*parts, branches, sampling).values(problems, traces))

    def _valued(self, traces: Sequence[Trace], values: Sequence[PrefixValues]) -> list[Trace]:
        self.tokens["prover"] += sum(v.tokens for v in values)
        return [replace(t, values=v.value.tolist()) for t, v in zip(traces, values, strict=True)]

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started


def with_traces(rollouts: Sequence[Rollout], traces: Sequence[Trace]) -> list[Rollout]:
    """The rollouts with other traces of the same thoughts."""
    return [replace(r, trace=t) for r, t in zip(rollouts, traces, strict=True)]


def repeat(items: Sequence[T], group: int) -> list[T]:
    """Each problem or trace `group` times in a row."""
    return [item for item in items for _ in range(group)]


def stream(seed: int, use: int) -> int:
    """Another seed for another use within the same step, so that no two draws share numbers."""
    return int(np.random.SeedSequence((seed, use)).generate_state(1)[0])
