"""What a test-time method is, what it spends, and the parts that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from mrt_lib.arms.base import stream
from mrt_lib.engines.base import Engine, Sampling
from mrt_lib.rollouts import answer, think
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.templates import Template, decode, parse_answer
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class Outcome:
    """How right a method was on every problem and what it spent, arrays of shape (problems,).

    Every method counts tokens in the same way. Texts that nobody sampled (prompt, stop text, continue
    markers) are not counted, in none of them.

    Attributes:
        right: 1 or 0 for one answer; the probability of a right one over votes, ties or subsets.
        unanswered: share of the answers in which none could be read; they count as wrong.
        policy: tokens sampled for thoughts, their ends and the answers in the end, also what was thrown
            away: losing samples and beams, ends that were reopened.
        prover: tokens that only valued a prefix: of forced answers if sampled, read if exact.
        verifier: tokens that a verifier read, prompt and stop text included.
        reread: context that the policy read a second time because its window slid. Like the prompt it is
            read, not generated, so `tokens` is without it; it stands here because no other method has it.
    """

    right: np.ndarray
    unanswered: np.ndarray
    policy: np.ndarray
    prover: np.ndarray
    verifier: np.ndarray
    reread: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        """policy + prover + verifier."""
        return self.policy + self.prover + self.verifier


class Method(Protocol):
    """One way to spend tokens on a problem at test time."""

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """Work on every problem on its own; the same seed gives the same bits."""


@dataclass(frozen=True)
class Solver:
    """A reasoner at work.

    Attributes:
        engine: of the policy.
        tokenizer: of its model.
        template: the text around a thought.
        task: grades the answers.
        thinking: temperature, and the budget of a thought.
        answering: temperature, and most tokens of an answer.
    """

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    template: Template
    task: Task
    thinking: Sampling
    answering: Sampling

    def think(self, problems: Sequence[Problem], seed: int) -> list[Trace]:
        """One thought per problem."""
        drawn = replace(self.thinking, seed=stream(seed, 0))
        return think(self.engine, self.tokenizer, self.template, problems, drawn)

    def answer(self, traces: Sequence[Trace], seed: int) -> list[Trace]:
        """The traces with an answer each, after the stop text where the thought has not ended."""
        drawn = replace(self.answering, seed=stream(seed, 1))
        return answer(self.engine, self.tokenizer, self.template, traces, drawn)

    def read(self, problem: Problem, trace: Trace) -> str:
        """The answer of a trace, "" where there is none; every right one reads as the gold answer."""
        text = parse_answer(self.template, decode(self.tokenizer, trace.answer_ids))
        return problem.answer if self.task.score(problem, text) else text


def sampled_tokens(trace: Trace) -> int:
    """Thought, its own end and answer."""
    return len(trace.thought_ids) + trace.finished + len(trace.answer_ids)


def stopped(trace: Trace, episodes: int) -> Trace:
    """The unanswered thought stopped after so many episodes; as it is if it has no more."""
    if episodes >= trace.n_episodes:
        return replace(trace, answer_ids=[], answer_log_probs=[], values=[])
    ids = trace.prefix(episodes)[len(trace.prompt_ids) :]
    log_probs = trace.thought_log_probs[: len(ids)]
    own = (trace.problem_id, trace.prompt_ids, ids, trace.boundaries[:episodes])
    return Trace(*own, finished=False, thought_log_probs=log_probs)


def judged(
    solver: Solver,
    problems: Sequence[Problem],
    traces: Sequence[Trace],
    policy: Sequence[int] | np.ndarray,
    **tokens: np.ndarray,
) -> Outcome:
    """The outcome of one answered trace per problem; `tokens` by kind, those not named are 0."""
    texts = [solver.read(p, t) for p, t in zip(problems, traces, strict=True)]
    right = np.array([text == p.answer for text, p in zip(texts, problems, strict=True)], dtype=float)
    unanswered = np.array([text == "" for text in texts], dtype=float)
    spent = {kind: np.zeros(len(problems)) for kind in ("prover", "verifier", "reread")} | tokens
    return Outcome(right, unanswered, np.asarray(policy, dtype=float), **spent)
