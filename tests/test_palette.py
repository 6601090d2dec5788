"""The looks of the arms: told apart without colour, and used in every figure."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

from experiments.palette import LABELS, SERIES
from mrt_lib import plots


def lightness(colour):
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def test_series_differ_without_colour():
    alike = []
    for a, b in combinations(sorted(set(SERIES) - {"bisect", "untrained"}), 2):
        one, other = SERIES[a], SERIES[b]
        if one[1:] == other[1:] and abs(lightness(one[0]) - lightness(other[0])) <= 0.1:
            alike.append((a, b))
    assert not alike


def test_an_arm_is_drawn_in_its_look_under_its_label():
    frame = plots.curve_frame("mrt_offline", [1, 2], np.array([[0.0, 1.0], [1.0, 1.0]]))
    line = plots.draw_curves(frame, "episodes", "J").lines[0]
    look = (line.get_color(), line.get_linestyle(), line.get_marker())
    assert look == SERIES["mrt_offline"] == plots.SERIES["mrt_offline"]
    assert line.get_label() == "MRT-offline"
    assert set(LABELS) <= set(SERIES)
    plt.close("all")
