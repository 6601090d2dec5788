"""What is computed in the README and in docs: notebook index, results, claims, the table of numbers."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.notebook_template import ROOT, badges, repository
from tools.summary import read_summary

README = ROOT / "README.md"
PAGES = (README, *(ROOT / "docs" / f"{name}.md" for name in ("claims", "numbers", "choosing")))
CLAIMS = ROOT / "data/results/claims.csv"
NOT_MEASURED = "not measured"
HOSTS = """\
1. `make bundle` writes `build/mrt.zip`: every tracked file, the shipped reasoners among them.
2. Colab: upload a notebook (File, Upload notebook), and `mrt.zip` to its Files pane or your Drive, mounted.
3. Kaggle: import a notebook and add `mrt.zip` as a data set; offline, one of `make bundle WHEELS=1`."""
PUBLISHED = (
    "The badges open a notebook; without internet, upload it with `build/mrt.zip` of `make bundle WHEELS=1`."
)
NUMBERS = {
    "i1.base_J0": "base reasoner: J without thinking (uniform guess: 1/31)",
    "i1.base_J4": "base reasoner: J after 4 episodes (optimum: 1)",
    "i1.base_judgement_error": "base reasoner: mean distance of J from 1/interval left",
    "i1.weak_J4": "weak reasoner: J after 4 episodes",
    "i1.strong_J4": "strong reasoner: J after 4 episodes",
    "i1.packed_vs_naive_8": "packed pass against one pass per prefix, 8 episodes",
    "i1.packed_vs_naive_24": "packed pass against one pass per prefix, 24 episodes",
    "i1.packed_vs_naive_64": "packed pass against one pass per prefix, 64 episodes",
    "i1.packed_vs_sampled4_24": "packed pass against 4 sampled branches, 24 episodes",
    "i3.long_trace_memory": "exact values of 16,384 tokens at 20 boundaries: memory / a plain forward pass's",
    "i3.long_trace_speed": "the same: one packed pass against one pass per prefix",
    "i2.J4_grpo": "GRPO: J after 4 episodes, the training budget",
    "i2.J4_grpo_exact": "GRPO with the exact outcome: J after 4 episodes",
    "i2.J4_best": "best MRT arm: J after 4 episodes",
    "i2.gain_ratio_train_budget": "gain of the best MRT arm over base / GRPO's gain, 4 episodes",
    "i2.gain_ratio_bound": "the largest ratio that any arm could have (J of 1 on every problem)",
    "i2.gain_ratio_weak_base": "gain of that MRT arm / GRPO's, from the weak base, each tuned there",
    "i2.gain_ratio_strong_base": "the same from the strong base, with the settings of the main one",
    "i2.gain_ratio_2x": "gain of the best MRT arm / GRPO's gain, 8 episodes, twice the training budget",
    "evidence.gain_ratio_exact_outcome": "gain of GRPO with the exact outcome / GRPO's",
    "evidence.gain_ratio_paper": "gain of the paper's online arm, 4 branches / GRPO's",
    "evidence.gain_ratio_paper_offline": "gain of the paper's offline arm / GRPO's",
    "i2.gain_ratio_vs_grpo_exact": "gain of the best MRT arm / gain of GRPO with the exact outcome",
    "evidence.credit_over_exact_outcome_low_rate": "the same arms, both at MRT's learning rate",
    "evidence.credit_over_exact_outcome_high_rate": "the same, both at GRPO's rate",
    "evidence.plenty_minus_grpo": "MRT minus GRPO, four times the rollouts in half the steps, not retuned",
    "evidence.lead_equal_rate_2x": "MRT minus GRPO at one learning rate: J after 8 episodes",
    "i2.gain_ratio_equal_time": "gain of the best MRT arm / GRPO's gain at equal training time",
    "i2.token_efficiency": "tokens of thought that GRPO needs / MRT needs for GRPO's J at 4 episodes",
    "evidence.token_efficiency": "the same, both finely tuned",
    "i2.tokens_to_grpo_best": "sampled training tokens that MRT needs for GRPO's best J / GRPO's",
    "evidence.tokens_to_grpo_best_read": "the same with the tokens that the exact prover reads",
    "i2.regret_margin_min_over_budgets": "lead in normalised regret over GRPO and base, least of 5 budgets",
    "i2.exact_share_of_step": "share of a training step spent on exact values",
    "i2.step_vs_trl": "training step against TRL's GRPOTrainer, same work",
    "i4.one_trace_vs_base_maj8_tokens": "tokens of one MRT trace / of the base's maj@8, which it beats",
    "i4.linearised_vs_parallel_4x": "one stream of 4 budgets minus maj@4, accuracy of the MRT model",
    "i4.linearised_vs_parallel_4x_spent": "the same at the tokens that the stream really spent",
    "i4.mrt_star_gain_ratio": "gain of MRT (STaR) / STaR's gain, equal learnt tokens",
    "i4.backtracking_token_efficiency": "backtracking: tokens that GRPO needs / the best MRT (RL) arm needs",
    "i4.backtracking_token_efficiency_vs_rise": "the same against RISE-style attempts",
    "i4.backtrack_right_line_difference": "backtracks to the right line, arm that pays them minus warm start",
    "i4.backtracking_linearised_vs_parallel_4x": "backtracking: one stream of 4 contexts minus maj@4",
    "i4.backtracking_linearised_vs_parallel_4x_spent": "the same at the tokens that the stream really spent",
    "i4.short_vs_long_regret_grpo": "GRPO: regret of training with 2 episodes minus with 8, equal tokens",
    "i4.curriculum_regret_grpo": "GRPO: regret of 2, then 8 episodes minus 8 alone, equal tokens",
}


def index(folder: Path = ROOT / "notebooks") -> str:
    """One table row per notebook: link, minutes on a CPU and, where there is a repository, badges."""
    address, minutes = repository(), _minutes()
    rows = (
        ["| notebook | minutes | open |", "|---|---|---|"]
        if address
        else ["| notebook | minutes |", "|---|---|"]
    )
    for path in sorted(folder.glob("*.ipynb")):
        title = "".join(json.loads(path.read_text())["cells"][0]["source"]).split("\n\n")[0]
        spent = minutes.get(path.name, NOT_MEASURED)
        row = f"| [{title.removeprefix('# ')}](notebooks/{path.name}) | {spent} |"
        rows.append(f"{row} {badges(path.name)} |" if address else row)
    return "\n".join(rows)


def _minutes() -> dict[str, float]:
    """Of every notebook, as it was last run in full."""
    table = json.loads((ROOT / "data/results/notebooks.json").read_text())
    return {name: round(row["minutes"], 1) for name, row in table.items()}


def total() -> str:
    """Minutes of all notebooks, without the installation."""
    return f"{sum(_minutes().values()):.0f}, and the installation"


def tests() -> str:
    """Minutes of `make test`, as last measured."""
    row = read_summary(ROOT / "data/results/summary.json").get("house.test_minutes")
    return f"{row['value']:.0f}" if row else NOT_MEASURED


def numbers() -> str:
    """The measured numbers that the README shows, `NOT_MEASURED` where the summary has none."""
    summary = read_summary(ROOT / "data/results/summary.json")
    rows = ["| what | measured | over | command |", "|---|---|---|---|"]
    for name, meaning in NUMBERS.items():
        row = summary.get(name)
        times = "×" if row and row["unit"] == "times faster" else ""
        value = f"{row['value']:.3g}{times}" if row else NOT_MEASURED
        if row and row["n"] > 1:
            value += f" [{row['low']:.3g}, {row['high']:.3g}]"
        command = f"`{row['command']}`" if row else ""
        over = f"{row['n']} {_units(name)}" if row and row["n"] > 1 else ""
        rows.append(f"| {meaning} | {value} | {over} | {command} |")
    return "\n".join(rows)


def _units(name: str) -> str:
    """What the n of a record counts."""
    if "packed" in name or "vs_trl" in name:
        return "repeats"
    problems = ("i1.", "i4.one_trace", "i4.linearised")
    return "problems" if name.startswith(problems) else "seeds"


def fair_control() -> str:
    """The first result: whether credit for episodes adds to a noiseless outcome, from both bases."""
    summary = read_summary(ROOT / "data/results/summary.json")
    names = ["log_progress_over_exact_outcome", "credit_over_exact_outcome", "credit_over_exact_outcome_weak"]
    names = [f"evidence.{name}" for name in names]
    if not summary.keys() >= set(names):
        return NOT_MEASURED
    above = sum(summary[name]["low"] > 1 for name in names)
    says = (
        "no interval lies above 1, so it is not shown that it does",
        "one interval of three lies above 1, which is weak evidence that it can",
        "two intervals of three lie above 1",
        "all intervals lie above 1",
    )[above]
    log, main, weak = (_shown(summary, name) for name in names)
    leads = [_shown(summary, f"evidence.credit_minus_exact_outcome_{n}", 3) for n in ("2x", "low_rate_2x")]
    return (
        "* **Does credit for episodes add to a noiseless outcome?** Against the gain of GRPO with the exact "
        f"outcome, all tuned alike, exact log-progress has {log} times as much and exact regret-to-go "
        f"{main}; from the weak base regret-to-go has {weak}: {says}. Thinking twice as long as in training, "
        f"regret-to-go leads it by {leads[0]} in J; where both learn at one rate, by {leads[1]}."
    )


def results() -> str:
    """Five lines: what the experiments say, each with its numbers."""
    summary, verdicts = read_summary(ROOT / "data/results/summary.json"), _verdicts()
    ratio = {name: _shown(summary, f"evidence.gain_ratio{name}") for name in ("", "_paper", "_paper_offline")}
    counts = [f"{verdicts.count(name)} {name}" for name in dict.fromkeys(sorted(verdicts))]
    weak, tokens = (_shown(summary, n) for n in ("i2.gain_ratio_weak_base", "evidence.token_efficiency"))
    plenty = _shown(summary, "evidence.plenty_minus_grpo", 3)
    lines = [
        f"* **Against plain GRPO** exact regret-to-go has {ratio['']} times the gain from the main base (the "
        f"paper reports 2 to 3 for its own arms) and {weak} times from a weak one. With four times the "
        "rollouts in half the steps, where no arm was tuned anew and MRT keeps the lower learning rate, its "
        f"J minus GRPO's is {plenty}.",
        f"* **The paper's own arms** have {ratio['_paper']} times GRPO's gain with values sampled by four "
        f"branches, {ratio['_paper_offline']} times with stale prefixes.",
        f"* **Tokens**: to be as accurate as GRPO is at the training budget, GRPO needs {tokens} times the "
        "thinking tokens of exact regret-to-go; the paper reports 1.5.",
        f"* **Of {len(verdicts)} claims of the paper**: {', '.join(counts)}.",
    ]
    return "\n".join([fair_control(), *lines])


def _shown(summary: dict[str, dict[str, Any]], name: str, digits: int = 2) -> str:
    if (row := summary.get(name)) is None:
        return NOT_MEASURED
    value, low, high = (f"{row[key]:z.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _verdicts() -> list[str]:
    with CLAIMS.open(newline="") as file:
        return [row["verdict"] for row in csv.DictReader(file) if row["verdict"] != NOT_MEASURED]


def claims(table: Path = CLAIMS) -> str:
    """The claims that have a verdict, with the numbers that decided it."""
    rows = ["| | the paper claims | arm | verdict | ours |", "|---|---|---|---|---|"]
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["verdict"] != NOT_MEASURED:
                link = f"[{row['id']}](../{row['link']})"
                rows.append(
                    f"| {link} | {row['claim']} | {row['arm']} | **{row['verdict']}** | {row['ours']} |"
                )
    return "\n".join(rows)


def filled(text: str) -> str:
    """A page's text with its computed parts up to date: they stand between comments of their names.

    A comment may also name a record of the summary, such as `<!-- evidence.gain_ratio -->`.
    """
    parts: dict[str, Callable[[], str]] = {
        "notebooks": index,
        "minutes": total,
        "test minutes": tests,
        "hosts": lambda: PUBLISHED if repository() else HOSTS,
        "results": results,
        "fair control": fair_control,
        "claims": claims,
        "numbers": numbers,
    }
    for name, part in parts.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start in text:
            head, tail = re.split(rf"{start}.*?{end}", text, flags=re.DOTALL)
            gap = "" if name.endswith("minutes") else "\n"
            text = f"{head}{start}{gap}{part()}{gap}{end}{tail}"
    summary = read_summary(ROOT / "data/results/summary.json")
    return re.sub(
        r"<!-- (\w+\.\w+) -->.*?<!-- /\1 -->",
        lambda found: f"<!-- {found[1]} -->{_in_prose(summary, found[1])}<!-- /{found[1]} -->",
        text,
    )


def _in_prose(summary: dict[str, dict[str, Any]], name: str) -> str:
    """A recorded number as sentences quote it: ratios with two digits, differences with three."""
    digits = 2 if name in summary and "times" in summary[name]["unit"] else 3
    return _shown(summary, name, digits)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text()))
