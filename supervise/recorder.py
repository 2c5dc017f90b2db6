"""Keeping `status` and `state` as the machine is, also through times when the disk is full."""

from __future__ import annotations

import os
import time

from supervise import __version__
from supervise.exitstatus import ExitStatus
from supervise.log import NOTICE, WARNING
from supervise.record import Record, RecordError, decode
from supervise.state import VERSION, encode
from supervise.states import CLEANUP, RUNNING
from supervise.statusdir import STATE, STATUS, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.log import Log
    from supervise.machine import Machine
    from supervise.process import Process
    from supervise.statusdir import StatusDir

RETRY = 5.0  # seconds between tries to write what could not be written


class Recorder:
    """Writes the record and the state of one service, each when it has changed."""

    def __init__(self, directory: StatusDir, machine: Machine, command: list[str], boot: str, log: Log) -> None:
        self._directory = directory
        self._machine = machine
        self._command = command
        self._log = log
        self._boot_id = boot
        self._where = directory.identity()
        self._self = os.getpid(), os.getsid(0)
        self._pid = 0
        self._changed_ns = time.time_ns()
        self._service: dict[str, Any] | None = None
        self._last_exit: dict[str, Any] | None = None
        self._record: tuple[bool, str, bool, int] | None = None  # as last written, or tried to be
        self._state: bytes | None = None
        self._failing: set[str] = set()
        self.next_mark: int | None = None  # birthmark.py
        self.upgrades = 0  # how often this process was replaced by another version of supervise
        self.upgrades_refused = 0
        self.remains: dict[str, int] | None = None  # the process group of which something is left
        self.notify_address: str | None = None  # where the service's notifications come to
        self.formers: list[dict[str, Any]] = []  # processes that were the main one before, and live
        self._phase: tuple[str | None, float | None] = None, None  # and since when, in Unix seconds
        self.retry_at: float | None = None  # monotonic

    def inherit(self, fields: dict[str, Any], pid: int) -> None:
        """Carry on where the supervise that wrote this state was; `pid` is the service's now, 0 for none.

        The record tells when the pid last changed, and that is not now if it is the same.
        """
        self._last_exit = fields["last_exit"]
        self._phase = fields["phase"], fields["phase_time"]
        self.notify_address = fields["notify_address"]
        try:
            record = decode(self._directory.read(STATUS) or b"")
        except (OSError, StatusDirError, RecordError):
            return
        if record.pid == pid:
            self._pid, self._changed_ns = pid, record.changed_ns
            service = fields["service"]
            self._service = service if service and service["pid"] == pid else None

    def exited(self, how: ExitStatus, uptime: float, planned: bool) -> None:
        """The service has ended: for people who ask later how."""
        self._phase = None, None  # the next one has its own
        self._last_exit = {
            "code": how.code,
            "signal": how.signal,
            "core": how.core,
            "failure": how.failure,
            "planned": planned,
            "uptime": round(uptime, 3),
            "time": round(time.time(), 3),
            "fault": how.fault,
        }

    def amended(self, how: ExitStatus) -> None:
        """It has turned out how the service had ended."""
        if self._last_exit:
            self._last_exit.update(code=how.code, signal=how.signal, core=how.core)

    @property
    def exit_code(self) -> int | None:
        """That of the last exit, as a shell has it, whoever saw it; None: there has been none."""
        last = self._last_exit
        return ExitStatus(last["code"], last["signal"], failure=last["failure"]).exit_code if last else None

    def settle(self, process: Process | None) -> None:
        """Write what has changed, and what could not be written and is due again."""
        due = self.retry_at is not None and time.monotonic() >= self.retry_at
        if due:
            self.retry_at = None
        visible = self._machine.visible
        if visible != self._record or (due and STATUS in self._failing):
            if visible[3] != self._pid:
                self._pid, self._changed_ns = visible[3], time.time_ns()
                self._service = None
            if process and not self._service:
                self._service = {**process.identity(), "start_time": self._changed_ns // 1000000 / 1000}
            self._record = visible
            paused, want, alarms, pid = visible
            self._write(STATUS, Record(self._changed_ns, paused, want, alarms, pid).encode())
        self.write_state(due)

    def write_state(self, again: bool = False) -> None:
        """Write the state if it has changed; if it could not be written, `again`."""
        state = encode(self.fields())
        if state != self._state or (again and STATE in self._failing):
            self._state = state
            self._write(STATE, state)

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._directory.replace(name, data)
        except OSError as why:
            if not self._failing:
                path = self._directory.path
                self._log.add(WARNING, "cannot write %s/%s: %s; trying again", path, name, why.strerror)
            self._failing.add(name)
            self.retry_at = time.monotonic() + RETRY
            return
        if name in self._failing:
            self._failing.discard(name)
            if not self._failing:
                self._log.add(NOTICE, "%s/%s is written again", self._directory.path, name)

    def fields(self) -> dict[str, Any]:
        """The state, as state.py describes it."""
        machine = self._machine
        window = machine.window
        if machine.phase != self._phase[0]:
            self._phase = machine.phase, round(time.time(), 3) if machine.phase else None
        return {
            "version": VERSION,
            "supervise_version": __version__,
            "supervise_pid": self._self[0],
            "session": self._self[1],
            "boot_id": self._boot_id,
            "command": self._command,
            "machine": machine.state,
            "wanted": machine.want,
            "paused": machine.paused,
            "alarms": machine.alarms,
            "leaving": machine.leaving,
            "service": self._service,
            "remains": self.remains if machine.state == CLEANUP else None,
            "started_at": machine.started_at,
            "exited_at": machine.exited_at,
            "script_exits": machine.exits,
            "window": {"opened_at": window.opened, "exits": window.exits, "cores": window.cores},
            "totals": machine.totals,
            "last_exit": self._last_exit,
            "gave_up": machine.gave_up,
            # Of a service that runs it moves with every sign of life, and starts anew in another supervise.
            "deadline_at": None if machine.state == RUNNING else machine.deadline,
            "directory": self._where,
            "next_mark": self.next_mark,
            "upgrades": self.upgrades,
            "upgrades_refused": self.upgrades_refused,
            "phase": machine.phase,
            "phase_time": self._phase[1],
            "status_text": machine.status_text,
            "quick_exits": machine.quick_exits,
            "watchdog": machine.watchdog or None,
            "fault": machine.fault,
            "unheard": machine.unheard,
            "notify_address": self.notify_address,
            "formers": self.formers,
        }


def boot_id() -> str:
    """What tells this boot from any other, of this machine or another; empty where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
