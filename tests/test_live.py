"""A live plot draws in a notebook, in place, and is silent elsewhere."""

import IPython.display
import matplotlib.pyplot as plt
import pytest

from mrt_lib import plots
from mrt_lib import plots as live

LOG = [{"step": 0, "value": 0.2}, {"step": 1, "value": 0.3, "entropy": 1.0}]


class Screen:
    """Stands in for the notebook's display."""

    def __init__(self):
        self.calls = []

    def display(self, picture, display_id):
        self.calls.append(("display", picture.data[:4]))
        return self

    def update(self, picture):
        self.calls.append(("update", picture.data[:4]))


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", screen.display)
    return screen


def test_nothing_is_drawn_or_printed_without_a_notebook(capfd):
    watched = live.LivePlot({"value": "J"}, steps=2)
    watched.watch("grpo")(LOG)
    assert not live.in_notebook()
    assert capfd.readouterr() == ("", "")
    assert plt.get_fignums() == []
    assert watched.logs == {"grpo": LOG}


def test_one_picture_for_all_runs_is_redrawn_in_place(screen):
    watched = live.LivePlot({"value": "J"}, steps=2, every=0)
    for name in ("grpo", "mrt"):
        report = watched.watch(name)
        report(LOG[:1])
        report(LOG)
    assert screen.calls == [("display", b"\x89PNG"), *[("update", b"\x89PNG")] * 3]


def test_between_two_pictures_lies_a_pause_but_the_last_step_is_drawn(screen):
    watched = live.LivePlot({"value": "J"}, steps=3, every=1e6)
    report = watched.watch("grpo")
    for steps in (1, 2, 3):
        report([{"step": i, "value": 0.0} for i in range(steps)])
    assert [call for call, _ in screen.calls] == ["display", "update"]


def test_lines_are_running_means_over_faint_single_steps():
    watched = live.LivePlot({"value": "J"}, steps=2, window=2)
    watched.watch("grpo")(LOG)
    dots, mean = watched.figure().axes[0].lines
    assert dots.get_ydata().tolist() == [0.2, 0.3]
    assert mean.get_ydata().tolist() == [0.2, 0.25]


def test_every_column_has_a_panel_and_every_run_a_line():
    watched = live.LivePlot({"value": "J", "entropy": "entropy, nats"}, steps=9)
    watched.watch("grpo")(LOG)
    watched.watch("my run")(LOG[:1])
    value, entropy = watched.figure().axes
    assert [line.get_label() for line in value.lines] == ["GRPO", "my run"]
    assert value.lines[0].get_xdata().tolist() == [1, 2]
    assert value.lines[0].get_ydata().tolist() == [0.2, 0.3]
    assert value.lines[0].get_color() == plots.SERIES["grpo"][0]
    assert str(entropy.lines[0].get_ydata()[0]) == "nan"
    assert (entropy.get_xlabel(), entropy.get_ylabel()) == ("step", "entropy, nats")
    assert entropy.get_xlim() == (0, 10)


def test_the_bar_counts_steps_and_goes_on_where_a_run_was_resumed(capfd):
    report = live.step_bar(2, "grpo")
    report(LOG)
    shown = capfd.readouterr().err
    assert "GRPO" in shown
    assert "2/2" in shown
