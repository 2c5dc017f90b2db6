"""Who waits is called: for a descriptor, for a child that was reaped; and nobody is called twice for a number."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeLog

from supervise.protocol.exitstatus import ExitStatus
from supervise.runtime.reactor import Reactor
from supervise.service.part import Part


@pytest.fixture
def reactor() -> Reactor:
    log: Any = FakeLog()
    return Reactor(log)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)
    os.close(reading)


def test_who_waits_for_a_descriptor_is_called_with_its_events(reactor: Reactor, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    called: list[int] = []

    def call(events: int) -> None:
        called.append(events)
        reactor.post("heard", os.read(reading, 10))

    reactor.on_readable(reading, call)
    assert reactor.poll(0) == []
    os.write(writing, b"x")
    (ready,) = reactor.poll(1000)
    reactor.readable(*ready)
    assert reactor.posted == [("heard", b"x")]
    assert called == [select.POLLIN]


def test_a_descriptor_that_is_forgotten_is_nobodys(reactor: Reactor, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    reactor.on_readable(reading, lambda _: reactor.post("never"))
    os.write(writing, b"x")
    reactor.unregister(reading)
    reactor.unregister(reading)
    assert reactor.poll(0) == []
    reactor.readable(reading, select.POLLIN)
    assert reactor.posted == []


def test_one_that_was_closed_behind_its_back_is_nobodys(reactor: Reactor, pipe: tuple[int, int]) -> None:
    reading, _ = pipe
    lost = os.dup(reading)
    reactor.on_readable(lost, lambda _: reactor.post("never"))
    os.close(lost)
    reactor.mend()
    assert reactor.poll(0) == []
    reactor.readable(lost, select.POLLIN)
    assert reactor.posted == []


def test_the_last_who_waits_is_called(reactor: Reactor, pipe: tuple[int, int]) -> None:
    reading, _ = pipe
    reactor.on_readable(reading, lambda _: reactor.post("first"))
    reactor.on_readable(reading, lambda _: reactor.post("second"), 0)
    reactor.readable(reading, select.POLLHUP)
    assert reactor.posted == [("second", None)]


def test_how_often_something_was_ready_is_counted(reactor: Reactor, pipe: tuple[int, int]) -> None:
    reactor.on_readable(pipe[0], lambda _: None)
    reactor.poll(0)
    assert reactor.happened == 0
    os.write(pipe[1], b"x")
    reactor.poll(1000)
    reactor.poll(1000)
    assert reactor.happened == 2


def test_a_part_leaves_out_what_does_not_concern_it() -> None:
    part, anything = Part(), Any
    part.configure(anything)  # type: ignore[arg-type]
    part.housekeeping(anything)  # type: ignore[arg-type]
    part.restore({})
    part.disown()
    part.close(False)
    part.on_time(0.0)
    assert part.due is None and part.handover() == {}


def test_the_end_of_a_child_is_told_once(reactor: Reactor) -> None:
    """Its number may be another's then."""
    told: list[ExitStatus] = []
    reactor.on_exit(7, told.append)
    call = reactor.exited(7)
    assert call
    how = ExitStatus(code=0)
    call(how)
    assert told == [how]
    assert reactor.exited(7) is None and reactor.exited(8) is None


def test_in_a_copy_of_the_process_nobody_is_a_child(reactor: Reactor) -> None:
    reactor.on_exit(7, lambda _: None)
    reactor.disown()
    assert reactor.exited(7) is None
