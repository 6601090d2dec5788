"""The numbers of an overthinking report on two thoughts that fit on paper."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup

from mrt_lib.measure.evaluation import Evaluation
from mrt_lib.reasoner import Reasoner
from mrt_lib.reporting import page as draw
from mrt_lib.reporting.measured import Measured, Overthinking, Thought
from mrt_lib.reporting.observation import Observation
from mrt_lib.reporting.overthinking import measure
from mrt_lib.reporting.page import page, write_report
from mrt_lib.tasks import Problem
from mrt_lib.thoughts.templates import encode
from mrt_lib.thoughts.traces import Trace

REASONER = Reasoner.load("data/models/weak")
WORD = encode(REASONER.tokenizer, "try")
PROBLEMS = [Problem("p", "toy", "solve", "7"), Problem("q", "toy", "solve", "9")]


def saved(folder):
    """The report of a folder, from its JSON: null stands for nan and for an open end."""
    parts = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    open_ends = {"value": math.nan, "low": -math.inf, "high": math.inf}
    rows = [row | {k: v for k, v in open_ends.items() if row[k] is None} for row in parts["numbers"]]
    parts["numbers"] = tuple(Measured(**row) for row in rows)
    parts["thoughts"] = tuple(Thought(**row) for row in parts["thoughts"])
    return Overthinking(**parts)


SETTINGS = {"model": "toy", "task": "toy", "template": "testbed", "values": "exact", "rollouts": 1}
SETTINGS |= {
    "problems": 2,
    "seed": 0,
    "thinking_tokens": 40,
    "temperature": 1.0,
    "branches": 4,
    "mean_answer_tokens": 2.0,
}
ANSWERS = [
    [["7", "1", "2", "3"], ["7", "7", "1", "2"], *[["7"] * 4] * 3],
    [["5"] * 4, ["5", "5", "5", ""], ["5"] * 4],
]


def thought(problem, values):
    ends = [10 * (j + 1) for j in range(len(values) - 1)]
    return Trace(problem.id, WORD, WORD * 10 * len(ends), ends, True, values=list(values))


def observation(values=((0.1, 0.2, 0.9, 0.9, 0.92), (0.1, 0.1, 0.1)), answers=ANSWERS, exact=True):
    """An answer without a thought costs 20 tokens, an episode 10, an answer 2."""
    traces = [thought(p, v) for p, v in zip(PROBLEMS, values, strict=True)]
    tokens = [20.0 + 10 * np.arange(len(v)) for v in values]
    return Observation(REASONER, Evaluation(PROBLEMS, 1, traces, tokens), answers, exact, 2.0)


def measured(**changes) -> Overthinking:
    options = {"optimum": changes.pop("optimum", None), "budgets": changes.pop("budgets", None)}
    return measure(observation(**changes), SETTINGS, {"commit": "0"}, **options)


def values(found, *names):
    return [found.number(name).value for name in names]


def test_waste_by_hand():
    found = measured()
    assert [(t.tokens, t.useful, t.known) for t in found.thoughts] == [(40, 20, 20), (20, 0, None)]
    assert values(found, "wasted_share", "wasted_known", "wasted_unknown") == pytest.approx(
        [4 / 6, 2 / 6, 2 / 6]
    )
    assert values(found, "known_share", "known_tokens", "known_position") == [0.5, 20, 0.5]
    assert values(found, "wasted_tokens", "stop_cost") == pytest.approx([20, 0.01])
    assert values(found, "thought_tokens", "episodes", "final_accuracy") == pytest.approx([30, 3, 0.51])
    assert values(found, "finished_share", "unreadable_share") == pytest.approx([1, 1 / 32])


USERS = ("overthinking_tax", "futility_waste", "starvation_loss", "right_to_wrong_share", "uniform_regret")


def test_what_users_ask_for_by_hand():
    # p knows its answer after 20 of 40 tokens, q never; stopped at the mean cost, 50, p has 0.9 for 0.92.
    assert values(measured(), *USERS) == pytest.approx([20 / 60, 20 / 60, 0, 0, -0.01])
    own = [[0.1, 0.9], [0.1, 0.2], [0.9, 0.1], [0.1, 0.1]]
    traces = [thought(PROBLEMS[i // 2], v) for i, v in enumerate(own)]
    traces[1] = replace(traces[1], finished=False)  # cut, though the thought before it solves p
    tokens = [np.array([20.0, 30.0])] * 4
    answers = [[["1", "2"]] * 2] * 4
    found = Observation(REASONER, Evaluation(PROBLEMS, 2, traces, tokens), answers, True, 2.0)
    found = measure(found, SETTINGS | {"rollouts": 2}, {})
    assert values(found, *USERS) == pytest.approx([0, 0, 1 / 4, 1 / 4, 0])
    assert len(found.explorer["thoughts"]) == 4


def test_votes_at_equal_tokens_by_hand():
    found = measured()
    vote, gain = (found.number(name, episode=1, votes=4) for name in ("vote_accuracy", "vote_gain"))
    # Three more answers of 2 tokens; on the way from 30 to 40 tokens J goes from .2 to .9.
    assert (vote.value, vote.tokens) == (0.5, 36)
    assert gain.value == pytest.approx(((1 - (0.2 + 0.6 * 0.7)) + (0 - 0.1)) / 2)
    last = found.number("vote_gain", episode=4, votes=4)  # both have ended: nothing left to think
    assert (last.value, last.tokens) == (pytest.approx((0.08 - 0.1) / 2), 56)
    assert {m.votes for m in found.numbers} == {None, 1, 2, 4}
    assert "vote_regret" not in {m.measure for m in found.numbers}


def test_vote_regret_is_the_mean_over_thoughts_with_something_to_lose():
    answers = [[["7"] * 8] * 5 + [["1"] * 8], [["9"] * 8]]
    found = measured(values=([1.0] * 5 + [0.0], [1.0]), answers=answers)
    # Think falls from 1 to 0 over 5 episodes, area 2.5; the vote stays at 1, area 5. The other is too short.
    assert found.number("vote_regret").value == pytest.approx(0.5)


def test_curves_and_regret():
    found = measured(budgets=[40, 20], optimum=[0.1, 1.0])
    assert found.settings["budgets"] == [20, 40]

    def at(name, *tokens):
        return [found.number(name, tokens=t).value for t in tokens]

    assert [m.value for m in found.numbers if m.measure == "accuracy_by_episode"] == pytest.approx(
        [0.1, 0.15, 0.5, 0.5, 0.51]
    )
    assert [found.number("accuracy", tokens=t).value for t in (20, 25, 40)] == pytest.approx(
        [0.1, 0.125, 0.5]
    )
    # areas up to 20 and 40: 1, and 1 + (0.1+0.15)/2*10 + (0.15+0.5)/2*10 = 5.5; the optimum's: 1 + 5.5 + 10
    assert [found.number("regret_oracle", tokens=t).value for t in (20, 40)] == pytest.approx(
        [19 / 20, 34.5 / 40]
    )
    assert found.number("regret_optimum", tokens=40).value == pytest.approx((16.5 - 5.5) / 40)
    assert found.number("optimum_accuracy", tokens=25).value == pytest.approx(0.55)
    default = measured()
    assert default.settings["budgets"] == [12, 25, 50, 100]
    assert default.frame("optimum_accuracy").empty


def test_sampled_places_come_from_stretches_and_the_cost_of_stopping_from_the_other_half():
    right, wrong = "9", "5"
    first = [["1"] * 4] * 2 + [["7"] * 4] * 3
    # The even answers of q are always right, the odd ones from the last prefix on.
    second = [[right, wrong, right, wrong]] * 2 + [[right] * 4]
    found = measured(values=([0, 0, 1, 1, 1], [0.5, 0.5, 1.0]), answers=[first, second], exact=False)
    # q: the even half stops at once, which costs the odd half 1; the odd half stops at the end, at no cost.
    assert found.number("stop_cost").value == pytest.approx((0 + (1 + 0) / 2) / 2)
    assert found.thoughts[0].useful == 20


def test_halves_of_an_odd_number_of_answers_are_weighed_by_their_own_size():
    # Three of five answers choose the stop: 2 of 3 right, then all. Two answers would be too few for the cut.
    first = [["7", "1", "7", "1", "1"], *[["7"] * 5] * 3]
    found = measured(values=([0.4, 1, 1, 1], [0.0, 0.0]), answers=[first, [["5"] * 5] * 2], exact=False)
    assert found.number("stop_cost").value == 0


def test_a_budget_given_twice_is_taken_once():
    assert measured(budgets=[40, 20, 40]).settings["budgets"] == [20, 40]


def test_nothing_known_and_nothing_thought():
    found = measured(values=([0.1], [0.1]), answers=[[["1", "2"]], [["1", "2"]]])
    assert found.number("known_share").value == 0
    assert all(map(math.isnan, values(found, "known_tokens", "wasted_share")))
    assert "no thought got there" in page(found)


def test_bad_observations():
    with pytest.raises(ValueError, match="at least 2 answers per prefix"):
        measured(values=([0.1], [0.1]), answers=[[["1"]], [["1"]]])
    with pytest.raises(KeyError, match="0 numbers of 'waste'"):
        measured().number("waste")
    with pytest.raises(KeyError, match="15 numbers of 'vote_gain'"):
        measured().number("vote_gain")


def test_json_keeps_every_number_also_undefined_ones(tmp_path):
    found = measured(optimum=[0.1, 1.0])
    undefined = replace(found.numbers[0], value=math.nan, low=-math.inf, high=math.inf)
    found = replace(found, numbers=(undefined, *found.numbers[1:]))
    assert "NaN" not in found.to_json()
    assert "Infinity" not in found.to_json()
    write_report(found, tmp_path)
    assert repr(saved(tmp_path)) == repr(found)


def with_texts(found, text):
    """The same report with another text of its typical thought and its problem."""
    content = json.loads(json.dumps(found.explorer))
    own = content["thoughts"][content["start"]]
    own |= {"problem": text, "episodes": [text] * len(own["episodes"])}
    return replace(found, explorer=content)


def test_text_from_models_and_data_is_escaped():
    bad = "<script>alert('x')</script>&amp;"
    found = with_texts(measured(), bad)
    found = replace(
        found,
        settings=found.settings | {"model": bad, "task": bad, "note": bad},
        provenance={bad: bad},
    )
    text = page(found)
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(") > 6
    soup = BeautifulSoup(text, "html.parser")
    assert bad in soup.get_text()
    data, script = soup.find_all("script")
    shown = json.loads(data.string)["thoughts"]
    assert bad in [shown[i]["problem"] for i in range(2)]
    # The one script that the policy lets run is the page's own.
    (policy,) = [tag["content"] for tag in soup.find_all("meta") if tag.get("http-equiv")]
    assert base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode() in policy
    assert bad not in draw.example_html(found)
    assert "&lt;script&gt;alert(" in draw.example_html(found)


def test_a_report_is_written_whole_or_not_at_all(tmp_path):
    write_report(measured(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"report.json", "report.html"}
    broken = replace(measured(budgets=[7]), settings={"model": "toy"})
    with pytest.raises(KeyError):
        write_report(broken, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_lone_surrogate_from_a_tokenizer_breaks_no_page(tmp_path):
    found = measured()
    path = write_report(with_texts(found, "\ud800"), tmp_path)
    assert path.read_bytes().decode("utf-8").endswith("</html>\n")


def test_the_page_stands_alone_and_leaves_the_style_alone():
    style = dict(plt.rcParams)
    text = page(measured())
    assert dict(plt.rcParams) == style
    assert plt.get_fignums() == []
    assert text.count("data:image/png;base64,") == 3
    assert not {"http:", "https:"} & set(re.findall(r"\w+:", text))
    assert "66.7%" in text


def test_figures_show_the_numbers():
    found = measured(optimum=[0.1, 1.0])
    figure, axes = plt.subplots(1, 3)
    accuracy, thoughts, votes = axes
    draw.draw_accuracy(found, accuracy)
    best, think = accuracy.lines
    assert think.get_ydata().tolist() == found.frame("accuracy").value.tolist()
    assert best.get_ydata().max() == 1
    draw.draw_thoughts(found, thoughts)
    assert [(b.get_x(), b.get_width()) for b in thoughts.patches] == [(0, 0), (0, 20), (0, 20), (20, 20)]
    assert thoughts.lines[0].get_xdata()[1] == 20
    draw.draw_votes(found, votes)
    assert [line.get_label() for line in votes.lines[1:]] == ["vote of 2", "vote of 4"]
    plt.close(figure)
