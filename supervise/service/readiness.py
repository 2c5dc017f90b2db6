"""Readiness and other notifications of the service: by NOTIFY_SOCKET, or a newline on a descriptor as in s6.

What lives here: where to listen, and when, and whom to believe.  What does not: whose message it is
(notify_access.py), and what follows (on_liveness.py).

A line on `notification_fd` means that the service is ready; what follows it is not read.  That pipe does not outlive
supervise; the socket does, for its address is the same in the next.
"""

from __future__ import annotations

import posix as os
import stat
import time

from supervise.protocol import sdnotify
from supervise.protocol.names import NOTIFY
from supervise.protocol.severities import WARNING
from supervise.protocol.states import MAIN, SAYS_READY
from supervise.service.notify_access import NotifyAccess
from supervise.service.notify_socket import NotifySocket
from supervise.service.part import Part
from supervise.system.statusdir import StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable

    from supervise.config.config import Config
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor, Readable
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.launcher import Launcher
    from supervise.system.statusdir import StatusDir

FORMER = "notify_former"  # and a number: what an upgrade calls their descriptors
_QUIET = 10.0  # seconds between two complaints of a kind about what was dropped
# Messages at a time: what one of the service costs, one of a stranger who had to be looked at, or one more of him.
_AT_ONCE, _OWN, _LOOK, _MORE = 256, 8, 8, 1
_BARRIER = b"BARRIER=1"  # rule 5 of notify_socket.py


class Readiness(Part):
    """Receives the notifications of one service.  `told` is called when a message has come, and then asks `heard`."""

    def __init__(
        self,
        directory: StatusDir,
        env: dict[bytes, bytes],
        launcher: Launcher,
        status_writer: StatusWriter,
        reactor: Reactor,
        log: Log,
        told: Readable,
    ) -> None:
        self._directory = directory
        self._env = env
        self._launcher = launcher
        self._status_writer = status_writer
        self._reactor = reactor
        self._told = told
        self._log = log
        self._notify_socket: NotifySocket | None = None
        self._old_sockets: list[NotifySocket] = []  # lost their names, but not those who are connected to them
        self._access = NotifyAccess()
        self._quiet_until: dict[str, float] = {}  # kind of complaint -> until when there is no other
        self._dropped: dict[str, int] = {}
        self.resume_at: float | None = None  # monotonic: until when the socket is left alone
        self.socket = -1
        self.pipe = -1

    def configure(self, config: Config) -> None:
        """Listen to a service that is to speak, and to one that was started to speak for as long as it runs."""
        speaks, address = bool(config.notify or config.watchdog_secs), ""
        if speaks or self._status_writer.notify_address:
            place = self._env[b"SUPERVISE_STATUS_DIR"]
            address = self.listen(config, place, self._status_writer.notify_address)
            self._status_writer.notify_address = address or None
        self._launcher.notify_socket = address if speaks else ""
        self._launcher.watchdog_usec = config.watchdog_secs * 1000000

    @property
    def due(self) -> float | None:
        """When a socket that is left alone is to be read again; on_time need not, for all is heard before (loop.py)."""
        return self.resume_at

    # The socket.

    def listen(self, config: Config, path: bytes, address: str | None) -> str:
        """Bind a socket for the service with the status directory `path`: its address, "" if that fails.

        `address` is that of an earlier supervise of this directory.
        """
        # A service of root's may become somebody else by itself.
        other_user = bool(config.user) or os.geteuid() == 0
        if self._notify_socket and self._notify_socket.suits(other_user):
            return self._notify_socket.address
        self._close_listener()
        try:
            self._notify_socket = NotifySocket(self._directory, path, other_user, address)
        except (OSError, StatusDirError) as why:
            reason = why.strerror if isinstance(why, OSError) else why  # without a number before it
            self._log.add(WARNING, "notifications of the service cannot be received: %s", reason)
            return ""
        self._attend(self._notify_socket)
        return self._notify_socket.address

    def is_named(self) -> bool:
        """Whether the socket's address still leads to it.  Raises OSError: it could not be looked at."""
        if not self._notify_socket or self._notify_socket.abstract:
            return True
        try:
            return stat.S_ISSOCK(os.lstat(NOTIFY, dir_fd=self._directory.fd).st_mode)
        except FileNotFoundError:
            return False

    def moved(self, old: int | None) -> None:
        """Bind the name again, which is lost, or the status directory is another (`old` is the one before)."""
        notify_socket = self._notify_socket
        if not notify_socket or notify_socket.abstract:
            return
        try:
            if old is not None:
                # It stays the one that senders are connected to.
                os.rename(NOTIFY, NOTIFY, src_dir_fd=old, dst_dir_fd=self._directory.fd)
                return
        except OSError:
            pass  # it had been removed there, or is on another file system
        try:
            place = self._env[b"SUPERVISE_STATUS_DIR"]
            made = NotifySocket(self._directory, place, False, notify_socket.address)
        except (OSError, StatusDirError) as why:
            reason = why.strerror if isinstance(why, OSError) else why
            self._log.add(WARNING, "notifications of the service cannot be received: %s", reason)
            return
        self._old_sockets.append(notify_socket)
        if self.resume_at is not None:
            self._pause(0)
        self._attend(made)

    def handover(self) -> dict[str, int]:
        """The socket, the pipe, and the sockets that were at the address before."""
        old = {f"{FORMER}{count}": notify_socket.fd for count, notify_socket in enumerate(self._old_sockets)}
        return {"notify": self.socket, "notification": self.pipe, **old}

    def restore(self, fields: dict[str, Any]) -> None:
        """Receive on the descriptors of the supervise that this one replaces in the same process."""
        fds, address = fields["descriptors"], fields["notify_address"]
        if fds.get("notify", -1) >= 0 and address:
            self._attend(NotifySocket.attach(fds["notify"], address))
        for former in (fd for name, fd in fds.items() if name.startswith(FORMER) and address):
            self._old_sockets.append(NotifySocket.attach(former, address or ""))
            self._reactor.on_readable(former, self._told)
        if fds.get("notification", -1) >= 0:
            self.pipe = fds["notification"]
            self._reactor.on_readable(self.pipe, self.pipe_readable)

    def _attend(self, notify_socket: NotifySocket) -> None:
        self._notify_socket, self.socket = notify_socket, notify_socket.fd
        self._reactor.on_readable(self.socket, self._told)

    def heard(
        self, main: Callable[[], int], is_member: Callable[[int], bool], is_former: Callable[[int], bool], all: bool
    ) -> Iterator[Iterator[tuple[str, Any, int]]]:
        """Receive notifications of the service's processes, message by message: events, values, and the sender's pid.

        From former main processes only who is to succeed them.  Each message is to be dealt with before the next is
        asked for: who belongs to the service may depend on it (and see rule 5 of notify_socket.py).  `main` is the main
        process just now; `all`: not only a portion, but whatever had come when it was asked.
        """
        for notify_socket in self._old_sockets:
            yield from self._received(notify_socket, main, is_member, is_former, all)
        if self._notify_socket:
            yield from self._received(self._notify_socket, main, is_member, is_former, all)

    def _received(
        self,
        notify_socket: NotifySocket,
        main: Callable[[], int],
        is_member: Callable[[int], bool],
        is_former: Callable[[int], bool],
        all: bool,
    ) -> Iterator[Iterator[tuple[str, Any, int]]]:
        cost = strangers = 0
        for pid, uid, data in notify_socket.receive(max(notify_socket.queue, _AT_ONCE)):
            if data.strip() == _BARRIER:
                cost += _MORE
            else:
                believed = self._access.judge(pid, uid, main(), is_member)
                cost += _OWN if believed else _LOOK if self._access.looked else _MORE
                if believed:
                    yield self._read(pid, data, is_former)
                else:
                    strangers += 1
                    self._drop(pid, uid, data, believed)
            if cost >= _AT_ONCE and not all:
                break
        if notify_socket is self._notify_socket:
            self._pause(strangers, notify_socket.failed)

    def _read(self, pid: int, data: bytes, is_former: Callable[[int], bool]) -> Iterator[tuple[str, Any, int]]:
        said, complaints = sdnotify.parse(data)
        for complaint in complaints:
            self._complain(["malformed"], f"notification of pid {pid}: {complaint}")
        for event, value in said:
            if event == MAIN or not is_former(pid):
                yield event, value, pid

    def _drop(self, pid: int, uid: int, data: bytes, believed: bool | None) -> None:
        whose = f"of pid {pid} (uid {uid})"
        if believed is None:
            # What has gone wrong with a READY is not to be hidden by a STATUS before it.
            kinds = sdnotify.kinds(data)
            why = "its sender is gone or hidden, and nobody can tell whose process it was"
            self._complain(kinds, f"dropped a notification ({', '.join(kinds)}) {whose}: {why}")
        else:
            self._complain(["stranger"], f"dropped a notification {whose}: not a process of this service")

    def _complain(self, kinds: list[str], text: str) -> None:
        """Whoever sends a thousand of them does not fill the log."""
        now = time.monotonic()
        if all(now < self._quiet_until.get(kind, 0.0) for kind in kinds):
            self._dropped[kinds[0]] = self._dropped.get(kinds[0], 0) + 1
            return
        dropped = sum(self._dropped.pop(kind, 0) for kind in kinds)
        self._quiet_until.update(dict.fromkeys(kinds, now + _QUIET))
        self._log.add(WARNING, "%s%s", text, f" (and {dropped} more since the last)" if dropped else "")

    def _pause(self, strangers: int, failed: bool = False) -> None:
        """Leave the socket alone for a while, or do so no longer."""
        seconds = self._access.pause_after(strangers, failed)
        if seconds and self.resume_at is None:
            self._reactor.unregister(self.socket)
        elif not seconds and self.resume_at is not None:
            self._reactor.on_readable(self.socket, self._told)
        self.resume_at = time.monotonic() + seconds if seconds else None

    # The pipe.

    def open_pipe(self) -> int:
        """Open the pipe for `notification_fd`: its write end for the next process of the service; -1 if that fails."""
        self.close_pipe()
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as why:
            self._log.add(WARNING, "cannot make a pipe for notification_fd: %s", why.strerror)
            return -1
        os.set_blocking(reading, False)
        self.pipe = reading
        self._reactor.on_readable(reading, self.pipe_readable)
        return writing

    def pipe_readable(self, events: int = 0) -> None:
        """Read the pipe: READY, or nothing yet."""
        if self.pipe < 0:
            return
        try:
            data = os.read(self.pipe, 4096)
        except BlockingIOError:
            return
        if data and b"\n" not in data:
            return
        self.close_pipe()
        if data:
            self._reactor.post(SAYS_READY)

    def close_pipe(self) -> None:
        """Close the pipe: its writer is ready, or has ended."""
        if self.pipe >= 0:
            self._reactor.unregister(self.pipe)
            os.close(self.pipe)
            self.pipe = -1

    def close(self, leaving: bool) -> None:
        """Close all of it, unless the service is left to another supervise."""
        if not leaving:
            self.close_pipe()
            self._close_listener()

    def close_old_sockets(self) -> None:
        """Close the earlier sockets: those who may have been connected have ended."""
        while self._old_sockets:
            former = self._old_sockets.pop()
            self._reactor.unregister(former.fd)
            former.close(remove=False)

    def _close_listener(self) -> None:
        self.close_old_sockets()
        if self._notify_socket:
            if self.resume_at is None:
                self._reactor.unregister(self.socket)
            self.resume_at = None
            self._notify_socket.close(remove=True)
            self._notify_socket, self.socket = None, -1
