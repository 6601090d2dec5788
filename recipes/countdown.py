"""Countdown: reach a target with given numbers and + - * /. Problems come from reasoning-gym.

The extra `countdown` brings reasoning-gym; of what it needs, pycosat has no wheel for Python 3.12 and
newer and is compiled, so a C compiler must be at hand there. Nothing else needs the extra, scoring an
answer included.
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from mrt_lib.tasks.base import Problem, require

SPLITS = {"train": range(0, 65), "validation": range(65, 80), "test": range(80, 100)}
LONGEST_EXPRESSION = 400
ALLOWED = re.compile(r"[0-9+\-*/() \t\n]+", re.ASCII)


@dataclass(frozen=True)
class Countdown:
    """Countdown with `numbers` (fewest, most) numbers in 1..`largest` and a target in `targets`."""

    numbers: tuple[int, int] = (4, 6)
    largest: int = 100
    targets: tuple[int, int] = (100, 999)

    @property
    def name(self) -> str:
        return "countdown_{}_{}_{}_{}_{}".format(*self.numbers, self.largest, *self.targets)

    @cached_property
    def generator(self) -> Any:
        """reasoning-gym's data set, an endless list; ImportError without it, ValueError for bad ranges."""
        require("reasoning_gym", "countdown")
        import reasoning_gym as gym

        ranges = {"numbers": self.numbers, "value": (1, self.largest), "target": self.targets}
        bounds = {
            f"{end}_{key}": pair[i] for key, pair in ranges.items() for i, end in enumerate(("min", "max"))
        }
        try:
            return gym.create_dataset("countdown", seed=0, size=2**31, **bounds)
        except AssertionError as error:
            raise ValueError(f"{self}: {error}") from None

    def sample(self, rng: np.random.Generator, n: int, split: str = "train") -> list[Problem]:
        """`n` problems; the hash of numbers and target decides the split, so none is in two of them."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; known: {sorted(SPLITS)}")
        problems: list[Problem] = []
        while len(problems) < n:
            entry = self.generator[int(rng.integers(2**31))]
            numbers, target = entry["metadata"]["numbers"], entry["metadata"]["target"]
            if _bucket(numbers, target) in SPLITS[split]:
                problems.append(self._problem(entry, numbers, target))
        return problems

    def score(self, problem: Problem, answer_text: str) -> float:
        """1.0 for an expression that uses every number once and is the target exactly, else 0.0.

        reasoning-gym's own scorer gives the same, but for two things: it evaluates the text, and it
        lets a value pass that is off by a hundred-thousandth of the target.
        """
        return float(is_solution(answer_text, _numbers(problem), int(problem.facts["target"])))

    def answers(self, problem: Problem) -> None:
        """None: too many expressions are right."""

    def optimal_values(self, episodes: int) -> None:
        """None: no optimal policy is known."""

    def _problem(self, entry: dict[str, Any], numbers: list[int], target: int) -> Problem:
        digest = hashlib.sha256(entry["question"].encode()).hexdigest()[:16]
        facts: dict[str, int | str] = {"numbers": " ".join(map(str, numbers)), "target": target}
        return Problem(f"{self.name}:{digest}", self.name, entry["question"].strip(), entry["answer"], facts)


def is_solution(text: str, numbers: list[int], target: int) -> bool:
    """Whether the text is an expression of exactly these numbers with this value. Never raises."""
    text = " ".join(text.split())
    expression = parse_arithmetic(text)
    if expression is None:
        return False
    used = [int(digits) for digits in re.findall("[0-9]+", text)]
    return sorted(used) == sorted(numbers) and _value(expression) == target


def parse_arithmetic(text: str) -> ast.expr | None:
    """The expression if it has only integers, + - * / and parentheses, else None. Never raises.

    The text is parsed, not evaluated; names, calls, powers and floor division are refused.
    """
    if len(text) > LONGEST_EXPRESSION or not ALLOWED.fullmatch(text):
        return None
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return expression if _is_plain(expression) else None


def _is_plain(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        known = isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div)
        return known and _is_plain(node.left) and _is_plain(node.right)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.UAdd | ast.USub) and _is_plain(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) is int


def _value(node: ast.expr) -> Fraction | None:
    """The exact value of a plain expression; None where it divides by zero."""
    if isinstance(node, ast.Constant):
        return Fraction(int(str(node.value)))
    if isinstance(node, ast.UnaryOp):
        operand = _value(node.operand)
        return -operand if operand is not None and isinstance(node.op, ast.USub) else operand
    assert isinstance(node, ast.BinOp)
    left, right = _value(node.left), _value(node.right)
    if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
        return None
    if isinstance(node.op, ast.Add):
        return left + right
    if isinstance(node.op, ast.Sub):
        return left - right
    return left * right if isinstance(node.op, ast.Mult) else left / right


def _numbers(problem: Problem) -> list[int]:
    return [int(number) for number in str(problem.facts["numbers"]).split()]


def _bucket(numbers: list[int], target: int) -> int:
    key = f"{sorted(numbers)}:{target}"
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100
