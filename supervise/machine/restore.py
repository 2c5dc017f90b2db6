"""Restoring the state machine from the `state` of the supervise before: after a takeover, or an upgrade.

What lives here: a machine that carries on.  What does not: its service, if that still runs: `adopted` (on_process.py).
"""

from __future__ import annotations

from supervise.machine.on_liveness import watch
from supervise.machine.policy import MIN_DELAY
from supervise.protocol.exitstatus import fault_in
from supervise.protocol.states import DELAY, ENDED, IDLE, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.machine.machine import Machine


def after_takeover(machine: Machine, fields: dict[str, Any], resume: bool) -> None:
    """Restore what outlives a supervise, for a takeover.

    `resume`: with what was wanted, too; without it a new supervise means up.
    """
    machine.totals.update((name, fields["totals"][name]) for name in machine.totals)
    if resume:
        machine.want, machine.alarms = fields["wanted"], fields["alarms"]
        machine.will_restart = fields["machine"] != IDLE  # it had ended and was not to be restarted
    if fields["machine"] == ENDED:
        return  # it ended as asked, or gave up: what it counted is over
    machine.exits, machine.exited_at = fields["script_exits"], fields["exited_at"]
    machine.quick_exits = fields["quick_exits"]
    window, found = machine.window, fields["window"]
    window.opened, window.exits, window.cores = found["opened_at"], found["exits"], found["cores"]


def after_upgrade(machine: Machine, fields: dict[str, Any], now: float) -> None:
    """Restore the whole machine, for an upgrade in the same process."""
    after_takeover(machine, fields, True)
    machine.state, machine.paused, machine.leaving = fields["machine"], fields["paused"], fields["leaving"]
    machine.started_at, machine.deadline = fields["started_at"], fields["deadline_at"]
    machine.phase, machine.status_text = fields["phase"], fields["status_text"]
    machine.watchdog, machine.fault = fields["watchdog"] or 0.0, fault_in(fields)
    machine.ready_unknown = fields["unheard"]
    machine.pid = fields["service"]["pid"] if fields["service"] else 0
    machine.restart_delay = machine.delay()
    if machine.deadline is None and machine.state == DELAY:
        machine.deadline = (machine.started_at or 0.0) + MIN_DELAY  # an older release did not write it
    if machine.deadline is None and machine.state == RUNNING:
        watch(machine, now)
