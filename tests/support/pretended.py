"""A status directory in which the test is the supervise: every state of a service, without the time that it takes."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from box import Box, wait_for
from samples import LAST_EXIT, SAMPLE

from supervise.client import Status
from supervise.protocol.record import Record
from supervise.protocol.state import encode
from supervise.system.procfs import boot_id

PID = 1000001  # of no process
FIELDS: dict[str, Any] = {
    **SAMPLE,
    "supervise_pid": os.getpid(),
    "session": os.getsid(0),
    "boot_id": boot_id(),
    "service": {"pid": PID, "start_ticks": 1, "pidfd_inode": None, "start_time": 1.0},
    "started_at": 1.0,
}
HEALTHY: dict[str, Any] = {
    **{"failures": 0, "limit": 3, "starting": False, "failure": None, "output": ""},
    **{"failing_time": None, "failing_boottime": None, "problem": None},
}
SICK = {**HEALTHY, "failures": 2, "failure": "exited with status 3", "output": "it is sick\n", "failing_time": 1e18}
EXIT: dict[str, Any] = {**LAST_EXIT, "code": 0, "uptime": 2.5, "time": 1e9}


def state(pid: int = PID, **fields: Any) -> dict[str, Any]:
    """A state; `totals` and `last_exit` need only have what is not as usual."""
    made = {**FIELDS, **fields}
    made["totals"] = {**FIELDS["totals"], **fields.get("totals", {})}
    if fields.get("last_exit") is not None:
        made["last_exit"] = {**EXIT, **fields["last_exit"]}
    if "service" not in fields:
        made["service"] = {**FIELDS["service"], "pid": pid} if pid else None
    return made


def status_of(pid: int = PID, want: str = "up", **fields: Any) -> Status:
    """A supervised service that has been so for seven seconds."""
    found = Status(True, Record(0, False, want, True, pid), state(pid, **{"wanted": want, **fields}))
    found.seconds = 7.5
    return found


class Pretended:
    """The supervise: `write` what it would write, look at the `letters` that it was sent."""

    def __init__(self, box: Box) -> None:
        self.path = box.status
        self.path.mkdir(parents=True)
        for name in ("ok", "control"):
            os.mkfifo(self.path / name, 0o600)
        self._fifos = [os.open(self.path / name, os.O_RDWR | os.O_NONBLOCK) for name in ("ok", "control")]
        self._record = b""
        self._sent = ""
        self.write()

    def write(self, pid: int = PID, want: str = "up", **fields: Any) -> None:
        """The record and the state, as supervise replaces them: in this order, the record only when it has changed."""
        self.write_record(pid, want)
        self.write_state(state(pid, **{"wanted": want, **fields}))

    def write_record(self, pid: int, want: str = "up") -> None:
        found = Record(0, False, want, True, pid).encode()
        if found != self._record:
            self._record = found
            self._replace("status", Record(time.time_ns(), False, want, True, pid).encode())

    def write_state(self, fields: dict[str, Any]) -> None:
        self._replace("state", encode(fields))

    def unread(self) -> int:
        """Bytes of letters that have come and were not read."""
        return int.from_bytes(fcntl.ioctl(self._fifos[1], termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)

    def _replace(self, name: str, data: bytes) -> None:
        (self.path / f"{name}.new").write_bytes(data)
        (self.path / f"{name}.new").rename(self.path / name)

    def wait_letters(self, letters: str) -> None:
        """Wait until these letters have come, and forget them."""

        def come() -> bool:
            try:
                self._sent += os.read(self._fifos[1], 4096).decode()
            except BlockingIOError:
                pass
            return letters in self._sent

        wait_for(f"the letters {letters!r}", come)
        self._sent = ""

    def end(self) -> None:
        """What the kernel does with the FIFOs of a supervise that ends."""
        while self._fifos:
            os.close(self._fifos.pop())


@contextmanager
def pretended(box: Box) -> Iterator[Pretended]:
    """Such a supervise in the box's status directory; its service is up, and says nothing of itself."""
    supervise = Pretended(box)
    try:
        yield supervise
    finally:
        supervise.end()
