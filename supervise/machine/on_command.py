"""Answers of the state machine to letters (table.py), each called with the letter and its value."""

from __future__ import annotations

from supervise.machine.on_liveness import watch
from supervise.machine.on_process import gone, take_down, take_down_again
from supervise.machine.policy import MIN_DELAY
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.states import END_SCRIPT, RELOAD, SIGNAL, UPGRADE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.machine.situation import Situation

_START = "start the service"


# Up: `u`, and `R` where no process runs.


def start_now(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want, machine.restart_delay, machine.quick_exits = UP, MIN_DELAY, 0
    at_once = machine.start_when_due(now)
    machine.obeyed(letter, _START if at_once else "start the service when its last start is a second ago")


def start_after_cleanup(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.will_restart, machine.restart_delay, machine.quick_exits = True, MIN_DELAY, 0
    _want_up(machine, letter, "start the service when nothing is left of it")


def start_after_script(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.restart_delay, machine.quick_exits = MIN_DELAY, 0
    _want_up(machine, letter, "start the service after the restart script")


def keep_starting(machine: Situation, letter: str, now: float, value: Any) -> None:
    _want_up(machine, letter, _START)


def keep_up(machine: Situation, letter: str, now: float, value: Any) -> None:
    _want_up(machine, letter, "keep the service up")


def up_again(machine: Situation, letter: str, now: float, value: Any) -> None:
    _want_up(machine, letter, "start the service again when it is down")


def _want_up(machine: Situation, letter: str, text: str, *args: Any) -> None:
    machine.want = UP
    machine.obeyed(letter, text, *args)


# Once: `o`.


def want_once(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want = ONCE
    machine.obeyed(letter, "run the service once")


def once_now(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.restart_delay = MIN_DELAY
    machine.start_when_due(now)
    want_once(machine, letter, now, value)


def once_after_cleanup(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.will_restart, machine.restart_delay = True, MIN_DELAY
    want_once(machine, letter, now, value)


def once_after_script(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.restart_delay = MIN_DELAY
    want_once(machine, letter, now, value)


# Down: `d`, and `R` where a process runs.


def stay_down(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    machine.obeyed(letter, "the service is down")


def want_down(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    machine.obeyed(letter, "the service is to be down")


def stop(machine: Situation, letter: str, now: float, value: Any) -> None:
    take_down(machine, now, value)
    _want_stopped(machine, letter)


def stop_again(machine: Situation, letter: str, now: float, value: Any) -> None:
    take_down_again(machine, now, value)
    _want_stopped(machine, letter)


def _want_stopped(machine: Situation, letter: str) -> None:
    machine.want = DOWN
    machine.obeyed(letter, "stop the service (pid %d)", machine.pid)


def restart(machine: Situation, letter: str, now: float, value: Any) -> None:
    take_down(machine, now, value)
    _want_up(machine, letter, "restart the service (pid %d)", machine.pid)


def restart_again(machine: Situation, letter: str, now: float, value: Any) -> None:
    take_down_again(machine, now, value)
    _want_up(machine, letter, "restart the service (pid %d)", machine.pid)


def cancel(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    machine.rest()
    machine.obeyed(letter, "do not restart the service")


def end_script(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    machine.do(END_SCRIPT)
    machine.obeyed(letter, "do not restart the service, end the restart script")


def abandon(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want = DOWN
    _depart(machine, now)
    machine.obeyed(letter, "do not wait for another main process")


def start_anew(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.want = UP
    _depart(machine, now)
    machine.obeyed(letter, "do not wait for another main process, restart the service")


def _depart(machine: Situation, now: float) -> None:
    """The main process that has ended was the last one; those that are left are the service, and are to end."""
    if machine.exited_main:
        how, machine.pid, uptime = machine.exited_main
        gone(machine, how, now, planned=True, uptime=uptime, clear=True)


# The end of supervise.


def exit_now(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.obeyed(letter, "exit")
    machine.end()


def exit_script(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.do(END_SCRIPT)
    exit_now(machine, letter, now, value)


def exit_later(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.leaving = True
    machine.obeyed(letter, "exit when the service is down")


# Signals.


def pause(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.deadline = None  # it can't give a sign of life now, nor get ready
    pause_timed(machine, letter, now, value)


def pause_timed(machine: Situation, letter: str, now: float, value: Any) -> None:
    """Pause a service that was told to end, which has no more time for that."""
    machine.signal("STOP", value)
    machine.paused = True
    machine.obeyed(letter, "pause the service (pid %d)", machine.pid)


def no_pause(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.obeyed(letter, "the service (pid %d) is being ended", machine.pid)


def resume(machine: Situation, letter: str, now: float, value: Any) -> None:
    paused = machine.paused
    resume_timed(machine, letter, now, value)
    if paused:
        watch(machine, now)


def resume_timed(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.signal("CONT", value)
    machine.paused = False
    machine.obeyed(letter, "continue the service (pid %d)", machine.pid)


def pass_on(machine: Situation, event: str, now: float, value: Any) -> None:
    letter, name, group = value
    machine.do(SIGNAL, name, group)
    target = "the process group of the service" if group else "the service"
    machine.obeyed(letter, "send %s to %s (pid %d)", name, target, machine.pid)


def absent(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.obeyed(letter, "the service is not running")


def signals_nobody(machine: Situation, event: str, now: float, value: Any) -> None:
    absent(machine, value[0], now, None)


# The rest.


def alarms_off(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.alarms = False
    machine.obeyed(letter, "alarms off")


def alarms_on(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.alarms = True
    machine.obeyed(letter, "alarms on")


def reload(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.do(RELOAD)
    machine.obeyed(letter, "read the configuration again")


def upgrade(machine: Situation, letter: str, now: float, value: Any) -> None:
    machine.do(UPGRADE)
    machine.obeyed(letter, "replace this supervise by the installed version")
