"""Keeping `status` and `state` as the machine is, also through times when the disk is full."""

from __future__ import annotations

import os
import time

from supervise import __version__
from supervise.log import NOTICE, WARNING
from supervise.record import Record
from supervise.state import VERSION, encode
from supervise.statusdir import STATE, STATUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.exitstatus import ExitStatus
    from supervise.log import Log
    from supervise.machine import Machine
    from supervise.statusdir import StatusDir

RETRY = 5.0  # seconds between tries to write what could not be written


class Recorder:
    """Writes the record and the state of one service, each when it has changed."""

    def __init__(self, directory: StatusDir, machine: Machine, command: list[str], log: Log) -> None:
        self._directory = directory
        self._machine = machine
        self._command = command
        self._log = log
        self._boot_id = boot_id()
        self._pid = 0
        self._changed_ns = time.time_ns()
        self._service: dict[str, Any] | None = None
        self._last_exit: dict[str, Any] | None = None
        self._record: tuple[bool, str, bool, int] | None = None  # as last written, or tried to be
        self._state: bytes | None = None
        self._failing: set[str] = set()
        self.retry_at: float | None = None  # monotonic

    def exited(self, how: ExitStatus, uptime: float, planned: bool) -> None:
        """The service has ended: for people who ask later how."""
        self._last_exit = {
            "code": how.code,
            "signal": how.signal,
            "core": how.core,
            "failure": how.failure,
            "planned": planned,
            "uptime": round(uptime, 3),
            "time": round(time.time(), 3),
        }

    def settle(self) -> None:
        """Write what has changed, and what could not be written and is due again."""
        due = self.retry_at is not None and time.monotonic() >= self.retry_at
        if due:
            self.retry_at = None
        visible = self._machine.visible
        if visible != self._record or (due and STATUS in self._failing):
            if visible[3] != self._pid:
                self._pid, self._changed_ns = visible[3], time.time_ns()
                self._service = identity(self._pid, self._changed_ns) if self._pid else None
            self._record = visible
            paused, want, alarms, pid = visible
            self._write(STATUS, Record(self._changed_ns, paused, want, alarms, pid).encode())
        state = encode(self._fields())
        if state != self._state or (due and STATE in self._failing):
            self._state = state
            self._write(STATE, state)

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._directory.replace(name, data)
        except OSError as why:
            if name not in self._failing:
                self._failing.add(name)
                path = self._directory.path
                self._log.add(WARNING, "cannot write %s/%s: %s; trying again", path, name, why.strerror)
            self.retry_at = time.monotonic() + RETRY
            return
        if name in self._failing:
            self._failing.discard(name)
            self._log.add(NOTICE, "%s/%s is written again", self._directory.path, name)

    def _fields(self) -> dict[str, Any]:
        machine = self._machine
        window = machine.window
        return {
            "version": VERSION,
            "supervise_version": __version__,
            "supervise_pid": os.getpid(),
            "session": os.getsid(0),
            "boot_id": self._boot_id,
            "command": self._command,
            "machine": machine.state,
            "wanted": machine.want,
            "paused": machine.paused,
            "alarms": machine.alarms,
            "leaving": machine.leaving,
            "service": self._service,
            "started_at": machine.started_at,
            "exited_at": machine.exited_at,
            "script_exits": machine.exits,
            "window": {"opened_at": window.opened, "exits": window.exits, "cores": window.cores},
            "totals": machine.totals,
            "last_exit": self._last_exit,
        }


def boot_id() -> str:
    """What tells this boot from any other, of this machine or another; empty where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def identity(pid: int, start_ns: int) -> dict[str, Any]:
    """What tells a process from any other that had or will have its pid.

    `start_ticks` is field 22 of /proc/PID/stat, in clock ticks since boot; 0 where it cannot be read.
    """
    return {"pid": pid, "start_ticks": start_ticks(pid), "pidfd_inode": None, "start_time": start_ns // 1000000 / 1000}


def start_ticks(pid: int) -> int:
    """Clock ticks from boot to the start of a process; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read(4096)
    except OSError:
        return 0
    # The second field, the name, may hold blanks and parentheses.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0
