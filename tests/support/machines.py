"""What holds of every state machine at every moment, and for those that follow it: the checks of the property tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from simulated import CLEAN, CORE, CRASH, KILLED, NOT_FOUND, UNKNOWN, Action, again, policy

from supervise.machine.machine import Machine
from supervise.machine.policy import MIN_DELAY, Window
from supervise.machine.restore import after_takeover, after_upgrade
from supervise.machine.situation import Situation
from supervise.machine.table import BY_STATE
from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.letters import SIGNAL_LETTER, SIGNALS
from supervise.protocol.record import DOWN, Record, decode
from supervise.protocol.state import encode
from supervise.protocol.state_reader import decode as decode_state
from supervise.protocol.states import (
    ABORTING,
    CLEANUP,
    DELAY,
    ENDED,
    ENDING,
    IDLE,
    READY,
    RELOADING,
    RUNNING,
    SCRIPT_RUN,
    SPAWNING,
    STARTING,
    STATES,
    STOPPING,
    SUCCESSION,
)
from supervise.runtime.status_writer import GIVEN, StatusWriter

ALIVE = (RUNNING, STOPPING, ABORTING)  # there is a main process
TIMED = (CLEANUP, SUCCESSION, DELAY)  # something is always due
TIMELESS = (IDLE, SPAWNING, SCRIPT_RUN, ENDED)  # nothing ever is
EVENTS = tuple(BY_STATE[IDLE])
ENDS = (CRASH, CLEAN, KILLED, CORE, UNKNOWN)
PHASES = (None, STARTING, READY, RELOADING, ENDING)
BOOT = "8672b627-8f6b-453d-93b4-6e9e06aa1f81"


def found_state(machine_state: str, pid: int, **fields: Any) -> dict[str, Any]:
    """What a supervise that was killed has left behind (state.py), as far as it matters here."""
    return {
        "machine": machine_state,
        "paused": False,
        "leaving": False,
        "service": {"pid": pid, "start_ticks": 1, "pidfd_inode": None, "start_time": 0.0} if pid else None,
        "started_at": 900.0,
        "deadline_at": None,
        "phase": None,
        "status_text": None,
        "watchdog": None,
        "fault": None,
        **fields,
    }


# Some settings; and for each event some values that its comment in states.py allows.
CONFIGS = [
    policy(),
    policy(alarm_interval=60, max_tries=1, max_tries_if_coredumped=1),
    policy(autorestart="never", killasgroup=True, stopasgroup=True, stopwaitsecs=3, pidfile="app.pid"),
    policy(autorestart="unexpected", restart_delay=2, restart_delay_max=60, startsecs=10, stopsignal="INT"),
    policy(notify=True, starttimeoutsecs=30, watchdog_secs=10),
]
VALUES: dict[str, list[Any]] = {
    SIGNAL_LETTER: [(letter, name, group) for letter, name in SIGNALS.items() for group in (False, True)],
    states.BEGIN: [None],
    states.ADOPTED: [
        (77, found_state(RUNNING, 77, paused=True)),
        (77, found_state(RUNNING, 77, phase=STARTING, watchdog=3.0, status_text="loading")),
        (78, found_state(STOPPING, 78)),
        (78, found_state(STOPPING, 78, deadline_at=950.0)),
        (78, found_state(ABORTING, 78, deadline_at=1003.0, fault="hung: no WATCHDOG=1 for 10 seconds")),
        (79, found_state(IDLE, 0)),
        (79, found_state(SUCCESSION, 0, deadline_at=1002.0)),
        (80, found_state(RUNNING, 77, phase=READY)),
    ],
    states.STARTED: [80, 4194304],
    states.FAILED: [NOT_FOUND],
    states.EXITED: list(ENDS),
    states.MAIN_EXITED: list(ENDS),
    states.NO_SUCCESSOR: [None, *ENDS],
    states.MAIN: [91, 4194304],
    states.AMENDED: [(CORE, 81), (CLEAN, 82)],
    states.TIMER: [None],
    states.SCRIPT_DONE: [None, "restart script exited with status 1"],
    states.CONFIG: CONFIGS,
    states.SAYS_TEXT: ["", "loading 50 % of it"],
    states.WATCHDOG: [0.0, 0.5, 30.0],
    states.EXTEND: [0.0, 3.0, 1000.0],
    states.UNHEALTHY: ["unhealthy: check_command exited with status 1"],
}


_APART = ("window", "_actions", "totals", "exited_main", "config", "jitter")  # what fingerprint has in its own way
_PLAIN = attrgetter(*(name for name in Situation.__slots__ if name not in _APART))


def fingerprint(found: Machine) -> tuple[Any, ...]:
    """Everything about a machine that an event other than a new configuration can change."""
    window = (found.window.opened, found.window.exits, found.window.cores)
    departed = found.exited_main and (str(found.exited_main[0]), *found.exited_main[1:])
    return (*_PLAIN(found), window, departed, tuple(found.totals.items()))


def fresh(value: Any) -> Any:
    """The value of an event, for this machine alone: to an exit status it adds the fault."""
    return again(value) if isinstance(value, ExitStatus) else value


def _assignments(cls: type) -> Callable[[Any, Any], None]:
    """A function that assigns each slot of one object to another, written out: a loop takes three times as long."""
    lines = [f"    other.{name} = found.{name}" for name in cls.__slots__]  # type: ignore[attr-defined]
    made: dict[str, Any] = {}
    exec("\n".join(["def assign(other, found):", *lines]), made)
    return made["assign"]  # type: ignore[no-any-return]


_assign_machine, _assign_window, _assign_status = (_assignments(cls) for cls in (Situation, Window, ExitStatus))


def twin(found: Machine) -> Machine:
    """A copy to try something with; hundreds of thousands are made, and so by hand.

    They share what no machine changes: the configuration, which is most of it, and what gives them chance.
    """
    other = Machine.__new__(Machine)
    _assign_machine(other, found)
    other.window = Window.__new__(Window)
    _assign_window(other.window, found.window)
    other.totals = found.totals.copy()
    other._actions = found._actions.copy()
    if found.exited_main:
        how = ExitStatus.__new__(ExitStatus)
        _assign_status(how, found.exited_main[0])
        other.exited_main = (how, *found.exited_main[1:])
    return other


def check_shape(found: Machine) -> None:
    """What holds between any two events."""
    assert found.state in STATES
    assert (found.pid != 0) == (found.state in ALIVE)
    assert found.pid or not found.paused
    assert found.deadline is not None or found.state not in TIMED
    assert found.deadline is None or found.state not in TIMELESS
    if found.paused and found.state == RUNNING:
        assert found.deadline is None, "a service that is paused and yet is to do something"
    # A fault is why it is ended, or that it did not end.
    assert found.fault is not None or found.state != ABORTING
    assert found.fault is None or found.state in (STOPPING, ABORTING)
    assert (found.exited_main is not None) == (found.state == SUCCESSION)
    if found.state not in (*ALIVE, SUCCESSION):
        assert (found.phase, found.status_text, found.watchdog) == (None, None, 0)
    assert found.phase in (None, STARTING, READY, RELOADING, ENDING)
    assert not found.gave_up or found.state in (ENDED, CLEANUP)
    assert not found.healthy or (found.state == RUNNING and not found.paused)
    assert found.restart_delay >= MIN_DELAY
    assert found.visible == (found.paused, found.want, found.alarms, found.pid)
    record = Record(0, *found.visible)
    assert decode(record.encode()) == record
    if found.passes_signals:
        before = fingerprint(found)
        other = twin(found)
        assert other.handle("signal_letter", 1e9, ("t", "TERM", False))[0] == (states.SIGNAL, "TERM", False)
        assert fingerprint(other) == before


def check_eager(found: Machine, now: float, ends: Iterable[ExitStatus]) -> None:
    """What the loop relies on when it starts the successor before it has asked."""
    if found.eager_from is None:
        return
    assert found.state == RUNNING
    for how in ends:
        for at in (found.eager_from, max(now, found.eager_from), now + found.eager_from):
            if at >= now:
                assert twin(found).handle(states.EXITED, at, again(how))[0] == (states.START,)


class _Directory:
    """Of a status directory, what the status writer needs to know before it writes."""

    path = "status/app"

    def identity(self) -> dict[str, int]:
        return {"device": 1, "inode": 2}


def written(found: Machine) -> dict[str, Any]:
    """The state that is written of a machine, read again."""
    fields = StatusWriter(_Directory(), found, ["app"], BOOT, None).fields()  # type: ignore[arg-type]
    service = {"pid": found.pid, "start_ticks": 1, "pidfd_inode": None, "start_time": 0.0} if found.pid else None
    return decode_state(encode({**fields, "service": service}))


def follower(found: Machine) -> Machine:
    """A machine as the next supervise makes it, with the same options."""
    return Machine(found.config, found.script, found.script_reset, found.exit_with_service, found.jitter)


def check_followers(found: Machine, now: float) -> None:
    """Whoever comes after it goes on from the state that is written: a new version, or another supervise."""
    if found.state == SPAWNING:
        return  # the state that is written then is from before
    fields = written(found)
    if found.state not in (CLEANUP, SUCCESSION, ENDED):  # supervise is not replaced then
        _check_carried_on(found, fields, now)
    _check_adopted(found, fields, now)


def _check_carried_on(found: Machine, fields: dict[str, Any], now: float) -> None:
    """After `e`: the same machine, but that a service that is up has all of its time again."""
    other = follower(found)
    after_upgrade(other, fields, now)
    check_shape(other)
    if found.state == RUNNING:
        given = found.phase in GIVEN
        assert other.deadline == found.deadline if given and found.deadline else (other.deadline or now + 1) > now
        other.deadline = found.deadline
    # Of the process that has ended: nothing depends on it any more, but when the start after a restart script is due.
    assert found.will_restart or found.state != SCRIPT_RUN
    for name in ("will_restart", "restart_delay", "killed", "counted"):
        setattr(other, name, getattr(found, name))
    assert fingerprint(other) == fingerprint(found)


def signals(actions: list[Action]) -> list[str]:
    return [action[1] for action in actions if action[0] == states.SIGNAL]


def _check_adopted(found: Machine, fields: dict[str, Any], now: float) -> None:
    """supervise is killed at this moment, and another one comes; its service may have ended meanwhile."""
    for resume in (False, True):
        other = follower(found)
        after_takeover(other, fields, resume)
        check_shape(other)
        starts = other.handle(states.BEGIN, now, found.state == CLEANUP)
        check_shape(other)
        assert (states.START,) not in starts or other.want != DOWN
        assert not signals(starts), "a signal to nobody"
        if not found.pid:
            continue
        for pid in (found.pid, found.pid + 1):  # the one that the state names, or one that was started after it
            other = follower(found)
            after_takeover(other, fields, resume)
            actions = other.handle(states.ADOPTED, now, (pid, fields))
            check_shape(other)
            assert other.pid == pid
            assert (states.START,) not in actions
            assert other.want != DOWN or other.state == STOPPING
            assert ("STOP" in signals(actions)) == (found.paused and pid == found.pid)
            if pid == found.pid and other.state != RUNNING:
                assert other.state == found.state or other.want == DOWN
                assert other.deadline == found.deadline or other.want == DOWN
