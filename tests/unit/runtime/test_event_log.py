"""The two logs: what is written, what is only counted, and what becomes of lines that cannot be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeTime
from shortage import few_descriptors, no_room

from supervise.config.config import Config
from supervise.protocol.severities import FATAL, NOTICE, WARNING
from supervise.protocol.states import COMMAND
from supervise.runtime import event_log
from supervise.system.statusdir import StatusDir


class Desk:
    """A log, and time that the test moves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status = folder / "status" / "app"
        self.directory = StatusDir(str(self.status))
        self.directory.keep()
        self.clock = FakeTime()
        monkeypatch.setattr(event_log, "time", self.clock)
        self.log = event_log.Log(self.directory)

    def lines(self, name: str = "supervise.log") -> list[str]:
        """What the log says, without the time."""
        path = self.status / name
        return [line.split(" ", 3)[3] for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def warnings(self) -> list[str]:
        return self.lines("supervise.log.wf")

    def later(self, seconds: float) -> None:
        """So much later the loop flushes."""
        self.clock.now += seconds
        self.log.flush()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(tmp_path, monkeypatch)
    yield made
    os.close(made.directory.fd)


# What is written.


def test_notices_go_to_one_log_and_warnings_and_errors_to_the_other(desk: Desk) -> None:
    desk.log.add(NOTICE, "started (pid %d)", 4711)
    desk.log.add(WARNING, "100%% of %s", "it")
    desk.log.add(FATAL, "the end")
    assert desk.lines() == []  # the loop has something more urgent to do
    desk.log.flush()
    text = (desk.status / "supervise.log").read_text()
    assert re.fullmatch(r"\[NOTICE\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d started \(pid 4711\)\n", text)
    assert desk.warnings == ["100% of it", "the end"]


def test_a_line_is_one_line_and_not_for_ever(desk: Desk) -> None:
    desk.log.add(NOTICE, "%s", "first\nsecond\x1b[2J" + "x" * 10_000)
    desk.log.flush()
    (line,) = desk.lines()
    assert "\x1b" not in line and len(line) < 5000


def test_a_line_that_makes_no_sense_costs_no_other(desk: Desk) -> None:
    desk.log.add(NOTICE, "%d processes", "no")
    desk.log.add(NOTICE, "but this")
    desk.log.flush()
    assert desk.lines() == ["%d processes", "but this"]


def test_after_a_rotation_the_new_file_is_written(desk: Desk) -> None:
    for text in ("before", "after"):
        desk.log.add(NOTICE, text)
        desk.log.flush()
        if text == "before":
            (desk.status / "supervise.log").rename(desk.status / "supervise.log.1")
    assert desk.lines() == ["after"] and desk.lines("supervise.log.1") == ["before"]


def test_what_was_gathered_can_be_dropped(desk: Desk) -> None:
    desk.log.add(NOTICE, "never")
    desk.log.drop()
    desk.log.flush(ending=True)
    assert desk.lines() == []


# Rules 1 to 3.


def test_what_says_the_same_over_and_over_is_counted(desk: Desk) -> None:
    for _ in range(1000):
        desk.log.add(NOTICE, "again %d", 1)
    desk.log.flush()
    written = len(desk.lines())
    assert 1 < written < 30
    assert desk.log.due == desk.clock.now + event_log.SUMMED_UP
    desk.later(event_log.SUMMED_UP)
    assert desk.lines()[written:] == [f"again 1 (the same {1000 - written} times more)"]
    assert desk.log.due is None


def test_of_lines_that_differ_the_last_is_said(desk: Desk) -> None:
    for number in range(5000):
        desk.log.add(WARNING, "number %d", number)
    desk.log.flush(ending=True)
    *written, last = desk.warnings
    assert written == [f"number {number}" for number in range(len(written))]
    assert last == f"number 4999 (the last of such lines, {5000 - len(written):,} times more)"


def test_other_lines_are_written_meanwhile(desk: Desk) -> None:
    for number in range(1000):
        desk.log.add(NOTICE, "many %d", number)
    desk.log.add(NOTICE, "one")
    desk.log.flush()
    assert desk.lines()[-1] == "one"


def test_each_letter_has_a_budget_of_its_own(desk: Desk) -> None:
    template = COMMAND + ": so"
    for _ in range(1000):
        desk.log.add(NOTICE, template, "u")
    desk.log.add(NOTICE, template, "d")
    desk.log.flush()
    assert desk.lines()[-1] == (template % "d")


def test_the_budget_fills_up_with_time(desk: Desk) -> None:
    for _ in range(1000):
        desk.log.add(NOTICE, "again")
    desk.later(event_log.SUMMED_UP)
    before = len(desk.lines())
    desk.log.add(NOTICE, "again")
    desk.later(0)
    assert len(desk.lines()) == before + 1


def test_what_is_remembered_does_not_grow(desk: Desk) -> None:
    for number in range(5000):
        desk.log.add(NOTICE, f"template {number}")
        desk.later(1)
    assert len(desk.log._templates) < 200
    assert len(desk.lines()) == 5000


# Rule 4: what cannot be written.


def test_lines_that_cannot_be_written_are_written_later(desk: Desk) -> None:
    with no_room():
        desk.log.add(NOTICE, "first")
        desk.log.flush()
        assert desk.log.unwritten and desk.lines() == []
        desk.log.add(NOTICE, "second")
        desk.log.flush()
    assert desk.log.due is not None
    desk.later(event_log.SUMMED_UP)
    assert desk.lines() == ["first", "second"]
    assert not desk.log.unwritten and desk.log.due is None


def test_so_they_are_when_no_descriptor_is_left(desk: Desk) -> None:
    with few_descriptors():
        desk.log.add(WARNING, "no descriptor")
        desk.log.flush()
    assert desk.warnings == []
    desk.log.flush(ending=True)
    assert desk.warnings == ["no descriptor"]


def test_only_so_much_is_kept_and_whole_lines(desk: Desk) -> None:
    with no_room():
        for number in range(500):
            desk.log.add(NOTICE, f"line {number:06} {'x' * 80}")
            desk.log.flush()
    desk.log.flush(ending=True)
    written = desk.lines()
    assert 100 < len(written) < 200
    assert written == [f"line {number:06} {'x' * 80}" for number in range(len(written))]


def test_it_is_not_tried_for_ever_without_another_line(desk: Desk) -> None:
    with no_room():
        desk.log.add(NOTICE, "kept")
        desk.log.flush()
        tries = 0
        while desk.log.due is not None:
            desk.later(event_log.SUMMED_UP)
            tries += 1
            assert tries < 50
    assert tries > 3
    desk.log.add(NOTICE, "and another")
    desk.log.flush()
    assert desk.lines() == ["kept", "and another"]


@pytest.mark.parametrize(
    ("planted", "other"), [("supervise.log", "supervise.log.wf"), ("supervise.log.wf", "supervise.log")]
)
def test_of_a_symlink_in_its_place_the_other_log_tells_once(
    desk: Desk, tmp_path: Path, planted: str, other: str
) -> None:
    target = tmp_path / "target"
    target.write_text("mine\n")
    (desk.status / planted).symlink_to(target)
    severity = NOTICE if planted == "supervise.log" else WARNING
    for text in ("first", "second"):
        desk.log.add(severity, text)
        desk.log.flush()
        desk.log.flush()
    assert target.read_text() == "mine\n"
    assert desk.lines(other) == [
        f"cannot use {desk.status}/{planted}: is a symlink, not a regular file; nothing is logged there"
    ]
    (desk.status / planted).unlink()
    desk.later(event_log.SUMMED_UP)
    assert desk.lines(planted) == ["first", "second"]


def test_a_start_is_told_of_what_stands_in_its_way(desk: Desk, tmp_path: Path) -> None:
    (desk.status / "supervise.log").mkdir()
    assert desk.log.probe() == [
        f"cannot use {desk.status}/supervise.log: is a directory, not a regular file; nothing is logged there"
    ]
    desk.log.flush()
    assert len(desk.warnings) == 1


def test_a_directory_that_has_gone_costs_nothing_but_the_lines(desk: Desk) -> None:
    shutil.rmtree(desk.status)
    desk.log.add(NOTICE, "nowhere")
    desk.log.flush(ending=True)
    assert desk.log.unwritten


# The copy for a terminal.


def test_each_line_is_copied_to_the_terminal(desk: Desk) -> None:
    reading, writing = os.pipe()
    log = event_log.Log(desk.directory, writing)
    log.add(NOTICE, "seen")
    log.flush()
    assert os.read(reading, 1000).endswith(b" seen\n")
    os.close(reading)
    log.add(NOTICE, "nobody reads")  # EPIPE
    log.flush()
    assert desk.lines() == ["seen", "nobody reads"]
    os.close(writing)


def test_a_reader_that_stands_still_does_not_stop_it(desk: Desk) -> None:
    reading, writing = os.pipe()
    log = event_log.Log(desk.directory, writing)
    for number in range(500):  # more than a pipe holds
        log.add(NOTICE, f"line {number} {'x' * 500}")
        log.flush()
    assert len(desk.lines()) == 500
    for fd in (reading, writing):
        os.close(fd)


# How much is kept.


def limited(desk: Desk, limit: int = 1000, backups: int = 1) -> None:
    config = Config()
    config.logfile_maxbytes, config.logfile_backups = limit, backups
    desk.log.configure(config)


def say(desk: Desk, *numbers: int) -> None:
    for number in numbers:
        desk.log.add(NOTICE, "line %d " + "x" * 60, number)
        desk.later(1)


def kept(desk: Desk, *names: str) -> list[int]:
    """The numbers of the lines in these files."""
    return [int(line.split()[1]) for name in names for line in desk.lines(name)]


def test_a_log_is_bounded_and_one_older_file_is_kept(desk: Desk) -> None:
    limited(desk)
    say(desk, *range(30))
    assert sorted(path.name for path in desk.status.iterdir()) == ["supervise.log", "supervise.log.1"]
    assert all(path.stat().st_size <= 1000 for path in desk.status.iterdir())
    numbers = kept(desk, "supervise.log.1", "supervise.log")
    assert numbers == list(range(numbers[0], 30)) and len(numbers) > 9


def test_more_or_none_are_kept(desk: Desk) -> None:
    limited(desk, backups=3)
    say(desk, *range(99))
    numbers = kept(desk, *(f"supervise.log.{number}" for number in (3, 2, 1)), "supervise.log")
    assert numbers == list(range(numbers[0], 99)) and len(numbers) > 27
    limited(desk, backups=0)
    say(desk, *range(99, 120))
    assert len(kept(desk, "supervise.log")) < 12
    limited(desk, backups=1)
    say(desk, *range(120, 140))
    assert sorted(path.name for path in desk.status.iterdir()) == ["supervise.log", "supervise.log.1"]


def test_a_limit_that_comes_later_counts_what_is_there(desk: Desk) -> None:
    limited(desk, 0)
    say(desk, *range(30))
    assert len(kept(desk, "supervise.log")) == 30
    limited(desk)
    say(desk, 30)
    assert (kept(desk, "supervise.log.1"), kept(desk, "supervise.log")) == (list(range(30)), [30])


def test_by_default_it_is_ten_megabytes(desk: Desk) -> None:
    desk.status.joinpath("supervise.log.wf").write_bytes(b"x" * (10 << 20))
    desk.log.add(WARNING, "one more")
    desk.later(0)
    assert desk.warnings == ["one more"]
    assert (desk.status / "supervise.log.wf.1").stat().st_size == 10 << 20


def test_a_symlink_in_the_way_is_replaced(desk: Desk, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("stays\n")
    (desk.status / "supervise.log.1").symlink_to(victim)
    limited(desk)
    say(desk, *range(15))
    assert victim.read_text() == "stays\n"
    assert kept(desk, "supervise.log.1", "supervise.log") == list(range(15))


@pytest.mark.parametrize("full", [False, True], ids=["empty", "with something in it"])
def test_a_directory_in_the_way(desk: Desk, full: bool) -> None:
    planted = desk.status / "supervise.log.1"
    planted.mkdir()
    if full:
        (planted / "something").touch()
    limited(desk)
    say(desk, *range(30))
    if full:
        assert kept(desk, "supervise.log") == list(range(30))
        (warning,) = desk.warnings
        assert warning.startswith("cannot rotate supervise.log: Directory not empty; it grows beyond its limit")
        (planted / "something").unlink()
        say(desk, *range(30, 50))
        assert planted.is_file()
    else:
        assert kept(desk, "supervise.log")[-1] == 29 and planted.is_file()


def test_a_rename_that_fails_costs_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(desk)
    say(desk, *range(15))
    before = kept(desk, "supervise.log.1", "supervise.log")

    def rename(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("posix.rename", rename)
    say(desk, *range(15, 30))
    assert kept(desk, "supervise.log.1", "supervise.log") == [*before, *range(15, 30)]
    monkeypatch.undo()


def test_it_is_looked_at_when_it_may_be_large_and_not_before(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(desk, 100_000)
    say(desk, *range(30))
    looks: list[str] = []
    bound = StatusDir.bound

    def look(directory: StatusDir, name: str, limit: int, backups: int, more: int) -> int:
        looks.append(name)
        return bound(directory, name, limit, backups, more)

    monkeypatch.setattr(StatusDir, "bound", look)
    say(desk, *range(30, 60))
    assert looks == []
    limited(desk, 2000)
    say(desk, 60)
    assert looks == ["supervise.log"]
