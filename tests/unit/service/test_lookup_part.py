"""The part that has what a configuration names looked for, beside a helper that answers as the test says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeLog, FakeMachine

from supervise.config.config import Config
from supervise.config.file import ConfFile
from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.runtime.reactor import Reactor
from supervise.service import lookup
from supervise.service.lookup import Lookup

FINE = ExitStatus(code=0)
TEXT = "[app]\nmax_tries : 3\nuser : nobody2\ndirectory : /x\n"
ABSENT = ("user", "absent", "user nobody2 does not exist")
UNKNOWN = ("directory", "unknown", "cannot change to directory /x: Input/output error")


class Room:
    """A configuration that has been read again, and those around it; `killed`: helpers that were ended."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "supervise.conf"
        self.conf = ConfFile(str(self.path), "app", True)
        self.log: Any = FakeLog()
        self.machine: Any = FakeMachine()
        self.reactor = Reactor(self.log)
        self.problem: OSError | None = None
        self.pids: list[int] = []
        self.files: list[int] = []
        self.asked: list[bytes] = []
        self.killed: list[int] = []
        monkeypatch.setattr(lookup.helper, "start", self.start)
        monkeypatch.setattr(lookup, "send", lambda pid, name, group: self.killed.append(pid))
        self.part = Lookup(self.conf, {}, [], self.reactor, self.log)
        self.before = Config()
        self.before.user, self.before.umask = "nobody", 0o22

    def start(self, name: str, args: list[str], env: Any, ignored: Any, stdin: int) -> int:
        if self.problem:
            raise self.problem
        assert name == "lookup_helper"
        self.asked.append(os.pread(stdin, int(args[0]), 0))
        self.files.append(os.dup(stdin))
        self.pids.append(4000 + len(self.pids))
        return self.pids[-1]

    def read(self, text: str = TEXT, before: Config | None = None) -> Config:
        """The file is read again, and that is in force."""
        self.path.write_text(text)
        config, _ = self.conf.read(before or self.before)
        self.part.configure(config)
        return config

    def look(self) -> None:
        assert self.part.due is not None
        self.part.on_time(self.part.due)

    def answer(self, *findings: tuple[str, str, str], how: ExitStatus = FINE) -> None:
        data = "\0".join(text for finding in findings for text in finding).encode()
        os.pwrite(self.files[-1], data, len(self.asked[-1]))
        self.ends(self.pids[-1], how)

    def ends(self, pid: int, how: ExitStatus = FINE) -> None:
        call = self.reactor.exited(pid)
        assert call
        call(how)

    @property
    def posted(self) -> list[Config]:
        found = [value for event, value in self.reactor.posted if event == states.CONFIG]
        assert len(found) == len(self.reactor.posted)
        return found


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(tmp_path, monkeypatch)


def test_what_is_there_stays_in_force(room: Room) -> None:
    config = room.read()
    assert room.conf.unsure and room.conf.before is not None and config.user == "nobody2"
    room.look()
    assert room.asked == [b"user\0nobody2\0directory\0/x"]
    room.answer()
    assert (room.posted, room.log.lines, room.conf.problems) == ([], [], [])
    assert not room.conf.unsure and room.conf.before is None and room.part.due is None


def test_what_is_not_there_leaves_what_was_in_force(room: Room) -> None:
    room.read()
    room.look()
    room.answer(ABSENT, UNKNOWN)
    (config,) = room.posted
    assert (config.user, config.directory, config.umask, config.max_tries) == ("nobody", "", 0o22, 3)
    assert config.blocked == ""
    lines = [
        f"{room.path}:3: user nobody2 does not exist",
        f"{room.path}:4: cannot change to directory /x: Input/output error; the next start tells",
    ]
    assert room.conf.problems == lines and room.log.warnings[:2] == lines
    assert "what restricts the service stays as it was: user nobody" in room.log.warnings[2]
    room.part.configure(config)
    assert room.part.due is None  # that is sure


def test_what_cannot_be_told_is_said_and_stays(room: Room) -> None:
    room.read()
    room.look()
    room.answer(UNKNOWN)
    assert room.posted == [] and len(room.conf.problems) == len(room.log.warnings) == 1
    assert not room.conf.unsure


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (ExitStatus(signal=9), "the helper that looks was killed by signal 9 (KILL)"),
        (ExitStatus(code=1), "the helper that looks exited with status 1"),
    ],
)
def test_a_helper_that_fails_has_said_nothing(room: Room, how: ExitStatus, why: str) -> None:
    room.read()
    room.look()
    room.answer(ABSENT, how=how)
    assert room.posted == []
    said = f"{room.path}: cannot tell whether there is what it names (user, directory): {why}; the next start tells"
    assert room.conf.problems == room.log.warnings == [said]


def test_an_answer_that_is_cut_is_none(room: Room) -> None:
    room.read()
    room.look()
    os.pwrite(room.files[-1], b"user\0absent", len(room.asked[-1]))
    room.ends(room.pids[-1])
    assert room.posted == [] and len(room.conf.problems) == 1


def test_a_helper_that_does_not_answer(room: Room) -> None:
    room.read()
    room.look()
    room.look()
    assert room.killed == room.pids and "no answer within 10 seconds" in room.conf.problems[0]
    room.ends(room.pids[0], ExitStatus(signal=9))
    assert len(room.conf.problems) == 1 and room.posted == [] and room.part.due is None


def test_a_helper_that_cannot_be_started(room: Room) -> None:
    room.problem = OSError(24, "Too many open files")
    room.read()
    room.look()
    assert "cannot start the helper that looks: Too many open files" in room.conf.problems[0]
    assert not room.conf.unsure and room.part.due is None


def test_a_file_that_is_read_again_meanwhile(room: Room) -> None:
    """What nobody has answered for is nothing to go back to."""
    config = room.read()
    room.look()
    config = room.read(TEXT.replace("nobody2", "nobody3"), config)
    assert room.killed == room.pids[:1]
    room.look()
    room.ends(room.pids[0], ExitStatus(signal=9))
    assert room.conf.unsure
    room.answer(("user", "absent", "user nobody3 does not exist"))
    assert [config.user for config in room.posted] == ["nobody"]


def test_a_file_that_breaks_meanwhile(room: Room) -> None:
    config = room.read()
    room.look()
    config = room.read("[app]\nuser : x y\n", config)
    assert (config.user, room.conf.unsure, room.part.due) == ("nobody", False, None)


def test_without_anything_to_go_back_to_nothing_is_started(room: Room) -> None:
    room.path.write_text(TEXT)
    config, _ = room.conf.read()
    room.part.configure(config)
    room.look()
    room.answer(ABSENT)
    assert [config.blocked for config in room.posted] == [f"{room.path}:3: user nobody2 does not exist"]


def test_a_service_that_could_be_started_was_the_answer(room: Room) -> None:
    room.read()
    room.conf.unsure = False
    room.look()
    assert room.pids == [] and room.part.due is None


def test_an_upgrade_that_fails_begins_anew(room: Room) -> None:
    room.read()
    room.conf.awaited = True
    room.look()
    room.part.close(True)
    assert room.killed == room.pids and not room.conf.awaited and room.part.due is None
    room.part.housekeeping(room.machine)
    room.look()
    room.part.disown()  # the copy that goes on
    assert room.killed == room.pids[:1]
    room.part.housekeeping(room.machine)
    room.look()
    room.answer(ABSENT)
    assert len(room.pids) == 3 and len(room.posted) == 1


def test_a_group_behind_a_user_is_in_its_line(room: Room) -> None:
    room.read()
    room.look()
    room.answer(("group", "absent", "group x does not exist"))
    assert room.conf.problems == [f"{room.path}:3: group x does not exist"]
