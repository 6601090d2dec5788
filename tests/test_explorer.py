"""The trace explorer: its numbers are the library's, it fetches nothing, and keys step through it."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from bs4 import BeautifulSoup

from mrt_lib import GRPO, MRTExact, Reasoner
from mrt_lib.arms.base import Rollout
from mrt_lib.engines import Sampling
from mrt_lib.measure.progress import progress
from mrt_lib.measure.prover import ExactProver
from mrt_lib.measure.regret import cumulative_regret
from mrt_lib.reporting.explorer import ARMS
from mrt_lib.thoughts.templates import decode
from mrt_lib.thoughts.traces import Trace
from tests.browser import BROWSER, browser
from tools import explorer

PAGE = explorer.DOCS / explorer.PAGE
CONTENT = json.loads(explorer.TRACES.read_text(encoding="utf-8"))
THOUGHTS = CONTENT["thoughts"]
OPTIMUM = explorer.TASK.optimal_values(explorer.EPISODES)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


def group(model, seed, problem):
    own = {"model": model, "seed": seed, "problem": problem}
    return [row for row in THOUGHTS if own.items() <= row.items()]


def shown(page):
    return json.loads(BeautifulSoup(page.read_text(), "html.parser").find(id="explorer-data").string)


def test_every_problem_model_and_seed_has_a_whole_group():
    problems = explorer.chosen()
    for model in explorer.MODELS:
        for seed in explorer.SEEDS:
            for problem in problems:
                rows = group(model, seed, problem.question)
                assert [row["thought"] for row in rows] == [1, 2, 3, 4]
                assert {row["gold"] for row in rows} == {problem.answer}
    assert len(THOUGHTS) == len(problems) * len(explorer.MODELS) * len(explorer.SEEDS) * 4


def test_values_are_those_that_the_model_has_at_these_thoughts():
    (problem, *_), rest = explorer.chosen(), Reasoner.load("data/models/base")
    rows = group("base", 0, problem.question)
    traces = rest.think([problem] * len(rows), Sampling(1, seed=0))
    for i, row in enumerate(rows):
        thought = [token for text in row["episodes"] for token in rest.tokenizer(text)["input_ids"]]
        ends = np.cumsum(row["tokens"]).tolist()
        traces[i] = replace(traces[i], thought_ids=thought, boundaries=ends, finished=False, end_ids=[])
        assert [decode(rest.tokenizer, traces[i].episode(j)) for j in range(len(ends))] == row["episodes"]
    found = ExactProver(rest, explorer.TASK).values([problem] * len(rows), traces)
    for own, row in zip(found, rows, strict=True):
        # After the last episode a thought that ended itself has another end than the forced one.
        last = len(row["values"]) - row["finished"]
        assert row["values"][:last] == pytest.approx(own.value[:last].tolist(), abs=1e-4)


def rollouts(rows):
    """The rows as rollouts of one group; what a token is does not matter to what it is paid."""
    problem = next(p for p in explorer.chosen() if p.question == rows[0]["problem"])
    for row in rows:
        ends = np.cumsum(row["tokens"]).tolist()
        trace = Trace(problem.id, [0], [0] * ends[-1], ends, row["finished"], values=row["values"])
        yield Rollout(problem, trace, 0, float(row["outcome"]))


@pytest.mark.parametrize("place", [0, CONTENT["start"], len(THOUGHTS) - 1])
def test_progress_regret_and_pay_are_what_the_library_computes(place):
    row = THOUGHTS[place]
    k, rows = len(row["episodes"]), group(row["model"], row["seed"], row["problem"])
    assert row["progress"] == pytest.approx(progress(row["values"]), abs=2e-4)
    ends = [*range(1, k + 1), explorer.EPISODES]
    regret = [0, *(cumulative_regret(row["values"], n, OPTIMUM) for n in ends)]
    assert row["regret"] == pytest.approx(regret, abs=1e-3)
    arms = [GRPO(scale=False)]
    arms += [MRTExact(rule, 1.0, scale=False) for rule in ("progress", "regret_to_go")]
    assert list(ARMS) == list(row["paid"])
    for arm, paid in zip(arms, row["paid"].values(), strict=True):
        tokens = arm.credit(list(rollouts(rows)), explorer.EPISODES)[rows.index(row)]
        ends = np.cumsum([0, *row["tokens"]])
        for j, own in enumerate(paid[:k]):
            assert tokens[ends[j] : ends[j + 1]] == pytest.approx(own, abs=5e-4)
        assert len(paid) == k + row["finished"]
        if row["finished"]:
            assert tokens[ends[-1]] == pytest.approx(paid[-1], abs=5e-4)


def test_the_committed_page_is_the_one_that_the_traces_give(tmp_path):
    page = explorer.build(tmp_path)
    assert page.read_bytes() == explorer.build(tmp_path).read_bytes()
    assert page.read_bytes() == PAGE.read_bytes(), "run `python -m tools.explorer --page`"
    assert shown(page)["thoughts"] == THOUGHTS
    assert shown(page)["best"] == CONTENT["best"] == OPTIMUM.tolist()


def test_the_page_names_no_address_and_forbids_every_request():
    text = PAGE.read_text()
    assert not re.findall(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"// .*", "", text))
    assert "default-src 'none'" in text
    soup = BeautifulSoup(text, "html.parser")
    assert not soup.find_all(["link", "img", "iframe", "object"])
    assert not [tag for tag in soup.find_all(True) if tag.get("src") or tag.get("href")]


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with browser(folder) as page:
        page.open(PAGE.as_uri(), 1100, 900)
        yield page


@needs_browser
def test_nothing_is_fetched_and_nothing_goes_wrong(tab):
    tab.press("ArrowRight", "ArrowLeft")
    assert tab.fetched() == [PAGE.as_uri()]
    assert tab.complaints() == []


@needs_browser
def test_the_page_forbids_a_request_that_is_tried(tab):
    before = len(tab.complaints())
    tab.read("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    tab.read("new Promise((done) => setTimeout(done, 200))")
    assert "Content Security Policy" in json.dumps(tab.complaints()[before:])
    tab.read("document.body.lastChild.remove()")


def part(tab, name):
    return tab.read(f"document.querySelector('[data-part={name}]').textContent")


def area(tab):
    """Of the regret in the picture, in episodes times J; what lies ahead of the optimum counts against it."""
    size = "Number(r.getAttribute('width')) * Number(r.getAttribute('height'))"
    boxes = [f"[...document.querySelectorAll('rect.{kind}:not(.over)')]" for kind in ("regret", "ahead")]
    sums = [tab.read(f"{box}.reduce((sum, r) => sum + {size}, 0)") for box in boxes]
    return (sums[0] - sums[1]) / ((350 - 40) / explorer.EPISODES * (196 - 12))


@needs_browser
def test_keys_step_through_the_thought_and_the_area_is_the_regret(tab):
    row = THOUGHTS[CONTENT["start"]]
    k = len(row["episodes"])
    tab.press("Tab", "Home")
    for step in range(k + 1):
        lines = tab.read("document.querySelectorAll('#explorer li').length")
        assert lines == step + 1
        assert part(tab, "J") == f"{row['values'][step]:.2f}"
        assert area(tab) == pytest.approx(row["regret"][step], abs=1e-3)
        if step:
            assert f"Episode {step} of {k}" in part(tab, "says")
            pays = tab.read("[...document.querySelectorAll('td.number')].map((cell) => cell.textContent)")
            own = [float(pay.replace("−", "-")) for pay in pays]
            assert own == pytest.approx([paid[step - 1] for paid in row["paid"].values()], abs=0.0051)
        tab.press("ArrowRight")
    assert area(tab) == pytest.approx(row["regret"][-1], abs=1e-3)
    assert tab.read("document.querySelector('[data-part=next]').disabled")
    tab.press("ArrowRight", "ArrowLeft")
    assert f"Episode {k} of {k}" in part(tab, "says")


@needs_browser
def test_a_choice_shows_another_thought_from_its_start(tab):
    tab.read(
        "const own = document.querySelector('[data-key=model]'); own.selectedIndex = 2;"
        "own.dispatchEvent(new Event('change'))"
    )
    start = THOUGHTS[CONTENT["start"]]
    (row,) = [
        other
        for other in group(list(explorer.MODELS)[2], start["seed"], start["problem"])
        if other["thought"] == start["thought"]
    ]
    assert part(tab, "J") == f"{row['values'][0]:.2f}"
    tab.press("ArrowRight")
    assert row["episodes"][0].strip() in part(tab, "lines")


@needs_browser
def test_what_has_the_focus_is_seen_and_everything_has_a_name(tab):
    tab.read("document.querySelector('[data-part=next]').focus()")
    tab.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.read(outline) == "solid"
    unnamed = tab.read(
        "[...document.querySelectorAll('#explorer :is(button, input, select, svg)')].filter((one) =>"
        " !(one.labels?.length || one.getAttribute('aria-label') || one.textContent.trim())).length"
    )
    assert unnamed == 0


@needs_browser
@pytest.mark.parametrize("width", [1100, 360, 320])
def test_no_width_needs_scrolling_sideways(tab, tmp_path, width):
    tab.resize(width, 760)
    assert tab.read("document.documentElement.scrollWidth") <= width
    touched = "[...document.querySelectorAll('.steps button, select')]"
    sizes = tab.read(f"{touched}.map((one) => one.getBoundingClientRect().height)")
    assert min(sizes) >= 36  # a finger's width
    tab.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
