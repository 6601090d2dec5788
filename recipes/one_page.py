"""All of MRT on one page, top to bottom: think, value every prefix, credit progress, update.

What it leaves out, and where the library has it: exact values in one packed pass instead of one pass per
prefix and answer (`measure/packing.py`), LoRA and the merged copy that samples (`training/lora.py`), batches
of tokens instead of rollouts one by one, clipping, KL, other losses (`training/losses.py`), warm-up and
cosine, sampled values and stale prefixes (`arms/mrt.py`), checkpoints, logs and guards (`training/loop.py`).
A test shows that its first step gives the library's gradient.

    python -m recipes.one_page          # twenty steps on the shipped base reasoner: a few minutes
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mrt_lib.tasks import RootSearch

BASE, TASK = "data/models/base", RootSearch(31)
GROUP, PROMPTS, STEPS, RATE = 8, 8, 20, 1e-4
EPISODES, TOKENS = 4, 44  # horizon, and the budget of a thought in tokens: 11 an episode
ALPHA = 2.0  # weight of progress against the outcome


def words(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def think(model, tokenizer, prompt, rng):
    """One thought, token by token, to its own end or the budget: tokens, and whether it ended itself."""
    (end,), thought = words(tokenizer, "</think>"), []
    while len(thought) < TOKENS:
        logits = model(torch.tensor([prompt + thought])).logits[0, -1].double()
        token = int(np.searchsorted(logits.softmax(-1).cumsum(-1).numpy(), rng.random()))
        if token == end:
            return thought, True
        thought.append(token)
    return thought, False


def cut(tokenizer, thought):
    """Where episodes end, in tokens: every "try" opens one."""
    (marker,) = words(tokenizer, "try")
    opens = [i for i, token in enumerate(thought) if token == marker]
    return [*opens[1:], len(thought)] if thought else []


@torch.no_grad()
def value(model, tokenizer, problem, prefix, finished):
    """J: the probability of the right answer when thinking is ended here (the meta-prover mu)."""
    closing = words(tokenizer, "</think>" if finished else "time up </think>")
    answer = words(tokenizer, f"{problem.answer} <eos>")
    ids = prefix + closing + answer
    log_probs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    places = range(len(ids) - len(answer) - 1, len(ids) - 1)
    return float(sum(log_probs[place, ids[place + 1]] for place in places).exp())


def progress(values):
    """The paper's: what every episode adds to J (Definition 6.1)."""
    return np.diff(values)


def regret_to_go(values):
    """How far the rest of the horizon lies above J_e on average: the policy gradient of regret."""
    kept = np.append(values, [values[-1]] * EPISODES)[: EPISODES + 1]
    episodes = range(len(values) - 1)
    return np.array([np.mean(kept[e + 1 :] - kept[e]) if e < EPISODES else 0.0 for e in episodes])


def collect(model, tokenizer, problem, rng):
    """A group of thoughts about one problem, each cut into episodes and valued at every prefix."""
    prompt, group = words(tokenizer, f"solve {problem.question} <think>"), []
    for _ in range(GROUP):
        thought, finished = think(model, tokenizer, prompt, rng)
        ends = [0, *cut(tokenizer, thought)]
        last = len(ends) - 1
        values = [
            value(model, tokenizer, problem, prompt + thought[:end], finished and j == last)
            for j, end in enumerate(ends)
        ]
        group.append((prompt, thought, finished, ends, values))
    return group


def advantages(group, rule):
    """One number per generated token: J of the whole thought, and ALPHA times the credit of its episode.

    Both are compared with the group: outcomes with their mean, credits with those of the same episode.
    """
    outcomes = np.array([values[-1] for *_, values in group])
    outcomes = (outcomes - outcomes.mean()) / (outcomes.std(ddof=1) + 1e-4)
    credits = [[*rule(np.array(values)), *([0.0] if finished else [])] for _, _, finished, _, values in group]
    found = []
    for outcome, own, (_, _, finished, ends, _) in zip(outcomes, credits, group, strict=True):
        rivals = [[c[e] for c in credits if e < len(c)] for e in range(len(own))]
        paid = [outcome + ALPHA * (c - np.mean(r)) for c, r in zip(own, rivals, strict=True)]
        lengths = [*np.diff(ends), *([1] if finished else [])]
        found.append(np.repeat(paid, lengths))
    return found


def update(model, tokenizer, optimizer, groups, rule):
    """One step up the policy gradient: every generated token's log-probability times its advantage."""
    credited = [pair for g in groups for pair in zip(g, advantages(g, rule), strict=True)]
    tokens = sum(len(own) for _, own in credited)
    optimizer.zero_grad()
    for (prompt, thought, finished, _, _), own in credited:
        ids = prompt + thought + (words(tokenizer, "</think>") if finished else [])
        log_probs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        chosen = log_probs[range(len(ids) - 1), ids[1:]][len(prompt) - 1 :]
        (-(chosen * torch.tensor(own, dtype=chosen.dtype)).sum() / tokens).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def main(rule=regret_to_go):
    """Train for some steps; prints J at the end of thought, which rises."""
    tokenizer, model = AutoTokenizer.from_pretrained(BASE), AutoModelForCausalLM.from_pretrained(BASE)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.0)
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        problems = TASK.sample(rng, PROMPTS)
        groups = [collect(model, tokenizer, problem, rng) for problem in problems]
        update(model, tokenizer, optimizer, groups, rule)
        ends = [values[-1] for g in groups for *_, values in g]
        print(f"step {step}: J {np.mean(ends):.3f}")


if __name__ == "__main__":
    main()
