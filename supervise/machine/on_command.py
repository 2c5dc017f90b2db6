"""What the letters lead to: answers of the state machine (machine.py), each called with the letter and its value."""

from __future__ import annotations

from supervise.machine.on_liveness import watch
from supervise.machine.on_process import gone, take_down
from supervise.machine.policy import MIN_GAP
from supervise.protocol.letters import SIGNAL
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.states import (
    ABORTING,
    CLEANUP,
    DELAY,
    END_SCRIPT,
    IDLE,
    KILL,
    RELOAD,
    RUNNING,
    SCRIPT_RUN,
    SPAWNING,
    STOPPING,
    SUCCESSION,
    UPGRADE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.machine.machine import Machine

_UP_TEXT = {
    SPAWNING: "start the service",
    RUNNING: "keep the service up",
    STOPPING: "start the service again when it is down",
    ABORTING: "start the service again when it is down",
    CLEANUP: "start the service when nothing is left of it",
    SUCCESSION: "keep the service up",
    DELAY: "start the service when its last start is a second ago",
    SCRIPT_RUN: "start the service after the restart script",
}


# Up and down.


def up(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = UP
    if machine.state in (IDLE, SCRIPT_RUN):
        machine.restart_delay, machine.quick_exits = MIN_GAP, 0
    if machine.state == IDLE:
        machine.start_when_due(now)
    machine.obeyed(letter, _UP_TEXT[machine.state])


def up_again(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.will_restart, machine.restart_delay, machine.quick_exits = True, MIN_GAP, 0
    up(machine, letter, now, value)


def hurry(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.restart_delay, machine.quick_exits = MIN_GAP, 0
    machine.start_when_due(now)
    up(machine, letter, now, value)


def once(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = ONCE
    if machine.state in (IDLE, SCRIPT_RUN):
        machine.restart_delay = MIN_GAP
    if machine.state == IDLE:
        machine.start_when_due(now)
    machine.obeyed(letter, "run the service once")


def once_again(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.will_restart, machine.restart_delay = True, MIN_GAP
    once(machine, letter, now, value)


def hurry_once(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.restart_delay = MIN_GAP
    machine.start_when_due(now)
    once(machine, letter, now, value)


def down(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    machine.obeyed(letter, "the service is down" if machine.state == IDLE else "the service is to be down")


def stop(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    take_down(machine, now, value)
    machine.obeyed(letter, "stop the service (pid %d)", machine.pid)


def no_restart(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    machine.rest()
    machine.obeyed(letter, "do not restart the service")


def end_script(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    machine.do(END_SCRIPT)
    machine.obeyed(letter, "do not restart the service, end the restart script")


def restart(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = UP
    take_down(machine, now, value)
    machine.obeyed(letter, "restart the service (pid %d)", machine.pid)


def abandon(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    _depart(machine, now)
    machine.obeyed(letter, "do not wait for another main process")


def start_anew(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.want = UP
    _depart(machine, now)
    machine.obeyed(letter, "do not wait for another main process, restart the service")


def _depart(machine: Machine, now: float) -> None:
    """The main process that has ended was the last one; those that are left are the service, and are to end."""
    if machine.exited_main:
        how, machine.pid, uptime = machine.exited_main
        gone(machine, how, now, planned=True, uptime=uptime, clear=True)


# The end of supervise.


def exit(machine: Machine, letter: str, now: float, value: Any) -> None:
    if machine.state == SCRIPT_RUN:
        machine.do(END_SCRIPT)
    machine.obeyed(letter, "exit")
    machine.end()


def exit_later(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.leaving = True
    machine.obeyed(letter, "exit when the service is down")


# Signals.


def pause(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.signal("STOP", value)
    machine.paused = True
    if machine.state == RUNNING:
        machine.deadline = None  # it can't give a sign of life now, nor get ready
    machine.obeyed(letter, "pause the service (pid %d)", machine.pid)


def no_pause(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.obeyed(letter, "the service (pid %d) is being ended", machine.pid)


def resume(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.signal("CONT", value)
    if machine.paused:
        machine.paused = False
        if machine.state == RUNNING:
            watch(machine, now)
    machine.obeyed(letter, "continue the service (pid %d)", machine.pid)


def pass_on(machine: Machine, event: str, now: float, value: Any) -> None:
    letter, name, group = value
    machine.do(KILL, name, group)
    target = "the process group of the service" if group else "the service"
    machine.obeyed(letter, "send %s to %s (pid %d)", name, target, machine.pid)


def absent(machine: Machine, event: str, now: float, value: Any) -> None:
    letter = value[0] if event == SIGNAL else event
    machine.obeyed(letter, "the service is not running")


# The rest.


def silence(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.alarms = False
    machine.obeyed(letter, "alarms off")


def sound(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.alarms = True
    machine.obeyed(letter, "alarms on")


def reload(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.do(RELOAD)
    machine.obeyed(letter, "read the configuration again")


def upgrade(machine: Machine, letter: str, now: float, value: Any) -> None:
    machine.do(UPGRADE)
    machine.obeyed(letter, "replace this supervise by the installed version")
