"""The short forced text: an answer that ends with its box, its exact value, and merged endings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from mrt_lib.engines import Sampling
from mrt_lib.measure.prover import ExactProver, SampledProver, exact_prover
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import MathTask
from mrt_lib.thoughts.templates import R1, R1_SHORT, encode, token_id
from mrt_lib.thoughts.traces import Trace

pytest.importorskip("math_verify")
MERGED = ["}.", "}}"]


def build_tokenizer():
    """Bytes, the special tokens of R1, and two tokens that merge "}" with what follows."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, *MERGED])}
    backend = Tokenizer(models.BPE(vocabulary, merges=[("}", "."), ("}", "}")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<｜end▁of▁sentence｜>", pad_token="<pad>"
    )
    tokenizer.add_tokens(["<think>", "</think>"])
    return tokenizer


@pytest.fixture(scope="module")
def setting():
    """A small reasoner, two integer problems, and a cut and a finished trace."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen3Config(vocab_size=len(tokenizer), num_key_value_heads=1, initializer_range=0.1, **sizes)
    reasoner = Reasoner(Qwen3ForCausalLM(config).eval(), tokenizer, R1_SHORT)
    task = MathTask({"train": [{"question": "1?", "answer": "19"}, {"question": "2?", "answer": "-1,250"}]})
    thought = encode(tokenizer, "a\n\nb\n\nc\n\nWait, d\n\ne")
    traces = []
    for i, problem in enumerate(task.problems["train"]):
        ends = reasoner.cut(thought)
        traces.append(Trace(problem.id, reasoner.prompt(problem.question), thought, ends, finished=bool(i)))
    return reasoner, task, traces


def read_off(reasoner, before, answers):
    """log of the summed probabilities of answers, each with any of its ends, from plain forward passes."""
    total = []
    for answer in answers:
        for end in ("}", *MERGED):
            target = [*encode(reasoner.tokenizer, answer), token_id(reasoner.tokenizer, end)]
            with torch.no_grad():
                logits = reasoner.model(torch.tensor([before + target])).logits[0, len(before) - 1 : -1]
            total.append(logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None]).sum())
    return float(torch.stack(total).logsumexp(0))


def test_the_texts_differ_only_after_the_thought():
    paper, short = R1.forced_answer.split("</think>"), R1_SHORT.forced_answer.split("</think>")
    assert short == [paper[0], "\n\n**Final Answer**\n\\boxed{"]
    assert R1_SHORT.finished_answer == "</think>\n\n**Final Answer**\n\\boxed{"
    assert (R1_SHORT.prompt, R1_SHORT.openers) == (R1.prompt, R1.openers)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("19}", "19"),
        (" 19 }", "19"),
        ("19}.\n", "19"),
        ("18} so \\boxed{19}", "18"),
        ("\\frac{1}{2}}", "\\frac{1}{2}"),
        ("19", ""),
        ("\\frac{1}", ""),
        ("}", ""),
        ("", ""),
    ],
)
def test_the_answer_is_what_stands_before_the_closing_brace(text, answer):
    assert R1_SHORT.parse_answer(text) == answer


def test_exact_values_are_those_of_the_answer_and_its_brace(setting):
    reasoner, task, traces = setting
    exact = ExactProver(reasoner, task).values(task.problems["train"], traces)
    listed = (["19"], ["-1250", "-1,250"])
    for trace, found, answers in zip(traces, exact, listed, strict=True):
        assert trace.n_episodes == 2
        for j in range(3):
            own_end = trace.finished and j == 2
            text = R1_SHORT.finished_answer if own_end else R1_SHORT.forced_answer
            gap = "\n\n" if j == 2 and not own_end else ""
            before = trace.prefix(j) + encode(reasoner.tokenizer, gap + text)
            expected = read_off(reasoner, before, answers)
            assert found.log_value[j] == pytest.approx(expected, abs=1e-4)


def test_sampled_answers_end_at_the_brace_and_are_graded(setting):
    reasoner, task, traces = setting
    for found in SampledProver(reasoner, task, 2, Sampling(4)).values(task.problems["train"], traces):
        assert set(np.unique(found.value)) <= {0.0, 0.5, 1.0}


def test_tokens_that_merge_the_brace_end_an_answer_too(setting):
    reasoner, task, traces = setting
    ends = [i for (i,) in reasoner.answer_ends()]
    assert reasoner.tokenizer.convert_ids_to_tokens(ends) == ["}", *MERGED]
    assert reasoner.answering(Sampling(4)).stop == (*reasoner.answer_ends(), (reasoner.eos_ids[0],))
    assert exact_prover(reasoner, task, task.problems["train"]) is not None
    # Answers that differ in their end alone are read once.
    packed = ExactProver(reasoner, task)._pack(task.problems["train"][0], traces[0])
    read = len(traces[0].prompt_ids) + len(traces[0].thought_ids)
    read += sum(len(reasoner.close(traces[0], j)) + len("19") for j in range(3))
    assert len(packed) == read


def test_exact_values_are_the_share_of_sampled_answers_that_are_right(setting):
    reasoner, _, traces = setting
    task = MathTask({"train": [{"question": "1?", "answer": "1"}]})
    problem = task.problems["train"][0]
    trace = replace(traces[0], problem_id=problem.id)
    (exact,) = exact_prover(reasoner, task, [problem], 3.0).values([problem], [trace])
    (drawn,) = SampledProver(reasoner, task, 4000, Sampling(2, temperature=3.0)).values([problem], [trace])
    assert exact.value == pytest.approx(drawn.value, abs=5 * np.sqrt(exact.value.max() / 4000))
