"""You are the explorer: root search played by a reader, the value after each trial beside the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mrt_lib.measure.progress import kept_values
from mrt_lib.measure.regret import cumulative_regret
from mrt_lib.plots import SERIES, shade_regret
from mrt_lib.tasks.root_search import RootSearch
from recipes.pictures import draw_intervals
from recipes.root_search.explorers import Interval, Trial, forced_values, trial_at

if TYPE_CHECKING:
    import ipywidgets

TRIALS = 6  # how many count


class Game:
    """Problems with hidden roots, one after the other; `trials`: those of each problem so far."""

    def __init__(self, task: RootSearch, seed: int = 0) -> None:
        """Roots are drawn uniformly."""
        self.task, self._rng = task, np.random.default_rng(seed)
        self.problems: list[Any] = []
        self.trials: list[list[Trial]] = []
        self.next_problem()

    @property
    def interval(self) -> Interval:
        """What is left of the present problem."""
        return self.trials[-1][-1].interval if self.trials[-1] else (1, self.task.candidates)

    @property
    def over(self) -> bool:
        """Whether the present problem is solved, or all its trials are made."""
        return self.interval[0] == self.interval[1] or len(self.trials[-1]) == TRIALS

    def next_problem(self) -> None:
        """Hide another root."""
        root = int(self._rng.integers(1, self.task.candidates + 1))
        self.problems.append(self.task.problem(root, b=int(self._rng.integers(1, 10))))
        self.trials.append([])

    def guess(self, number: int) -> None:
        """Make a trial. ValueError for a number outside the range, or if the problem is over."""
        if self.over or not 1 <= number <= self.task.candidates:
            raise ValueError(f"try 1 to {self.task.candidates}, on a problem that is not over; got {number}")
        self.trials[-1].append(trial_at(self.task, self.problems[-1], number, self.interval))

    def play(self, guesses: Sequence[int]) -> Game:
        """The guesses in their order, up to the one that settles the problem."""
        for number in guesses:
            if not self.over:
                self.guess(number)
        return self

    def values(self) -> np.ndarray:
        """J after 0 .. TRIALS trials of every problem begun, the last kept; (problems, TRIALS + 1)."""
        begun = [trials for trials in self.trials if trials]
        own = [kept_values(forced_values(trials, self.task.candidates), TRIALS + 1) for trials in begun]
        return np.array(own).reshape(-1, TRIALS + 1)

    def said(self) -> str:
        """Where the present problem stands, in a sentence or two."""
        if not self.trials[-1]:
            return f"A root is hidden between 1 and {self.task.candidates}. Which number do you try first?"
        last, (low, high) = self.trials[-1][-1], self.interval
        found = "a hit" if last.verdict == "hit" else f"too {last.verdict}"
        text = f"{last.guess} is {found}; {high - low + 1} left: {low} to {high}."
        optimum = self.task.optimal_values(TRIALS)
        regret = np.mean([cumulative_regret(own, TRIALS + 1, optimum) for own in self.values()])
        return f"{text} Your mean regret against the optimum so far: {regret:.2f}."

    def figure(self) -> Figure:
        """Left: your values beside the optimum; right: what your trials left of the present problem."""
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
        at, optimum, own = np.arange(TRIALS + 1), self.task.optimal_values(TRIALS), self.values()
        colour, dash, _ = SERIES["optimum"]
        left.plot(at, optimum, dash, color=colour, label="optimum J*")
        if len(own):
            mean, (shade, _, mark) = own.mean(0), SERIES["base"]
            shade_regret(left, at, np.maximum(optimum, mean), mean, "regret")
            name = "you" if len(own) == 1 else f"you, mean of {len(own)} problems"
            left.plot(at, mean, f"{mark}-", color=shade, label=name)
        left.set(xlabel="trials", ylabel="value J (probability)", ylim=(0, 1.05))
        trials = self.trials[-1]
        intervals = [(1, self.task.candidates), *(trial.interval for trial in trials)]
        draw_intervals(intervals, int(self.problems[-1].answer), self.task.candidates, right)
        if not self.over:
            right.lines[0].set(visible=False, label="_hidden root")
        guesses = [trial.guess for trial in trials]
        right.plot(guesses, range(len(guesses)), "X", color="#111111", mec="white", ms=9, label="your guess")
        right.set(ylabel="after trial")
        right.get_legend().remove()
        both = zip(left.get_legend_handles_labels(), right.get_legend_handles_labels(), strict=True)
        figure.legend(*(first + second for first, second in both), loc="outside upper left", ncols=5)
        return figure


def controls(game: Game) -> ipywidgets.VBox:
    """A number to try, a button for it and one for the next problem; text and figure follow."""
    import ipywidgets

    number = ipywidgets.BoundedIntText(value=1, min=1, max=game.task.candidates, description="try")
    go, another = (ipywidgets.Button(description=name) for name in ("try it", "next problem"))
    text, picture = ipywidgets.HTML(), ipywidgets.Image(format="png", layout={"max_width": "100%"})

    def redraw() -> None:
        figure = game.figure()
        figure.savefig(png := BytesIO(), format="png", dpi=110)
        plt.close(figure)
        text.value, picture.value, go.disabled = game.said(), png.getvalue(), game.over

    def tried(_: object) -> None:
        game.guess(number.value)
        redraw()

    def moved(_: object) -> None:
        game.next_problem()
        redraw()

    go.on_click(tried)
    another.on_click(moved)
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([number, go, another]), text, picture])
