"""What the state machine asks for is carried out: in order, each for itself, and later where it cannot be done now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import (
    PID,
    FakeAlarms,
    FakeFollower,
    FakeLauncher,
    FakeLog,
    FakeMachine,
    FakeService,
    FakeStatusWriter,
    FakeUpgrader,
)

from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.runtime.internal_errors import TRIES, InternalErrors
from supervise.runtime.reactor import Reactor
from supervise.supervisor.actions import Actions


class Room:
    """Actions, and those around them."""

    def __init__(self) -> None:
        self.log: Any = FakeLog()
        self.machine: Any = FakeMachine()
        self.service: Any = FakeService()
        self.launcher: Any = FakeLauncher()
        self.status_writer: Any = FakeStatusWriter()
        self.internal_errors = InternalErrors(self.log)
        self.reactor = Reactor(self.log)
        parts = self.service, self.launcher, self.status_writer, self.reactor, self.internal_errors
        self.actions = Actions(self.machine, *parts, self.log)
        self.alarms: Any = FakeAlarms()
        self.follower: Any = FakeFollower()
        self.upgrader: Any = FakeUpgrader()
        self.actions.alarms, self.actions.follower = self.alarms, self.follower
        self.actions.new_upgrader = lambda: self.upgrader

    def do(self, *actions: tuple[Any, ...]) -> None:
        self.actions.carry_out([*actions])

    def later(self) -> None:
        """What is due next is due."""
        self.actions.on_time(self.actions.due or time.monotonic())


@pytest.fixture
def room() -> Room:
    return Room()


# Order.


def test_what_comes_of_an_action_is_handled_after_the_rest_of_its_list(room: Room) -> None:
    room.machine.answers[states.STARTED] = [(states.NOTICE, "service started")]
    room.do((states.START,), (states.NOTICE, "the rest"))
    assert room.log.notices == ["the rest", "service started"]
    assert room.machine.events == [(states.STARTED, PID)]


def test_events_are_dealt_with_one_by_one(room: Room) -> None:
    """A step is taken only when what the one before has led to is done."""
    seen: list[list[str]] = []

    def steps() -> Iterator[None]:
        for name in ("ready", "stopping"):
            seen.append(list(room.log.notices))
            room.reactor.post(name)
            yield

    room.machine.answers["ready"] = [(states.NOTICE, "ready")]
    room.actions.deal(steps())
    assert seen == [[], ["ready"]]
    assert room.machine.events == [("ready", None), ("stopping", None)]


# What fails.


def test_an_action_that_fails_does_not_cost_those_behind_it(room: Room) -> None:
    room.service.problem = MemoryError()
    room.do((states.REPORT_LEFTOVERS,), (states.NOTICE, "behind it"))
    assert room.log.notices == ["behind it"]
    assert len(room.log.errors) == 1 and room.internal_errors.fresh


def test_it_is_done_again_when_things_are_in_order(room: Room) -> None:
    room.service.problem = MemoryError()
    room.do((states.REPORT_LEFTOVERS,))
    room.service.problem = None
    room.actions.mend()
    assert room.service.reports == 1
    room.actions.mend()
    assert room.service.reports == 1


def test_it_is_given_up_in_the_end(room: Room) -> None:
    room.service.problem = MemoryError()
    room.do((states.REPORT_LEFTOVERS,))
    for _ in range(TRIES + 3):
        room.actions.mend()
    assert len(room.log.errors) == TRIES + 1
    room.service.problem = None
    room.actions.mend()
    assert room.service.reports == 0


def test_a_start_that_fails_is_not_done_again_behind_the_machines_back(room: Room) -> None:
    room.service.problem = MemoryError()
    room.do((states.START,))
    room.actions.mend()
    assert room.service.starts == 1


# Signals.


def test_a_signal_goes_to_the_main_process(room: Room) -> None:
    room.do((states.SIGNAL, "HUP", False), (states.SIGNAL, "TERM", True))
    assert room.service.process.sent == [("HUP", False), ("TERM", True)]


def test_one_that_was_sent_before_it_was_asked_for_is_not_sent_twice(room: Room) -> None:
    room.actions.sent = "HUP"
    room.do((states.SIGNAL, "HUP", False))
    assert room.service.process.sent == []
    room.do((states.SIGNAL, "HUP", False))
    assert room.service.process.sent == [("HUP", False)]


def test_without_a_main_process_nobody_is_sent_any(room: Room) -> None:
    room.service.process = None
    room.do((states.SIGNAL, "TERM", True))
    assert room.actions.due is None and room.log.lines == []


def test_one_that_the_kernel_refuses_is_sent_later(room: Room) -> None:
    process = room.service.process
    process.problem = "cannot send TERM to pid 4711: Operation not permitted"
    room.do((states.SIGNAL, "TERM", True))
    assert room.actions.due is not None
    room.later()
    assert room.log.warnings == [f"{process.problem}; trying again"]
    process.problem = None
    room.later()
    assert process.sent == [("TERM", True)]
    assert room.actions.due is None


def test_the_time_to_end_is_counted_from_when_it_was_told(room: Room) -> None:
    room.machine.state = states.STOPPING
    room.service.process.problem = "cannot"
    room.do((states.SIGNAL, "TERM", True))
    room.service.process.problem = None
    room.later()
    assert room.machine.events == [(states.EXTEND, room.machine.config.stopwaitsecs)]


@pytest.mark.parametrize(
    "state, want, spared",
    [(states.STOPPING, "down", True), (states.STOPPING, "up", False), (states.RUNNING, "down", False)],
)
def test_a_service_that_was_not_told_to_end_is_spared(room: Room, state: str, want: str, spared: bool) -> None:
    room.machine.state, room.machine.want = state, want
    room.service.process.problem = "cannot"
    room.do((states.SIGNAL, "TERM", True))
    room.actions.spare()
    assert room.machine.events == ([(states.SPARED, None)] if spared else [])
    assert (room.actions.due is None) == spared


def test_one_that_was_told_is_not(room: Room) -> None:
    room.machine.state, room.machine.want = states.STOPPING, "down"
    room.do((states.SIGNAL, "TERM", True))
    room.actions.spare()
    assert room.machine.events == []


# What is left of a service.


def test_what_is_left_is_told_to_end_and_the_machine_that_nothing_is(room: Room) -> None:
    room.machine.state, room.service.left = states.CLEANUP, False
    room.do((states.KILL_LEFTOVERS, "TERM"))
    assert room.service.cleared == ["TERM"]
    assert room.machine.events == [(states.CLEARED, None)]
    assert room.actions.due is None


def test_a_service_that_runs_is_not_taken_for_what_is_left(room: Room) -> None:
    room.do((states.KILL_LEFTOVERS, "KILL"))
    assert room.service.cleared == []


def test_who_could_not_be_told_is_told_again_after_pauses_that_grow(room: Room) -> None:
    room.machine.state, room.service.leftovers.unsignalled = states.CLEANUP, True
    room.do((states.KILL_LEFTOVERS, "TERM"))
    pauses = []
    for _ in range(3):
        assert room.actions.due is not None
        pauses.append(room.actions.due - time.monotonic())
        room.later()
    assert room.service.cleared == ["TERM"] * 4
    # A pause is at least half as long again as the one before, however slow this machine is just now.
    assert pauses[2] > pauses[1] * 1.5 > pauses[0]
    room.service.leftovers.unsignalled = False
    room.later()
    assert room.actions.due is None


# The restart script.


def test_a_script_that_cannot_be_run_is_a_script_that_is_done(room: Room) -> None:
    room.launcher.answer = "cannot run the restart script ./r: Permission denied"
    room.do((states.SCRIPT, 3))
    assert room.launcher.scripts == [3]
    assert room.machine.events == [(states.SCRIPT_DONE, room.launcher.answer)]


def test_a_script_that_runs_is_done_when_it_ends(room: Room) -> None:
    room.do((states.SCRIPT, 3))
    assert (room.actions.script_pid, room.machine.events) == (815, [])
    call = room.reactor.exited(815)
    assert call
    call(ExitStatus(code=1))
    assert room.machine.events == [], "not before the call is over"
    room.actions.deal()
    assert room.actions.script_pid == 0
    assert room.machine.events == [(states.SCRIPT_DONE, "restart script exited with status 1")]


def test_no_script_is_ended_where_none_runs(room: Room) -> None:
    room.do((states.END_SCRIPT,))
    assert not room.internal_errors.fresh


def test_after_an_error_nobody_waits_for_a_script_that_does_not_run(room: Room) -> None:
    room.machine.state = states.SCRIPT_RUN
    room.actions.mend()
    assert room.machine.events == [(states.SCRIPT_DONE, "cannot run the restart script: an internal error")]


# What parts post.


def test_what_is_posted_is_dealt_with_in_its_order_and_after_each_step(room: Room) -> None:
    told: list[list[str]] = []

    def steps() -> Iterator[None]:
        for names in (("a", "b"), (), ("c",)):
            for name in names:
                room.reactor.post(name)
            yield
            told.append([event for event, _ in room.machine.events])
        room.reactor.post("d", 4)

    room.actions.deal(steps())
    assert told == [["a", "b"], ["a", "b"], ["a", "b", "c"]]
    assert room.machine.events[-1] == ("d", 4) and room.reactor.posted == []


def test_what_was_posted_stays_until_the_machine_has_been_told(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        room.reactor.post(name)
    with monkeypatch.context() as patch:
        patch.setattr(room.machine, "handle", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            room.actions.deal()
    room.actions.deal()
    assert room.machine.events == [("second", None)]


# The other parts.


def test_the_end_of_a_service_is_written_down(room: Room) -> None:
    room.do((states.GONE, "how", 2.5, False))
    assert room.status_writer.exits == [("how", 2.5, False)]


def test_a_reload_is_an_event_with_what_the_file_says(room: Room) -> None:
    room.do((states.RELOAD,))
    assert room.machine.events == [(states.CONFIG, room.follower.config)]


def test_an_alarm_is_given(room: Room) -> None:
    room.do((states.ALARM, "exit", "text"))
    assert room.alarms.given == [("exit", "text")]


def test_an_upgrade_is_attempted_by_one_that_is_kept(room: Room) -> None:
    made = []
    room.actions.new_upgrader = lambda: made.append(1) or room.upgrader
    room.do((states.UPGRADE,), (states.UPGRADE,))
    assert (len(made), room.upgrader.attempts) == (1, 2)
