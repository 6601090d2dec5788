"""The packed pass equals one pass per prefix; sampled values agree with exact ones."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mrt_lib.engines import Sampling
from mrt_lib.measure.prover import ExactProver, SampledProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import Problem, RootSearch
from mrt_lib.thoughts.templates import TESTBED, encode
from mrt_lib.thoughts.traces import Trace
from recipes.reference import SeparateProver
from recipes.root_search.base import build_tokenizer
from recipes.root_search.explorers import explore, random_guess, thought_text

TOKENIZER = build_tokenizer()
TASK = RootSearch(31)
SIZES = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
}
ARCHITECTURES = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config),
    "llama": (LlamaForCausalLM, LlamaConfig),
}


@dataclass(frozen=True)
class SeveralAnswers:
    """Every problem has three right answers of one to three tokens; one is listed twice."""

    name: str = "several"

    def sample(self, rng, n, split="train"):
        return TASK.sample(rng, n, split)

    def score(self, problem, answer_text):
        return float(answer_text in self.answers(problem))

    def answers(self, problem):
        return ("3", "1 2", "4 5 6", "3")

    def optimal_values(self, episodes):
        return None


@dataclass(frozen=True)
class Fixed(SeveralAnswers):
    """A task whose listing of right answers is whatever the test says."""

    listed: tuple[str, ...] | None = None

    def answers(self, problem):
        return self.listed


def test_answers_of_the_same_tokens_count_once():
    reasoner, problem = reasoner_of("qwen2"), TASK.problems["train"][0]
    trace = Trace(problem.id, reasoner.prompt(problem.question), [], [], False)
    once, twice = (
        ExactProver(reasoner, Fixed(listed=listed)).values([problem], [trace])[0]
        for listed in (("3",), ("3", " 3"))
    )
    assert twice.value == pytest.approx(once.value)


def reasoner_of(architecture: str, attention: str = "sdpa") -> Reasoner:
    torch.manual_seed(0)
    model_class, config_class = ARCHITECTURES[architecture]
    model = model_class(config_class(**SIZES)).eval()
    model.set_attn_implementation(attention)
    return Reasoner(model, TOKENIZER, TESTBED)


def some_traces(n: int = 6, seed: int = 0) -> tuple[list[Problem], list[Trace]]:
    """Traces of 0 .. n - 1 episodes, every other one finished by the model itself."""
    rng = np.random.default_rng(seed)
    problems = TASK.sample(rng, n)
    traces = []
    for i, problem in enumerate(problems):
        thought = encode(TOKENIZER, thought_text(TASK, explore(TASK, problem, random_guess, i, rng)))
        prompt, ends = TESTBED.prompt_ids(TOKENIZER, problem.question), TESTBED.cut(TOKENIZER, thought)
        traces.append(Trace(problem.id, prompt, thought, ends, finished=i % 2 == 0))
    return problems, traces


def largest_gap(reasoner, task=TASK, temperature=1.0, batch_tokens=8192) -> float:
    problems, traces = some_traces()
    exact = ExactProver(reasoner, task, temperature, batch_tokens)
    separate = SeparateProver(reasoner, task, temperature)
    pairs = zip(exact.values(problems, traces), separate.values(problems, traces), strict=True)
    gaps = [np.abs(a.value - b.value).max() + np.abs(a.log_value - b.log_value).max() for a, b in pairs]
    return float(max(gaps))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("batch_tokens", [1, 8192], ids=["unpadded", "padded"])
def test_packed_equals_separate(architecture, attention, batch_tokens):
    assert largest_gap(reasoner_of(architecture, attention), batch_tokens=batch_tokens) < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_equals_separate_with_lora_on_and_off(architecture):
    from peft import LoraConfig, get_peft_model

    plain = reasoner_of(architecture)
    problems, traces = some_traces()
    before = ExactProver(plain, TASK).values(problems, traces)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = Reasoner(get_peft_model(plain.model, lora).eval(), TOKENIZER, TESTBED)
    assert largest_gap(adapted) < 1e-5
    on = ExactProver(adapted, TASK).values(problems, traces)
    with adapted.model.disable_adapter():
        off = ExactProver(adapted, TASK).values(problems, traces)
        assert largest_gap(adapted) < 1e-5
    assert all(np.allclose(a.log_value, b.log_value, atol=1e-5) for a, b in zip(before, off, strict=True))
    assert not np.allclose(on[-1].log_value, off[-1].log_value, atol=1e-2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_several_answers_of_several_tokens(temperature):
    assert largest_gap(reasoner_of("qwen3"), SeveralAnswers(), temperature) < 1e-5


def test_value_is_a_probability_by_the_chain_rule():
    """J of one answer = p(answer | prefix, forced) p(end | ..., answer), read off a plain forward pass."""
    reasoner = reasoner_of("qwen3")
    problems, traces = some_traces()
    value = ExactProver(reasoner, TASK).values(problems, traces)[-1].value[2]
    problem, prefix = problems[-1], traces[-1].prefix(2)
    answer = encode(TOKENIZER, f"{problem.answer} <eos>")
    ids = prefix + encode(TOKENIZER, "time up </think>") + answer
    with torch.no_grad():
        probabilities = reasoner.model(torch.tensor([ids])).logits[0].softmax(-1)
    expected = probabilities[-3, answer[0]] * probabilities[-2, answer[1]]
    assert value == pytest.approx(float(expected), rel=1e-4)


def test_batch_split_and_training_mode():
    problems, traces = some_traces()
    reasoner = reasoner_of("qwen2")
    reasoner.model.train()
    prover = ExactProver(reasoner, TASK)
    whole = prover.values(problems, traces)
    single = [prover.values([p], [t])[0] for p, t in zip(problems, traces, strict=True)]
    assert reasoner.model.training
    for a, b in zip(whole, single, strict=True):
        np.testing.assert_allclose(a.value, b.value, atol=1e-6)
        assert a.tokens == b.tokens


def test_errors_say_what_would_be_right():
    problems, traces = some_traces()
    reasoner = reasoner_of("qwen2")
    with pytest.raises(ValueError, match="SampledProver"):
        ExactProver(reasoner, Fixed(listed=None)).values(problems, traces)
    with pytest.raises(ValueError, match="empty set of right answers"):
        ExactProver(reasoner, Fixed(listed=())).values(problems, traces)
    with pytest.raises(ValueError, match="no token for a part"):
        ExactProver(reasoner, Fixed(listed=("seven",))).values(problems, traces)
    with pytest.raises(ValueError, match="paired with problem"):
        ExactProver(reasoner, TASK).values(problems[::-1], traces)
    with pytest.raises(ValueError, match="temperature"):
        ExactProver(reasoner, TASK, temperature=0)
    with pytest.raises(ValueError, match="branches"):
        SampledProver(reasoner, TASK, 0, Sampling(2))
    thought = traces[-1].thought_ids * 12
    long = replace(traces[-1], thought_ids=thought, boundaries=TESTBED.cut(TOKENIZER, thought))
    with pytest.raises(ValueError, match="context is 512"):
        ExactProver(reasoner, TASK).values(problems[-1:], [long])


def test_sampled_values_agree_with_exact_ones_on_200_problems():
    """Over all prefixes of 200 traces the sampled mean is unbiased and its variance binomial."""
    reasoner, branches = Reasoner.load("data/models/base"), 8
    rng = np.random.default_rng(0)
    problems = TASK.sample(rng, 200, "test")
    traces = []
    for problem in problems:
        trials = explore(TASK, problem, random_guess, int(rng.integers(0, 5)), rng)
        thought = encode(reasoner.tokenizer, thought_text(TASK, trials))
        prompt, ends = reasoner.prompt(problem.question), reasoner.cut(thought)
        traces.append(Trace(problem.id, prompt, thought, ends, finished=False))
    provers = ExactProver(reasoner, TASK), SampledProver(reasoner, TASK, branches, Sampling(2))
    exact, sampled = (np.concatenate([v.value for v in p.values(problems, traces)]) for p in provers)
    variance = exact * (1 - exact) / branches
    assert len(exact) > 400
    assert abs((sampled - exact).mean()) < 2.58 * np.sqrt(variance.sum()) / len(exact)
    assert ((sampled - exact) ** 2).sum() == pytest.approx(variance.sum(), rel=0.2)
