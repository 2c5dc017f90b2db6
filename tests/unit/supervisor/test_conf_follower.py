"""What is watched for supervise itself: when the configuration and the home are looked at, and in which order."""

from __future__ import annotations

import posix as os
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeLog, FakeMachine

from supervise.config.file import ConfFile
from supervise.protocol import states
from supervise.runtime.reactor import Reactor
from supervise.supervisor.conf_follower import ConfFollower


class Watch:
    """In the place of a watch that cannot be set."""

    fd, arming, plan, helper = -1, False, None, 0

    def arm(self, plan: Any) -> None:
        self.plan = plan


class StatusDirWatch:
    """`looks`: what the reactor had posted at each look."""

    def __init__(self, reactor: Reactor) -> None:
        self.machine: Any = FakeMachine()
        self.reactor = reactor
        self.due: float | None = None
        self.to_watch = False
        self.looks: list[list[str]] = []

    def plan(self) -> tuple[Any, ...]:
        return (("/", "x", len(self.looks), 0),)

    def look(self) -> None:
        self.due = None
        self.looks.append([event for event, _ in self.reactor.posted])


class Room:
    """A follower, and those around it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "conf"
        self.path.write_text("[app]\nmax_tries : 1\n")
        conf = ConfFile(str(self.path), "app", True)
        config, _ = conf.read()
        log: Any = FakeLog()
        self.reactor, self.watch = Reactor(log), Watch()
        self.home = StatusDirWatch(self.reactor)
        what: Any = conf, config, self.watch, self.reactor, log, self.home
        self.follower = ConfFollower(*what)
        self.follower.watching = True

    def happens(self) -> None:
        """Something is ready in the reactor's poll."""
        reading, writing = os.pipe()
        self.reactor.on_readable(reading, lambda _: None)
        os.write(writing, b"x")
        assert self.reactor.poll(1000)
        self.reactor.unregister(reading)
        os.close(reading)
        os.close(writing)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_it_is_due_when_the_first_of_both_is(room: Room) -> None:
    assert room.follower.due is None
    room.home.due = 7.0
    assert room.follower.due == 7.0
    room.follower._look_by(5.0)
    assert room.follower.due == 5.0
    room.home.due = None
    assert room.follower.due == 5.0


def test_the_home_is_looked_at_before_the_configuration(room: Room) -> None:
    room.path.write_text("[app]\nmax_tries : 22\n")
    room.follower._look_by(5.0)
    room.follower.on_time(5.0)
    assert room.home.looks == [[]]
    ((event, config),) = room.reactor.posted
    assert (event, config.max_tries) == (states.CONFIG, 22)


def test_the_configuration_is_not_read_because_the_home_is_looked_at(room: Room) -> None:
    room.path.write_text("[app]\nmax_tries : 22\n")
    room.home.due = 5.0
    room.follower.on_time(5.0)
    assert len(room.home.looks) == 1 and room.reactor.posted == []
    assert room.watch.plan is None


def test_what_must_be_watched_for_the_home_is_watched_anew(room: Room) -> None:
    room.home.due, room.home.to_watch = 5.0, True
    room.follower.on_time(5.0)
    assert room.watch.plan is not None and not room.home.to_watch


def test_where_nothing_can_be_watched_it_is_due_whenever_something_happens(room: Room) -> None:
    room.happens()
    assert room.follower.due is None
    room.follower.watching = False
    assert room.follower.due == 0.0
    room.follower.on_time(1.0)
    assert len(room.home.looks) == 1
    assert room.follower.due is None, "once for what has happened so far"
    room.happens()
    assert room.follower.due == 0.0
