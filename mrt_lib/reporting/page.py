"""An overthinking report as files: report.json with every number, report.html to read and pass on.

Whatever a sentence on the page says is made from the numbers, and every text that came from a model or a
data file is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mrt_lib.reporting.measured import MEASURES, Measured, Overthinking

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #111; max-width: 46em; margin: auto; padding: 1em }
h1 { font-size: 1.5em; line-height: 1.25 } h2 { font-size: 1.15em; margin: 2em 0 .4em }
.answer { font-size: 1.15em; border-left: 5px solid #c4661f; padding: .1em 0 .1em .8em }
figure { margin: 1em 0 } img { width: 100%; height: auto } figcaption, .small { font-size: .88em }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .88em; width: 100% }
th, td { text-align: left; padding: .25em .6em .25em 0; border-bottom: 1px solid #ddd; vertical-align: top }
td:nth-child(-n + 3) { white-space: nowrap } td:nth-child(4) { min-width: 14em }
"""


def write_report(found: Overthinking, folder: str | Path) -> Path:
    """Write report.json and report.html, both or neither; the page's path. Needs seaborn and pandas."""
    folder = Path(folder)
    texts = {"report.json": found.to_json(), "report.html": page(found)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.tmp").write_text(text, encoding="utf-8", errors="replace")
    for name in texts:
        os.replace(folder / f"{name}.tmp", folder / name)
    return folder / "report.html"


def read_report(folder: str | Path) -> Overthinking:
    """The report that `write_report` saved.

    Raises:
        FileNotFoundError: the folder holds no report.json.
        ValueError: that file is no report.
    """
    return Overthinking.from_json((Path(folder) / "report.json").read_text(encoding="utf-8"))


def page(found: Overthinking) -> str:
    """The page: one HTML text that needs no other file."""
    from mrt_lib import overthinking_plots as draw

    title = html.escape(f"How many tokens does {found.settings['model']} waste?")
    sections = [
        f"<h1>{title}</h1>",
        _paragraphs(_on_waste(found), "answer"),
        _paragraphs([_on_method(found)], "small"),
        "<h2>Accuracy against tokens</h2>",
        _paragraphs(_on_accuracy(found)),
        _figure(draw.draw_accuracy, found, "J within a budget of tokens; band: 95% interval."),
        _budgets(found),
        "<h2>Where the answer is known</h2>",
        _paragraphs(_on_knowing(found)),
        _figure(draw.draw_thoughts, found, "Every bar is one thought; at most 60, evenly spaced by length."),
        "<h2>Stop and vote, or think on?</h2>",
        _paragraphs(_on_votes(found)),
        _figure(
            draw.draw_votes,
            found,
            "Above 0 the vote is better. Band: 95% interval of the largest vote.",
        ),
        "<h2>One thought, as typical as they come</h2>",
        _paragraphs(
            [f"Problem {found.example.problem}: this thought's wasted share is closest to that of all."]
        ),
        f'<div class="wide">{draw.example_html(found)}</div>',
        "<h2>All numbers</h2>",
        _table(["measure", "95% interval", "unit", "meaning"], _scalars(found)),
        "<h2>How it was measured</h2>",
        _table(["setting", "value"], (found.settings | found.provenance).items()),
    ]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"<head>{meta}<title>{title}</title><style>{STYLE}</style></head>"
    return f'<!doctype html><html lang="en">{head}<body>{"".join(sections)}</body></html>\n'


def _on_waste(found: Overthinking) -> list[str]:
    settings = found.settings
    texts = [
        f"{_shown(found, 'wasted_share')} of the thought tokens came after the last gain: no later stop was "
        f"better by more than {settings['margin']:g} in J, the probability of being right if it answered "
        "there.",
        f"{_shown(found, 'wasted_known')} of all tokens were thought on with the answer known, "
        f"{_shown(found, 'wasted_unknown')} without knowing it and without getting nearer.",
        f"Stopping every thought at its last gain would have cost {_shown(found, 'stop_cost')} of J. That is "
        "hindsight: it says what there is to save, not how to know when to stop.",
    ]
    if settings["values"] == "sampled":
        texts.append(
            f"J is sampled here, from {settings['branches']} answers per prefix. Small gains stay unseen, so "
            "the wasted share may be too large; the cost of stopping is judged by answers that did not "
            "choose the stop."
        )
    return texts


def _on_method(found: Overthinking) -> str:
    s = found.settings
    return (
        f"{s['model']} on {s['problems']} problems of task {s['task']}, {s['rollouts']} thoughts each, at "
        f"most {s['thinking_tokens']} tokens, temperature {s['temperature']:g}, template {s['template']}, "
        f"{s['values']} values. Brackets are 95% bootstrap intervals over problems."
    )


def _on_accuracy(found: Overthinking) -> list[str]:
    best = "the optimal policy" if _all(found, "regret_optimum") else "an oracle that is always right"
    return [
        f"A thought has {_shown(found, 'thought_tokens')} tokens in {_shown(found, 'episodes')} episodes; "
        f"{_shown(found, 'finished_share')} of them end by themselves. At the end, J is "
        f"{_shown(found, 'final_accuracy')}. The hatched area is regret: what is lost at every budget "
        f"against {best}."
    ]


def _on_knowing(found: Overthinking) -> list[str]:
    rule = f"The answer counts as known once J stays at {found.settings['threshold']:g} or above"
    if not found.number("known_share").value:
        return [f"{rule}; no thought got there."]
    return [
        f"{rule}. {_shown(found, 'known_share')} of the thoughts get there, after "
        f"{_shown(found, 'known_tokens')} tokens, {_shown(found, 'known_position')} of their length. J is "
        "read at the ends of episodes, so all places are ends of episodes."
    ]


def _on_votes(found: Overthinking) -> list[str]:
    half = round(found.number("episodes").value / 2)
    most = max(m.votes or 0 for m in _all(found, "vote_gain"))
    accuracy, gain = (_shown(found, m, episode=half, votes=most) for m in ("vote_accuracy", "vote_gain"))
    return [
        f"After {half} episodes, half of the mean, a vote of {most} forced answers is right with probability "
        f"{accuracy}. Against thinking on for as many tokens as the vote costs, it gains {gain}. An answer "
        f"has {found.settings['mean_answer_tokens']:.3g} tokens."
    ]


def _budgets(found: Overthinking) -> str:
    titles = {"accuracy": "J", "regret_oracle": "regret to oracle", "regret_optimum": "regret to optimum"}
    names = [name for name in titles if _all(found, name)]
    budgets = [m.tokens or 0 for m in _all(found, "regret_oracle")]
    rows = [[f"{tokens:g}", *(_shown(found, name, tokens=tokens) for name in names)] for tokens in budgets]
    return _table(["tokens", *(titles[name] for name in names)], rows)


def _scalars(found: Overthinking) -> list[list[str]]:
    alone = [m.measure for m in found.numbers if m.episode is None and m.tokens is None]
    return [[name, _shown(found, name), *MEASURES[name]] for name in alone]


def _all(found: Overthinking, measure: str) -> list[Measured]:
    return [m for m in found.numbers if m.measure == measure]


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
    text = f"{number:.{digits}f}{suffix}"
    return text.replace("-", "−")


def _paragraphs(texts: Iterable[str], kind: str = "") -> str:
    body = "".join(f"<p>{html.escape(text)}</p>" for text in texts)
    return f'<div class="{kind}">{body}</div>' if kind else body


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    cells = [f"<tr>{''.join(f'<th>{html.escape(h)}</th>' for h in head)}</tr>"]
    cells += [f"<tr>{''.join(f'<td>{html.escape(str(c))}</td>' for c in row)}</tr>" for row in rows]
    return f'<div class="wide"><table>{"".join(cells)}</table></div>'


def _figure(draw: Callable[[Overthinking, Any], Any], found: Overthinking, caption: str) -> str:
    """A figure in the project's style; the caller's style and open figures stay as they are."""
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    from mrt_lib.plots import use_style

    picture = io.BytesIO()
    with plt.rc_context():
        use_style()
        figure = Figure(layout="constrained")
        draw(found, figure.subplots())
        figure.savefig(picture, format="png", dpi=150)
    data = base64.b64encode(picture.getvalue()).decode()
    image = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"
