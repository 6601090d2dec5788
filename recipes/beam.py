"""Beam search over episodes: every beam goes on in several ways, the best by a score stay."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mrt_lib.arms.base import repeat, stream
from mrt_lib.engines.base import Generation
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem
from mrt_lib.test_time.base import Outcome, Scorer, Solver
from mrt_lib.thoughts.traces import Trace


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


@dataclass(frozen=True)
class Beam:
    """Ended beams keep their score and their place among the best; the search ends when all of the best have
    ended or spent the thinking budget, the solver's for each, and the best of them answers.

    `width` beams are kept, and `expansion` next episodes sampled for each, of at most `episode_tokens`; a
    longer one goes on in the next. `scorer`: `OwnValue`, a trained verifier, or `OracleValue` as the bound.
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
        # One token to begin with, so that no first episode ends at its own opening.
        one, step = replace(solver, thinking=replace(solver.thinking, max_new_tokens=1)), 2
        beams = [[_begun(trace)] for trace in one.think(problems, seed)]
        spent = {kind: np.zeros(len(problems)) for kind in ("policy", "prover", "verifier")}
        spent["policy"] += 1
        while going := [(p, b) for p, own in enumerate(beams) for b in own if self._room(solver, b)]:
            drawn = self._generate(solver, [b for _, b in going], stream(seed, step))
            pairs = list(zip(repeat(going, self.expansion), drawn, strict=True))
            owners = [p for (p, _), _ in pairs]
            children = [_child(solver.reasoner, beam, found) for (_, beam), found in pairs]
            scores = self.scorer.score(solver, [problems[p] for p in owners], [c.trace for c in children])
            np.add.at(spent["policy"], owners, [len(found.token_ids) for found in drawn])
            np.add.at(spent["prover"], owners, scores.prover)
            np.add.at(spent["verifier"], owners, scores.verifier)
            beams = [[b for b in own if not self._room(solver, b)] for own in beams]
            for p, child, score in zip(owners, children, scores.value.tolist(), strict=True):
                beams[p].append(replace(child, score=score))
            beams = [sorted(own, key=lambda b: -b.score)[: self.width] for own in beams]
            step += 1
        best = solver.answer([own[0].trace for own in beams], seed)
        spent["policy"] += [len(t.answer_ids) for t in best]
        return solver.outcome(problems, best, **spent)

    def _room(self, solver: Solver, beam: _Beam) -> int:
        """Most tokens of its next expansion; 0 if it has ended."""
        left = solver.thinking.max_new_tokens - len(beam.ids)
        return 0 if beam.trace.finished else max(0, min(left, self.episode_tokens))

    def _generate(self, solver: Solver, going: list[_Beam], seed: int) -> list[Generation]:
        reasoner, rooms = solver.reasoner, [self._room(solver, b) for b in going]
        ends = [text for text in (reasoner.template.think_end, reasoner.template.episode_marker) if text]
        drawn: Any = {"stop": reasoner.ends(*ends), "seed": seed, "n": self.expansion}
        asked = replace(solver.thinking, max_new_tokens=max(rooms), **drawn)
        return reasoner.engine.generate([b.trace.prompt_ids + b.ids for b in going], asked, rooms)


def _begun(trace: Trace) -> _Beam:
    """A beam whose first token belongs to an episode that is still to be written."""
    if trace.finished:
        return _Beam(trace)
    empty = replace(trace, thought_ids=[], boundaries=[], thought_log_probs=[])
    return _Beam(empty, trace.thought_ids, trace.thought_log_probs)


def _child(reasoner: Reasoner, beam: _Beam, generation: Generation) -> _Beam:
    """The beam after one more episode.

    A marker that ends it is kept as the beginning of the next. Where episodes open with words, which
    are seen too late, what was sampled after the episode is thrown away.
    """
    ids, ended = beam.ids + generation.token_ids, generation.finish == "stop"
    log_probs = beam.trace.thought_log_probs + beam.log_probs + generation.log_probs
    closing, eos_id = reasoner.thought_end(ids) if ended else ([], -1)
    finished = bool(closing)
    later = (b for b in reasoner.cut(ids) if b > len(beam.trace.thought_ids))
    end = len(ids) - max(1, len(closing)) if ended else next(later)
    own: Any = {"thought_ids": ids[:end], "boundaries": reasoner.cut(ids[:end]), "finished": finished}
    own |= {"end_ids": closing, "eos_id": eos_id}
    trace = replace(beam.trace, thought_log_probs=log_probs[: end + len(closing)], **own)
    kept = len(ids) if ended and not finished else end
    return _Beam(trace, ids[end:kept], log_probs[end:kept])
