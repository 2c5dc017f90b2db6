"""Answers of the state machine (table.py) about liveness: readiness, watchdog, health checks and stop timeouts.

Rule 1.  A service that is to say when it is ready has `starttimeoutsecs` for it.
Rule 2.  One with a watchdog gives a sign of life at least every `watchdog` seconds from then on, unless it is paused.
Rule 3.  One that does neither is ended: its fault is said, it is sent a signal, and KILL when that does not help.
Rule 4.  Of one that was starting when it was taken over nobody knows whether it has said that it is ready meanwhile.
         If it says nothing for as long as a start may take, it is taken to have done so.
Rule 5.  One that was told to end has `stopwaitsecs`, then it is sent KILL; 0 is for ever.
"""

from __future__ import annotations

from supervise.protocol.exitstatus import Fault
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.states import ABORTING, ENDING, HUNG, LATE, NOT_READY, READY, RELOADING, SICK, STARTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.machine.situation import Situation

UNHEARD_WAIT = 30.0  # seconds, where a start may take for ever
GRACE = 5.0  # seconds from a signal that ought to end a process to KILL


def watch(machine: Situation, now: float) -> None:
    """Set the deadline of the phase that a running service is in, from now on."""
    config = machine.config
    if machine.phase == STARTING:
        limit(machine, now, config.starttimeoutsecs or (UNHEARD_WAIT if machine.ready_unknown else 0))
    elif machine.phase == ENDING:
        limit(machine, now, config.stopwaitsecs)
    else:
        limit(machine, now, machine.watchdog)


def limit(machine: Situation, now: float, seconds: float) -> None:
    """Set the deadline of a running service; 0: no limit, and one that is paused has none."""
    machine.deadline = now + seconds if seconds and not machine.paused else None


# What it says.


def is_ready(machine: Situation, event: str, now: float, value: Any) -> None:
    after = now - machine.started_at if machine.started_at is not None else 0.0
    machine.do(NOTICE, "service is ready (pid %d, after %.1f seconds)", machine.pid, after)
    machine.phase = READY
    limit(machine, now, machine.watchdog)


def reloaded(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.do(NOTICE, "service has reloaded (pid %d)", machine.pid)
    machine.phase = READY
    limit(machine, now, machine.watchdog)


def next_is_ready(machine: Situation, event: str, now: float, value: Any) -> None:
    """Note READY=1 of the process that is to be the next main process."""
    if machine.phase != READY:
        machine.phase = READY
        machine.do(NOTICE, "service is ready")


def reloads(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.phase = RELOADING
    machine.do(NOTICE, "service is reloading (pid %d)", machine.pid)


def is_ending(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.phase = ENDING
    machine.do(NOTICE, "service says that it is stopping (pid %d)", machine.pid)
    limit(machine, now, machine.config.stopwaitsecs)


def says(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.status_text = value or None


def kicked(machine: Situation, event: str, now: float, value: Any) -> None:
    limit(machine, now, machine.watchdog)


def interval(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.watchdog = value
    limit(machine, now, value)


def note_interval(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.watchdog = value


def extended(machine: Situation, event: str, now: float, value: Any) -> None:
    if machine.deadline is not None:
        machine.deadline = max(machine.deadline, now + value)


# What is wrong with it.


def triggered(machine: Situation, event: str, now: float, value: Any) -> None:
    _hangs(machine, now, Fault(HUNG, "hung: it sent WATCHDOG=trigger"))


def is_sick(machine: Situation, event: str, now: float, value: Any) -> None:
    if not machine.paused:  # else the check began before it was
        _hangs(machine, now, Fault(SICK, value))


def not_ready(machine: Situation, event: str, now: float, value: Any) -> None:
    config = machine.config
    if machine.ready_unknown:
        machine.phase, machine.ready_unknown = READY, False
        machine.do(WARNING, "service (pid %d) is taken to be ready: its notification may be lost", machine.pid)
        limit(machine, now, machine.watchdog)
        return
    wait = config.stopwaitsecs or GRACE
    fault = Fault(NOT_READY, f"not ready within {config.starttimeoutsecs} seconds")
    _abort(machine, now, fault, config.stopsignal, config.stopasgroup, wait)


def overdue(machine: Situation, event: str, now: float, value: Any) -> None:
    _hangs(machine, now, Fault(HUNG, f"hung: no WATCHDOG=1 for {machine.watchdog:g} seconds"))


def end_late(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.state = ABORTING  # whoever follows it is ended, too
    _kill(machine, "did not end in time after it said that it was stopping")


def stop_late(machine: Situation, event: str, now: float, value: Any) -> None:
    _kill(machine, "did not end in time after it was told to")


def abort_late(machine: Situation, event: str, now: float, value: Any) -> None:
    _kill(machine, "does not end")


def _hangs(machine: Situation, now: float, fault: Fault) -> None:
    machine.totals["hangs"] += 1
    _abort(machine, now, fault, machine.config.watchdog_signal, False, GRACE)


def _abort(machine: Situation, now: float, fault: Fault, signal: str, group: bool, wait: float) -> None:
    machine.state, machine.fault, machine.deadline, machine.paused = ABORTING, fault, now + wait, False
    machine.signal(signal, group)
    machine.signal("CONT", group)
    machine.do(WARNING, "service (pid %d) %s: sending %s", machine.pid, fault, signal)


def _kill(machine: Situation, why: str) -> None:
    machine.kill()
    machine.fault = machine.fault or Fault(LATE, why)
    machine.do(WARNING, "service (pid %d) %s: sending KILL", machine.pid, why)
