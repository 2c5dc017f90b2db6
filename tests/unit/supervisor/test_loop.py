"""The loop in a process of the test's, with parts that fail as no kernel lets them: it goes on, and loses nothing.

What it does with parts that work is what tests/system/ is about.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import wait_for
from starting import Stage, finish, set_stage

from supervise.config.file import ConfFile
from supervise.protocol.options import Options
from supervise.protocol.record import Record, RecordError, decode
from supervise.supervisor.loop import Supervisor
from supervise.supervisor.predecessor import Predecessor
from supervise.system.descriptors import HeldDescriptors
from supervise.system.procfs import boot_id
from supervise.system.spawn import ignored_signals

stage = pytest.fixture(set_stage)


def once(error: BaseException, real: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
    """The same function, but the first calls fail."""
    left = [error] * times

    def called(*args: Any, **values: Any) -> Any:
        if left:
            raise left.pop()
        return real(*args, **values)

    return called


class Loop:
    """A Supervisor that runs in a child of the test."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.status = stage.status
        self.pid = 0

    def begin(self, *command: str, change: Callable[[Supervisor], object] = lambda _: None) -> int:
        """Start it, `change`d before it runs; the pid of its service."""
        self.pid = os.fork()
        if not self.pid:
            try:
                code = self._run(command, change)
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
                code = 99
            finally:
                os._exit(code)
        wait_for("the loop", (self.stage.folder / "changed").exists)
        return self.wait_service()

    def _run(self, command: tuple[str, ...], change: Callable[[Supervisor], object]) -> int:
        os.setsid()
        directory = self.stage.directory
        lock = directory.lock()
        control, ok = directory.open_fifos()
        conf = ConfFile(str(self.stage.folder / "supervise.conf"), "app", False)
        options = Options(str(self.status), list(command))
        made = Supervisor(
            options,
            "app",
            directory,
            HeldDescriptors(lock, control, ok),
            conf,
            conf.read()[0],
            self.stage.log,
            self.stage.env,
            ignored_signals(),
            boot_id(),
        )
        made.start(Predecessor())
        change(made)
        (self.stage.folder / "changed").touch()
        return made.run()

    @property
    def record(self) -> Record | None:
        try:
            return decode((self.status / "status").read_bytes())
        except (FileNotFoundError, RecordError):
            return None

    def wait_service(self, old: int = 0) -> int:
        """Wait until another process of the service runs; its pid."""
        return wait_for("a service", lambda: self.record and self.record.pid not in (0, old) and self.record.pid) or 0

    def control(self, letters: str) -> None:
        fd = os.open(self.status / "control", os.O_WRONLY)
        os.write(fd, letters.encode())
        os.close(fd)

    def end(self) -> int:
        """Have it end; its exit code."""
        self.control("dx")
        pid, self.pid = self.pid, 0
        return finish(pid)

    def log(self, name: str = "supervise.log") -> str:
        path: Path = self.status / name
        return path.read_text() if path.exists() else ""

    @property
    def errors(self) -> int:
        return self.log("supervise.log.wf").count("internal error, going on: MemoryError")

    def clean(self) -> None:
        if self.pid:
            record = self.record
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            if record and record.pid:
                os.kill(record.pid, signal.SIGKILL)


@pytest.fixture
def loop(stage: Stage) -> Iterator[Loop]:
    made = Loop(stage)
    yield made
    made.clean()


SLEEP = ("/bin/sleep", "1000")


def test_from_the_first_poll_to_the_end(loop: Loop) -> None:
    first = loop.begin(*SLEEP)
    os.kill(first, signal.SIGKILL)
    assert loop.wait_service(first) != first
    assert loop.end() == 0
    assert loop.log().endswith("supervise ends\n")
    assert loop.errors == 0


def test_a_part_that_fails_costs_neither_the_service_nor_a_letter(loop: Loop) -> None:
    def change(supervisor: Any) -> None:
        supervisor._service.housekeeping = once(MemoryError(), supervisor._service.housekeeping, 3)

    first = loop.begin(*SLEEP, change=change)
    wait_for("three errors", lambda: loop.errors == 3)
    loop.control("s")
    wait_for("the letter to be obeyed", lambda: loop.record and not loop.record.alarms)
    assert loop.record and loop.record.pid == first
    assert loop.end() == 0
    assert loop.errors == 3


def test_a_poll_that_fails_is_done_again(loop: Loop) -> None:
    def change(supervisor: Any) -> None:
        kind = type(supervisor._reactor)
        kind.poll = once(MemoryError(), kind.poll, 2)

    loop.begin(*SLEEP, change=change)
    assert loop.end() == 0
    assert loop.errors == 2


@pytest.mark.parametrize("part", ["_actions.event", "_actions.deal", "_service.ended"])
def test_an_exit_whose_handling_fails_is_not_forgotten(loop: Loop, part: str) -> None:
    """What is true is asked for afterwards: a service that has ended is started again."""

    def change(supervisor: Any) -> None:
        room, _, name = part.partition(".")
        there = getattr(supervisor, room)
        setattr(there, name, once(MemoryError(), getattr(there, name)))

    first = loop.begin(*SLEEP, change=change)
    os.kill(first, signal.SIGKILL)
    loop.wait_service(first)
    assert loop.end() == 0
    assert loop.errors == 1


def test_a_letter_whose_handling_fails_costs_none_behind_it(loop: Loop) -> None:
    def change(supervisor: Any) -> None:
        kind = type(supervisor.machine)
        kind.handle = once(MemoryError(), kind.handle)

    loop.begin(*SLEEP, change=change)
    loop.control("rs")
    wait_for("the letter behind it", lambda: loop.record and not loop.record.alarms)
    assert loop.end() == 0
    assert loop.errors == 1


def test_an_end_that_fails_is_an_end(loop: Loop) -> None:
    def change(supervisor: Any) -> None:
        supervisor._service.close = once(MemoryError(), supervisor._service.close)

    loop.begin(*SLEEP, change=change)
    assert loop.end() == 0
    assert loop.errors == 1
