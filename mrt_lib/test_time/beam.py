"""Beam search over episodes: every beam goes on in several ways, the best by a score stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mrt_lib.arms.base import repeat, stream
from mrt_lib.engines.base import Generation
from mrt_lib.thoughts.episodes import cut_thought
from mrt_lib.tasks.base import Problem
from mrt_lib.thoughts.templates import token_id
from mrt_lib.test_time.base import Outcome, Solver, judged
from mrt_lib.test_time.scores import Scorer
from mrt_lib.thoughts.traces import Trace


@dataclass(frozen=True)
class Beam:
    """Beam search over episodes.

    Ended beams keep their score and their place among the best; the search ends when all of the best have
    ended or spent the thinking budget, and the best of them answers.

    Attributes:
        width: beams kept, at least 1.
        expansion: next episodes sampled for each, at least 1.
        scorer: values a prefix: `OwnValue`, a `Verifier`, or `OracleValue` as the bound.
        episode_tokens: most tokens of one expansion; a longer episode goes on in the next one.
    """

    width: int
    expansion: int
    scorer: Scorer
    episode_tokens: int

    def __post_init__(self) -> None:
        if min(self.width, self.expansion) < 1:
            raise ValueError(f"width and expansion must be at least 1, got {self.width} and {self.expansion}")
        if self.episode_tokens < 2:
            raise ValueError(f"episode_tokens must be at least 2, got {self.episode_tokens}")

    def solve(self, solver: Solver, problems: Sequence[Problem], seed: int) -> Outcome:
        """See `Method.solve`; the solver's thinking budget is that of one beam."""
        search = _Search(self, solver, problems, seed)
        while search.step():
            pass
        best = solver.answer([beams[0].trace for beams in search.beams], seed)
        policy = search.spent["policy"] + np.array([len(t.answer_ids) for t in best])
        return judged(
            solver, problems, best, policy, prover=search.spent["prover"], verifier=search.spent["verifier"]
        )


@dataclass(frozen=True)
class _Beam:
    """A prefix of whole episodes, tokens already sampled of the episode after it, and its score."""

    trace: Trace
    begun: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    score: float = 0.0

    @property
    def ids(self) -> list[int]:
        return self.trace.thought_ids + self.begun


class _Search:
    """The beams of every problem, best first."""

    def __init__(self, method: Beam, solver: Solver, problems: Sequence[Problem], seed: int) -> None:
        """Every problem begins with one sampled token, so that no first episode ends at its own opening."""
        self.method, self.solver, self.problems, self.seed = method, solver, problems, seed
        self.beams = [[_begun(trace)] for trace in _first_tokens(solver, problems, seed)]
        self.spent = {kind: np.zeros(len(problems)) for kind in ("policy", "prover", "verifier")}
        self.spent["policy"] += 1
        self.steps = 0

    def step(self) -> bool:
        """Expand what can be expanded and keep the best; False if nothing could be."""
        going = [(p, b) for p, beams in enumerate(self.beams) for b in beams if self._room(b)]
        if not going:
            return False
        generations = self._generate([beam for _, beam in going])
        before = repeat(going, self.method.expansion)
        for (p, beam), generation in zip(before, generations, strict=True):
            self.spent["policy"][p] += min(self._room(beam), len(generation.token_ids))
        children = [self._child(b, found) for (_, b), found in zip(before, generations, strict=True)]
        self._keep_best([p for p, _ in before], children)
        return True

    def _room(self, beam: _Beam) -> int:
        """Most tokens of its next expansion; 0 if it has ended."""
        left = self.solver.thinking.max_new_tokens - len(beam.ids)
        return 0 if beam.trace.finished else max(0, min(left, self.method.episode_tokens))

    def _generate(self, going: list[_Beam]) -> list[Generation]:
        template, tokenizer = self.solver.template, self.solver.tokenizer
        ends = [text for text in (template.think_end, template.episode_marker) if text]
        self.steps += 1
        asked = replace(
            self.solver.thinking,
            max_new_tokens=max(map(self._room, going)),
            stop=tuple((token_id(tokenizer, text),) for text in ends),
            seed=stream(self.seed, 1 + self.steps),
            n=self.method.expansion,
        )
        return self.solver.engine.generate([b.trace.prompt_ids + b.ids for b in going], asked)

    def _child(self, beam: _Beam, generation: Generation) -> _Beam:
        """The beam after one more episode.

        A marker that ends it is kept as the beginning of the next. Where episodes open with words, which
        are seen too late, what was sampled after the episode is thrown away.
        """
        tokenizer, template, room = self.solver.tokenizer, self.solver.template, self._room(beam)
        ids = beam.ids + generation.token_ids[:room]
        log_probs = beam.trace.thought_log_probs + beam.log_probs + generation.log_probs[:room]
        ended = generation.finish == "stop" and len(generation.token_ids) <= room
        finished = ended and ids[-1] == token_id(tokenizer, template.think_end)
        later = (b for b in cut_thought(tokenizer, template, ids) if b > len(beam.trace.thought_ids))
        end = len(ids) - 1 if ended else next(later)
        thought, begun = ids[:end], ids[end:] if ended and not finished else []
        trace = replace(
            beam.trace,
            thought_ids=thought,
            boundaries=cut_thought(tokenizer, template, thought),
            finished=finished,
            thought_log_probs=log_probs[: end + finished],
        )
        return _Beam(trace, begun, log_probs[end:][: len(begun)])

    def _keep_best(self, owners: list[int], children: list[_Beam]) -> None:
        problems = [self.problems[p] for p in owners]
        found = self.method.scorer.score(self.solver, problems, [child.trace for child in children])
        self.beams = [[b for b in beams if not self._room(b)] for beams in self.beams]
        for i, (p, child) in enumerate(zip(owners, children, strict=True)):
            self.beams[p].append(replace(child, score=float(found.value[i])))
            self.spent["prover"][p] += found.prover[i]
            self.spent["verifier"][p] += found.verifier[i]
        ranked = [sorted(beams, key=lambda b: -b.score) for beams in self.beams]
        self.beams = [beams[: self.method.width] for beams in ranked]


def _first_tokens(solver: Solver, problems: Sequence[Problem], seed: int) -> list[Trace]:
    one = replace(solver.thinking, max_new_tokens=1)
    return replace(solver, thinking=one).think(problems, seed)


def _begun(trace: Trace) -> _Beam:
    """A beam whose first token belongs to an episode that is still to be written."""
    if trace.finished:
        return _Beam(trace)
    empty = replace(trace, thought_ids=[], boundaries=[], thought_log_probs=[])
    return _Beam(empty, trace.thought_ids, trace.thought_log_probs)
