"""The slow, obvious way to exact values: what the packed pass is checked and timed against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mrt_lib.engines.base import by_length
from mrt_lib.measure.prover import PrefixValues, right_answer_ids
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.traces import Trace


class SeparateProver:
    """Exact values by one forward pass per prefix and right answer, batched by length."""

    def __init__(
        self, reasoner: Reasoner, task: Task, temperature: float = 1.0, batch_tokens: int = 8192
    ) -> None:
        self.reasoner, self.task, self.model = reasoner, task, reasoner.model
        self.temperature, self.batch_tokens = temperature, batch_tokens

    def values(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[PrefixValues]:
        """See `Prover.values`."""
        places, prompts, answers = [], [], []
        for i, (problem, trace) in enumerate(zip(problems, traces, strict=True)):
            for j in range(trace.n_episodes + 1):
                prompt = trace.prefix(j) + self.reasoner.close(trace, j)
                for ids in right_answer_ids(self.reasoner, self.task, problem):
                    places.append((i, j))
                    prompts.append(prompt)
                    answers.append(ids)
        log_probs = self._log_probs(prompts, answers)
        log_values = [np.full(t.n_episodes + 1, -np.inf) for t in traces]
        tokens = [0] * len(traces)
        for (i, j), log_prob, prompt, answer in zip(places, log_probs, prompts, answers, strict=True):
            log_values[i][j] = np.logaddexp(log_values[i][j], log_prob)
            tokens[i] += len(prompt) + len(answer) - 1
        return [PrefixValues(np.exp(log), log, n) for log, n in zip(log_values, tokens, strict=True)]

    @torch.inference_mode()
    def _log_probs(self, prompts: list[list[int]], answers: list[list[int]]) -> list[float]:
        sequences = [p + a[:-1] for p, a in zip(prompts, answers, strict=True)]
        results = [0.0] * len(sequences)
        for batch in by_length([len(s) for s in sequences], self.batch_tokens):
            longest = max(len(sequences[i]) for i in batch)
            ids = torch.tensor([sequences[i] + [0] * (longest - len(sequences[i])) for i in batch])
            rows = [torch.arange(len(prompts[i]) - 1, len(sequences[i])) for i in batch]
            kept, places = torch.unique(torch.cat(rows), return_inverse=True)
            # Padding stands on the right and attention is causal, so no mask is needed.
            logits = self.model(
                input_ids=ids.to(self.model.device),
                logits_to_keep=kept.to(self.model.device),
                use_cache=False,
            ).logits
            for i, row, place in zip(batch, logits, places.split([len(r) for r in rows]), strict=True):
                log_probs = torch.log_softmax(row[place.to(row.device)].float() / self.temperature, dim=-1)
                results[i] = float(log_probs[range(len(place)), answers[i]].sum())
        return results
