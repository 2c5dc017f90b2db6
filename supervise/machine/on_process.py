"""Answers of the state machine (table.py) about processes: started, exited, succeeded by another main process."""

from __future__ import annotations

from supervise.machine.on_liveness import GRACE, watch
from supervise.machine.policy import MIN_DELAY, is_expected, start_failed
from supervise.protocol.exitstatus import fault_in
from supervise.protocol.record import DOWN, UP
from supervise.protocol.severities import FATAL, NOTICE, WARNING
from supervise.protocol.states import (
    ABORTING,
    ALARM,
    CLEANUP,
    GONE,
    KILL_LEFTOVERS,
    READY,
    REPORT_LEFTOVERS,
    RUNNING,
    STARTING,
    STOPPING,
    SUCCESSION,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.machine.situation import Situation
    from supervise.protocol.exitstatus import ExitStatus

SUCCESSION_WAIT = 5.0  # seconds in which the pidfile has to name another main process


def take_down(machine: Situation, now: float, group: bool) -> None:
    """Send the service its stopsignal."""
    machine.deadline = None  # whatever it was for, it has its time anew
    take_down_again(machine, now, group)


def take_down_again(machine: Situation, now: float, group: bool) -> None:
    """Send the stopsignal again; a service that hangs is not given more time by this."""
    config = machine.config
    group = group or config.stopasgroup
    machine.signal(config.stopsignal, group)
    machine.signal("CONT", group)
    if machine.deadline is None and config.stopwaitsecs:
        machine.deadline = now + config.stopwaitsecs
    machine.state, machine.paused, machine.fault = STOPPING, False, None


# Beginnings.


def begin(machine: Situation, event: str, now: float, value: Any) -> None:
    if machine.want == UP and not machine.will_restart:
        machine.rest()
    elif machine.want == UP and value and machine.config.killasgroup:
        clear_up(machine, now)
    elif machine.want == UP:
        machine.start_when_due(now)


def started(machine: Situation, event: str, now: float, value: Any) -> None:
    config = machine.config
    machine.pid, machine.started_at, machine.state = value, now, RUNNING
    machine.totals["starts"] += 1
    machine.phase = STARTING if config.notify or config.notification_fd else None
    machine.status_text, machine.fault, machine.ready_unknown = None, None, False
    machine.watchdog = float(config.watchdog_secs)
    watch(machine, now)
    machine.do(NOTICE, "service started (pid %d)", value)
    if machine.want == DOWN:  # `d` came while it was being started
        take_down(machine, now, False)


def failed(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.started_at, machine.fault, machine.phase = now, None, None
    gone(machine, value, now, planned=machine.leaving or machine.want == DOWN, uptime=0.0)


def adopted(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.pid, fields = value
    machine.do(NOTICE, "service taken over (pid %d)", machine.pid)
    same = fields["service"] and fields["service"]["pid"] == machine.pid
    # One that the state does not name was started just before its supervise was killed.
    machine.started_at = fields["started_at"] if same else now
    machine.paused = bool(same and fields["paused"])
    machine.state = RUNNING
    ending = same and fields["machine"] in (STOPPING, ABORTING)
    if ending:
        machine.state, machine.deadline, machine.fault = fields["machine"], fields["deadline_at"], fault_in(fields)
    if same:
        machine.phase, machine.status_text = fields["phase"], fields["status_text"]
        machine.watchdog = fields["watchdog"] or 0.0
    else:
        machine.phase = STARTING if machine.config.notify else None
        machine.watchdog = float(machine.config.watchdog_secs)
    if machine.phase == STARTING and machine.config.notification_fd and not machine.config.notify:
        machine.phase = READY  # what it has or would have said of that, nobody heard
    machine.ready_unknown = machine.phase == STARTING
    if not ending:
        watch(machine, now)
    if machine.paused:
        # When its supervise is killed, the kernel has a stopped process go on (and sends it HUP).
        machine.signal("STOP", False)
    if machine.want == DOWN and not ending:
        take_down(machine, now, False)


# Ends.


def exited(machine: Situation, event: str, now: float, value: Any) -> None:
    gone(machine, value, now, machine.leaving, uptime(machine, now))


def stopped(machine: Situation, event: str, now: float, value: Any) -> None:
    gone(machine, value, now, True, uptime(machine, now))


def uptime(machine: Situation, now: float) -> float:
    """Seconds since the last start."""
    return now - machine.started_at if machine.started_at is not None else 0.0


def gone(machine: Situation, how: ExitStatus, now: float, planned: bool, uptime: float, clear: bool = False) -> None:
    """Count and log an exit, or a failed start.  `clear`: end what is left, even without `killasgroup`."""
    config, pid = machine.config, machine.pid
    clear = bool(clear or config.killasgroup) and pid != 0
    how.fault, machine.fault = machine.fault, None
    _count(machine, how, now, planned, uptime)
    expected = not planned and is_expected(config, how, machine.quick_exits)
    kind = "failures" if how.failure else "planned" if planned else "expected" if expected else "crashes"
    for total in ("exits", kind, "cores") if how.core else ("exits", kind):
        machine.totals[total] += 1
    verdict = None
    if machine.alarms and not planned and not expected:
        verdict = machine.window.count(now, how.core, config)
        machine.gave_up = verdict.give_up
    machine.counted = verdict is not None
    machine.will_restart = machine.want == UP and (planned or _policy_restarts(machine, expected))
    no_more_tries = machine.will_restart and _tried_enough(machine) and not machine.gave_up
    machine.gave_up |= no_more_tries
    machine.restart_delay = MIN_DELAY if planned else machine.delay()
    machine.pid, machine.paused, machine.phase, machine.status_text = 0, False, None, None
    machine.exited_main, machine.watchdog = None, 0.0
    if clear:
        clear_up(machine, now)
    else:
        machine.after_exit(now)
    machine.do(GONE, how, uptime, planned)
    if pid:
        asked = ", as asked" if planned else ""
        machine.do(NOTICE, "service %s (pid %d, up %.1f seconds%s)", how, pid, uptime, asked)
        if not clear:
            machine.do(REPORT_LEFTOVERS)
    else:
        machine.do(WARNING, "service %s", how)
    if not machine.will_restart and machine.want == UP and not machine.leaving and not machine.gave_up:
        machine.do(NOTICE, "service is not restarted: autorestart is %s", config.autorestart)
    if verdict and (verdict.alarm or no_more_tries):
        machine.do(ALARM, how, uptime, verdict.restarts, machine.gave_up)
    if no_more_tries:
        machine.do(FATAL, "giving up after %d failed starts in a row", machine.quick_exits)
    if verdict and verdict.give_up:
        machine.do(FATAL, "giving up after %d restarts within %d seconds", verdict.restarts, config.alarm_interval)


def _count(machine: Situation, how: ExitStatus, now: float, planned: bool, uptime: float) -> None:
    """For the restart script, and for the delay before the next start."""
    again = machine.script_reset is not None and machine.exited_at is not None
    if again and now - machine.exited_at >= machine.script_reset:  # type: ignore[operator]
        machine.exits = 0
    machine.exits += 1
    machine.exited_at = now
    if planned:
        machine.quick_exits = 0
    elif how.failure or machine.phase == STARTING or uptime < machine.config.startsecs:
        machine.quick_exits += 1
    else:
        machine.quick_exits = 0


def _tried_enough(machine: Situation) -> bool:
    """Whether the retries of a start are used up: startretries counts those after the first try, as in supervisor."""
    retries = machine.config.startretries
    return retries is not None and machine.quick_exits > retries


def _policy_restarts(machine: Situation, expected: bool) -> bool:
    config = machine.config
    if config.autorestart == "always" or start_failed(config, machine.quick_exits):
        return True
    return config.autorestart == "unexpected" and not expected


def amended(machine: Situation, event: str, now: float, value: Any) -> None:
    how, pid = value
    machine.do(NOTICE, "service (pid %d, taken over) %s", pid, how)
    if how.core:
        machine.totals["cores"] += 1
        machine.window.cores += machine.counted


# Main processes that change.


def new_main(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.do(NOTICE, "main process of the service is pid %d now, was pid %d", value, machine.pid)
    machine.pid = value


def main_stops(machine: Situation, event: str, now: float, value: Any) -> None:
    new_main(machine, event, now, value)
    take_down_again(machine, now, False)  # it has not been told yet


def main_ends(machine: Situation, event: str, now: float, value: Any) -> None:
    new_main(machine, event, now, value)
    machine.signal(machine.config.stopsignal, machine.config.stopasgroup)
    machine.deadline = now + GRACE


def spared(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.state, machine.deadline, machine.fault = RUNNING, None, None
    watch(machine, now)


def main_exited(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.exited_main = value, machine.pid, uptime(machine, now)
    machine.do(NOTICE, "main process (pid %d) %s; waiting for the pidfile to name another", machine.pid, value)
    machine.state, machine.pid, machine.paused = SUCCESSION, 0, False
    machine.deadline = now + SUCCESSION_WAIT


def succeeded(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.do(NOTICE, "main process of the service is pid %d now", value)
    machine.pid, machine.state, machine.exited_main = value, RUNNING, None
    watch(machine, now)


def no_successor(machine: Situation, event: str, now: float, value: Any) -> None:
    if machine.exited_main:
        how, machine.pid, uptime = machine.exited_main
        gone(machine, value or how, now, planned=machine.leaving, uptime=uptime)


def give_up_waiting(machine: Situation, event: str, now: float, value: Any) -> None:
    no_successor(machine, event, now, None)


# What is left, and what is due.


def clear_up(machine: Situation, now: float) -> None:
    """End the leftovers, as `killasgroup` says, before anything else."""
    config = machine.config
    machine.state, machine.killed, machine.deadline = CLEANUP, False, now + (config.stopwaitsecs or GRACE)
    machine.do(KILL_LEFTOVERS, config.stopsignal)


def cleared(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.after_exit(now)
    machine.do(REPORT_LEFTOVERS)  # what has left the process group


def left_over(machine: Situation, event: str, now: float, value: Any) -> None:
    if machine.killed:  # in the kernel for good, and not to be waited for
        machine.do(REPORT_LEFTOVERS)
        machine.after_exit(now)
        return
    machine.killed, machine.deadline = True, now + GRACE
    machine.do(KILL_LEFTOVERS, "KILL")


def start_due(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.start()


def script_done(machine: Situation, event: str, now: float, value: Any) -> None:
    """Restart when the restart script has ended, or stay down."""
    if value is not None:
        machine.do(WARNING, "%s", value)
    if machine.want == DOWN:
        machine.rest()
    else:
        machine.start_when_due(now)


def configure(machine: Situation, event: str, now: float, value: Any) -> None:
    machine.config = value


def unexpected(machine: Situation, event: str, now: float, value: Any) -> None:
    """Log a result of the loop that was not asked for; nothing follows."""
    machine.do(WARNING, "unexpected in state %s: %s", machine.state, event)
