"""The one poll, and how it waits where the kernel refuses that: a real limit below what is open."""

from __future__ import annotations

import os
import resource
import select
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeLog

from supervise.runtime import polling


class Pipes:
    """A Poll that waits for a few pipes."""

    def __init__(self) -> None:
        self.log: Any = FakeLog()
        self.poll = polling.Poll(self.log)
        self.pipes = [os.pipe() for _ in range(20)]
        for reading, _ in self.pipes:
            self.poll.register(reading, select.POLLIN)

    def write(self, number: int) -> int:
        """Make one of them readable; its descriptor."""
        reading, writing = self.pipes[number]
        os.write(writing, b"x")
        return reading


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield made
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    for fd in (fd for pipe in made.pipes for fd in pipe):
        os.close(fd)


def limit_descriptors(number: int) -> None:
    """As `prlimit --nofile` does to a process that has more of them open: poll(2) fails with EINVAL."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_what_is_ready_is_told(pipes: Pipes) -> None:
    assert pipes.poll.poll(0) == []
    fd = pipes.write(3)
    assert pipes.poll.poll(None) == [(fd, select.POLLIN)]


def test_who_is_forgotten_is_not_waited_for_and_may_be_forgotten_twice(pipes: Pipes) -> None:
    fd = pipes.write(3)
    pipes.poll.unregister(fd)
    pipes.poll.unregister(fd)
    assert pipes.poll.poll(0) == []
    pipes.poll.register(fd, select.POLLIN)
    pipes.poll.register(fd, select.POLLIN)
    assert pipes.poll.poll(0) == [(fd, select.POLLIN)]


def test_where_poll_fails_it_waits_otherwise_and_says_so_once(pipes: Pipes) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit_descriptors(3)
    for number in (5, 7):
        fd = pipes.write(number)
        assert (fd, select.POLLIN) in pipes.poll.poll(None)
    limit_descriptors(before)
    assert pipes.log.warnings == ["cannot wait by poll: Invalid argument; waiting by select"]
    assert len(pipes.poll.poll(None)) == 2
    assert pipes.log.notices == ["waiting by poll again"]


def test_where_nothing_can_wait_everything_is_looked_at(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause; reading what has nothing to say must not wait, and no descriptor has events."""

    def refuse(*_: object) -> Any:
        raise OSError(12, os.strerror(12))

    monkeypatch.setattr(select, "select", refuse)
    limit_descriptors(3)
    assert sorted(pipes.poll.poll(10.0)) == [(reading, 0) for reading, _ in pipes.pipes]


def test_a_descriptor_beyond_what_select_takes_is_looked_at(pipes: Pipes) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 1100:
        pytest.skip(f"no descriptor beyond 1,023 can be had here: ulimit -H -n is {hard}")
    limit_descriptors(1100)
    high = os.dup2(pipes.pipes[0][0], 1050)
    try:
        pipes.poll.register(high, select.POLLIN)
        limit_descriptors(3)
        assert (high, 0) in pipes.poll.poll(10.0)
    finally:
        os.close(high)


def test_what_was_closed_is_waited_for_no_more(pipes: Pipes) -> None:
    lost = os.dup(pipes.pipes[0][0])
    pipes.poll.register(lost, select.POLLIN)
    os.close(lost)
    assert pipes.poll.poll(0) == [(lost, select.POLLNVAL)]
    pipes.poll.mend()
    assert pipes.poll.poll(0) == []


def test_a_pause_is_made_by_whatever_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise OSError(12, os.strerror(12))

    polling.pause(0)
    monkeypatch.setattr(select, "poll", refuse)
    polling.pause(0)
    monkeypatch.setattr(select, "select", refuse)
    polling.pause(0)
