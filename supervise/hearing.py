"""What the service says of itself: datagrams to NOTIFY_SOCKET (listener.py), or a line on a descriptor as s6 has it.

What lives here: where to listen, and whom to believe.  What does not: what follows (vigilance.py).

A line on `notification_fd` means that the service is ready; what follows it is not read.  That pipe does not outlive
supervise; the socket does, for its address is the same in the next.
"""

from __future__ import annotations

import os
import select
import stat
import time

from supervise import sdnotify
from supervise.listener import Listener
from supervise.log import WARNING
from supervise.states import MAIN, SAYS_READY
from supervise.statusdir import NOTIFY, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable

    from supervise.config import Config
    from supervise.log import Log
    from supervise.statusdir import StatusDir

FORMER = "notify_former"  # and a number: what an upgrade calls their descriptors
_QUIET = 10.0  # seconds between two complaints about what was dropped
_BARRIER = b"BARRIER=1"  # rule 5 of listener.py


class Hearing:
    """The ears of one supervise; the descriptors are registered with the loop's poll."""

    def __init__(self, directory: StatusDir, poll: select.poll, log: Log) -> None:
        self._directory = directory
        self._poll = poll
        self._log = log
        self._listener: Listener | None = None
        self._formers: list[Listener] = []  # lost their names, but not those who are connected to them
        self._quiet_until = 0.0
        self._dropped = 0
        self.socket = -1
        self.pipe = -1

    # The socket.

    def listen(self, config: Config, path: bytes, address: str | None) -> str:
        """Have a socket for a service whose status directory is at `path`: its address, "" if it cannot be had.

        `address` is where an earlier supervise of this directory listened.
        """
        # A service of root's may become somebody else by itself.
        other_user = bool(config.user) or os.geteuid() == 0
        if self._listener and self._listener.suits(other_user):
            return self._listener.address
        self._close_listener()
        try:
            self._listener = Listener(self._directory, path, other_user, address)
        except (OSError, StatusDirError) as why:
            reason = why.strerror if isinstance(why, OSError) else why  # without a number before it
            self._log.add(WARNING, "notifications of the service cannot be received: %s", reason)
            return ""
        self._attend(self._listener)
        return self._listener.address

    def is_named(self) -> bool:
        """Whether the socket can be found by its address.  Raises OSError: nobody knows."""
        if not self._listener or self._listener.abstract:
            return True
        try:
            return stat.S_ISSOCK(os.lstat(NOTIFY, dir_fd=self._directory.fd).st_mode)
        except FileNotFoundError:
            return False

    def moved(self, path: bytes, old: int | None) -> None:
        """The status directory is another, `old` a descriptor of the one before; or the socket has lost its name."""
        listener = self._listener
        if not listener or listener.abstract:
            return
        try:
            if old is not None:
                # It stays the one that senders are connected to.
                os.rename(NOTIFY, NOTIFY, src_dir_fd=old, dst_dir_fd=self._directory.fd)
                return
        except OSError:
            pass  # it had been removed there, or is on another file system
        try:
            made = Listener(self._directory, path, False, listener.address)
        except (OSError, StatusDirError) as why:
            reason = why.strerror if isinstance(why, OSError) else why
            self._log.add(WARNING, "notifications of the service cannot be received: %s", reason)
            return
        self._formers.append(listener)
        self._attend(made)

    def is_socket(self, fd: int) -> bool:
        """Whether a descriptor is one that the service may speak to."""
        return fd == self.socket or fd in self.formers()

    def formers(self) -> list[int]:
        """The descriptors of sockets that were at the address before."""
        return [listener.fd for listener in self._formers]

    def attach(self, fds: dict[str, int], address: str | None) -> None:
        """Listen on the descriptors of the supervise that this one replaces in the same process."""
        if fds.get("notify", -1) >= 0 and address:
            self._attend(Listener.attach(fds["notify"], address))
        for former in (fd for name, fd in fds.items() if name.startswith(FORMER) and address):
            self._formers.append(Listener.attach(former, address or ""))
            self._poll.register(former, select.POLLIN)
        if fds.get("notification", -1) >= 0:
            self.pipe = fds["notification"]
            self._poll.register(self.pipe, select.POLLIN)

    def _attend(self, listener: Listener) -> None:
        self._listener, self.socket = listener, listener.fd
        self._poll.register(self.socket, select.POLLIN)

    def heard(
        self, is_member: Callable[[int], bool], is_former: Callable[[int], bool]
    ) -> Iterator[tuple[str, Any, int]]:
        """What processes of the service have said: events, their values, and the sender's pid.

        From former main processes only who is to succeed them.  Each event is to be dealt with before the next is
        asked for: who belongs to the service may depend on it (and see rule 5 of listener.py).
        """
        listeners = [*self._formers, *([self._listener] if self._listener else [])]
        for pid, uid, data in (message for listener in listeners for message in listener.receive()):
            if data.strip() == _BARRIER:
                continue  # its sender waited for the receipt alone, and may be gone by now
            if not is_member(pid):
                self._complain(f"dropped a notification of pid {pid} (uid {uid}): not a process of this service")
                continue
            said, complaints = sdnotify.parse(data)
            for complaint in complaints:
                self._complain(f"notification of pid {pid}: {complaint}")
            for event, value in said:
                if event == MAIN or not is_former(pid):
                    yield event, value, pid

    def _complain(self, text: str) -> None:
        """Whoever sends a thousand of them does not fill the log."""
        now = time.monotonic()
        if now < self._quiet_until:
            self._dropped += 1
            return
        more = f" (and {self._dropped} more since the last)" if self._dropped else ""
        self._dropped, self._quiet_until = 0, now + _QUIET
        self._log.add(WARNING, "%s%s", text, more)

    # The pipe.

    def open_pipe(self) -> int:
        """The end of a new pipe that the next process of the service writes to; -1 if there can't be one."""
        self.close_pipe()
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as why:
            self._log.add(WARNING, "no pipe for notification_fd: %s", why.strerror)
            return -1
        os.set_blocking(reading, False)
        self.pipe = reading
        self._poll.register(reading, select.POLLIN)
        return writing

    def pipe_readable(self) -> list[tuple[str, Any]]:
        """Ready, or nothing yet."""
        if self.pipe < 0:
            return []
        try:
            data = os.read(self.pipe, 4096)
        except BlockingIOError:
            return []
        if data and b"\n" not in data:
            return []
        self.close_pipe()
        return [(SAYS_READY, None)] if data else []

    def close_pipe(self) -> None:
        """The process that was to write to it has done so, or has ended."""
        if self.pipe >= 0:
            self._poll.unregister(self.pipe)
            os.close(self.pipe)
            self.pipe = -1

    def close(self) -> None:
        """Supervise ends, and nobody will listen."""
        self.close_pipe()
        self._close_listener()

    def close_formers(self) -> None:
        """Those who may have been connected have ended."""
        while self._formers:
            former = self._formers.pop()
            self._poll.unregister(former.fd)
            former.close(remove=False)

    def _close_listener(self) -> None:
        self.close_formers()
        if self._listener:
            self._poll.unregister(self.socket)
            self._listener.close(remove=True)
            self._listener, self.socket = None, -1
