import numpy as np
import pytest

from mrt_lib.measure.stats import Interval, bootstrap, crossed_t, means_over_seeds, over_seeds


def mean_difference(a, b):
    return a.mean() - b.mean()


def test_value_and_n_are_those_of_the_samples():
    found = bootstrap(np.mean, [0.0, 1.0, 1.0, 0.0], seed=0)
    assert found.value == 0.5
    assert found.n == 4
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_same_seed_same_bits():
    sample = np.random.default_rng(1).random((10, 20))
    for method in (bootstrap, over_seeds):
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
    sample = rng.normal(size=(12, 1)) + 0.1 * rng.normal(size=(12, 50))
    nested = over_seeds(np.mean, sample, seed=0)
    problems_only = bootstrap(np.mean, sample.mean(axis=0), seed=0)
    assert nested.n == 12
    assert nested.value == pytest.approx(problems_only.value)
    assert nested.high - nested.low > 5 * (problems_only.high - problems_only.low)


def test_nested_is_crossed_and_paired():
    problems = np.tile(np.arange(6.0), (10, 1))
    assert over_seeds(lambda s: np.ptp(s, axis=0).max(), problems, seed=0).high == 0
    spread = over_seeds(np.mean, problems, seed=0)
    assert spread.low < 2 < 3 < spread.high
    shifted = over_seeds(mean_difference, problems[..., None] + 1, problems, seed=0)
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
        (over_seeds, [], {}, "no sample"),
        (over_seeds, [[1, 2]], {}, "share the axes"),
        (over_seeds, [np.ones((2, 3)), np.ones((2, 4))], {}, "share the axes"),
        (over_seeds, [np.ones((1, 3))], {}, "at least 2 seeds and 2 problems"),
        (over_seeds, [np.ones((3, 1))], {}, "at least 2 seeds and 2 problems"),
    ],
)
def test_bad_input(method, samples, options, message):
    with pytest.raises(ValueError, match=message):
        method(np.mean, *samples, **({"seed": 0} | options))


def test_means_over_seeds_agrees_with_the_nested_bootstrap():
    rng = np.random.default_rng(0)
    samples = rng.random((12, 40, 2)) + rng.random((12, 1, 2))
    for q, found in enumerate(means_over_seeds(samples, seed=1, resamples=4000)):
        nested = over_seeds(np.mean, samples[..., q], seed=2, resamples=4000)
        assert found.value == pytest.approx(nested.value)
        assert (found.low, found.high) == pytest.approx((nested.low, nested.high), abs=0.03)
        assert found.n == 12


def test_means_over_seeds_of_one_seed_is_over_problems():
    samples = np.random.default_rng(0).random((1, 50, 1))
    found = means_over_seeds(samples, seed=1, resamples=4000)[0]
    alone = bootstrap(np.mean, samples[0, :, 0], seed=2, resamples=4000)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.01)
    assert found.n == 50


def test_means_over_one_problem_have_no_interval():
    with pytest.raises(ValueError, match="at least 2 problems"):
        means_over_seeds(np.ones((3, 1, 2)), seed=0)


def test_t_of_one_axis_by_hand():
    """Mean 2, standard error sqrt(1/3), t(.975, 2 degrees) = 4.302653."""
    found = over_seeds(np.mean, [1.0, 2.0, 3.0], seed=0, axes=("seeds",))
    half = 4.302653 * np.sqrt(1 / 3)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2 - half, 2 + half), rel=1e-6)
    assert found.n == 3


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.706205), (4, 2.776445), (9, 2.262157)])
def test_t_quantiles_of_the_table(freedom, expected):
    seeds = np.random.default_rng(0).normal(size=freedom + 1)
    found = crossed_t(np.mean, seeds, axes=("seeds",))
    assert (found.high - found.value) / (seeds.std(ddof=1) / np.sqrt(len(seeds))) == pytest.approx(expected)


def test_crossed_variance_is_the_sum_over_both_axes_by_hand():
    """Seeds' means 1 and 3: variance 2 / 2; problems' means 1, 2, 3: 1 / 3; degrees after Satterthwaite."""
    table = np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])
    found, freedom = over_seeds(np.mean, table, seed=0), (4 / 3) ** 2 / (1 + (1 / 3) ** 2 / 2)
    assert 1 < freedom < 2
    assert found.value == 2
    wide, narrow = 12.706205 * np.sqrt(4 / 3), 4.302653 * np.sqrt(4 / 3)
    assert narrow < found.high - 2 < wide
    assert means_over_seeds(table[..., None], seed=0) == [found]


def test_a_statistic_that_one_unit_makes_infinite_is_left_open():
    found = crossed_t(lambda a: np.inf if len(a) == 2 else 1.0, np.ones(3), axes=("seeds",))
    assert (found.value, found.low, found.high) == (1.0, -np.inf, np.inf)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("ratio", [False, True])
def test_below_ten_seeds_the_interval_covers_what_it_says_and_a_bootstrap_does_not(seeds, ratio):
    """300 experiments with effects of seeds, of problems and of their encounters; the truth is 1."""
    rng, problems = np.random.default_rng(seeds), 12
    statistic = (lambda a, b: a.mean() / b.mean()) if ratio else mean_difference

    def arm(mean):
        effects = rng.normal(size=(seeds, 1)) * 0.3, rng.normal(size=(1, problems)) * 0.2
        return mean + sum(effects) + rng.normal(size=(seeds, problems)) * 0.2

    def covered(method, **options):
        pairs = [(arm(3.0 if ratio else 2.0), arm(3.0 if ratio else 1.0)) for _ in range(300)]
        found = [method(statistic, *pair, **options) for pair in pairs]
        return np.mean([i.low <= 1 <= i.high for i in found])

    axes = ("seeds", "problems")
    assert covered(over_seeds, seed=0) >= 0.93
    assert covered(bootstrap, seed=0, axes=axes, resamples=100) <= 0.92
