"""Two at once, full disks, damaged files, fingerprints, and names without a machine's paths."""

import errno
import functools
import json
import os
import random
import shutil
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mrt_lib.adapters import portable
from mrt_lib.files import (
    alone,
    claim,
    grading,
    load_checkpoint,
    new_folder,
    put_back,
    save_checkpoint,
    settings_of,
    weights_digest,
    whole,
    write_csv,
    write_json,
    write_text,
)
from tests.processes import small_files, start, wait_for
from tools.summary import read_summary

CPU = torch.device("cpu")
STATE = {"step": 1, "weights": torch.arange(5000.0)}


def in_child(action):
    """What `action` raises, in a forked process: (type's name, errno, message), or None."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            action()
            found = None
        except BaseException as error:
            found = [type(error).__name__, getattr(error, "errno", None), str(error)]
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as file:
        return json.load(file)


def fill(path):
    with new_folder(path) as filling:
        (filling / "first").write_text("there")
        from safetensors.torch import save_file

        save_file({"weights": torch.zeros(50_000)}, filling / "model.safetensors")


def traces(path):
    from mrt_lib.thoughts.traces import Trace, save_traces

    numbers = np.random.default_rng(0)
    own = [Trace("p", [], list(map(int, numbers.integers(0, 10**6, 40_000))), [40_000], False)]
    save_traces(path, own)


WRITERS = {
    "text": lambda path: write_text(path, "x" * 200_000),
    "json": lambda path: write_json(path, ["x"] * 50_000),
    "csv": lambda path: write_csv(path, [{"a": i} for i in range(50_000)]),
    "checkpoint": lambda path: save_checkpoint(path, {"weights": torch.zeros(50_000)}),
    "parquet": traces,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, name):
    def action():
        small_files(20_000)
        WRITERS[name](tmp_path / "there.x")

    (tmp_path / "there.x").write_text("old")
    kind, number, message = in_child(action)
    assert (kind, number) == ("OSError", errno.EFBIG)
    assert str(tmp_path / "there.x") in message
    assert "File too large" in message
    assert "raise the limit" in message
    assert [path.name for path in tmp_path.iterdir()] == ["there.x"]
    assert (tmp_path / "there.x").read_text() == "old"


def test_a_folder_on_a_full_disk_is_not_there_at_all(tmp_path):
    def action():
        small_files(20_000)
        fill(tmp_path / "model")

    kind, number, message = in_child(action)
    assert (kind, number) == ("OSError", errno.EFBIG)
    assert message.startswith(f"[Errno 27] {tmp_path / 'model'} could not be written")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "way"), [(errno.ENOSPC, "make room"), (errno.EROFS, "may be written to")])
def test_every_cause_has_its_way_out(tmp_path, number, way):
    with pytest.raises(OSError, match=rf"f.txt could not be written .*{way}"), whole(tmp_path / "f.txt"):
        raise OSError(number, os.strerror(number))


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="mine"), whole(tmp_path / "f.txt"):
        raise FileNotFoundError(errno.ENOENT, "mine")
    with pytest.raises(RuntimeError, match="mine"), whole(tmp_path / "f.txt"):
        raise RuntimeError("mine")


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "state.pt").symlink_to(tmp_path / "far" / "state.pt")
    for step in (1, 2):
        save_checkpoint(tmp_path / "state.pt", {"step": step})
    assert (tmp_path / "state.pt").is_symlink()
    assert load_checkpoint(tmp_path / "state.pt", CPU) == {"step": 2}
    assert sorted(p.name for p in (tmp_path / "far").iterdir()) == ["state.pt", "state.pt.previous"]


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES = {
    "cut": cut,
    "one bit": flipped,
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"version https://git-lfs",
    "tail": lambda data: data[100:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_previous_one(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2):
        save_checkpoint(path, STATE | {"step": step})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"checkpoint\.pt is damaged; the run goes on from .*previous"):
        assert load_checkpoint(path, CPU)["step"] == 1
    save_checkpoint(path, STATE | {"step": 3})
    assert load_checkpoint(path, CPU)["step"] == 3
    save_checkpoint(path, STATE | {"step": 4})
    for name in ("checkpoint.pt", "checkpoint.pt.previous"):
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(ValueError, match=r"checkpoint\.pt and .*previous is damaged; remove it"):
        load_checkpoint(path, CPU)


def test_no_damage_goes_unseen(tmp_path):
    path, chance = tmp_path / "checkpoint.pt", random.Random(0)
    save_checkpoint(path, STATE)
    whole_file = path.read_bytes()
    for _ in range(150):
        data = bytearray(whole_file)
        if chance.random() < 0.5:
            data = data[: chance.randrange(len(data))]
        else:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            found = load_checkpoint(path, CPU)
        except ValueError:
            continue
        assert found["step"] == 1
        assert torch.equal(found["weights"], STATE["weights"])


def test_a_checkpoint_of_something_else_is_damaged(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", {"weights": 1})
    with pytest.raises(ValueError, match="is damaged"):
        load_checkpoint(tmp_path / "checkpoint.pt", CPU, ("optimizer",))


def test_killed_between_the_renamings_the_previous_one_is_taken(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", STATE)
    (tmp_path / "checkpoint.pt").rename(tmp_path / "checkpoint.pt.previous")
    assert load_checkpoint(tmp_path / "checkpoint.pt", CPU)["step"] == 1


def test_the_second_in_a_folder_is_refused_by_name_until_the_first_is_dead(tmp_path):
    folder = tmp_path / "run"
    first = start("-m", "tests.processes", "hold", folder)
    try:
        wait_for((folder / ".ready").exists)
        (tmp_path / "link").symlink_to(folder)
        for name in ("run", "link"):
            who = rf"{name} is in use by process {first.pid} on {os.uname()[1]}"
            with pytest.raises(BlockingIOError, match=who), claim(tmp_path / name, {}):
                pass
        (folder / ".left.tmp").touch()
    finally:
        first.kill()
        first.wait()
    with claim(folder, {"a": 1}), claim(folder, {"a": 1}):
        assert not (folder / ".left.tmp").exists()
        assert str(os.getpid()) in (folder / ".owner").read_text()
    assert not (folder / ".owner").exists()


def test_a_second_thread_is_refused_too(tmp_path):
    found = []

    def body():
        try:
            with alone(tmp_path):
                found.append("in")
        except BlockingIOError as error:
            found.append(str(error))

    with alone(tmp_path):
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    assert f"in use by process {os.getpid()}" in found[0]


def test_two_processes_lose_no_record_and_every_read_parses(tmp_path):
    path, count = tmp_path / "summary.json", 40
    both = [start("-m", "tests.processes", "record", path, name, count) for name in "ab"]
    reads = 0
    while any(process.poll() is None for process in both):
        reads += len(read_summary(path)) > 0
    assert [process.returncode for process in both] == [0, 0]
    assert reads > 10
    assert sorted(read_summary(path)) == sorted(f"{name}.{i}" for name in "ab" for i in range(count))


def test_threads_that_write_one_file_leave_one_of_their_texts(tmp_path):
    def write(letter):
        for _ in range(50):
            write_text(tmp_path / "f", letter * 5000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / "f").exists():
            text = (tmp_path / "f").read_text()
            assert text == text[0] * 5000
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_two_that_save_into_one_new_folder(tmp_path):
    with pytest.raises(FileExistsError, match="choose a new folder"), new_folder(tmp_path / "a"):
        (tmp_path / "a").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_config_that_is_no_mapping_is_damaged(tmp_path):
    (tmp_path / "config.json").write_text("[]x")
    (tmp_path / "checkpoint.pt").touch()
    for text in ("[1]", '"a"', "{", "7"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config\.json is damaged"), claim(tmp_path, {"a": 1}):
            pass


def test_what_an_object_has_computed_and_kept_is_no_setting_of_it():
    class Listed:
        def __init__(self, n):
            self.n = n

        @functools.cached_property
        def problems(self):
            return list(range(self.n))

    fresh, used = Listed(3), Listed(3)
    assert used.problems == [0, 1, 2]
    assert settings_of(used) == settings_of(fresh) != settings_of(Listed(4))


def test_a_folder_with_files_of_its_own_is_no_place_for_a_run(tmp_path):
    (tmp_path / "log.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"log\.csv and no run; use a new folder"), claim(tmp_path, {"a": 1}):
        (tmp_path / "log.csv").write_text("the run's")
    assert (tmp_path / "log.csv").read_text() == "mine"
    assert not (tmp_path / "config.json").exists()


def test_an_error_puts_back_what_was_there(tmp_path):
    for before in (None, "old"):
        path = tmp_path / str(before)
        if before:
            path.write_text(before)
        with pytest.raises(KeyError), put_back(path):
            {}[path.write_text("new")]
        assert (path.read_text() if path.exists() else None) == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def model(**changes):
    one = torch.nn.Sequential(torch.nn.Linear(40, 40), torch.nn.BatchNorm1d(40))
    with torch.no_grad():
        for weight in one.parameters():
            weight.fill_(0.5)
    return one


def test_every_number_of_every_weight_tells_models_apart():
    same, found = weights_digest(model()), set()
    assert weights_digest(model()) == same
    for name, place in (("0.weight", -1), ("0.weight", 800), ("0.bias", 3), ("1.running_mean", 39)):
        other = model()
        other.state_dict()[name].view(-1)[place] += 1e-7
        found.add(weights_digest(other))
    found |= {weights_digest(model().bfloat16()), weights_digest(model().double())}
    sign = model()
    sign.state_dict()["0.bias"].mul_(0).mul_(-1)
    zero = model()
    zero.state_dict()["0.bias"].mul_(0)
    found |= {weights_digest(sign), weights_digest(zero)}
    assert len(found | {same}) == 9


class Rule:
    factor, parts = 0.5, (1, 2)

    def pay(self, x):
        return x


class Child(Rule):
    def __init__(self, pay=None):
        self.pay = pay


def scaled(x, by):
    return by * x


def test_settings_tell_apart_what_computes_differently(monkeypatch):
    def keyword(x, *, by=1):
        return by * x

    def other(x, *, by=2):
        return by * x

    other.__qualname__ = keyword.__qualname__
    pays = [functools.partial(scaled, by=1), functools.partial(scaled, by=2), scaled, keyword, other]
    pays += [Child(1).__init__, Child(2).__init__]
    assert len({json.dumps(settings_of(Child(pay))) for pay in pays}) == len(pays)
    before = settings_of(Child())
    monkeypatch.setattr(Rule, "factor", 0.6)  # of the class above
    assert settings_of(Child()) != before
    for hidden in (torch.ones(2), np.ones(2), random.Random(0), {1, 2}):
        with pytest.raises(ValueError, match="no plain setting"):
            settings_of(Child(hidden))


def test_grading_is_the_code_that_scores():
    def task(score):
        kind = type("Mine", (), {"score": score, "name": "mine"})
        return dataclass(kind)() if score.__name__ == "data" else kind()

    one, two = (lambda self, p, t: t == p.answer), (lambda self, p, t: t.strip() == p.answer)
    assert grading(task(one)) != grading(task(two))
    assert grading(task(one)) == grading(task(one))


HOME = "/home/someone/.cache/huggingface/hub/models--owner--a-model/snapshots/0123abc"


def test_names_without_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "base").mkdir(parents=True)
    assert portable(HOME) == portable(f"{HOME}/") == "owner/a-model@0123abc"
    assert portable("owner/a-model", "0123abc") == "owner/a-model@0123abc"
    assert portable("owner/a-model@v1", "0123abc") == "owner/a-model@v1"
    assert portable("owner/a-model") == "owner/a-model"
    assert portable("models/base") == portable(tmp_path / "models" / "base") == "models/base"
    (tmp_path / "models" / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "models" / "inner")
    assert portable(tmp_path / "models" / "base") == "base"
    assert portable("../base") == "../base"
    assert portable("/gone/away/model") == "model"


def test_a_read_only_place_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="choose a place"), alone(tmp_path / "run"):
        pass
    tmp_path.chmod(0o700)
    shutil.rmtree(tmp_path)


def trained(folder, state=None):
    """A short run in a folder."""
    from mrt_lib.training.loop import run
    from tests.small_training import case

    trainer = case("mrt_exact", steps=2, checkpoint_every=1)
    if state is not None:
        state.append(trainer)
    run(trainer, folder)
    return trainer


def test_a_run_whose_disk_is_full_says_so_has_its_old_weights_and_goes_on(tmp_path):
    from mrt_lib.reasoner import Reasoner
    from tests.small_training import ending, same_bits

    def action():
        own = []
        base = Reasoner.load("data/models/strong").model.state_dict()
        small_files(100_000)
        try:
            trained(tmp_path / "full", own)
        finally:
            if not same_bits(base, own[0].learner.sampler.state_dict()):
                raise AssertionError("other weights")

    torch.set_num_threads(1)  # this process forks
    kind, number, message = in_child(action)
    assert (kind, number) == ("OSError", errno.EFBIG), message
    assert str(tmp_path / "full" / "checkpoint.pt") in message
    kept = {path.name for path in (tmp_path / "full").iterdir()}
    assert kept == {".lock", "config.json", "log.csv"}
    trained(tmp_path / "full")
    trained(tmp_path / "straight")
    assert same_bits(ending(tmp_path / "full"), ending(tmp_path / "straight"))
    path = tmp_path / "full" / "checkpoint.pt"
    path.write_bytes(cut(path.read_bytes()))
    with pytest.warns(UserWarning, match="goes on from"):
        trained(tmp_path / "full")
    assert same_bits(ending(tmp_path / "full"), ending(tmp_path / "straight"))


def test_a_run_belongs_to_its_golds_facts_prompts_and_grading():
    from dataclasses import replace

    from mrt_lib.reasoner import Reasoner
    from mrt_lib.tasks import RootSearch

    task = RootSearch(31)
    problems = task.problems["train"][:3]
    reasoner = Reasoner.load("data/models/strong")
    own = reasoner.asked(task, problems)
    assert own == Reasoner.load("data/models/strong").asked(RootSearch(31), list(problems))
    first, *rest = problems
    changed = [
        replace(first, answer="30"),
        replace(first, facts={}),
        replace(first, id="x"),
        replace(first, question=rest[0].question),
    ]
    assert all(reasoner.asked(task, [p, *rest])["problems"] != own["problems"] for p in changed)
    reasoner.template = replace(reasoner.template, continue_markers=("hit",))
    assert reasoner.asked(task, problems)["template"] != own["template"]
    assert reasoner.asked(RootSearch(63), problems) != own


@pytest.mark.parametrize("name", ["0000.parquet", "0000.json"])
@pytest.mark.parametrize("damage", [cut, lambda data: b"", lambda data: b"{}"], ids=["cut", "empty", "other"])
def test_a_damaged_chunk_of_a_report_is_measured_again(tmp_path, damage, name):
    import mrt_lib
    from mrt_lib.tasks import RootSearch

    problems = RootSearch(31).problems["test"][:2]

    def report():
        own = {"rollouts": 1, "thinking_tokens": 24, "branches": 2}
        return mrt_lib.report("data/models/strong", problems, folder=tmp_path / "report", **own)

    before = repr(report().numbers)
    path = tmp_path / "report" / "thoughts" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"0000\.parquet is damaged; its problems are measured again"):
        assert repr(report().numbers) == before
