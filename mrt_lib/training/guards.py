"""What a run is told before it learns, and what stops it early: a budget that cannot be right, the user."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from mrt_lib.arms.base import Policy, Rollout
from mrt_lib.arms.credit import mixed_groups
from mrt_lib.reasoner import Reasoner
from mrt_lib.thoughts.templates import ending_ids

FEW = 0.05


def check_budget(policy: Policy, rollouts: Sequence[Rollout], horizon: int | None) -> None:
    """ValueError if the thinking budget does not go with the horizon of the run, in episodes.

    Most thoughts must end within the horizon, if one counts: what comes after it earns nothing. And some must
    have a second episode, which is seen from thoughts that are a few tokens longer.
    """
    budget, episodes = policy.thinking.max_new_tokens, [r.trace.n_episodes for r in rollouts]
    if horizon is not None and np.median(episodes) > horizon:
        more = f"most thoughts of up to {budget} tokens have more than episodes={horizon}, the horizon,"
        way = f"set episodes={max(episodes)}, their most, or a smaller thinking_tokens"
        raise ValueError(f"{more} after which nothing is earned: {way}")
    thoughts = [r for r in rollouts if not r.stopped]
    if not thoughts or any(r.trace.n_episodes > 1 or len(r.trace.thought_ids) < budget for r in thoughts):
        return
    longer = replace(policy.thinking, max_new_tokens=budget + 8)
    probe = policy.reasoner.think([r.problem for r in thoughts], longer)
    policy.tokens["policy"] += sum(len(t.thought_log_probs) for t in probe)
    if all(t.n_episodes < 2 or t.boundaries[0] > budget for t in probe):
        cut = "every thought was cut inside its first episode"
        raise ValueError(f"{cut}: thinking_tokens={budget} is less than one episode, raise it")


def check_ends(reasoner: Reasoner) -> None:
    """Warn of an end whose output row other tokens share, as reserved ones do that were never trained."""
    rows = reasoner.model.get_output_embeddings().weight.detach()
    for text in (reasoner.template.think_end, reasoner.template.answer_end):
        end = next(iter(ending_ids(reasoner.tokenizer, text)), ())
        if len(end) == 1 and (n := int((rows == rows[end[0]]).all(1).sum()) - 1):
            one = f"the end {text!r} has the output row of {n} other tokens: spell it with others (Template)"
            warnings.warn(one, stacklevel=3)


def announce(rollouts: Sequence[Rollout]) -> None:
    """Print what the first rollouts have to teach; warn where fewer than a twentieth of them do."""
    mixed, ended = mixed_groups(rollouts), [r.trace.finished for r in rollouts if not r.stopped]
    print(
        f"before the first update: {sum(mixed)} of {len(mixed)} groups are mixed, "
        f"{sum(ended)} of {len(ended)} thoughts ended within the budget"
    )
    if np.mean(mixed) < FEW:
        few = f"{sum(mixed)} of {len(mixed)} groups are mixed, so the outcome can teach nothing: take easier"
        way = "a larger group or thinking_tokens, or an arm with exact values (MRTExact, GRPOExact)"
        warnings.warn(f"{few} problems, {way}", stacklevel=2)
    if ended and np.mean(ended) < FEW:
        few = f"{sum(ended)} of {len(ended)} thoughts ended by themselves, so nothing is learnt about when to"
        way = "raise thinking_tokens, or check the template's end of a thought"
        warnings.warn(f"{few} end: {way}", stacklevel=2)


def conclude(log: Sequence[Mapping[str, float]]) -> None:
    """Print how many of the tokens to learn from had no gradient, over all steps that reinforced."""
    credited, idle = (sum(row.get(f"{name}_tokens", 0) for row in log) for name in ("credited", "idle"))
    if credited:
        print(f"{idle:,} of {credited:,} tokens to learn from had no gradient ({idle / credited:.0%})")


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C (or a notebook's stop button) back until the yielded function is called.

    That raises the KeyboardInterrupt that came meanwhile; a second one is raised at once. Outside the main
    thread, where Python delivers no signals, nothing is held back.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def hold(number: int, _frame: object) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, previous)

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
