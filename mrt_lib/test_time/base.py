"""What a test-time method is, what it spends, and how good a trace looks: the parts that methods share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np

from mrt_lib.arms.base import repeat, stream
from mrt_lib.arms.mrt import cut
from mrt_lib.engines.base import Sampling
from mrt_lib.measure.prover import Prover
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class Outcome:
    """How right a method was on every problem and what it spent, arrays of shape (problems,).

    Attributes:
        right: 1 or 0 for one answer; the probability of a right one over votes, ties or subsets.
        unanswered: share of the answers in which none could be read; they count as wrong.
        policy: tokens sampled for thoughts, their ends and the answers in the end, also what was thrown
            away (losing samples and beams, reopened ends); no prompt, stop text or continue marker.
        prover: tokens that only valued a prefix: of forced answers if sampled, read if exact.
        verifier: tokens that a verifier read, prompt and stop text included.
        reread: context that the policy read a second time because its window slid; like the prompt it is
            read, not generated, so `tokens` is without it.
    """

    right: np.ndarray
    unanswered: np.ndarray
    policy: np.ndarray
    prover: np.ndarray
    verifier: np.ndarray
    reread: np.ndarray

    @classmethod
    def of(
        cls, right: Sequence[float] | np.ndarray, answers: np.ndarray, policy: np.ndarray, **spent: np.ndarray
    ) -> Self:
        """From `answers`, texts of shape (problems, any number); tokens that are not given are 0."""
        none = dict.fromkeys(("prover", "verifier", "reread"), np.zeros(len(right)))
        parts = [np.asarray(right, dtype=float), (answers == "").mean(1), np.asarray(policy, dtype=float)]
        return cls(*parts, **none | spent)

    @property
    def tokens(self) -> np.ndarray:
        """policy + prover + verifier."""
        return self.policy + self.prover + self.verifier


@dataclass(frozen=True)
class Solver:
    """A reasoner at work on a task, with temperature and most tokens of a thought and of an answer."""

    reasoner: Reasoner
    task: Task
    thinking: Sampling
    answering: Sampling

    def think(self, problems: Sequence[Problem], seed: int) -> list[Trace]:
        """One thought per problem."""
        return self.reasoner.think(problems, replace(self.thinking, seed=stream(seed, 0)))

    def answer(self, traces: Sequence[Trace], seed: int) -> list[Trace]:
        """The traces with an answer each, after the stop text where the thought has not ended."""
        return self.reasoner.answer(traces, replace(self.answering, seed=stream(seed, 1)))

    def read(self, problem: Problem, trace: Trace) -> str:
        """The answer of a trace, "" where there is none; every right one reads as the gold answer."""
        text = self.reasoner.read(trace.answer_ids)
        return problem.answer if self.task.score(problem, text) else text

    def read_all(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> np.ndarray:
        """The answers of traces, the same number for each problem, shape (problems, traces of each)."""
        asked = repeat(problems, len(traces) // len(problems))
        texts = [self.read(p, t) for p, t in zip(asked, traces, strict=True)]
        return np.array(texts, dtype=object).reshape(len(problems), -1)

    def outcome(
        self, problems: Sequence[Problem], traces: Sequence[Trace], policy: np.ndarray, **spent: np.ndarray
    ) -> Outcome:
        """Of one answered trace per problem; `spent`: prover, verifier and reread tokens, if any."""
        answers = self.read_all(problems, traces)
        return Outcome.of(answers[:, 0] == [p.answer for p in problems], answers, policy, **spent)


def sampled_tokens(trace: Trace) -> int:
    """Thought, its own end and answer."""
    return len(trace.thought_ids) + trace.end_tokens + len(trace.answer_ids)


def stopped(trace: Trace, episodes: int) -> Trace:
    """The unanswered thought stopped after so many episodes; as it is if it has no more."""
    if episodes >= trace.n_episodes:
        return replace(trace, answer_ids=[], answer_log_probs=[], values=[])
    return cut(trace, episodes)


@dataclass(frozen=True)
class Scores:
    """Scores of traces in [0, 1] and what they cost in tokens, arrays of shape (traces,)."""

    value: np.ndarray
    prover: np.ndarray
    verifier: np.ndarray


class Scorer(Protocol):
    """Scores answered traces, and prefixes that have no answer yet."""

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:
        """One score per trace; `problems[i]` is the problem of `traces[i]`."""


class OwnValue:
    """The model's own confidence in its own answer: what it can know without the gold answer.

    exp(mean log-probability of the answer's tokens given the thought). An answered trace costs nothing, since
    the numbers come with the sampling. At a prefix without an answer the greedy answer is forced, at
    temperature 1, and its tokens are the prover's. To pick by J, the probability of the gold answer, would be
    to look at the solution (`OracleValue`).
    """

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:
        open_ones = [i for i, (_, t) in enumerate(zip(problems, traces, strict=True)) if not t.answer_ids]
        greedy = replace(solver, answering=replace(solver.answering, temperature=0.0))
        answered, spent = list(traces), np.zeros(len(traces))
        for i, trace in zip(open_ones, greedy.answer([traces[i] for i in open_ones], 0), strict=True):
            answered[i], spent[i] = trace, len(trace.answer_ids)
        value = [math.exp(np.mean(t.answer_log_probs)) for t in answered]
        return Scores(np.array(value), spent, np.zeros(len(traces)))


@dataclass(frozen=True)
class OracleValue:
    """Upper bound, never a method: an answered trace is worth its grade, a prefix its J from `prover`."""

    prover: Prover

    def score(self, solver: Solver, problems: Sequence[Problem], traces: Sequence[Trace]) -> Scores:
        pairs, spent = zip(problems, traces, strict=True), np.zeros(len(traces))
        value = np.array([float(solver.read(p, t) == p.answer) for p, t in pairs])
        open_ones = [i for i, t in enumerate(traces) if not t.answer_ids]
        # One episode from start to end: the values in between are not asked for.
        whole = [replace(traces[i], boundaries=traces[i].boundaries[-1:]) for i in open_ones]
        found = self.prover.values([problems[i] for i in open_ones], whole)
        for i, values in zip(open_ones, found, strict=True):
            value[i], spent[i] = values.value[-1], values.tokens
        return Scores(value, spent, np.zeros(len(traces)))
