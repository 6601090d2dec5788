"""A task from the user's own functions."""

import numpy as np
import pytest

from mrt_lib.tasks import Problem, Task, from_callable


def sums(rng, n, split):
    pairs = rng.integers(10, 100, size=(n, 2))
    return [(f"{a} + {b} = ?", str(a + b)) for a, b in pairs]


def is_sum(problem, text):
    return text.strip() == problem.answer


def test_a_task_in_ten_lines():
    task: Task = from_callable(sums, is_sum, lambda problem: [problem.answer], name="sums")
    problems = task.sample(np.random.default_rng(0), 5, "test")
    assert problems == task.sample(np.random.default_rng(0), 5, "test")
    first = problems[0]
    assert first.question.endswith("= ?")
    assert (first.task, len({p.id for p in problems})) == ("sums", 5)
    assert [task.score(first, text) for text in (f" {first.answer}", "7", "")] == [1.0, 0.0, 0.0]
    assert task.answers(first) == (first.answer,)
    assert task.optimal_values(2) is None


def test_without_a_listing_there_are_no_answers():
    task = from_callable(lambda rng, n, split: [Problem("1", "custom", "q", "a")] * n, is_sum)
    (problem,) = task.sample(np.random.default_rng(0), 1)
    assert (problem.id, task.answers(problem), task.name) == ("1", None, "custom")


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ([], "sample gave 0 problems, 1 were asked for"),
        (["no pair"], "must give .* texts, got 'no pair'"),
        ([("q", 3)], r"must give .* texts, got \('q', 3\)"),
        ([(" ", "3")], r"must give .* texts, got \(' ', '3'\)"),
        ([("q", "a", "b")], "must give .* texts"),
    ],
)
def test_bad_samples(drawn, message):
    with pytest.raises(ValueError, match=f"custom: sample .*{message.removeprefix('sample ')}"):
        from_callable(lambda rng, n, split: drawn, is_sum).sample(np.random.default_rng(0), 1)


def test_bad_scores_and_listings():
    problem = Problem("1", "custom", "q", "a")
    with pytest.raises(
        ValueError, match=r"score of '1' for the answer 'x' failed .*invalid literal.*wrong answers"
    ):
        from_callable(sums, lambda p, text: int(text)).score(problem, "x")
    with pytest.raises(ValueError, match=r"must be 0 or 1, got 0\.5"):
        from_callable(sums, lambda p, text: 0.5).score(problem, "x")
    with pytest.raises(ValueError, match=r"answers of '1' lists 'b', which scores 0"):
        from_callable(sums, is_sum, lambda p: ["a", "b"]).answers(problem)
