"""An overthinking report as figures and files: report.json with every number, report.html to pass on.

Whatever a sentence on the page says is made from the numbers, and every text that came from a model or a
data file is escaped. Needs seaborn, pandas and jinja2.
"""

import base64
import hashlib
import io
import math
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mrt_lib.files import put_back, whole, write_text
from mrt_lib.plots import SERIES, VALUE_COLOURS, draw_curves, shade_regret, use_style, value_html
from mrt_lib.reporting.measured import MEASURES, Overthinking

USEFUL, WASTED = SERIES["strong"][0], "#e8a07a"
KNOWN: dict[str, Any] = {"marker": "o", "ls": "", "mfc": "w", "mec": "k", "ms": 4}
COLUMNS = {"accuracy": "J", "regret_oracle": "regret to oracle", "regret_optimum": "regret to optimum"}
ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 3}


def write_report(found: Overthinking, folder: str | Path) -> Path:
    """Write report.json and report.html, after an error neither; the page's path.

    A process that is killed between the two renamings leaves a report.json that is newer than its page.
    """
    numbers, shown = Path(folder) / "report.json", Path(folder) / "report.html"
    with put_back(numbers), whole(shown) as temporary:
        temporary.write_text(page(found), encoding="utf-8", errors="replace")
        write_text(numbers, found.to_json())
    return shown


def page(found: Overthinking) -> str:
    """The page: one HTML text that needs no other file."""
    shown = partial(_shown, found)
    columns = {name: title for name, title in COLUMNS.items() if found.all(name)}
    budgets = [m.tokens or 0 for m in found.all("regret_oracle")]
    alone = [m.measure for m in found.numbers if m.episode is None and m.tokens is None]
    return render(
        "page.html.j2",
        found.explorer,
        found=found,
        setting=found.settings.__getitem__,
        shown=shown,
        picture=partial(_picture, found),
        columns=columns,
        budgets=[[f"{t:g}", *(shown(name, tokens=t) for name in columns)] for t in budgets],
        half=round(found.number("episodes").value / 2),
        most=max(m.votes or 0 for m in found.all("vote_gain")),
        numbers=[[name, shown(name), *MEASURES[name]] for name in alone],
    )


def render(name: str, explorer: dict[str, Any], **parts: Any) -> str:
    """A template, filled; `explorer` as in `Overthinking`. The page lets no script but its own run."""
    here = Path(__file__).parent
    script = (here / "explorer.js").read_text(encoding="utf-8")
    parts |= {"script": script, "hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}
    parts |= {"series": SERIES, "shades": [to_hex(VALUE_COLOURS(j / 20)) for j in range(21)]}
    layout: Any = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    own = Environment(loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, **layout)
    return own.get_template(name).render(explorer=explorer, **parts)


def draw_accuracy(found: Overthinking, ax: Axes | None = None) -> Axes:
    """J within a budget of tokens, the optimum where it is known, and the regret between them."""
    ax = ax or plt.gca()
    think = _series(found.frame("accuracy"), "think on", "tokens")
    best = _series(found.frame("optimum_accuracy"), "optimum", "tokens")
    if best.empty:
        best = think.assign(series="oracle", value=1.0)
    best = best.assign(low=best.value, high=best.value)
    tokens, value = "tokens (prompt, thought, stop text, answer)", "J (probability of a right answer)"
    draw_curves(pd.concat([best, think]), tokens, value, ax=ax)
    shade_regret(ax, think.x, best.value, think.value)
    ax.set(xlim=(0, think.x.max()), ylim=(0, 1.02))
    ax.legend(**ABOVE)
    return ax


def draw_thoughts(found: Overthinking, ax: Axes | None = None) -> Axes:
    """Thoughts as bars, at most 60: up to the last gain, after it, and where the answer is known."""
    ax = ax or plt.gca()
    rows = pd.DataFrame(list(found.thoughts)).sort_values(["tokens", "useful"])
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, 60).round().astype(int))].reset_index()
    after = rows.tokens - rows.useful
    ax.barh(rows.index, rows.useful, height=0.85, color=USEFUL, lw=0)
    ax.barh(rows.index, after, left=rows.useful, height=0.85, color=WASTED, hatch="////", ec="w", lw=0)
    ax.plot(rows.known, rows.index, **KNOWN)
    ax.set(xlabel="thought tokens", xlim=(-0.01 * rows.tokens.max(), None))
    ax.set(ylabel="thoughts, by length", ylim=(-0.7, len(rows) - 0.3), yticks=[])
    ax.grid(visible=False, axis="y")
    useful = Patch(color=USEFUL, label="up to the last gain")
    wasted = Patch(facecolor=WASTED, hatch="////", edgecolor="w", label="after it")
    known = ax.plot([], [], **KNOWN, label="answer known from here on")
    ax.legend(handles=[useful, wasted, *known], **ABOVE)
    return ax


def draw_votes(found: Overthinking, ax: Axes | None = None) -> Axes:
    """Stopping after each episode to vote, against thinking on; the interval is that of the largest vote."""
    ax = ax or plt.gca()
    gains = found.frame("vote_gain")
    smaller = gains.votes < gains.votes.max()
    gains.loc[smaller, "low"] = gains.loc[smaller, "high"] = gains.value[smaller]
    lines = [_series(rows, f"maj@{k}", "episode") for k, rows in gains.groupby("votes") if k > 1]
    ax.axhline(0, color="#111111", lw=1)
    draw_curves(pd.concat(lines), "stop after so many episodes and vote", "gain in J over thinking on", ax=ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(**ABOVE)
    return ax


def example_html(found: Overthinking) -> str:
    """A typical thought, episode by episode, on a background that darkens with J."""
    thought = found.explorer["thoughts"][found.explorer["start"]]
    return value_html([thought["problem"], *thought["episodes"]], thought["values"])


def _series(frame: pd.DataFrame, name: str, x: str) -> pd.DataFrame:
    """Rows for `draw_curves`."""
    return frame.assign(series=name, x=frame.get(x)).reindex(columns=["series", "x", "value", "low", "high"])


def _picture(found: Overthinking, name: str) -> str:
    """A figure in the project's style, as PNG in base64; the caller's style and open figures stay."""
    draw = {"accuracy": draw_accuracy, "thoughts": draw_thoughts, "votes": draw_votes}[name]
    picture = io.BytesIO()
    with plt.rc_context():
        use_style()
        figure = Figure(layout="constrained")
        draw(found, figure.subplots())
        figure.savefig(picture, format="png", dpi=150)
    return base64.b64encode(picture.getvalue()).decode()


def _shown(found: Overthinking, measure: str, **where: float) -> str:
    """A number with its interval; shares in per cent."""
    number, unit = found.number(measure, **where), MEASURES[measure][0]
    value, low, high = (_digits(x, unit) for x in (number.value, number.low, number.high))
    return f"{value} [{low}, {high}]"


def _digits(x: float, unit: str) -> str:
    if not math.isfinite(x):
        return "undefined" if math.isnan(x) else "−∞" if x < 0 else "∞"
    digits, suffix = {"share": (1, "%"), "probability": (3, "")}.get(unit, (1, ""))
    number = round(100 * x if unit == "share" else x, digits) + 0.0  # no minus before a zero
    return f"{number:.{digits}f}{suffix}".replace("-", "−")
