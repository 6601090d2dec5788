"""The claims as a table and as a figure; verdicts are told by words and markers, colour only helps."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.verdicts import DIFFERS, INCONCLUSIVE, MIXED, NOT_MEASURED, NOT_REPRODUCED, REPRODUCED

# verdict: (colour, marker, sign)
LOOKS: dict[str, tuple[str, str, str]] = {
    REPRODUCED: ("#157f6b", "o", "✔"),
    DIFFERS: ("#2f6db3", "D", "≠"),
    MIXED: ("#7a4fa3", "P", "±"),
    INCONCLUSIVE: ("#c79a1e", "s", "?"),
    NOT_REPRODUCED: ("#b33951", "X", "✘"),
    NOT_MEASURED: ("#9a9a9a", "", "–"),
}
COLUMNS = {
    "claim": "the paper claims",
    "arm": "arm",
    "paper": "paper",
    "authors_rerun": "authors' re-run",
    "ours": "ours",
    "verdict": "verdict",
    "why": "why",
}


def claims_html(table: pd.DataFrame, root: str = "..") -> str:
    """The table of claims as HTML, its ids linked to the experiments.

    Args:
        table: rows id, claim, arm, paper, authors_rerun, ours, verdict, why, link, as in
            `data/results/claims.csv`.
        root: of the repository, as the page that shows the table sees it.
    """
    cell = "padding:4px 8px;vertical-align:top;text-align:left;border-bottom:1px solid #ccc"
    head = "".join(f'<th style="{cell}">{title}</th>' for title in ("", *COLUMNS.values()))
    lines = []
    for row in table.fillna("").to_dict("records"):
        link = f'<a href="{root}/{html.escape(row["link"])}">{html.escape(row["id"])}</a>'
        cells = [link, *(_cell(name, row[name]) for name in COLUMNS)]
        lines.append("<tr>" + "".join(f'<td style="{cell}">{text}</td>' for text in cells) + "</tr>")
    return f'<table style="font-size:90%"><tr>{head}</tr>{"".join(lines)}</table>'


def draw_verdicts(parts: pd.DataFrame) -> Figure:
    """Every deciding number with its interval, turned so that right of the line is the claim's direction.

    Ratios and differences have a panel each, where there are any; rows are grouped by their own verdict.

    Args:
        parts: rows id, meaning, threshold, below, paper_low, paper_high, value, low, high, verdict, as in
            `data/results/claim_parts.csv`; what is not measured is left out.
    """
    found = parts[parts.verdict != NOT_MEASURED]
    order = {verdict: i for i, verdict in enumerate(LOOKS)}
    found = found.sort_values("verdict", key=lambda column: column.map(order), kind="stable")
    panels = {True: found[found.threshold == 1], False: found[found.threshold != 1]}
    panels = {ratios: panel for ratios, panel in panels.items() if len(panel)}
    sizes = [len(panel) for panel in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(9.4, 1.5 + 0.34 * sum(sizes)), height_ratios=sizes, squeeze=False
    )
    for ax, (ratios, panel) in zip(axes[:, 0], panels.items(), strict=True):
        _draw_rows(ax, panel)
        if not ratios:
            label = "towards the claim (black line: its threshold)"
            ax.set(title="differences in J, accuracy, regret or loss", xlabel=label)
            continue
        label = "ratio (black line: 1, the claim is above it; empty diamonds: the paper's size)"
        ax.set(xscale="log", title="ratios", xlabel=label)
        ticks = [0.6, 0.8, 1, 1.5, 2, 3, 5]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
    shown = [verdict for verdict in LOOKS if verdict in set(found.verdict)]
    figure.legend(handles=[_key(verdict) for verdict in shown], loc="outside lower center", ncols=len(shown))
    return figure


def _draw_rows(ax: Axes, rows: pd.DataFrame) -> None:
    for y, row in enumerate(rows.itertuples()):
        colour, marker, _ = LOOKS[row.verdict]
        sign = -1 if row.below else 1
        ends = np.sort([sign * row.low, sign * row.high])
        ax.plot(ends, [y, y], color=colour, lw=2)
        ax.plot(sign * row.value, y, marker, color=colour, ms=8, mec="#111111", mew=0.6)
        ax.plot([sign * row.threshold] * 2, [y - 0.45, y + 0.45], color="#111111", lw=1.2)
        if pd.notna(row.paper_low):
            ax.plot([row.paper_low, row.paper_high], [y, y], ":D", color="#111111", mfc="none", ms=6)
    ax.set_yticks(range(len(rows)), [f"{row.id}  {row.meaning}" for row in rows.itertuples()], fontsize=9)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")


def _key(verdict: str) -> Line2D:
    colour, marker, _ = LOOKS[verdict]
    return Line2D([], [], color=colour, marker=marker, ms=8, mec="#111111", mew=0.6, lw=2, label=verdict)


def _cell(name: str, text: str) -> str:
    shown = html.escape(text).replace("; ", "<br>") if name == "ours" else html.escape(text)
    if name != "verdict":
        return shown
    colour, _, sign = LOOKS[text]
    return f'<b style="color:{colour};white-space:nowrap">{sign} {shown}</b>'
