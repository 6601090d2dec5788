"""The meta-prover mu: the value of every prefix of a trace, sampled (the paper's way) or exact."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from mrt_lib.engines.base import Generation, Sampling, by_length
from mrt_lib.engines.transformers_engine import attends
from mrt_lib.measure.packing import Branch, PackedBatch, PackedTrace, collate, pack
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.templates import encode
from mrt_lib.thoughts.traces import Trace

BLOCK = 2048  # branch tokens in one pass


@dataclass(frozen=True)
class PrefixValues:
    """Values J_j in [0, 1] of the prefixes c_0 .. c_k of one trace, and log J_j in nats, shape (k + 1,).

    log J is -inf where no sampled answer was right. `tokens` were read (exact) or generated (sampled).
    """

    value: np.ndarray
    log_value: np.ndarray
    tokens: int


class Prover(Protocol):
    """Gives every prefix of a trace its value."""

    def values(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[PrefixValues]:
        """One `PrefixValues` per trace; `problems[i]` is the problem of `traces[i]`."""


@dataclass(frozen=True)
class ForcedAnswer:
    """One sampled answer at a prefix: its text, whether it is right, mean log-probability, tokens."""

    text: str
    right: float
    mean_log_prob: float
    tokens: int


class SampledProver:
    """J as the mean correctness of sampled forced answers (paper, section 6; released code: 8)."""

    def __init__(self, reasoner: Reasoner, task: Task, branches: int, sampling: Sampling) -> None:
        """`branches`: answers per prefix; `sampling.max_new_tokens`: most tokens of an answer."""
        if branches < 1:
            raise ValueError(f"branches must be at least 1, got {branches}")
        self.reasoner, self.task, self.branches = reasoner, task, branches
        self.sampling = replace(reasoner.answering(sampling), n=branches)

    def values(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[PrefixValues]:
        """Unbiased values."""
        found = []
        for prefixes in self.answers(problems, traces):
            value = np.array([[a.right for a in answers] for answers in prefixes]).mean(1)
            with np.errstate(divide="ignore"):
                log_value = np.log(value)
            tokens = sum(a.tokens for answers in prefixes for a in answers)
            found.append(PrefixValues(value, log_value, tokens))
        return found

    def answers(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[list[list[ForcedAnswer]]]:
        """The sampled answers, indexed by trace, prefix and branch."""
        _check_pairs(problems, traces)
        places = [(i, j) for i, t in enumerate(traces) for j in range(t.n_episodes + 1)]
        prompts = [traces[i].prefix(j) + self.reasoner.close(traces[i], j) for i, j in places]
        generations = iter(self.reasoner.engine.generate(prompts, self.sampling))
        results: list[list[list[ForcedAnswer]]] = [[] for _ in traces]
        for i, _ in places:
            results[i].append([self._grade(problems[i], next(generations)) for _ in range(self.branches)])
        return results

    def _grade(self, problem: Problem, generation: Generation) -> ForcedAnswer:
        answer = self.reasoner.read(generation.token_ids)
        mean = math.fsum(generation.log_probs) / len(generation.log_probs)
        return ForcedAnswer(answer, self.task.score(problem, answer), mean, len(generation.token_ids))


class ExactProver:
    """J as the exact probability of the right answers, all prefixes of a trace in one packed pass.

    A model with layers that read no masks, or that forget (`attends`), takes one pass per prefix and answer.
    J_j = sum over right answers of p(answer, end | c_j, forced text), exact when there are finitely many.
    """

    def __init__(
        self, reasoner: Reasoner, task: Task, temperature: float = 1.0, batch_tokens: int = 8192
    ) -> None:
        """`temperature`: of the policy whose value is asked; `batch_tokens`: most tokens in a pass."""
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.reasoner, self.task = reasoner, task
        self.temperature, self.batch_tokens = temperature, batch_tokens

    def values(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[PrefixValues]:
        """Exact values of every prefix.

        ValueError if the task lists no right answers (use `SampledProver`), or a trace with its forced
        answers does not fit the model's context.
        """
        _check_pairs(problems, traces)
        if not self.reasoner.template.leads_to_answer:
            about = f"after the forced text of template {self.reasoner.template.name!r} comes prose"
            raise ValueError(f"{about} before the answer, so J is no sum over answers; use SampledProver")
        packed = [self._pack(p, t) for p, t in zip(problems, traces, strict=True)]
        model, results = self.reasoner.model, dict[int, PrefixValues]()
        training = model.training
        model.eval()
        for batch in by_length([len(p) for p in packed], self.batch_tokens):
            for i, log_probs in zip(batch, self._answer_log_probs([packed[i] for i in batch]), strict=True):
                shape = (packed[i].owners.max(0).values + 1).tolist()
                answers = torch.zeros(shape, dtype=torch.float64)
                answers.index_put_(tuple(packed[i].owners.T), log_probs.double(), accumulate=True)
                log_value = answers.logsumexp(1).clamp(max=0.0).numpy()
                apart = set() if attends(model) else {tuple(ids.tolist()) for ids, _ in _separate(packed[i])}
                read = sum(map(len, apart)) or len(packed[i])
                results[i] = PrefixValues(np.exp(log_value), log_value, read)
        model.train(training)
        return [results[i] for i in range(len(traces))]

    def _pack(self, problem: Problem, trace: Trace) -> PackedTrace:
        answers = right_answer_ids(self.reasoner, self.task, problem)
        js = range(trace.n_episodes + 1)
        branches = [Branch(len(trace.prefix(j)), self.reasoner.close(trace, j), answers) for j in js]
        packed = pack(trace.prompt_ids + trace.thought_ids, branches)
        longest, context = int(packed.positions.max()) + 2, self.reasoner.context
        if context is not None and longest > context:
            needed = f"trace of {trace.problem_id} needs {longest} positions with its forced answer"
            raise ValueError(f"{needed}, the model's context is {context}; use a smaller thinking budget")
        return packed

    @torch.inference_mode()
    def _answer_log_probs(self, batch: list[PackedTrace]) -> list[torch.Tensor]:
        """For each packed trace, the log-probability of each of its answer tokens."""
        model = self.reasoner.model
        if not attends(model):
            return [self._one_by_one(trace) for trace in batch]
        packed = collate(batch)
        kept, row_of = torch.unique(torch.cat(packed.rows), return_inverse=True)
        logits = _branch_logits(model, packed, kept)
        results, places = [], row_of.to(model.device).split([len(rows) for rows in packed.rows])
        for trace_logits, place, trace in zip(logits, places, batch, strict=True):
            own, at = torch.unique(place, return_inverse=True)  # answers share their rows
            log_probs = torch.log_softmax(trace_logits[own].float() / self.temperature, dim=-1)
            results.append(log_probs[at, trace.targets.to(model.device)].cpu())
        return results

    def _one_by_one(self, packed: PackedTrace) -> torch.Tensor:
        """The same with a sequence for every prefix and answer: what each answer's tokens see, and they."""
        model, found, read = self.reasoner.model, [], dict[tuple[int, ...], torch.Tensor]()
        for ids, answer in _separate(packed):
            if (key := tuple(ids.tolist())) not in read:  # answers may differ in their end alone
                logits = model(input_ids=ids[None].to(model.device), use_cache=False).logits[0].float().cpu()
                read[key] = torch.log_softmax(logits[-len(answer) :] / self.temperature, dim=-1)
            found.append(read[key].gather(1, answer[:, None])[:, 0])
        return torch.cat(found)


def _separate(packed: PackedTrace) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For every prefix and answer: all that is read, and the answer, whose last token is not read."""
    for branch, leaf in torch.unique_consecutive(packed.owners, dim=0).tolist():
        own = packed.branch == branch
        trunk = packed.ids[: int(packed.visible[own][0])]
        answer = packed.targets[(packed.owners == torch.tensor([branch, leaf])).all(1)]
        yield torch.cat([trunk, packed.ids[own & (packed.leaf == -1)], answer[:-1]]), answer


def right_answer_ids(reasoner: Reasoner, task: Task, problem: Problem) -> list[list[int]]:
    """Token ids of every right answer with its end token; ValueError if the task cannot list them."""
    answers = task.answers(problem)
    if answers is None:
        sampled = "use SampledProver, or an arm that samples values, such as MRTOnline"
        raise ValueError(f"task {task.name!r} lists no finite set of right answers; {sampled}")
    if not answers:
        raise ValueError(f"problem {problem.id!r} has an empty set of right answers")
    # A box has to be closed; any other answer is whole at the model's own end of text too.
    ends = (*reasoner.answer_ends(), *(() if reasoner.template.boxed_answer else reasoner.ends()))
    # Texts that differ in a space may be the same tokens, whose probability counts once.
    texts = dict.fromkeys(tuple(encode(reasoner.tokenizer, text)) for text in answers)
    return [[*ids, *end] for ids in texts for end in dict.fromkeys(ends)]


def exact_prover(
    reasoner: Reasoner, task: Task, problems: Sequence[Problem], temperature: float = 1.0
) -> ExactProver | None:
    """The prover that gives J exactly; None where J has to be sampled.

    J is exact if the task lists the right answers of every problem, and the forced text leads into an answer
    that has an end. ValueError where a problem lists none, or one that the tokenizer cannot write.
    """
    leads = reasoner.template.leads_to_answer and reasoner.template.answer_end
    if not leads or any(task.answers(p) is None for p in problems):
        return None
    for problem in problems:
        right_answer_ids(reasoner, task, problem)
    return ExactProver(reasoner, task, temperature)


def _branch_logits(model: Any, packed: PackedBatch, kept: torch.Tensor) -> torch.Tensor:
    """Logits of the branch columns `kept`, shape (batch, kept, vocabulary).

    The branches run in blocks, each on the keys and values of the trunk and of the blocks before it, so that
    the mask of a long trace with many episodes stays small.
    """
    # Without a mask the trunk's attention is causal and its padding, on the right, is never seen.
    # Not even logits of one token a row: on a CPU, torch would copy the output layer for every row.
    trunk = model.get_decoder()(input_ids=packed.trunk_ids.to(model.device), use_cache=True)
    logits = []
    for start in range(0, packed.branch_ids.shape[1], BLOCK):
        stop = min(start + BLOCK, packed.branch_ids.shape[1])
        seen = packed.mask(start, stop).to(model.device)
        # Numbers added to attention scores, which every attention backend takes.
        added = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
        output = model(
            input_ids=packed.branch_ids[:, start:stop].to(model.device),
            position_ids=packed.branch_positions[:, start:stop].to(model.device),
            attention_mask=added.masked_fill_(~seen, torch.finfo(model.dtype).min),
            past_key_values=trunk.past_key_values,
            logits_to_keep=(kept[(kept >= start) & (kept < stop)] - start).to(model.device),
        )
        logits.append(output.logits)
    return torch.cat(logits, dim=1)


def _check_pairs(problems: Sequence[Problem], traces: Sequence[Trace]) -> None:
    for problem, trace in zip(problems, traces, strict=True):
        if problem.id != trace.problem_id:
            raise ValueError(f"trace of {trace.problem_id!r} was paired with problem {problem.id!r}")
