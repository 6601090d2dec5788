"""The reader as the explorer: by hand, by buttons, and what the optimum has to do with it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mrt_lib.tasks.root_search import RootSearch
from recipes.root_search.game import TRIALS, Game, controls

TASK = RootSearch(31)


@pytest.fixture(autouse=True)
def no_figures_stay():
    yield
    plt.close("all")


def with_root(root):
    game = Game(TASK)
    game.problems[-1] = TASK.problem(root, b=3)
    return game


def test_values_are_one_over_what_is_left_and_the_last_is_kept():
    game = with_root(20).play([16, 24, 1, 20, 5])
    assert [t.verdict for t in game.trials[-1]] == ["low", "high", "low", "hit"]
    assert game.over
    expected = [1 / 31, 1 / 15, 1 / 7, 1 / 7, 1, 1, 1]
    np.testing.assert_allclose(game.values(), [expected])
    assert game.said().startswith("20 is a hit; 1 left: 20 to 20.")


def test_whoever_halves_reaches_the_optimum_on_average():
    rows = []
    for root in range(1, 32):
        game = with_root(root)
        while not game.over:
            game.guess(sum(game.interval) // 2)
        rows.append(game.values()[0])
    np.testing.assert_allclose(np.mean(rows, axis=0), TASK.optimal_values(TRIALS))


def test_what_cannot_be_tried_is_refused():
    game = with_root(1).play([1])
    for number, player in ((2, game), (0, with_root(1)), (32, with_root(1))):
        with pytest.raises(ValueError, match="1 to 31"):
            player.guess(number)


def test_the_root_stays_hidden_until_the_problem_is_over():
    game = with_root(20).play([16])
    assert not game.figure().axes[1].lines[0].get_visible()
    assert game.play([20]).figure().axes[1].lines[0].get_visible()


def test_buttons_play_the_same_game():
    game = with_root(20)
    box = controls(game)
    (number, go, another), text, picture = box.children[0].children, *box.children[1:]
    assert text.value.startswith("A root is hidden")
    before = picture.value
    number.value = 16
    go.click()
    assert text.value.startswith("16 is too low; 15 left: 17 to 31.")
    assert picture.value != before
    number.value = 20
    go.click()
    assert go.disabled
    another.click()
    assert not go.disabled
    assert [len(trials) for trials in game.trials] == [2, 0]
    assert len(game.values()) == 1
