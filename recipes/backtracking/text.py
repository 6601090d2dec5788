"""Attempts at subset sum as thoughts, and back.

A thought is a list of episodes, each opened by "try": an attempt (its lines to the end), or a backtrack
("Backtrack to Line n" or "Backtrack to beginning"), after which the next attempt keeps the lines before n
and writes the others again. An attempt without a backtrack before it starts at Line 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recipes.backtracking.attempts import Attempt, Line, check_line
from recipes.backtracking.subset_sum import DECISIONS

MARKER = "try"


def thought_text(attempts: Sequence[Attempt]) -> str:
    """The attempts as the reasoner writes them; shared lines are not written again."""
    return " ".join(text for attempt in attempts for text in _episodes(attempt))


def _episodes(attempt: Attempt) -> list[str]:
    lines = list(enumerate(attempt.lines, start=1))[attempt.first - 1 :]
    text = " ".join(f"Line {i} {DECISIONS[line.taken]} {line.number} {line.rest}" for i, line in lines)
    back = [] if attempt.back_to is None else [f"{MARKER} {backtrack_text(attempt.back_to)}"]
    return [*back, f"{MARKER} {text}"] if lines else back


def backtrack_text(line: int) -> str:
    """The words that go back to a line; Line 1 is the beginning."""
    return "Backtrack to beginning" if line == 1 else f"Backtrack to Line {line}"


def is_backtrack(episode: str) -> bool:
    """Whether an episode goes back, rather than attempts."""
    return episode.split()[1:3] == ["Backtrack", "to"]


def newest_in_full(text: str, lines: int) -> str:
    """The newest whole attempt of a thought, from Line 1 on; "" if there is none.

    It is all that a backtrack needs, so a long stream of attempts fits into a short context.
    """
    whole = [a for a in read_prefix(text, lines)[0] if len(a.lines) == lines]
    return thought_text([replace(whole[-1], back_to=None)]) if whole else ""


def read_attempts(text: str, lines: int) -> list[Attempt]:
    """The attempts that a thought about a problem of `lines` lines holds. What they say is not checked.

    ValueError names the first episode that is not well formed and why: a backtrack to a line that does
    not exist or before any attempt, lines out of order, an attempt that ends early before another episode.
    """
    attempts, error = read_prefix(text, lines)
    if error:
        raise ValueError(error)
    return attempts


def read_prefix(text: str, lines: int) -> tuple[list[Attempt], str]:
    """The attempts up to the first mistake of form, and what that mistake is ("" where there is none)."""
    before, *episodes = f" {text} ".split(f" {MARKER} ")
    attempts: list[Attempt] = []
    if before.strip():
        return attempts, f"a thought opens with {MARKER!r}, got {before.strip()!r}"
    for number, episode in enumerate(episodes, start=1):
        try:
            _read_episode(attempts, episode.split(), lines)
        except ValueError as error:
            return attempts, f"episode {number}, {episode.strip()!r}: {error}"
    return attempts, ""


def _read_episode(attempts: list[Attempt], words: list[str], lines: int) -> None:
    """Read one episode to the end of `attempts`."""
    last = attempts[-1] if attempts else None
    if is_backtrack(f"{MARKER} {' '.join(words)}"):
        if last is None or len(last.lines) < lines:
            raise ValueError("nothing to go back from: no whole attempt before it")
        line = _read_target(words[2:], lines)
        attempts.append(Attempt(last.lines[: line - 1], line))
    elif last and last.back_to and len(last.lines) == last.back_to - 1:
        attempts[-1] = Attempt(last.lines + _read_lines(words, last.back_to, lines), last.back_to)
    elif last and len(last.lines) < lines:
        raise ValueError(f"the attempt before it stops at Line {len(last.lines)} of {lines}")
    else:
        attempts.append(Attempt(_read_lines(words, 1, lines)))


def _read_target(words: list[str], lines: int) -> int:
    if words == ["beginning"]:
        return 1
    if len(words) != 2 or words[0] != "Line" or not words[1].isdecimal():
        raise ValueError("expected 'Backtrack to Line n' or 'Backtrack to beginning'")
    check_line(int(words[1]), lines)
    return int(words[1])


def _read_lines(words: list[str], first: int, lines: int) -> tuple[Line, ...]:
    found: list[Line] = []
    for start in range(0, len(words), 5):
        parts, expected = words[start : start + 5], first + len(found)
        if len(parts) < 5 or parts[:2] != ["Line", str(expected)] or parts[2] not in DECISIONS:
            raise ValueError(f"expected 'Line {expected} take|skip number rest', got {' '.join(parts)!r}")
        check_line(expected, lines)
        if not (parts[3].isdecimal() and parts[4].isdecimal()):
            raise ValueError(f"number and rest must be whole numbers, got {' '.join(parts[3:])!r}")
        found.append(Line(parts[2] == "take", int(parts[3]), int(parts[4])))
    if not found:
        raise ValueError("it holds no line")
    return tuple(found)
