"""A reasoner: a model with its tokenizer, its template and an engine. It thinks, answers, is trained."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mrt_lib import adapters
from mrt_lib.engines.base import Engine, Sampling, Stop, context_of, eos_ids
from mrt_lib.engines.transformers_engine import TransformersEngine
from mrt_lib.files import digest, grading, new_folder, settings_of, write_json
from mrt_lib.models import find_model, hardware_dtype, load_model
from mrt_lib.provenance import provenance
from mrt_lib.tasks.base import Problem, Task
from mrt_lib.thoughts.templates import Template, decode, encode, ending_ids, find_template, get_template
from mrt_lib.thoughts.traces import Trace

ENGINES = ("transformers", "vllm")
TEMPLATE = "template.json"


class Reasoner:
    """What thinks, is forced to answer and is trained.

    Attributes:
        model: causal model of Transformers, in evaluation mode; after training, with the trained weights.
        tokenizer: of the model.
        template: the text around a thought.
        engine: what samples; with the weights of `model`.
        eos_ids: the model's own end-of-text tokens: they too end thoughts and answers.
        name: folder, or "owner/model@revision" of the hub, for reports and cards.
        adapter: after training with LoRA, the peft model whose merged weights `model` has; else None.
        facts: of that training: arm, task, template, base, numbers (`mrt_lib.adapters.write_facts`).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Parts that are there; `load` takes a name instead.

        `template`: None for the first known one that fits; `engine`: None for Transformers. ValueError if the
        template does not fit the tokenizer, or no known one does.
        """
        self.model, self.tokenizer = model, tokenizer
        self.template = template or find_template(tokenizer)
        self.template.check(tokenizer)
        self.engine: Engine = engine or TransformersEngine(model)
        self.eos_ids = eos_ids(model, tokenizer)
        name, revision = getattr(model, "name_or_path", ""), getattr(model.config, "_commit_hash", None)
        self.name = adapters.portable(name, revision) if name and not Path(name).is_dir() else str(name)
        self.adapter: Any = None
        self.facts: Mapping[str, Any] = {}

    @classmethod
    def load(
        cls,
        name: str | Path,
        template: Template | str | None = None,
        dtype: str | None = None,
        engine: str = "transformers",
        base: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """A saved reasoner, on the best device at hand::

            from mrt_lib import Reasoner
            reasoner = Reasoner.load("data/models/base")

        Args:
            name: folder with the model, in safetensors, and its tokenizer; a name on the hub, "owner/model"
                or "owner/model@revision"; or an adapter's folder, which is merged into its base.
            template: or its name; None for the adapter's own, or the first known one that fits.
            dtype: of the weights: "float32", "bfloat16", "float16", or "auto" for what the hardware computes
                best, printed with the reason; None for float32, or what an adapter was trained for: it takes
                that, or float32, in which its numbers and its base's are the same.
            engine: "transformers", or "vllm" (a model's folder or hub name, no adapter).
            base: of an adapter; None for what it names, seen from here or from a folder around it.
            **options: of the engine, such as `batch_tokens` or `gpu_memory_utilization`.

        ValueError: an unknown dtype or engine, a template that does not fit, an adapter's base changed.
        FileNotFoundError names the model or files that are missing; ImportError: vLLM is not installed.
        """
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
        if isinstance(template, str):
            template = get_template(template)
        adapter, facts = None, {}
        if (Path(name) / adapters.WEIGHTS[0]).is_file():
            if engine != "transformers":
                raise ValueError(f"{name} holds an adapter; save it merged, then load that with {engine=}")
            facts = adapters.read_facts(name)
            if "verdicts" in facts:
                raise ValueError(f"{name} holds a verifier, which scores answers and gives none")
            own, wanted = facts["dtype"], dtype or facts["dtype"]
            if wanted == "auto":
                wanted = own if own == hardware_dtype()[0] else "float32"
            if wanted not in (own, "float32"):
                raise ValueError(f"{name} was trained in {own}: dtype can be that or float32, got {dtype}")
            plain, tokenizer = load_model(base or _base_of(name, facts["base"]), own)
            model = copy.deepcopy(plain)
            adapter = adapters.load_adapter(plain, name)
            adapters.write_weights(adapters.merged_weights(adapter), model)
            if wanted != own:
                model, adapter = model.float(), adapter.float()
        else:
            model, tokenizer = load_model(name, dtype or "float32")
        reasoner = cls(model, tokenizer, template or saved_template(name, facts.get("template", "")))
        if engine == "vllm":
            from mrt_lib.engines.vllm_engine import VLLMEngine

            reasoner.engine = VLLMEngine(find_model(name), adapters.dtype_name(model), **options)
        else:
            reasoner.engine = TransformersEngine(model, **options)
        reasoner.name = str(name) if Path(name).is_dir() else adapters.portable(find_model(name))
        reasoner.adapter, reasoner.facts = adapter, facts
        return reasoner

    @property
    def context(self) -> int | None:
        """Most tokens of a sequence; None where the model has no limit."""
        return context_of(self.model.config)

    def room(self, problems: Sequence[Problem], answer_tokens: int) -> int | None:
        """Most tokens of a thought beside the longest prompt, the stop text and an answer; None for no limit.

        ValueError names the first problem that the tokenizer cannot write or `answer_end` would cut.
        """
        stops = (self.template.finished_answer, self.template.separator + self.template.forced_answer)
        around = max(len(encode(self.tokenizer, text)) for text in stops) + answer_tokens
        longest = 0
        for problem in problems:
            try:
                longest = max(longest, len(self.prompt(problem.question)))
            except ValueError as error:
                raise ValueError(f"problem {problem.id!r}: {error}") from None
            if self.template.answer_end == "}" and "}" in problem.answer:
                cut = f"problem {problem.id!r}: answer_end '}}' would cut the answer {problem.answer!r}"
                raise ValueError(f"{cut}; give a template with answer_end=''")
        return None if self.context is None else self.context - longest - around

    def check_room(self, problems: Sequence[Problem], thinking_tokens: int, answer_tokens: int) -> None:
        """ValueError unless prompt, thought, stop text and answer fit into the context together."""
        if (room := self.room(problems, answer_tokens)) is not None and thinking_tokens > room:
            rest = f"the longest prompt, the stop text and an answer of {answer_tokens} tokens"
            whole = f"the model's context of {self.context}"
            if room <= 0:
                raise ValueError(f"{rest} fill {whole}; shorten the questions or answer_tokens")
            asked = f"thinking_tokens={thinking_tokens} does not fit"
            raise ValueError(f"{asked}: {rest} leave at most {room} of {whole}")

    def prompt(self, question: str) -> list[int]:
        """Token ids up to and including the open thinking block; ValueError for what cannot be written."""
        return self.template.prompt_ids(self.tokenizer, question)

    def asked(self, task: Task, problems: Sequence[Problem]) -> dict[str, Any]:
        """What a run is asked, as JSON: template, ends of text, problems with golds and prompts, grading."""
        texts = [json.dumps([asdict(p), self.prompt(p.question)]) for p in problems]
        found = {"template": settings_of(self.template), "ends of text": list(self.eos_ids)}
        return found | {"problems": f"{len(problems)}, {digest(*texts)}", "grading": grading(task)}

    def close(self, trace: Trace, j: int) -> list[int]:
        """Token ids that end the thought at prefix j: forced, or the model's own end of a finished trace."""
        return self.template.closing_ids(self.tokenizer, trace, j)

    def ends(self, *texts: str) -> Stop:
        """What ends a generation: the tokens of these texts, and the model's own ends of text."""
        spelt = [ids for text in texts for ids in ending_ids(self.tokenizer, text)]
        return (*spelt, *((i,) for i in self.eos_ids))

    def thought_end(self, ids: Sequence[int]) -> tuple[list[int], int]:
        """The tokens at the end of `ids` that end a thought, none if it goes on; and its `Trace.eos_id`."""
        closing = ending_ids(self.tokenizer, self.template.think_end)
        for end in (*closing, *((i,) for i in self.eos_ids)):
            if tuple(ids[-len(end) :]) == end:
                return list(end), -1 if end in closing else end[-1]
        return [], -1

    def cut(self, thought_ids: Sequence[int]) -> list[int]:
        """Ends of the episodes of a thought, in tokens, by the template's rule."""
        return self.template.cut(self.tokenizer, thought_ids)

    def read(self, answer_ids: Sequence[int]) -> str:
        """The answer in the tokens after a thought; "" where there is none to read."""
        ids = answer_ids[:-1] if answer_ids and answer_ids[-1] in self.eos_ids else answer_ids
        return self.template.parse_answer(decode(self.tokenizer, ids))

    def think(self, problems: Sequence[Problem], sampling: Sampling, progress: bool = False) -> list[Trace]:
        """One thought per problem of at most `sampling.max_new_tokens` tokens, cut into episodes.

        Repeat a problem to think about it several times. The traces have no answer yet.
        """
        empty = [Trace(p.id, self.prompt(p.question), [], [], False) for p in problems]
        return self.extend(empty, sampling, progress=progress)

    def extend(
        self,
        traces: Sequence[Trace],
        sampling: Sampling,
        ends: Sequence[int] | None = None,
        progress: bool = False,
    ) -> list[Trace]:
        """Unfinished thoughts, without answers, thought on.

        A thought may have `sampling.max_new_tokens` tokens in all, or its own number of `ends`. The model's
        own end of text ends it as well as the template's, and is kept apart in the trace (`Trace.eos_id`).
        """
        ends = [sampling.max_new_tokens] * len(traces) if ends is None else ends
        rooms = [max(0, end - len(t.thought_ids)) for t, end in zip(traces, ends, strict=True)]
        stop = self.ends(self.template.think_end)
        asked = replace(sampling, max_new_tokens=max([1, *rooms]), stop=stop)
        prompts = [t.prompt_ids + t.thought_ids for t in traces]
        pairs = zip(traces, self.engine.generate(prompts, asked, rooms, progress), strict=True)
        return [self.grown(t, g.token_ids, g.log_probs, g.finish == "stop") for t, g in pairs]

    def answer(self, traces: Sequence[Trace], sampling: Sampling, progress: bool = False) -> list[Trace]:
        """The traces with an answer of at most `sampling.max_new_tokens` tokens each.

        A thought that the model has not closed is answered after the forced-termination text, without the
        end of text that may have ended it.
        """
        prompts = [t.prefix(t.n_episodes) + self.close(t, t.n_episodes) for t in traces]
        found = self.engine.generate(prompts, self.answering(sampling), progress=progress)
        pairs = zip(traces, found, strict=True)
        return [replace(t, answer_ids=g.token_ids, answer_log_probs=g.log_probs) for t, g in pairs]

    def answering(self, sampling: Sampling) -> Sampling:
        """The same sampling, ended by the end of an answer or of all text."""
        # "}^" and the like go on with an expression.
        ended = (ids for ids in self.answer_ends() if "{" not in decode(self.tokenizer, ids))
        return replace(sampling, stop=(*ended, *self.ends()))

    def answer_ends(self) -> Stop:
        """The template's end of an answer, alone or in one token with what follows."""
        return ending_ids(self.tokenizer, self.template.answer_end, anything=True)

    def save(self, folder: str | Path, merged: bool = False) -> None:
        """Write what training has learnt, whole or not at all, into a new folder; `load` takes it back.

        `merged`: config, weights and tokenizer as a plain model for any engine, with the very weights that
        the training's own sampler had; otherwise the LoRA adapter with a model card.

        ValueError if there is no adapter: nothing was trained, or every weight was; FileExistsError if there
        is something at `folder`.
        """
        if not merged and self.adapter is None:
            raise ValueError("there is no adapter to save: train with LoRA first, or use merged=True")
        with new_folder(folder) as filling:
            write_json(filling / TEMPLATE, asdict(self.template))
            if merged:
                self.model.save_pretrained(filling)
                self.tokenizer.save_pretrained(filling)
            else:
                adapters.save_adapter(self.adapter, filling, {**self.facts, "provenance": provenance()})

    def grown(self, trace: Trace, ids: list[int], log_probs: list[float], finished: bool = False) -> Trace:
        """The trace with new tokens, of which the last are the thought's end if `finished`."""
        end, eos_id = self.thought_end(ids) if finished else ([], -1)
        thought = trace.thought_ids + ids[: len(ids) - len(end)]
        parts: Any = {"thought_ids": thought, "boundaries": self.cut(thought), "end_ids": end}
        parts["thought_log_probs"] = trace.thought_log_probs + log_probs
        return replace(trace, finished=finished, eos_id=eos_id, **parts)


def saved_template(folder: str | Path, name: str = "") -> Template | None:
    """The template saved with a reasoner, or the known one of that name, or None."""
    path = Path(folder) / TEMPLATE
    if not path.is_file():
        return get_template(name) if name else None
    return Template.of(json.loads(path.read_text(encoding="utf-8")))


def _base_of(folder: str | Path, base: str) -> str | Path:
    """An adapter's base, seen from here or a folder around it; FileNotFoundError says how to name another."""
    for place in (Path(), *Path(folder).absolute().parents):
        if (place / base).is_dir():
            return place / base
    try:
        return find_model(base)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; if {folder}'s base lies elsewhere, say base=") from error
