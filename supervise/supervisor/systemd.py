"""Notifying a systemd above supervise, as the main process of a unit with Type=notify.

What lives here: how it is sent.  What does not: what is sent when, which the loop knows.

Theory of operation
-------------------

Rule 1.  What systemd has put into the environment for supervise is not for the service, which would be taken for
         somebody else by systemd, and has a supervise of its own to tell: it is taken out.  systemd's watchdog is not
         answered: supervise watches the service, and nobody needs to watch supervise, which systemd sees end.
Rule 2.  Nothing here waits.  What systemd has no room for is kept and goes with what is sent next, or when it is tried
         again: it is a set of assignments, of which the last of each name counts.
Rule 3.  What cannot be sent at all is dropped, and said once until something can be sent again.
"""

from __future__ import annotations

import _socket  # not `socket`, for the memory
import time

from supervise.protocol import states as phases
from supervise.protocol.filenames import fsdecode
from supervise.protocol.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.machine.machine import Machine

READY = "READY=1"
_AGAIN = 1.0  # seconds to the next try to send what there was no room for
STOPPING = "STOPPING=1"  # for good: not for a restart of the service
_VARIABLES = (b"NOTIFY_SOCKET", b"WATCHDOG_PID", b"WATCHDOG_USEC")


def status(text: str) -> str:
    """The assignment of a line for `systemctl status`."""
    return "STATUS=" + text.replace("\n", " ")


def reloading() -> str:
    """The assignments for a service that reloads; READY follows when it is done."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


class Systemd:
    """The socket of systemd.  `unsent`: what it had no room for, and is to be sent again in a while."""

    def __init__(self, env: dict[bytes, bytes]) -> None:
        """Take systemd's variables out of the service's environment; without them nothing is ever sent."""
        self._address, *_ = [env.pop(name, b"") for name in _VARIABLES]
        self.unsent: dict[str, str] = {}
        self._warned = False

    def __bool__(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._address)

    def send(self, text: str = "") -> str | None:
        """Send assignments, and those that were unsent; the problem, if that is new, or None."""
        if not self._address:
            return None
        for line in text.split("\n"):
            name, equals, value = line.partition("=")
            if equals:
                self.unsent[name] = value
        if not self.unsent:
            return None
        data = "\n".join(f"{name}={value}" for name, value in self.unsent.items()).encode("utf-8", "replace")
        try:
            self._deliver(data)
        except BlockingIOError:
            return None
        except OSError as why:
            self.unsent.clear()
            warned, self._warned = self._warned, True
            address = quoted(fsdecode(self._address))
            return None if warned else f"cannot tell systemd at {address}: {why.strerror or why}"
        self.unsent.clear()
        self._warned = False
        return None

    def _deliver(self, data: bytes) -> None:
        """Raises OSError: BlockingIOError if there is no room."""
        if self._address[:1] not in (b"/", b"@"):
            raise OSError("neither a path nor an abstract address")
        address = b"\0" + self._address[1:] if self._address.startswith(b"@") else self._address
        # Opened each time: a service that is ready for months has no need of a descriptor.
        kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        socket = _socket.socket(_socket.AF_UNIX, kind)
        try:
            socket.sendto(data, address)
        finally:
            socket.close()


class Forwarder:
    """Forwards changes of one service's state machine to systemd.  `due`: when to `follow`, whatever happens."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        self._ready = False
        self._phase: str | None = None
        self._text: str | None = None
        self.due: float | None = None  # monotonic

    def on_time(self, now: float) -> None:
        """Do nothing: `follow` comes at the end of each turn."""

    def follow(self, machine: Machine) -> str | None:
        """Forward what is new, after each event; the problem, if that is new, or None."""
        lines = []
        if machine.phase != self._phase or not self._ready:
            if machine.pid and machine.phase == phases.RELOADING and self._ready:
                lines.append(reloading())
            elif machine.pid and machine.phase in (None, phases.READY):
                lines.append(READY)
                self._ready = True
            self._phase = machine.phase
        if machine.status_text != self._text:
            self._text = machine.status_text
            lines.append(status(self._text or ""))
        if machine.state == phases.ENDED:
            lines.append(STOPPING)
        if not lines and not self._systemd.unsent:
            return None
        problem = self._systemd.send("\n".join(lines))
        self.due = time.monotonic() + _AGAIN if self._systemd.unsent else None
        return problem
