"""What an arm is, and what it may ask of the policy in training."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np

from mrt_lib.engines.base import Sampling
from mrt_lib.measure.prover import ExactProver, Prover, SampledProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.traces import Trace

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
        return len(self.trace.thought_ids) + self.trace.end_tokens + len(self.trace.answer_ids)


class Arm(Protocol):
    """A training method that reinforces: any object with these two methods, nothing to inherit.

    Its settings are plain attributes (a dataclass is the shortest way): a run's folder knows them.
    """

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """`group` rollouts of each problem, in the order of the problems."""

    def credit(self, rollouts: Sequence[Rollout], horizon: int) -> list[np.ndarray]:
        """One advantage for each of a rollout's `tokens`, for every rollout.

        `horizon`: the run's budget in episodes, the same for all rollouts; regret is taken up to there.
        """


class ImitationArm(Protocol):
    """A training method that imitates a part of what it has collected (STaR)."""

    def collect(self, policy: Policy, problems: Sequence[Problem], group: int, seed: int) -> list[Rollout]:
        """`group` answered rollouts of each problem, in the order of the problems."""

    def keep(self, policy: Policy, rollouts: Sequence[Rollout], seed: int) -> list[Rollout]:
        """What to imitate: each with its answer; its first `given` thought tokens are not learnt."""


def check_arm(arm: object) -> None:
    """TypeError unless the arm has `collect`, and either `credit` or `keep`."""
    has = [name for name in ("collect", "credit", "keep") if callable(getattr(arm, name, None))]
    if isinstance(arm, type) or has not in (["collect", "credit"], ["collect", "keep"]):
        name = (arm if isinstance(arm, type) else type(arm)).__name__
        raise TypeError(
            f"{name} is no arm: it needs collect(policy, problems, group, seed) and either "
            f"credit(rollouts, horizon) or keep(policy, rollouts, seed), as an object and not as a class; it "
            f"has {', '.join(has) or 'none of them'}"
        )


def check_rollouts(rollouts: object, wanted: int) -> None:
    """ValueError unless an arm's `collect` gave a list of so many rollouts."""
    given = rollouts if isinstance(rollouts, list) else []
    if len(given) != wanted or not all(isinstance(r, Rollout) for r in given):
        got = f"{len(given)} items" if isinstance(rollouts, list) else type(rollouts).__name__
        raise ValueError(f"`collect` must give a list of {wanted} rollouts, `group` per problem; got {got}")


def check_advantages(rollouts: Sequence[Rollout], advantages: object) -> None:
    """ValueError unless an arm's `credit` gave a list with a finite array (tokens,) for each rollout."""
    given = advantages if isinstance(advantages, list) else []
    if len(given) != len(rollouts):
        raise ValueError(f"`credit` must give a list of {len(rollouts)} arrays, got {len(given)}")
    for rollout, own in zip(rollouts, given, strict=True):
        if np.shape(own) != (rollout.tokens,) or not np.all(np.isfinite(own)):
            needed = f"rollout of {rollout.problem.id} needs {rollout.tokens} finite advantages"
            raise ValueError(f"{needed}, got shape {np.shape(own)}, {np.isfinite(own).sum()} of them finite")


@dataclass(eq=False)
class Policy:
    """The policy in training: thinks, answers and values prefixes, counting tokens and seconds.

    Attributes:
        reasoner: with the newest weights.
        prover: gives exact values under them; its task grades the answers.
        thinking, answering: budgets and temperature.
        stale: gives the snapshot, where one is kept.
        tokens: sampled "policy" and "prover" tokens (an exact prover's are tokens it read).
        seconds: of "generate" and "prove".
    """

    reasoner: Reasoner
    prover: ExactProver
    thinking: Sampling
    answering: Sampling
    stale: Callable[[], Reasoner] | None = None
    tokens: Counter[str] = field(default_factory=Counter, init=False)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float), init=False)

    def __post_init__(self) -> None:
        self.task = self.prover.task

    def think(self, problems: Sequence[Problem], seed: int, stale: bool = False) -> list[Trace]:
        """One thought per problem, from the current weights or from the stale snapshot.

        Raises:
            ValueError: no snapshot can be held here.
        """
        reasoner = self.reasoner
        if stale:
            if self.stale is None:
                raise ValueError("this loop holds no stale snapshot; train with `mrt_lib.train`")
            reasoner = self.stale()
        with self._phase("generate"):
            traces = reasoner.think(problems, replace(self.thinking, seed=seed))
        self.tokens["policy"] += sum(len(t.thought_log_probs) for t in traces)
        return traces

    def extend(self, traces: Sequence[Trace], seed: int) -> list[Trace]:
        """The unfinished thoughts, thought on to the thinking budget."""
        with self._phase("generate"):
            longer = self.reasoner.extend(traces, replace(self.thinking, seed=seed))
        before = sum(len(t.thought_log_probs) for t in traces)
        self.tokens["policy"] += sum(len(t.thought_log_probs) for t in longer) - before
        return longer

    def answer(self, traces: Sequence[Trace], seed: int) -> list[Trace]:
        """The traces with a sampled answer each."""
        with self._phase("generate"):
            answered = self.reasoner.answer(traces, replace(self.answering, seed=seed))
        self.tokens["policy"] += sum(len(t.answer_ids) for t in answered)
        return answered

    def score(self, problem: Problem, trace: Trace) -> float:
        """Outcome reward of an answered trace, 0 or 1."""
        return self.task.score(problem, self.reasoner.read(trace.answer_ids))

    def exact_values(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[Trace]:
        """The traces with exact values of all prefixes."""
        return self._valued(self.prover, problems, traces)

    def sampled_values(
        self, problems: Sequence[Problem], traces: Sequence[Trace], branches: int, seed: int
    ) -> list[Trace]:
        """The traces with values from `branches` sampled answers at each prefix."""
        prover = SampledProver(self.reasoner, self.task, branches, replace(self.answering, seed=seed))
        return self._valued(prover, problems, traces)

    def _valued(self, prover: Prover, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[Trace]:
        with self._phase("prove"):
            values = prover.values(problems, traces)
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


def stream(seed: int, *use: int) -> int:
    """Another seed for another use of the same one, so that no two draws share numbers."""
    return int(np.random.SeedSequence((seed, *use)).generate_state(1)[0])
