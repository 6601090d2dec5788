"""What a reasoner does on a set of problems: its thoughts, J at every prefix, the answers forced there.

The work goes through the problems in chunks, each with random streams of its own, so a run that was cut
short goes on with its next chunk and ends in the same bits.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mrt_lib.arms.base import repeat, stream
from mrt_lib.engines.base import Sampling, check_numbers
from mrt_lib.files import write_json
from mrt_lib.measure.evaluation import Evaluation, tokens_spent
from mrt_lib.measure.prover import Prover, SampledProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.traces import Trace, load_traces, save_traces

CHUNK = 64  # thoughts
PROBED = 8  # problems of the first chunk, which shows whether there is something to measure
Answers = list[list[list[str]]]


@dataclass(frozen=True)
class Options:
    """How a report samples.

    Attributes:
        rollouts: thoughts per problem.
        thinking_tokens: most tokens of a thought; None for what the context leaves, at most 8192.
        branches: answers forced at every prefix, at least 2.
        answer_tokens: most of an answer; None for 32 where the forced text leads straight into it, else 1024.
        temperature, top_p, top_k: of thoughts and answers, as in `Sampling`, not greedy.
        seed: of all sampling.
    """

    rollouts: int = 4
    thinking_tokens: int | None = None
    branches: int = 8
    answer_tokens: int | None = None
    temperature: float = 1.0
    seed: int = 0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        check_numbers(self, rollouts=1, thinking_tokens=1, branches=2, answer_tokens=1, temperature=0, seed=0)
        if self.temperature == 0:
            raise ValueError("temperature must be above 0")
        self.sampling(1, 0)

    def sampling(self, tokens: int, use: int) -> Sampling:
        """How at most so many tokens are drawn, from a random stream of their own for every `use`."""
        seed = stream(self.seed, use)
        return Sampling(tokens, self.temperature, self.top_p, seed=seed, top_k=self.top_k)

    def fit(self, reasoner: Reasoner, problems: Sequence[Problem]) -> tuple[int, int]:
        """Most tokens of a thought and of an answer, defaults filled in; checked by `Reasoner.check_room`."""
        answer = self.answer_tokens or (32 if reasoner.template.leads_to_answer else 1024)
        room = reasoner.room(problems, answer)
        thinking = self.thinking_tokens or (8192 if room is None else max(1, min(8192, room)))
        reasoner.check_room(problems, thinking, answer)
        return thinking, answer


@dataclass(frozen=True)
class Observation:
    """Thoughts with values and forced answers.

    Attributes:
        answers: sampled answers by trace, prefix and branch. Every right answer reads as the problem's
            gold answer, so that they vote together; "" where none could be read.
        exact: J is exact; otherwise the share of right ones among these answers.
        answer_tokens: mean tokens of an answer.
    """

    reasoner: Reasoner
    evaluation: Evaluation
    answers: Answers
    exact: bool
    answer_tokens: float

    @property
    def branches(self) -> int:
        """Answers per prefix."""
        return len(self.answers[0][0])

    def problem(self, i: int) -> Problem:
        """The problem of trace i."""
        return self.evaluation.problems[i // self.evaluation.rollouts]


def observe(
    reasoner: Reasoner,
    task: Task,
    problems: Sequence[Problem],
    options: Options,
    prover: Prover | None = None,
    folder: str | Path | None = None,
    progress: bool = False,
    thoughts: Sequence[Trace] | None = None,
) -> Observation:
    """Think, force answers at every prefix, and value it.

    `problems`: each once; `prover` gives J (`exact_prover`), None takes the share of right forced answers;
    `folder`, of this very run (see `mrt_lib.files.claim`), keeps every chunk, and those kept are read;
    `thoughts`: that are there already, `options.rollouts` for each problem, in their order.

    ValueError: no problems, a prompt without room in the context, a foreign file in the folder; see `probe`.
    """
    from tqdm.auto import tqdm

    if not problems:
        raise ValueError("there are no problems")
    thinking, answer = options.fit(reasoner, problems)
    step, n = max(1, CHUNK // options.rollouts), len(problems)
    starts = [0, *range(PROBED, n, step)] if n > PROBED else [0]
    chunks = [repeat(problems[i:j], options.rollouts) for i, j in pairwise([*starts, n])]
    done: list[_Chunk] = []
    with tqdm(total=len(problems), desc="measure", unit="problem", disable=not progress) as bar:
        for c, chunk in enumerate(chunks):
            path = None if folder is None else Path(folder) / "thoughts" / f"{c:04d}.parquet"
            found = _read(path, chunk)
            if found is None:
                first = starts[c] * options.rollouts
                traces = None if thoughts is None else list(thoughts[first : first + len(chunk)])
                traces = traces or reasoner.think(chunk, options.sampling(thinking, 2 * c))
                asked = options.sampling(answer, 2 * c + 1)
                forced = SampledProver(reasoner, task, options.branches, asked)
                found = _valued(prover, forced, chunk, traces)
                if c == 0:
                    probe(reasoner, found)
                if path is not None:  # the traces come last: where they are, the chunk is whole
                    write_json(path.with_suffix(".json"), {"answers": found.answers, "tokens": found.tokens})
                    save_traces(path, found.traces)
            done.append(found)
            bar.update(len(chunk) // options.rollouts)
    traces = [trace for chunk in done for trace in chunk.traces]
    answers = [prefixes for chunk in done for prefixes in chunk.answers]
    mean = sum(chunk.tokens for chunk in done) / (options.branches * sum(map(len, answers)))
    tokens = [tokens_spent(reasoner, trace, mean) for trace in traces]
    evaluation = Evaluation(list(problems), options.rollouts, traces, tokens)
    return Observation(reasoner, evaluation, answers, prover is not None, mean)


def probe(reasoner: Reasoner, found: "_Chunk") -> None:
    """Warn where there is little to measure; ValueError if under a quarter of the answers can be read."""
    texts = [text for prefixes in found.answers for answers in prefixes for text in answers]
    values = [value for trace in found.traces for value in trace.values]
    readable = sum(map(bool, texts)) / len(texts)
    own = f"template {reasoner.template.name!r}"
    if readable < 0.25:
        way = "change its forced_answer, answer_end or boxed_answer, or give more answer_tokens"
        raise ValueError(f"{own}: {readable:.0%} of the first forced answers can be read; {way}")
    finished = sum(trace.finished for trace in found.traces) / len(found.traces)
    episodes = sum(trace.n_episodes for trace in found.traces) / len(found.traces)
    low = {
        f"{readable:.0%} of the forced answers can be read; see its forced_answer": readable < 0.9,
        f"{finished:.0%} of the thoughts end; see its think_end, or give thinking_tokens": finished < 0.1,
        f"{episodes:.2g} episodes in a thought; see its openers, steps and min_steps": episodes < 1.5,
        f"J is {values[0]:.2g} everywhere; take problems of another difficulty": len(set(values)) == 1,
    }
    for text in (text for text, is_low in low.items() if is_low):
        warnings.warn(f"{own}: {text}", stacklevel=3)


class _Chunk(NamedTuple):  # valued traces, their answers, and how many tokens those have in all
    traces: list[Trace]
    answers: Answers
    tokens: int


def _valued(
    prover: Prover | None, forced: SampledProver, problems: list[Problem], traces: list[Trace]
) -> _Chunk:
    drawn, texts, valued = forced.answers(problems, traces), [], []
    exact = None if prover is None else prover.values(problems, traces)
    for i, (problem, prefixes) in enumerate(zip(problems, drawn, strict=True)):
        texts.append([[problem.answer if a.right else a.text for a in prefix] for prefix in prefixes])
        shares = [sum(a.right for a in prefix) / len(prefix) for prefix in prefixes]
        valued.append(replace(traces[i], values=shares if exact is None else exact[i].value.tolist()))
    return _Chunk(valued, texts, sum(a.tokens for prefixes in drawn for prefix in prefixes for a in prefix))


def _read(path: Path | None, problems: list[Problem]) -> _Chunk | None:
    """A chunk that was kept; None if there is none, or a damaged one, which is measured again."""
    if path is None or not path.exists():
        return None
    try:
        traces = load_traces(path)
        written: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
        found = _Chunk(traces, written["answers"], int(written["tokens"]))
        damaged = list(map(len, found.answers)) != [t.n_episodes + 1 for t in traces]
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        damaged = True
    if damaged:
        warnings.warn(f"{path} is damaged; its problems are measured again", stacklevel=3)
        return None
    if [t.problem_id for t in traces] != [p.id for p in problems]:
        raise ValueError(f"{path} holds thoughts about other problems; use a new folder")
    return found
