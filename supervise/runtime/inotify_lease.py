"""inotify watches set by a helper, so that pyinotify is never in memory here.

pyinotify, with all that it imports, would nearly double the memory of every supervise (measured: 5.4 MB become
10.6), and importing it would hold the loop up for 20 ms.  So it is used by a helper (inotify_helper.py) that sets
the watches, sends the inotify descriptor back over a socket, and ends.  Here the descriptor is only waited for:
any event means "look again".  Where the path then leads elsewhere, a new helper sets new watches.
"""

from __future__ import annotations

import posix as os
import sys

from supervise.protocol.filenames import fsencode
from supervise.system import helper
from supervise.system.spawn import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Callable

    from supervise.config.file import Watched
    from supervise.protocol.exitstatus import ExitStatus

PATIENCE = 30.0  # seconds for a helper to answer
SETTLE = 0.05  # seconds from an event to looking: an editor makes several at once
_BIGGEST = 65536


class Server:
    """A helper that sets the watches of many, one plan after the other, for a process whose copies they are."""

    def __init__(self, env: Mapping[bytes, bytes], ignored: Sequence[int]) -> None:
        """`open`: whether it may be asked; a copy of this process closes its descriptor otherwise.  Raises OSError."""
        import _socket

        self.open = True
        self.socket, its = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            self.pid = helper.start("inotify_helper", [], env, ignored, its.fileno())
        except OSError:
            self.close()
            raise
        finally:
            its.close()

    def request(self, words: list[str], answer: int) -> None:
        """Ask for watches; the answer comes through the other end of the socket `answer`.  Raises OSError."""
        import _socket

        rights = _socket.SOL_SOCKET, _socket.SCM_RIGHTS, answer.to_bytes(4, sys.byteorder)
        self.socket.sendmsg([fsencode("\0".join(words))], [rights])

    def close(self) -> None:
        """Have it end, and be asked no more; it is to be reaped."""
        self.open = False
        self.socket.close()


class Watch:
    """The inotify watches of one plan (see file.py).  `fd` is what to wait for, -1 when there is nothing."""

    server: Server | None = None  # asked first, where there is one

    def __init__(self, env: Mapping[bytes, bytes], ignored: Sequence[int]) -> None:
        self._env = env
        self._ignored = ignored
        self.plan: tuple[Watched, ...] | None = None
        self.fd = -1
        self._answer: object | None = None  # the socket, while a helper is at work
        self.helper = 0  # its pid
        self.set = 0  # how often watches were set: whoever has added others to them (`guests`) has to, again
        self.guests: dict[int, Callable[[], None]] = {}  # whom to tell of events of the watches that were added
        self._silent = False  # it ended without a word, and how it ended is not known yet
        self._how: ExitStatus | None = None  # how it ended, where that is known before its answer was taken

    @property
    def arming(self) -> bool:
        """Whether a helper is at work; `fd` is its socket then."""
        return self._answer is not None

    def arm(self, plan: tuple[Watched, ...]) -> None:
        """Start a helper that sets the watches of a plan, in place of those there are.  Raises OSError.

        The descriptor there was is closed first: at the kernel's limit of inotify instances, 128 a user, the
        new one could not be had beside it.
        """
        import _socket  # not `socket`, for the memory; and only where something is watched

        self.close()
        self._silent, self._how = False, None
        ours, its = _socket.socketpair()
        try:
            words = [f"{kind}:{path}" for path, kind, _, _ in plan]
            if not self._served(words, its.fileno()):
                self.helper = helper.start("inotify_helper", words, self._env, self._ignored, its.fileno())
        except OSError:
            ours.close()
            raise
        finally:
            its.close()
        self._answer, self.plan = ours, plan
        self.fd = ours.fileno()

    def _served(self, words: list[str], answer: int) -> bool:
        try:
            if self.server and self.server.open:
                self.helper = 0
                self.server.request(words, answer)
                return True
        except OSError:
            pass  # it has ended
        return False

    def answer(self) -> str | None:
        """Receive the inotify descriptor from the helper, when `fd` is readable while arming; the problem, or None.

        Nothing, where only its end can tell: `ended` does then.
        """
        import _socket

        socket = self._answer
        assert isinstance(socket, _socket.socket)
        size = 4  # a descriptor is an int
        try:
            data, ancillary, _, _ = socket.recvmsg(_BIGGEST, _socket.CMSG_SPACE(size), _socket.MSG_CMSG_CLOEXEC)
        except OSError as why:
            data, ancillary = str(why.strerror).encode(), []
        socket.close()
        self._answer, self.fd = None, -1
        for level, kind, content in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.fd = int.from_bytes(content[:size], sys.byteorder)
                os.set_blocking(self.fd, False)
        self.set += self.fd >= 0
        if data == b"ok" and self.fd >= 0:
            return None
        if data and data != b"ok":
            return data.decode("utf-8", "replace")
        self._silent = self._how is None
        return _came_to_grief(self._how) if self._how else ""

    def ended(self, pid: int, how: ExitStatus) -> str | None:
        """Note that a child has ended; the problem, if it is the helper and has not answered, else None."""
        if pid != self.helper:
            return None
        self.helper = 0
        if self._silent:
            self._silent = False
            return _came_to_grief(how)
        self._how = how
        return None

    def give_up(self) -> None:
        """Kill a helper that does not answer."""
        if self.helper:
            send(self.helper, "KILL", True)
        self.close()

    def drain(self) -> bool:
        """Read the inotify events, when `fd` is readable and not arming; whether any is not for the guests only."""
        try:
            data = os.read(self.fd, _BIGGEST)
        except BlockingIOError:
            return False
        if not self.guests:
            return True
        at, ours = 0, False
        while at < len(data):  # struct inotify_event: wd, mask, cookie, and the size of the name that follows
            tell = self.guests.get(int.from_bytes(data[at : at + 4], sys.byteorder))
            if tell:
                tell()
            else:
                ours = True
            at += 16 + int.from_bytes(data[at + 12 : at + 16], sys.byteorder)
        return ours

    def close(self) -> None:
        """Close the watches."""
        if self._answer is not None:
            self._answer.close()  # type: ignore[attr-defined]
        elif self.fd >= 0:
            os.close(self.fd)
        self._answer, self.fd, self.plan = None, -1, None
        self.guests = {}


def _came_to_grief(how: ExitStatus) -> str:
    return f"the helper that sets the watches {how}"
