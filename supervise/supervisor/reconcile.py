"""Reconciling the state machine with the kernel after an internal error, when events may have been lost."""

from __future__ import annotations

from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.system.pidfd import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from supervise.machine.machine import Machine
    from supervise.service.service import Service


def missed_events(machine: Machine, service: Service) -> Iterator[tuple[str, Any]]:
    """The events of the main process that were lost on their way to the machine."""
    process = service.process
    if machine.state == states.SPAWNING:  # the result of START
        if process and not process.gone():
            yield states.STARTED, process.pid
        else:
            yield states.FAILED, ExitStatus(failure="an internal error")
    elif machine.pid:
        if process is None or process.pid != machine.pid:
            process = Process(machine.pid)
            service.attend(process)
        if process.gone():
            yield from service.ended(process)
