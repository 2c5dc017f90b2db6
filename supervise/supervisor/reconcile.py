"""Reconciling the state machine with the kernel after an internal error, when events may have been lost."""

from __future__ import annotations

from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.system.pidfd import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.machine.machine import Machine
    from supervise.runtime.reactor import Reactor
    from supervise.service.service import Service


def post_missed_events(machine: Machine, service: Service, reactor: Reactor) -> Process | None:
    """Post events that were lost on their way to the machine; the main process, if it has ended: that is the loop's."""
    process = service.process
    if machine.state == states.SPAWNING:  # the result of START
        if process and not process.gone():
            reactor.post(states.STARTED, process.pid)
        else:
            reactor.post(states.FAILED, ExitStatus(failure="an internal error"))
    elif machine.pid:
        if process is None or process.pid != machine.pid:
            process = Process(machine.pid)
            service.attend(process)
        if process.gone():
            return process
    return None
