"""Letters in the control FIFO and signals to supervise: obeyed in order, none left out, whatever comes between."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeLauncher, FakeLog, FakeMachine, FakeService, FakeStatusWriter, FakeWakeup

from supervise.protocol import states
from supervise.runtime.internal_errors import InternalErrors
from supervise.runtime.reactor import Reactor
from supervise.supervisor.actions import Actions
from supervise.supervisor.control import Control


class Desk:
    """Control, with a pipe for `control`, and those around them."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.log: Any = FakeLog()
        self.machine: Any = FakeMachine()
        self.service: Any = FakeService()
        self.wakeup: Any = FakeWakeup()
        launcher: Any = FakeLauncher()
        status_writer: Any = FakeStatusWriter()
        parts = self.service, launcher, status_writer, Reactor(self.log), InternalErrors(self.log)
        self.actions = Actions(self.machine, *parts, self.log)
        self.control = Control(reading, self.wakeup, self.machine, self.service, self.actions, self.log)

    def write(self, letters: bytes) -> None:
        os.write(self.writing, letters)

    @property
    def letters(self) -> str:
        """The events of one letter that have come so far."""
        return "".join(event for event, _ in self.machine.events if len(event) == 1)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    os.close(made.control.control)
    os.close(made.writing)


# Letters.


def test_letters_are_obeyed_in_the_order_in_which_they_were_written(desk: Desk) -> None:
    desk.write(b"dsnu\n")
    assert desk.control.read()
    assert desk.letters == "dsnu"
    assert not desk.control.waiting


def test_letters_of_a_fifo_that_was_replaced_come_before_those_in_the_new_one(desk: Desk) -> None:
    desk.control.keep(b"d")
    desk.control.keep(b"s")
    desk.write(b"n\nu\n")
    assert desk.control.waiting and desk.control.direct is None
    assert desk.control.read()
    assert desk.letters == "ds" and not desk.control.waiting
    assert desk.control.read()
    assert desk.letters == "dsnu"


def test_a_word_is_obeyed_letter_by_letter_and_that_is_said(desk: Desk) -> None:
    desk.write(b"stop\n")
    desk.control.read()
    assert desk.letters == "sop"
    (said,) = desk.log.lines
    assert said == ("WARNING", "'stop' in control is obeyed letter by letter (s, t, o, p): svc is what takes words")


def test_letters_that_are_none_are_obeyed_without_a_word(desk: Desk) -> None:
    for letters in (b"dx\n", b"dsu\n", b"u\n"):
        desk.write(letters)
        desk.control.read()
    assert desk.letters == "dxdsuu" and not desk.log.lines


def test_where_nothing_is_there_nothing_is_done(desk: Desk) -> None:
    """Somebody else has read it."""
    assert not desk.control.read()
    assert desk.machine.events == []


def test_however_many_there_are_others_have_their_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portion ends when its time is over, and what is left comes with the next."""
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    desk.write(b"sn" * 5)
    desk.control.read()
    assert desk.letters == "s" and desk.control.waiting
    while desk.control.waiting:
        before = len(desk.letters)
        assert desk.control.read()
        assert len(desk.letters) <= before + 1
    assert desk.letters == "sn" * 5


def test_what_was_read_is_kept_when_one_of_them_fails(desk: Desk) -> None:
    """An error in the handling of a letter costs that letter alone."""
    handle = desk.machine.handle

    def broken(event: str, now: float, value: Any = None) -> Any:
        if event == "s":
            raise MemoryError
        return handle(event, now, value)

    desk.machine.handle = broken
    desk.write(b"dsu")
    with pytest.raises(MemoryError):
        desk.control.read()
    assert desk.letters == "d" and desk.control.waiting
    assert desk.control.read()
    assert desk.letters == "du" and not desk.control.waiting


def test_before_an_end_all_of_them_are_obeyed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    desk.write(b"dsnu")
    desk.control.read()
    assert desk.control.waiting
    desk.control.finish()
    assert desk.letters == "dsnu"


def test_unknown_bytes_are_said_in_one_line(desk: Desk) -> None:
    desk.write(b"?!" * 20)
    desk.control.read()
    assert desk.log.warnings == ["ignored 40 unknown bytes in control: '?!?!?!?!?!?!?!?!'..."]
    assert desk.machine.events == []


# A signal that needs no machine.


def test_a_signal_is_sent_before_the_machine_is_asked_and_not_again(desk: Desk) -> None:
    desk.machine.answers["signal_letter"] = [(states.SIGNAL, "HUP", False)]
    process = desk.control.direct
    assert process is desk.service.process
    desk.write(b"h")
    desk.control.read(process)
    assert desk.service.process.sent == [("HUP", False)]
    assert len(desk.machine.events) == 1


def test_one_among_others_waits_for_its_turn(desk: Desk) -> None:
    desk.write(b"dh")
    desk.control.read(desk.control.direct)
    assert desk.service.process.sent == []
    assert [event for event, _ in desk.machine.events][0] == "d"


def test_nothing_goes_past_a_machine_that_might_refuse_it(desk: Desk) -> None:
    desk.machine.passes_signals = False
    assert desk.control.direct is None
    desk.write(b"h")
    desk.control.read(desk.control.direct)
    assert desk.service.process.sent == []


# `u` after a `d` that the service could not be told of.


@pytest.mark.parametrize("letter", ["u", "o"])
def test_a_service_that_was_not_told_of_its_stop_is_spared(desk: Desk, letter: str) -> None:
    desk.machine.state, desk.machine.want = states.STOPPING, "down"
    desk.service.process.problem = "cannot send TERM"
    desk.actions.carry_out([(states.SIGNAL, "TERM", False)])
    desk.write(letter.encode())
    desk.control.read()
    assert [event for event, _ in desk.machine.events] == [states.SPARED, letter]


# Signals to supervise.


@pytest.mark.parametrize("name, letters", [("TERM", "dx"), ("INT", "dx"), ("HUP", "r")])
def test_a_signal_to_supervise_is_the_letters_that_it_stands_for(desk: Desk, name: str, letters: str) -> None:
    desk.wakeup.names.append(name)
    desk.control.by_signal()
    assert desk.letters == letters
    assert desk.log.notices == [f"received {name}"]
    assert desk.wakeup.names == []
    assert not desk.control.quit


def test_quit_leaves_the_service_to_the_next_supervise(desk: Desk) -> None:
    desk.wakeup.names.append("QUIT")
    desk.control.by_signal()
    assert desk.control.quit
    assert desk.machine.events == [] and desk.service.process.sent == []
    assert desk.log.notices[1:] == ["leaving the service (pid 4711) to the next supervise"]


def test_one_that_is_paused_goes_on_before_it_is_left(desk: Desk) -> None:
    """The kernel would end its process group."""
    desk.machine.paused = True
    desk.wakeup.names.append("QUIT")
    desk.control.by_signal()
    assert desk.service.process.sent == [("CONT", True)]
