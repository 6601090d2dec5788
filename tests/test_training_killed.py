"""Runs that are really killed or interrupted, in processes of their own, end in the same bits."""

import os
import random
import signal
import time

import pytest

from mrt_lib.files import load_checkpoint
from tests.small_training import ending, same_bits, start_run

CHANGES = {"steps": 6, "prompts": 2, "checkpoint_every": 2, "snapshot_every": 3}
PATIENCE = 900


def run_to_the_end(folder, changes=CHANGES):
    process, steps = start_run(folder, "mrt_offline", changes)
    list(received(steps))
    process.join(PATIENCE)
    assert process.exitcode == 0


def received(steps, most=None):
    """Numbers of the steps that a process reports, until `most` came or it ends."""
    count = 0
    while count != most:
        assert steps.poll(PATIENCE), "the process hangs"
        try:
            yield steps.recv()
        except EOFError:
            return
        count += 1


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Where an undisturbed run ended."""
    folder = tmp_path_factory.mktemp("straight")
    run_to_the_end(folder)
    return ending(folder)


@pytest.mark.slow
def test_killed_at_random_moments(straight, tmp_path):
    codes = []
    for steps_seen in (0, 1, 2, 2):
        process, steps = start_run(tmp_path, "mrt_offline", CHANGES)
        list(received(steps, steps_seen))
        time.sleep(random.uniform(0, 0.2))
        process.kill()
        process.join(PATIENCE)
        codes.append(process.exitcode)
    assert -signal.SIGKILL in codes
    run_to_the_end(tmp_path)
    assert same_bits(ending(tmp_path), straight)


def test_killed_while_a_checkpoint_is_written_and_before_it_is_renamed(straight, tmp_path):
    for weapon in (("half", 1), ("before", 3)):
        process, _ = start_run(tmp_path, "mrt_offline", CHANGES, weapon)
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL
    run_to_the_end(tmp_path)
    assert same_bits(ending(tmp_path), straight)


@pytest.mark.slow
def test_killed_at_every_delicate_moment(straight, tmp_path):
    """Around each renaming of configuration, log and checkpoint, and inside the writing of a checkpoint.

    A save renames the log, the old checkpoint if there is one, and the new one. Between the last two only the
    old one is there, under its other name.
    """
    weapons = [("before", 1), ("after", 1), ("half", 1), ("before", 1), ("before", 2), ("after", 1)]
    weapons += [("after", 2), ("half", 1), ("before", 2), ("after", 2), ("after", 1), ("after", 2)]
    weapons += [("after", 3)]
    progress = []
    for weapon in weapons:
        process, _ = start_run(tmp_path, "mrt_offline", CHANGES, weapon)
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL
        state = load_checkpoint(tmp_path / "checkpoint.pt", "cpu")
        progress.append(len(state["log"]) if state else 0)
    assert progress == [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 4, 6]
    run_to_the_end(tmp_path)
    assert same_bits(ending(tmp_path), straight)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 6


def test_an_interrupt_saves_at_once_and_the_run_goes_on_from_there(straight, tmp_path):
    changes = {**CHANGES, "checkpoint_every": 100}
    process, steps = start_run(tmp_path, "mrt_offline", changes)
    list(received(steps, 2))
    os.kill(process.pid, signal.SIGINT)
    list(received(steps))
    process.join(PATIENCE)
    assert process.exitcode == 130
    saved = len(ending(tmp_path)["log"])
    assert 2 <= saved < 6
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + saved
    run_to_the_end(tmp_path, changes=changes)
    assert same_bits(ending(tmp_path), straight)
