import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mrt_lib.measure.progress import log_progress, progress, regret_to_go, to_tokens
from mrt_lib.measure.regret import area, cumulative_regret

traces = st.lists(st.floats(0, 1), min_size=1, max_size=12)
spare = st.integers(0, 5)


def test_progress_by_hand():
    assert progress([0.25, 0.5, 0.5, 0.125]).tolist() == [0.25, 0, -0.375]
    assert progress([0.5]).shape == (0,)


@given(traces)
def test_progress_telescopes(values):
    assert math.isclose(progress(values).sum(), values[-1] - values[0], abs_tol=1e-12)


def test_log_progress_is_nats():
    assert log_progress(np.log([0.25, 0.5, 1.0])) == pytest.approx([math.log(2)] * 2)


def test_regret_to_go_by_hand():
    # J = .25 .5 1, kept at 1 up to the horizon of 4: means of (.25 .75 .75 .75) and (.5 .5 .5)
    assert regret_to_go([0.25, 0.5, 1], horizon=4) == pytest.approx([0.625, 0.5])
    assert regret_to_go([0.25, 0.5, 1], horizon=2) == pytest.approx([0.5, 0.5])
    assert regret_to_go([0.25], horizon=3).shape == (0,)


@given(traces, spare)
def test_regret_to_go_is_the_mean_it_says(values, extra):
    k = len(values) - 1
    kept = np.append(values, [values[-1]] * (extra + 1))
    budget = k + extra + 1
    expected = [np.mean(kept[e + 1 : budget + 1] - kept[e]) for e in range(k)]
    np.testing.assert_allclose(regret_to_go(values, budget), expected, atol=1e-12)


@given(st.floats(0, 1), st.integers(1, 9), spare)
def test_regret_to_go_of_constant_values_is_zero(value, k, extra):
    assert not regret_to_go([value] * (k + 1), k + extra).any()


@given(traces, spare)
def test_first_regret_to_go_is_the_regret_that_thinking_saves(values, extra):
    """K (1 - J_0 - g_0) is the regret over c_1 .. c_K: 0 thinking would cost K (1 - J_0)."""
    budget = len(values) + extra
    saved = regret_to_go([*values, values[-1]], budget)[0]
    regret = cumulative_regret(values, budget + 1) - (1 - values[0])
    assert math.isclose(regret, budget * (1 - values[0] - saved), abs_tol=1e-9)


@given(traces, spare)
def test_first_regret_to_go_and_the_area_with_one_token_an_episode(values, extra):
    """The area's trapezoids take half of J_0 and half of J_K instead of the whole J_K."""
    budget = len(values) + extra
    saved = regret_to_go([*values, values[-1]], budget)[0]
    expected = budget * (values[0] + saved) - (values[-1] - values[0]) / 2
    assert math.isclose(area(range(len(values)), values, budget), expected, abs_tol=1e-9)


def test_to_tokens_by_hand():
    assert to_tokens([0.5, -1], [2, 5]).tolist() == [0.5, 0.5, -1, -1, -1]
    assert to_tokens([], []).shape == (0,)


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 5)), min_size=1))
def test_to_tokens_weighs_each_episode_by_its_length(episodes):
    numbers, lengths = np.array(episodes).T
    tokens = to_tokens(numbers, np.cumsum(lengths).astype(int))
    assert len(tokens) == lengths.sum()
    assert math.isclose(tokens.sum(), numbers @ lengths, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "non-empty"),
        ([[0.5]], "shape"),
        (0.5, "shape"),
        ([0.5, 1.5], r"1.5 at index \(1,\)"),
        ([-0.1], "-0.1"),
        ([0.5, math.nan], "nan"),
        ([math.inf], "inf"),
    ],
)
def test_bad_values(values, message):
    for function in (progress, lambda v: regret_to_go(v, 5)):
        with pytest.raises(ValueError, match=message):
            function(values)


@pytest.mark.parametrize("horizon", [0, -1, 1.0, 2.5, True, "2", None, math.nan])
def test_bad_horizon(horizon):
    with pytest.raises(ValueError, match="horizon must be an integer of at least 1"):
        regret_to_go([0.5], horizon)


def test_what_comes_after_the_horizon_earns_nothing_and_counts_for_nothing():
    assert regret_to_go([0, 0.5, 1, 0.25], 1).tolist() == [0.5, 0, 0]
    assert regret_to_go([0, 0.5, 1, 0.25], 2).tolist() == [0.75, 0.5, 0]


@pytest.mark.parametrize("logs", [[], [[-1.0]], [0.1], [-math.inf, -1.0], [math.nan]])
def test_bad_log_values(logs):
    with pytest.raises(ValueError, match="log_values"):
        log_progress(logs)


@pytest.mark.parametrize(
    ("numbers", "boundaries", "message"),
    [
        ([1], [1, 2], "one number per episode"),
        ([[1]], [[1]], "one number per episode"),
        ([1, 2], [2, 2], "rise strictly"),
        ([1, 2], [3, 2], "rise strictly"),
        ([1], [0], "rise strictly"),
        ([1], [1.5], "whole"),
    ],
)
def test_bad_tokens(numbers, boundaries, message):
    with pytest.raises(ValueError, match=message):
        to_tokens(numbers, boundaries)


# A policy small enough to enumerate: in each of up to K episodes it takes action 0 or 1, or stops.
K = 3
STOP = 2
History = tuple[int, ...]


def histories(actions: int = 2) -> list[History]:
    """Every prefix of at most K episodes."""
    found: list[History] = [()]
    for history in found:
        if len(history) < K:
            found.extend((*history, action) for action in range(actions))
    return found


def rollouts(policy, history: History = (), taken=()) -> Iterator[tuple[History, list[torch.Tensor]]]:
    """Every whole trace as its actions and the log-probabilities of all choices, stopping included."""
    if len(history) == K:
        yield history, list(taken)
        return
    log_probs = torch.log_softmax(policy(history), dim=0)
    yield history, [*taken, log_probs[STOP]]
    for action in range(STOP):
        yield from rollouts(policy, (*history, action), (*taken, log_probs[action]))


def regret_gradient(policy, parameters, values) -> torch.Tensor:
    """Exact gradient of the expected regret over c_1 .. c_K, divided by K."""
    expected = torch.zeros((), dtype=torch.float64)
    for actions, log_probs in rollouts(policy):
        trace = [values[actions[:j]] for j in range(len(actions) + 1)]
        regret = (cumulative_regret(trace, K + 1) - (1 - trace[0])) / K
        expected = expected + torch.stack(log_probs).sum().exp() * regret
    return torch.autograd.grad(expected, parameters)[0]


def credited_gradient(policy, parameters, values, credit) -> torch.Tensor:
    """E[sum_e credit_e grad log pi(z_e | c_e)], by enumeration; stopping gets no credit."""
    total = torch.zeros((), dtype=torch.float64)
    for actions, log_probs in rollouts(policy):
        trace = [values[actions[:j]] for j in range(len(actions) + 1)]
        chance = torch.stack(log_probs).sum().exp().detach()
        for credited, log_prob in zip(credit(trace), log_probs, strict=False):
            total = total + chance * credited * log_prob
    return torch.autograd.grad(total, parameters)[0]


def whole_share(trace) -> np.ndarray:
    """`regret_to_go` times the share of the budget that each episode can still change."""
    credit = regret_to_go(trace, K)
    return credit * (K - np.arange(len(credit))) / K


def plain(trace) -> np.ndarray:
    return regret_to_go(trace, K)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def tabular() -> tuple[Callable[[History], torch.Tensor], torch.Tensor, dict[History, float]]:
    """A random policy with parameters of its own for every prefix, those parameters, and random values."""
    rng = np.random.default_rng(3)
    values = {history: rng.random() for history in histories()}
    index = {history: i for i, history in enumerate(values)}
    logits = torch.tensor(rng.normal(size=(len(values), STOP + 1)), requires_grad=True)
    return lambda history: logits[index[history]], logits, values


def shared() -> tuple[Callable[[History], torch.Tensor], torch.Tensor, dict[History, float]]:
    """The same with parameters that all prefixes share."""
    rng = np.random.default_rng(4)
    values = {history: rng.random() for history in histories()}
    features = {history: torch.tensor(rng.normal(size=4)) for history in values}
    weights = torch.tensor(rng.normal(size=(4, STOP + 1)), requires_grad=True)
    return lambda history: features[history] @ weights, weights, values


@pytest.mark.parametrize("setting", [tabular, shared])
def test_regret_to_go_is_the_policy_gradient_of_normalised_regret(setting):
    problem = setting()
    exact = regret_gradient(*problem)
    assert exact.abs().max() > 1e-3
    torch.testing.assert_close(credited_gradient(*problem, whole_share), -exact, rtol=1e-10, atol=1e-12)


def test_without_the_share_each_prefix_keeps_its_direction_and_the_mixture_does_not():
    problem = tabular()
    exact, credited = regret_gradient(*problem), credited_gradient(*problem, plain)
    share = torch.tensor([[(K - len(history)) / K] for history in problem[-1]], dtype=torch.float64)
    torch.testing.assert_close(share * credited, -exact, rtol=1e-10, atol=1e-12)
    assert cosine(credited, -exact) < 0.999


@pytest.mark.parametrize("setting", [tabular, shared])
def test_own_progress_is_not(setting):
    problem = setting()
    assert cosine(credited_gradient(*problem, progress), -regret_gradient(*problem)) < 0.99


def test_own_progress_falls_for_a_quick_gain_that_leads_nowhere():
    """Action 0 gains .1 at once and never again; action 1 gains nothing now and .8 by any next episode."""
    prepared = {h: 0.1 if len(h) == 1 else 0.9 for h in histories() if h and h[0] == 1}
    values = {(): 0.1} | {h: 0.2 for h in histories() if h and h[0] == 0} | prepared
    first = torch.zeros(STOP + 1, dtype=torch.float64, requires_grad=True)
    later = torch.zeros(STOP + 1, dtype=torch.float64)

    def policy(history):
        return later if history else first

    prefers = {
        "exact": -regret_gradient(policy, first, values),
        "to go": credited_gradient(policy, first, values, plain),
        "own": credited_gradient(policy, first, values, progress),
    }
    preparing = {name: float(gradient[1] - gradient[0]) > 0 for name, gradient in prefers.items()}
    assert preparing == {"exact": True, "to go": True, "own": False}
