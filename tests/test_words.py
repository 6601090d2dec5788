"""Problems and thoughts in words: verifiers, tries by hand, what the warm start learns."""

from collections import Counter
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from mrt_lib.measure.prover import ExactProver
from mrt_lib.reasoner import Reasoner
from mrt_lib.thoughts.templates import encode, token_id
from mrt_lib.thoughts.traces import Trace
from mrt_lib.training.lora import LoraSettings
from mrt_lib.training.supervised import FinetuneConfig
from recipes.words import warm_start
from recipes.words.checks import perfect_values
from recipes.words.examples import Weights, batch_loss, example
from recipes.words.model import language_model
from recipes.words.search import Equation, Letters, ListedEquation, PairSum, explore, read_tries
from recipes.words.stories import Story
from recipes.words.text import WORDS
from recipes.words.warm_start import FAMILIES, WarmStart, lessons, warm

ALL = (*FAMILIES, ListedEquation(), PairSum(8, 20), Equation(25, 9), Letters(12), Story(60))


@pytest.fixture(scope="module")
def tokenizer():
    try:
        return AutoTokenizer.from_pretrained(language_model())
    except ConnectionError as error:
        pytest.skip(f"no registry: {error}")


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_problems_are_sound_and_their_splits_apart(family):
    questions = Counter(p.question for problems in family.problems.values() for p in problems)
    assert set(questions.values()) == {1}
    for problems in family.problems.values():
        assert len(problems) > 50
        for problem in problems[:50]:
            candidates = family.candidates(problem)
            assert len(set(candidates)) == len(candidates)
            right = [text for text in candidates if family.score(problem, text)]
            assert right == [problem.answer]
            assert all(family.score(problem, f" {text}\n") for text in family.answers(problem))
            assert not any(family.score(problem, text) for text in ("", "x", f"{problem.answer} or so"))
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        family.sample(np.random.default_rng(0), 1, "dev")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 0.9))
def test_what_an_explorer_writes_reads_back_and_never_rules_out_the_answer(family, seed, careful, after):
    rng = np.random.default_rng(seed)
    problem = family.sample(rng, 1)[0]
    tries = explore(family, problem, careful, 8, after, rng)
    thought = "".join(one.text for one in tries)
    assert read_tries(family, problem, thought) == [(one, True) for one in tries]
    assert all(set(family.answers(problem)) & set(one.left) for one in tries)
    found = [one.found for one in tries]
    assert all(len(one.left) == 1 for one in tries[found.index(True) :]) if True in found else True
    values = perfect_values(family, problem, thought)
    assert values == sorted(values)


def test_tries_by_hand():
    def texts(family, problem, guesses):
        left, found = family.candidates(problem), []
        for guess in guesses:
            found.append(family.attempt(problem, guess, left))
            left = found[-1].left
        return [one.text.strip() for one in found], [len(one.left) for one in found]

    pair = PairSum()._problem("?", "5 and 9", numbers="5, 2, 9, 7, 1, 20", target=14)
    assert texts(PairSum(), pair, ["5 and 2", "7", "5"]) == (
        ["Try 5 and 2: 5 + 2 = 7, no.", "Try 7: 14 - 7 = 7, not there.", "Try 5: 14 - 5 = 9, found."],
        [14, 9, 1],
    )
    equation = Equation()._problem("?", "12", a=7, b=4, target=88)
    assert texts(Equation(), equation, ["8", "14", "9", "12"]) == (
        [
            "Try 8: 56 + 4 = 60, 88 is more, 9 to 15 left.",
            "Try 14: 98 + 4 = 102, 88 is less, 9 to 13 left.",
            "Try 9: 63 + 4 = 67, 88 is more, 10 to 13 left.",
            "Try 12: 84 + 4 = 88, 88 is found.",
        ],
        [7, 5, 4, 1],
    )
    letters = Letters()._problem("?", "Ann", letters="Ann>Ben Ben>Tom Tom>Kim Kim>Ann", target="Tom")
    assert texts(Letters(), letters, ["Kim", "Ann"]) == (
        [
            "Try Kim: Kim writes to Ann, Ann writes to Ben, Tom is missed.",
            "Try Ann: Ann writes to Ben, Ben writes to Tom, Tom is found.",
        ],
        [3, 1],
    )
    story = Story()._problem("?", "8", reading="7 plus 5 minus 4", verbs="buys, uses up")
    assert texts(Story(), story, ["7 minus 5 minus 4", "7 plus 5 plus 4", "7 plus 5 minus 4"]) == (
        [
            "Try 7 minus 5 minus 4: buys is plus, no.",
            "Try 7 plus 5 plus 4: buys is plus, uses up is minus, no.",
            "Try 7 plus 5 minus 4: buys is plus, uses up is minus, 7 + 5 = 12, 12 - 4 = 8, found.",
        ],
        [2, 1, 1],
    )
    assert Story().candidates(story) == ("16", "8", "6", "-2")


@pytest.mark.parametrize(
    "line",
    ["Try 8: 56 + 4 = 61, 88 is more, 9 to 15 left.", "Try 8: 56 + 4 = 60, 88 is less, 1 to 7 left."],
)
def test_a_wrong_line_has_form_and_is_not_right(line):
    equation = Equation()._problem("?", "12", a=7, b=4, target=88)
    ((one, right),) = read_tries(Equation(), equation, line)
    assert one is not None
    assert not right
    assert perfect_values(Equation(), equation, line) == [1 / 15]


MADE_UP = [
    (PairSum(), {"numbers": "5, 2, 9", "target": 14}, "5 and 9", "Try 12: 14 - 12 = 2, found."),
    (PairSum(), {"numbers": "5, 2, 9", "target": 14}, "5 and 9", "Try 6 and 8: 6 + 8 = 14, found."),
    (PairSum(), {"numbers": "5, 2, 9", "target": 10}, "5 and 5", "Try 5 and 5: 5 + 5 = 10, found."),
    (Equation(), {"a": 2, "b": 1, "target": 9}, "4", "Try 20: 40 + 1 = 41, 9 is less, 1 to 15 left."),
    (
        Letters(),
        {"letters": "Ann>Ben Ben>Tom Tom>Ann", "target": "Tom"},
        "Ann",
        "Try Max: Max writes to nobody, nobody writes to nobody, Tom is missed.",
    ),
    (
        Story(),
        {"reading": "7 plus 5 minus 4", "verbs": "buys, sells"},
        "8",
        "Try 9 plus 2 minus 1: buys is plus, sells is minus, 9 + 2 = 11, 11 - 1 = 10, found.",
    ),
]


@pytest.mark.parametrize(("family", "facts", "answer", "line"), MADE_UP, ids=lambda x: str(x)[:20])
def test_a_guess_that_the_problem_does_not_offer_is_never_right(family, facts, answer, line):
    problem = family._problem("?", answer, **facts)
    before = 1 / len(family.candidates(problem))
    ((one, right),) = read_tries(family, problem, f"{line}\n")
    assert one is not None
    assert not right
    assert not one.found
    assert perfect_values(family, problem, f"{line}\n") == [before]


@pytest.mark.parametrize("line", ["Try 8 or 9: 3.", "", "Answer: 8", "Try 8: 56 + 4 = 60, 88 is more"])
def test_a_line_without_form(line):
    equation = Equation()._problem("?", "12", a=7, b=4, target=88)
    assert [one for one, _ in read_tries(Equation(), equation, f"{line}\n")] in ([None], [])


def test_lessons_are_a_function_of_seed_and_step(tokenizer):
    one, same, other = (lessons(tokenizer, WarmStart(), FAMILIES, 0, step) for step in (3, 3, 4))
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(one, same, strict=True))
    assert any(a.ids.shape != b.ids.shape or (a.ids != b.ids).any() for a, b in zip(one, other, strict=True))


def test_a_forced_answer_shares_its_loss_among_what_is_left(tokenizer):
    equation = Equation()._problem("Which?", "12", a=7, b=4, target=88)
    tries = [Equation().attempt(equation, "8", Equation().candidates(equation))]
    weights = Weights(guess=1.0, check=3.0, forced=2.0)
    found = example(tokenizer, Equation(), equation, tries, False, True, weights, np.random.default_rng(0))
    text = [tokenizer.decode([i]) for i in found.targets]
    first_answer = [(t, round(float(w), 4)) for t, w in zip(text, found.weights, strict=True)]
    # Before the first try 1 .. 15: seven of fifteen begin with another digit than 1.
    start = len(encode(tokenizer, tries[0].text))
    assert ("1", round(2 * 7 / 15, 4)) in first_answer[start:]
    assert ("9", round(2 * 1 / 15, 4)) in first_answer[start:]
    # After it 9 .. 15.
    assert ("9", round(2 / 7, 4)) in first_answer[start:]
    after = encode(tokenizer, tries[0].text).index(token_id(tokenizer, ":"))
    assert found.weights[:start].tolist() == [1.0] * (after + 1) + [3.0] * (start - after - 1)


@pytest.fixture(scope="module")
def tiny(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), eos_token_id=2, initializer_range=0.1, **sizes)
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation("eager")
    return Reasoner(model, tokenizer, WORDS)


def test_the_packed_loss_is_that_of_one_sequence_for_every_prefix(tiny):
    rng = np.random.default_rng(1)
    batch, expected, even = [], 0.0, Weights(1.0, 1.0, 1.0)
    for family in FAMILIES:
        problem = family.sample(rng, 1)[0]
        tries = explore(family, problem, 0.5, 3, 0.2, rng)
        state = rng.bit_generator.state
        batch.append(example(tiny.tokenizer, family, problem, tries, True, True, even, rng))
        rng.bit_generator.state = state
        left = [family.candidates(problem), *(one.left for one in tries)]
        answers = [own[rng.integers(len(own))] for own in left]
        prompt = tiny.prompt(problem.question)
        thought = [encode(tiny.tokenizer, one.text) for one in tries]
        forced = encode(tiny.tokenizer, WORDS.forced_answer)
        for j, answer in enumerate(answers):
            before = prompt + [i for line in thought[:j] for i in line]
            ids = before + forced + [*encode(tiny.tokenizer, answer), 2]
            with torch.no_grad():
                log_probs = tiny.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            spelt = [[*encode(tiny.tokenizer, text), 2] for text in left[j]]
            own = ids[len(before) + len(forced) :]
            for i in range(len(own)):
                going = [s[i] for s in spelt if s[:i] == own[:i]]
                place = len(before) + len(forced) + i - 1
                expected -= float(np.mean([float(log_probs[place, t]) for t in going]))
        whole = prompt + [i for line in thought for i in line] + forced[:1]
        with torch.no_grad():
            log_probs = tiny.model(torch.tensor([whole])).logits[0].log_softmax(-1)
        expected -= sum(float(log_probs[t - 1, whole[t]]) for t in range(len(prompt), len(whole)))
    with torch.no_grad():
        assert float(batch_loss(tiny.model, batch)) == pytest.approx(expected, rel=1e-4)


def test_values_are_exact_and_a_pair_counts_in_both_orders(tiny):
    problem = PairSum()._problem(
        "Which two of the numbers 5, 9 add up to 14?", "5 and 9", numbers="5, 9", target=14
    )
    trace = Trace(problem.id, tiny.prompt(problem.question), [], [], False)
    (found,) = ExactProver(tiny, PairSum()).values([problem], [trace])
    total = 0.0
    for answer in ("5 and 9", "9 and 5"):
        own = [*encode(tiny.tokenizer, answer), 2]
        before = trace.prompt_ids + encode(tiny.tokenizer, WORDS.forced_answer)
        with torch.no_grad():
            log_probs = tiny.model(torch.tensor([before + own])).logits[0].log_softmax(-1)
        total += np.exp(sum(float(log_probs[len(before) + i - 1, t]) for i, t in enumerate(own)))
    assert found.value[0] == pytest.approx(total, rel=1e-4)


def test_a_second_stage_goes_on_from_the_first(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_start, "load_words", lambda *_: deepcopy(tiny))
    config = FinetuneConfig(steps=1, learning_rate=1e-2, warmup=0, micro_batch_tokens=600)
    recipe = WarmStart(batch=4, lora=LoraSettings(2, 4), config=config)
    warm(recipe, tmp_path / "run_0", tmp_path / "first")
    still = replace(recipe, config=replace(config, learning_rate=1e-12))
    warm(still, tmp_path / "run_1", tmp_path / "second", 1, tmp_path / "first")
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(weight.any() for name, weight in one.items() if "lora_B" in name)
    assert "a first stage of 1 steps, 4 thoughts" in (tmp_path / "second" / "README.md").read_text()


def test_a_first_stage_of_another_shape_or_base_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(warm_start, "load_words", lambda *_: deepcopy(tiny))
    config = FinetuneConfig(steps=1, learning_rate=1e-2, warmup=0, micro_batch_tokens=600)
    recipe = WarmStart(batch=4, lora=LoraSettings(2, 4), config=config)
    warm(recipe, tmp_path / "run", tmp_path / "first")
    wider = replace(recipe, lora=LoraSettings(4, 8))
    with pytest.raises(ValueError, match="another shape"):
        warm(wider, tmp_path / "other", tmp_path / "second", 1, tmp_path / "first")
    other = deepcopy(tiny)
    other.model.model.norm.weight.data += 1
    monkeypatch.setattr(warm_start, "load_words", lambda *_: other)
    with pytest.raises(ValueError, match="another base"):
        warm(recipe, tmp_path / "other", tmp_path / "second", 1, tmp_path / "first")
    assert not (tmp_path / "second").exists()


def test_a_finished_warm_start_is_not_written_over(capsys):
    with pytest.raises(SystemExit):
        warm_start.main([])
    assert "exists; move it away" in capsys.readouterr().err
