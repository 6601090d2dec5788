"""Figures draw what they are given, and survive greyscale print."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

import experiments.palette  # noqa: F401  adds the looks of the arms
from mrt_lib import plots
from mrt_lib.measure.packing import Branch, pack
from mrt_lib.measure.stats import Interval
from recipes import pictures


@pytest.fixture(autouse=True)
def figure():
    plots.use_style()
    yield plt.figure()
    plt.close("all")


def lightness(colour: str) -> float:
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def test_series_differ_without_colour():
    """Also those of the experiments; "bisect" and "untrained" are other names of two of them."""
    for a, b in itertools.combinations(set(plots.SERIES) - {"bisect", "untrained"}, 2):
        one, other = plots.SERIES[a], plots.SERIES[b]
        differ = one[1:] != other[1:] or abs(lightness(one[0]) - lightness(other[0])) > 0.1
        assert differ, f"{a} and {b} look the same in greyscale"


def test_curves_show_the_mean_and_its_interval():
    samples = np.array([[0.0, 1.0], [1.0, 1.0], [0.5, 1.0], [0.5, 1.0]])
    frame = plots.curve_frame("base", [1, 2], samples)
    assert frame.value.tolist() == [0.5, 1.0]
    assert (frame.low <= frame.value).all()
    assert (frame.high >= frame.value).all()
    assert frame.low[0] < 0.5 < frame.high[0]
    axes = plots.draw_curves(frame, "episodes", "J")
    assert axes.lines[0].get_ydata().tolist() == [0.5, 1.0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_legend()) == ("episodes", "J", None)


def test_mask_picture_has_one_cell_per_pair():
    packed = pack([10, 11], [Branch(2, [7], [[20, 9]])])
    picture = pictures.draw_mask(packed, ["p", "z", "f", "a"]).images[0].get_array()
    assert picture.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 2, 0], [1, 1, 2, 3]]


def test_interval_bars_and_value_lines():
    axes = pictures.draw_intervals([(1, 31), (1, 15)], root=7, candidates=31)
    assert [bar.get_width() for bar in axes.patches] == [31, 15]
    page = plots.value_html(["try 1 <", "try 2"], [0.1, 1.0])
    assert page.count("J = ") == 2
    assert "try 1 &lt;" in page


def test_an_arm_is_drawn_in_its_look_under_its_label():
    frame = plots.curve_frame("mrt_offline", [1, 2], np.array([[0.0, 1.0], [1.0, 1.0]]))
    line = plots.draw_curves(frame, "episodes", "J").lines[0]
    look = (line.get_color(), line.get_linestyle(), line.get_marker())
    assert look == plots.SERIES["mrt_offline"]
    assert line.get_label() == "MRT-offline"
    assert set(plots.LABELS) <= set(plots.SERIES)


def test_credits_have_a_panel_each_and_losses_are_hatched():
    pictures.draw_credits([0.5, 0.25, 1.0], ["1/2", "1/4", "1"], {"own progress": [-0.25, 0.75]})
    above, below = plt.gcf().axes
    assert above.lines[0].get_ydata().tolist() == [0.5, 0.25, 1.0]
    assert [(bar.get_height(), bar.get_hatch()) for bar in below.patches] == [(-0.25, "//"), (0.75, "")]


def test_advantages_and_ratios_draw_what_they_are_given():
    groups = {"all wrong": np.zeros(2), "mixed": np.array([0.0, 1.0])}
    pictures.draw_advantages(
        groups, np.array([0.0, 0.1]), {"as they are": np.asarray, "twice": lambda r: 2 * r}
    )
    heights = [[bar.get_height() for bar in ax.patches] for ax in plt.gcf().axes]
    assert heights == [[0, 0.1], [0, 1.1], [0, 0.2], [0, 2.2]]
    found = [Interval(0.5, 0.4, 0.6, 9), Interval(1.0, 0.9, 1.1, 9)]
    axes = pictures.draw_ratios([1, 4], found, 4.0, "branches", "ratio", "sampled")
    assert axes.lines[0].get_ydata() == pytest.approx(np.sqrt(np.array([0.7, 6.0]) / 4))


def test_sampled_values_are_drawn_with_their_law():
    found = [Interval(0.3, 0.2, 0.4, 9), Interval(0.15, 0.1, 0.2, 9)]
    axes = pictures.draw_errors([1, 4], found, np.array([0.3, 0.15]), "answers")
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.3, 0.15], [0.3, 0.15]]
    left, right = plt.figure().subplots(1, 2)
    pictures.draw_scatter(left, np.array([0.5]), np.array([0.25]), 4, "prefixes")
    assert abs(left.lines[1].get_ydata()[0] - 0.25) <= 0.02
    curve = pd.DataFrame({"x": [1, 2], "value": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]})
    pictures.draw_fans(right, curve, [([1, 3], [0.1, 0.4]), ([2, 4], [0.2, 0.2])], "bin")
    assert [line.get_ydata().tolist() for line in right.lines] == [[0.1, 0.2], [0.1, 0.4], [0.2, 0.2]]
    assert len(right.get_legend_handles_labels()[1]) == 2


def test_the_tree_settles_seven_and_bandits_show_both_learners(monkeypatch):
    pictures.draw_tree(axes := plt.figure().subplots())
    texts = [text.get_text() for text in axes.texts]
    assert [t for t in texts if t.startswith("try")] == ["try 4", "try 2", "try 6"]
    assert sum(t.startswith("answer") for t in texts) == 4
    monkeypatch.setattr(
        plots, "SERIES", plots.SERIES | {"a": ("#111111", "-", "o"), "b": ("#999999", ":", "s")}
    )
    monkeypatch.setattr(pictures, "SERIES", plots.SERIES)
    toy = {"a": np.array([0.5, 0.8]), "b": np.array([0.5, 0.5])}
    averages = pd.concat(plots.curve_frame(name, [0, 1], np.stack([own, own])) for name, own in toy.items())
    pictures.draw_bandits(toy, averages, (0.8, 0.75), "many")
    left, right = plt.gcf().axes
    assert [line.get_ydata().tolist() for line in left.lines[:2]] == [[0.5, 0.8], [0.5, 0.5]]
    assert [line.get_ydata().tolist() for line in right.lines[:2]] == [[0.5, 0.8], [0.5, 0.5]]
