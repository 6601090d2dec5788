"""Chat models as they come: their template found, ends of several tokens, measured and trained."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import mrt_lib
from mrt_lib.arms.base import Rollout
from mrt_lib.engines import Sampling
from mrt_lib.measure.prover import exact_prover
from mrt_lib.reasoner import Reasoner
from mrt_lib.tasks import MathTask, RootSearch
from mrt_lib.thoughts.episodes import LINES, SENTENCES, cut_at_openers
from mrt_lib.thoughts.templates import BOXED, decode, encode, ending_ids, find_template
from mrt_lib.thoughts.traces import load_traces, save_traces
from mrt_lib.training.supervised import Example, FinetuneConfig, finetune
from mrt_lib.training.updates import token_row
from tools.chat_templates import CHAT_FAMILIES, HEAD, TABLE, row

pytest.importorskip("math_verify")
PLAIN, SWITCH, PIECES = CHAT_FAMILIES[0], CHAT_FAMILIES[1], CHAT_FAMILIES[-1]
OPENED = {"Qwen3, SmolLM3 (thinking switch)": "<think>\n", "Magistral": "[THINK]\n", PIECES.name: "<think>\n"}


@pytest.mark.parametrize("family", CHAT_FAMILIES, ids=lambda family: family.name)
def test_the_prompt_is_the_chat_templates_own(family):
    tokenizer = family.tokenizer()
    asked = [{"role": "user", "content": f"1 + 1?{BOXED}"}]
    own = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    text = own + OPENED.get(family.name, "")
    template = find_template(tokenizer)
    if template.name == "r1":  # leaves the BOS to the tokenizer, which adds it in the real models
        text = text.removeprefix(tokenizer.bos_token)
    assert tokenizer.decode(template.prompt_ids(tokenizer, "1 + 1?")) == text


def test_a_family_with_r1s_end_but_other_turns_is_not_asked_as_r1():
    assert find_template(SWITCH.tokenizer()).name == "chat"


def test_the_shipped_table_is_what_is_found():
    assert TABLE.read_text(encoding="utf-8") == HEAD + "\n".join(map(row, CHAT_FAMILIES)) + "\n"


@pytest.mark.parametrize(
    ("chat_template", "error"),
    [
        (None, "it has no chat template; give a Template"),
        ("{{ raise_exception('no system') }}", r"takes no single question \(no system\)"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "must hold {question} once"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_refused(chat_template, error):
    tokenizer = PLAIN.tokenizer()
    tokenizer.chat_template = chat_template
    with pytest.raises(ValueError, match=error):
        find_template(tokenizer)


def merging_tokenizer():
    """Bytes that merge as those of a real tokenizer do around an end of several tokens."""
    tokenizer = PIECES.tokenizer()
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary, merges = state["model"]["vocab"], state["model"]["merges"]
    for left, right in (("<", "/"), (".", "</"), (">", "Ċ"), (">", "."), ("t", "h")):
        vocabulary[left + right] = 1000 + len(vocabulary)
        merges.append([left, right])
    from tokenizers import Tokenizer

    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    return tokenizer


def test_an_end_of_several_tokens_is_seen_as_a_model_may_write_it():
    tokenizer = merging_tokenizer()
    plain = encode(tokenizer, "</think>")
    found = [tokenizer.decode(ids) for ids in ending_ids(tokenizer, "</think>")]
    assert ending_ids(tokenizer, "</think>")[0] == tuple(plain)
    assert len(plain) > 1
    assert sorted(found) == sorted(["</think>", ".</think>", "</think>\n", ".</think>\n"])
    assert ending_ids(SWITCH.tokenizer(), "</think>") == (
        (SWITCH.tokenizer().convert_tokens_to_ids("</think>"),),
    )


@pytest.fixture(scope="module")
def pieces():
    tokenizer = PIECES.tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=256, **sizes))
    return Reasoner(model, tokenizer)


def thought_of(reasoner, text, finished):
    """A trace of that text, as if it had been sampled."""
    problem = MathTask({"train": [{"question": "1 + 1?", "answer": "2"}]}).problems["train"][0]
    (empty,) = [
        replace(t, thought_ids=[], boundaries=[], finished=False, eos_id=-1, end_ids=[], thought_log_probs=[])
        for t in reasoner.think([problem], Sampling(1))
    ]
    ids = encode(reasoner.tokenizer, text)
    return problem, reasoner.grown(empty, ids, [-0.5] * len(ids), finished)


def test_of_a_thought_that_ended_itself_the_whole_end_is_learnt_and_nothing_is_thought(pieces, tmp_path):
    problem, trace = thought_of(pieces, "So 2</think>", True)
    end = encode(pieces.tokenizer, "</think>")
    assert pieces.tokenizer.decode(trace.thought_ids) == "So 2"
    assert (trace.end_ids, trace.eos_id, trace.end_tokens) == (end, -1, len(end))
    closing = encode(pieces.tokenizer, "</think>\n\n**Final Answer**\n\\boxed{")
    assert pieces.close(trace, trace.n_episodes) == closing
    answer = encode(pieces.tokenizer, "2}")
    answered = replace(trace, answer_ids=answer, answer_log_probs=[-0.1] * len(answer))
    rollout = Rollout(problem, answered, 0, 1.0)
    learnt = token_row(pieces, rollout, np.ones(rollout.tokens))
    assert rollout.tokens == len("So 2") + len(end) + len(answer)
    assert pieces.tokenizer.decode(learnt.ids[learnt.generated]) == "So 2</think>2}"
    save_traces(tmp_path / "t.parquet", [answered])
    assert load_traces(tmp_path / "t.parquet") == [answered]


def test_an_end_of_text_ends_a_thought_too_and_is_kept_apart(pieces):
    _, trace = thought_of(pieces, "So 2<|im_end|>", True)
    assert (trace.eos_id, trace.end_ids) == (256, [256])
    assert pieces.close(trace, trace.n_episodes) != [256]
    forced = pieces.tokenizer.decode(pieces.close(trace, trace.n_episodes))
    assert forced.endswith("</think>\n\n**Final Answer**\n\\boxed{")


@pytest.mark.parametrize(
    ("steps", "min_steps", "expected"),
    [
        (LINES, 1, ["a. b.\n", "c. d\n", "e"]),
        (SENTENCES, 1, ["a. ", "b.\n", "c. ", "d\ne"]),
        (LINES, 2, ["a. b.\nc. d\n", "e"]),
    ],
)
def test_without_openers_every_step_may_open_an_episode(steps, min_steps, expected):
    text = "a. b.\nc. d\ne"
    ends = [0, *cut_at_openers(list(text), (), min_steps, steps)]
    assert [text[a:b] for a, b in pairwise(ends)] == expected


def test_a_step_that_is_empty_at_the_end_opens_nothing():
    assert cut_at_openers(list("a\n\n"), (), 1) == [3]


def test_every_n_tokens(pieces):
    template = replace(pieces.template, episode_tokens=3)
    assert template.cut(pieces.tokenizer, encode(pieces.tokenizer, "abcdefgh")) == [3, 6, 8]


def test_the_finished_answer_begins_with_the_end():
    with pytest.raises(ValueError, match="must begin with think_end, '</think>'"):
        replace(find_template(SWITCH.tokenizer()), finished_answer="so")


# --- a model of each kind, measured and trained by the lines of the README ---


def write_chat_model(folder, family, task):
    """A small Llama that has learnt to guess sums in a chat, with the think tokens of its family."""
    tokenizer = family.tokenizer()
    template = find_template(tokenizer)
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    eos = tokenizer.eos_token_id
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=eos, **sizes))

    def lesson(rng):
        problem = task.sample(rng, 1)[0]
        answer = problem.answer if rng.random() < 0.75 else str(rng.integers(2, 7))
        guesses = [*map(str, rng.integers(2, 7, 2)), answer]
        prompt = template.prompt_ids(tokenizer, problem.question)
        thought = "\n\n".join(
            guesses if not template.openers else ["a\n\nb\n\nc", *(f"Wait {g}\n\nb\n\nc" for g in guesses)]
        )
        forced = template.separator + template.forced_answer
        closings = [forced, template.finished_answer if template.think_end else "<|im_end|>"]
        closing = str(rng.choice(closings))
        written = thought + closing + ("" if closing == "<|im_end|>" else f"{answer}}}")
        ids = tokenizer(written, add_special_tokens=False)["input_ids"]
        return Example(prompt + ids, [False] * len(prompt) + [True] * len(ids))

    def lessons(step):
        rng = np.random.default_rng(step)
        return [lesson(rng) for _ in range(8)]

    finetune(model, lessons, FinetuneConfig(steps=150, learning_rate=5e-3, warmup=10))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", [PLAIN, SWITCH, PIECES], ids=["plain", "think", "pieces"])
def test_it_is_measured_and_trained_in_one_call_each(family, tmp_path):
    rows = [{"question": f"{a}+{b}?", "answer": str(a + b)} for a in range(1, 4) for b in range(1, 4)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(own) + "\n" for own in rows))
    task = MathTask.from_jsonl(tmp_path / "sums.jsonl")
    folder = write_chat_model(tmp_path / "model", family, task)
    options = {"rollouts": 2, "branches": 2, "thinking_tokens": 90, "answer_tokens": 6, "top_k": 20}
    found = mrt_lib.report(folder, task.problems["train"][:4], task, folder=tmp_path / "report", **options)
    assert found.settings["template"] == "chat"
    assert found.settings["values"] == "sampled"
    assert found.number("episodes").value > 1.5
    assert found.number("finished_share").value > 0
    reasoner = Reasoner.load(folder)
    sizes = {"steps": 1, "prompts": 2, "group": 2, "thinking_tokens": 90, "answer_tokens": 6}
    config = mrt_lib.TrainConfig(**sizes, lora=mrt_lib.TrainConfig().lora)
    arm = mrt_lib.MRTOnline(branches=2)
    mrt_lib.train(reasoner, task, arm, tmp_path / "run", config=config)
    reasoner.save(tmp_path / "adapter")
    assert Reasoner.load(tmp_path / "adapter", base=folder).template == reasoner.template


def test_a_report_from_thoughts_that_are_there(tmp_path):

    problems = RootSearch(31).problems["test"][:2]
    reasoner = Reasoner.load("data/models/base")
    thoughts = reasoner.think([p for p in problems for _ in range(2)], Sampling(30, seed=3))
    rows = [
        {
            "problem": t.problem_id,
            "thought": decode(reasoner.tokenizer, t.thought_ids),
            "finished": t.finished,
        }
        for t in thoughts
    ]
    path = tmp_path / "thoughts.jsonl"
    path.write_text("".join(json.dumps(own) + "\n" for own in rows))
    given = mrt_lib.report(reasoner, problems, branches=2, thoughts=path)
    straight = mrt_lib.report(reasoner, problems, branches=2, thoughts=thoughts)
    assert given.settings["rollouts"] == 2
    assert given.number("final_accuracy").value == straight.number("final_accuracy").value
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(ValueError, match="as many thoughts about each problem"):
        mrt_lib.report(reasoner, problems, thoughts=path)
    path.write_text(json.dumps({"problem": "x", "thought": "try"}) + "\n")
    with pytest.raises(ValueError, match=r"thoughts\.jsonl:1: needs the id of a problem"):
        mrt_lib.report(reasoner, problems, thoughts=path)


# --- faults that a stranger's reading found ---


def test_an_answer_that_its_end_would_cut_is_refused_and_one_without_an_end_is_read_whole(pieces):
    task = MathTask(
        {"train": [{"question": "1?", "answer": "\\frac{1}{2}"}, {"question": "2?", "answer": "3"}]}
    )
    with pytest.raises(
        ValueError, match=r"answer_end '}' would cut the answer .*; give a template with answer_end=''"
    ):
        mrt_lib.report(pieces, task.problems["train"], task)
    open_ended = Reasoner(pieces.model, pieces.tokenizer, replace(pieces.template, answer_end=""))
    assert open_ended.answering(Sampling(4)).stop == ((256,),)
    assert exact_prover(open_ended, task, task.problems["train"]) is None
    assert open_ended.read(encode(pieces.tokenizer, "\\frac{1}{2}}. So")) == "\\frac{1}{2}"


def test_an_unboxed_answer_is_read_to_its_end_and_no_foreign_text_counts(pieces):
    template = replace(pieces.template, boxed_answer=False, answer_end=".")
    own = Reasoner(pieces.model, pieces.tokenizer, template)
    assert own.read(encode(pieces.tokenizer, "12.")) == "12"
    tokenizer = merging_tokenizer()
    assert {ids[0] for ids in ending_ids(tokenizer, "</think>", True)} == {encode(tokenizer, "</think>")[0]}


DATED = PLAIN.chat_template.replace(
    "{% for m", "Today: {{ strftime_now('%d %b %Y') }} {{ date_string }}\n{% for m", 1
)


def test_a_prompt_is_the_same_tomorrow():
    tokenizer = PLAIN.tokenizer()
    tokenizer.chat_template = DATED
    assert "Today: 01 Jan 2025 01 Jan 2025\n" in find_template(tokenizer).prompt


def test_a_prompt_that_closes_the_thought_is_refused():
    tokenizer = SWITCH.tokenizer()
    tokenizer.chat_template = f"{PLAIN.chat_template}{{{{ '</think>' }}}}"
    with pytest.raises(ValueError, match="closes the thought before it begins"):
        find_template(tokenizer)


def test_a_chat_model_with_the_testbeds_tokens_is_no_testbed():
    tokenizer = replace(SWITCH, special=(*SWITCH.special, "<eos>", "try")).tokenizer()
    assert find_template(tokenizer).name == "chat"
    tokenizer.chat_template = None
    assert find_template(tokenizer).name == "testbed"


def test_thoughts_with_their_end_in_them_or_about_other_prompts_are_refused(tmp_path):
    problems = RootSearch(31).problems["test"][:2]
    reasoner = Reasoner.load("data/models/base")
    path = tmp_path / "thoughts.jsonl"
    path.write_text(json.dumps({"problem": problems[0].id, "thought": "try 1 </think> 1"}) + "\n")
    with pytest.raises(ValueError, match=r"a thought ends before its '</think>'"):
        mrt_lib.report(reasoner, problems, thoughts=path)
    other = [replace(t, prompt_ids=[5]) for t in reasoner.think(problems, Sampling(8))]
    with pytest.raises(ValueError, match="other prompts"):
        mrt_lib.report(reasoner, problems, thoughts=other)
