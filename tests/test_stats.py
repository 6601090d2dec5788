import numpy as np
import pytest

from mrt_lib.measure.stats import Interval, bootstrap, bootstrap_means, bootstrap_nested


def mean_difference(a, b):
    return a.mean() - b.mean()


def test_value_and_n_are_those_of_the_samples():
    found = bootstrap(np.mean, [0.0, 1.0, 1.0, 0.0], seed=0)
    assert found.value == 0.5
    assert found.n == 4
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_same_seed_same_bits():
    sample = np.random.default_rng(1).random((5, 20))
    for method in (bootstrap, bootstrap_nested):
        assert method(np.mean, sample, seed=7) == method(np.mean, sample, seed=7)
        assert method(np.mean, sample, seed=7) != method(np.mean, sample, seed=8)


def test_a_constant_has_no_spread():
    assert bootstrap(np.mean, np.full(9, 0.25), seed=0) == Interval(0.25, 0.25, 0.25, 9)


def test_samples_are_resampled_together():
    a = np.random.default_rng(0).random(30)
    shift = bootstrap(mean_difference, a + 0.5, a, seed=0)
    assert shift.low == pytest.approx(0.5)
    assert shift.high == pytest.approx(0.5)


def test_ends_are_order_statistics_rounded_outwards():
    estimates = iter([0.0, *range(100)])
    found = bootstrap(lambda sample: next(estimates), [1, 2], seed=0, level=0.9, resamples=100)
    # the first call is the resamples' own, the last the sample's; floor(0.05 * 99) = 4 left outside
    assert (found.low, found.high, found.value) == (3, 94, 99)


@pytest.mark.parametrize(("level", "least"), [(0.95, 40), (0.9, 20), (0.5, 4)])
def test_least_number_of_resamples(level, least):
    bootstrap(np.mean, [0, 1], seed=0, level=level, resamples=least)
    with pytest.raises(ValueError, match=f"at least {least} resamples"):
        bootstrap(np.mean, [0, 1], seed=0, level=level, resamples=least - 1)


def test_coverage_of_a_mean():
    rng = np.random.default_rng(0)
    intervals = [bootstrap(np.mean, rng.normal(size=40), seed=i, resamples=200) for i in range(300)]
    assert 0.88 <= np.mean([i.low <= 0 <= i.high for i in intervals]) <= 0.99


def test_infinite_statistics_open_an_end_and_do_not_crash():
    found = bootstrap(lambda sample: np.inf if sample.min() == 0 else 1.0, [0, 1, 2, 3], seed=0)
    assert (found.value, found.low, found.high) == (np.inf, 1.0, np.inf)


def test_undefined_resamples_open_both_ends():
    found = bootstrap(lambda sample: np.nan if sample.max() < 3 else 1.0, [0, 1, 2, 3], seed=0)
    assert (found.value, found.low, found.high) == (1.0, -np.inf, np.inf)


def test_few_undefined_resamples_change_nothing():
    rare = bootstrap(lambda s: np.nan if s.max() < 4 else 1.0, np.arange(5), seed=0, level=0.3)
    assert (rare.low, rare.high) == (1.0, 1.0)


def test_nested_counts_seeds_and_sees_their_spread():
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(4, 1)) + 0.1 * rng.normal(size=(4, 50))
    nested = bootstrap_nested(np.mean, sample, seed=0)
    problems_only = bootstrap(np.mean, sample.mean(axis=0), seed=0)
    assert nested.n == 4
    assert nested.value == pytest.approx(problems_only.value)
    assert nested.high - nested.low > 5 * (problems_only.high - problems_only.low)


def test_nested_is_crossed_and_paired():
    problems = np.tile(np.arange(6.0), (3, 1))
    assert bootstrap_nested(lambda s: np.ptp(s, axis=0).max(), problems, seed=0).high == 0
    spread = bootstrap_nested(np.mean, problems, seed=0)
    assert spread.low < 2 < 3 < spread.high
    shifted = bootstrap_nested(mean_difference, problems[..., None] + 1, problems, seed=0)
    assert (shifted.low, shifted.high) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("method", "samples", "options", "message"),
    [
        (bootstrap, [], {}, "no sample"),
        (bootstrap, [1.0], {}, "share the axes"),
        (bootstrap, [[1, 2], [1, 2, 3]], {}, "share the axes"),
        (bootstrap, [[1]], {}, "at least 2 units"),
        (bootstrap, [[]], {}, "at least 2 units"),
        (bootstrap, [[1, 2]], {"level": 0}, "level"),
        (bootstrap, [[1, 2]], {"level": 95}, "level"),
        (bootstrap, [[1, 2]], {"resamples": 0}, "resamples"),
        (bootstrap, [[1, 2]], {"seed": -1}, "non-negative"),
        (bootstrap_nested, [], {}, "no sample"),
        (bootstrap_nested, [[1, 2]], {}, "share the axes"),
        (bootstrap_nested, [np.ones((2, 3)), np.ones((2, 4))], {}, "share the axes"),
        (bootstrap_nested, [np.ones((1, 3))], {}, "at least 2 seeds and 2 problems"),
        (bootstrap_nested, [np.ones((3, 1))], {}, "at least 2 seeds and 2 problems"),
    ],
)
def test_bad_input(method, samples, options, message):
    with pytest.raises(ValueError, match=message):
        method(np.mean, *samples, **({"seed": 0} | options))


def test_bootstrap_means_agrees_with_the_nested_bootstrap():
    rng = np.random.default_rng(0)
    samples = rng.random((6, 40, 2)) + rng.random((6, 1, 2))
    for q, found in enumerate(bootstrap_means(samples, seed=1, resamples=4000)):
        nested = bootstrap_nested(np.mean, samples[..., q], seed=2, resamples=4000)
        assert found.value == pytest.approx(nested.value)
        assert (found.low, found.high) == pytest.approx((nested.low, nested.high), abs=0.03)
        assert found.n == 6


def test_bootstrap_means_of_one_seed_is_over_problems():
    samples = np.random.default_rng(0).random((1, 50, 1))
    found = bootstrap_means(samples, seed=1, resamples=4000)[0]
    alone = bootstrap(np.mean, samples[0, :, 0], seed=2, resamples=4000)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.01)
    assert found.n == 50


def test_means_over_one_problem_have_no_interval():
    with pytest.raises(ValueError, match="at least 2 problems"):
        bootstrap_means(np.ones((3, 1, 2)), seed=0)
