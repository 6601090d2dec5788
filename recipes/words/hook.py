"""The README's picture: a thought of the language model and its J, growing together.

`python -m recipes.words.hook` writes it. The thought is the first about a test problem that is eventful: four
to six tries, ended by the model itself, one that raised J by a quarter or more and one that did not raise it.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from mrt_lib.engines import Sampling
from mrt_lib.files import whole
from mrt_lib.measure.prover import ExactProver
from mrt_lib.plots import SERIES, use_style
from mrt_lib.provenance import ROOT
from mrt_lib.thoughts.templates import decode
from recipes.words.model import load_words, warm_model
from recipes.words.search import Mixture
from recipes.words.warm_start import FAMILIES

PICTURE = ROOT / "docs" / "figures" / "thought.gif"
ASKED, TOKENS, SEED = 32, 168, 0
MILLISECONDS = 1300  # of a try; the last stays three times as long


def eventful(values: Sequence[float], finished: bool) -> bool:
    """Whether a thought with these J shows both kinds of try."""
    gains = np.diff(values)
    return bool(finished and 4 <= len(gains) <= 6 and gains.max() >= 0.25 and gains.min() <= 0.01)


def thought() -> tuple[str, list[str], list[float]]:
    """A problem, the lines of an eventful thought about it, and J before and after each."""
    task, reasoner = Mixture(FAMILIES), load_words(warm_model())
    asked = task.problems["test"][:ASKED]
    traces = reasoner.think(asked, Sampling(TOKENS, seed=SEED))
    valued = [found.value.tolist() for found in ExactProver(reasoner, task).values(asked, traces)]
    which = next(i for i, t in enumerate(traces) if eventful(valued[i], t.finished))
    trace = traces[which]
    lines = [decode(reasoner.tokenizer, trace.episode(e)).strip() for e in range(trace.n_episodes)]
    return asked[which].question, lines, valued[which]


def animate(question: str, lines: Sequence[str], values: Sequence[float], path: Path) -> None:
    """One frame for each J, as a GIF of 32 colours."""
    use_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.1), width_ratios=(6, 5))
    frames = []
    for j in range(len(values)):
        _write(left, question, lines[:j])
        _curve(right, values[: j + 1], len(lines))
        figure.savefig(png := BytesIO(), format="png", dpi=100)
        frames.append(Image.open(png).convert("RGB").quantize(32))
    plt.close(figure)
    times = [MILLISECONDS] * len(lines) + [3 * MILLISECONDS]
    with whole(path) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)


def _write(ax: Axes, question: str, lines: Sequence[str]) -> None:
    ax.clear()
    ax.axis("off")
    middle = question.rfind(" ", 0, len(question) // 2 + 4)
    ax.text(0, 1, f"{question[:middle]}\n{question[middle + 1 :]}", va="top", weight="bold", fontsize=11.5)
    for i, line in enumerate(lines):
        last = i == len(lines) - 1
        ax.text(0, 0.74 - 0.115 * i, line, va="top", fontsize=10.5, color="#111111" if last else "#666666")
    stop = "stop it here and ask: what is the answer?"
    ax.text(
        0, 0.74 - 0.115 * len(lines), stop, va="top", fontsize=10.5, style="italic", color=SERIES["mrt"][0]
    )


def _curve(ax: Axes, values: Sequence[float], tries: int) -> None:
    ax.clear()
    ax.plot(range(len(values)), values, "-o", color=SERIES["mrt"][0], lw=2)
    ax.annotate(f"{values[-1]:.2f}", (len(values) - 1, values[-1]), xytext=(6, 5), textcoords="offset points")
    ax.set(xlim=(-0.2, tries + 0.4), ylim=(-0.03, 1.09), xlabel="tries", ylabel="J, chance of being right")
    ax.set_xticks(range(tries + 1))


if __name__ == "__main__":
    animate(*thought(), PICTURE)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} KB")
