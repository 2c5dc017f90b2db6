"""The notification socket of a service, as sd_notify(3) has it: NOTIFY_SOCKET.

Theory of operation
-------------------

Rule 1.  The socket is `notify` in the status directory, mode 0600, where the service can reach it there: it runs as
         the user that supervise runs as, and the path fits into a socket's address.  Otherwise it has an abstract
         address (unix(7): a name that is in no directory, and that nobody can foresee).
Rule 2.  A service keeps the address in its environment for as long as it runs, so the next supervise that takes it
         over listens at the same one: the address is part of the state.
Rule 3.  Anybody may reach an abstract address, and root a path.  So what tells the service from others is not who
         knows the address but the credentials that the kernel puts to each message; members.py judges them.
Rule 4.  Descriptors that come with a message are never taken: there is room for the credentials and for nothing else,
         so the kernel closes them on receipt.  A sender of BARRIER=1 waits for just that.  (That is one reason to do
         without SCM_PIDFD, which takes such room; the other is in notify_access.py, rule 2.)
Rule 5.  What BARRIER=1 promises its sender is that everything before it has been dealt with, and so it ends; after
         that nobody can tell any more whose process it was.  So a message is received only when those before it
         have been dealt with: `receive` is an iterator.
Rule 6.  The kernel holds no more than `queue` messages, then their senders wait: so many, and nobody who was in time is
         left unheard, however fast others send.
"""

from __future__ import annotations

import _socket  # not `socket`, for the memory
import posix as os
import sys

from supervise.protocol.filenames import fsdecode, fsencode, join, split
from supervise.protocol.names import NOTIFY
from supervise.protocol.sdnotify import LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.system.statusdir import StatusDir

LONGEST_ADDRESS = 107  # bytes: sun_path without the NUL that a path ends with, or an abstract address begins with
_ABSTRACT = "@supervise/"
_LONGEST_QUEUE = 1024  # messages that are read at once at most; systemd sets 512, the kernel 10
_INT = 4  # bytes; struct ucred is three of them: pid, uid, gid
_CREDENTIALS = _socket.CMSG_SPACE(3 * _INT)


class NotifySocket:
    """A bound notification socket: `address` for NOTIFY_SOCKET, `fd` to wait for, `queue` as in rule 6."""

    def __init__(self, directory: StatusDir, place: bytes, other_user: bool, address: str | None = None) -> None:
        """Only under the directory's lock.  Raises StatusDirError and OSError, both with a whole sentence.

        `place`: the absolute path of the directory; `other_user`: whether the service runs as another user than
        supervise; `address`: an earlier one, which is kept if it leads here.
        """
        try:
            kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
            self._socket = _socket.socket(_socket.AF_UNIX, kind)
        except OSError as why:
            raise OSError(why.errno, f"cannot make a notify socket: {why.strerror}") from None
        self.fd = self._socket.fileno()
        self.queue = _longest_queue()
        self.failed = False
        try:
            # Before there is an address: a message that is sent without credentials is lost.
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
            self.address = _earlier(directory, address) or _new(directory, place, other_user)
            self._bind(directory)
        except BaseException:
            self._socket.close()
            raise

    @classmethod
    def attach(cls, fd: int, address: str) -> NotifySocket:
        """The socket whose descriptor the supervise before this one has left open (upgrade.py)."""
        notify_socket = cls.__new__(cls)
        notify_socket._socket = _socket.socket(fileno=fd)
        notify_socket._socket.setblocking(False)
        os.set_inheritable(fd, False)
        notify_socket.fd = fd
        notify_socket.queue = _longest_queue()
        notify_socket.address = address
        notify_socket.failed = False
        return notify_socket

    @property
    def abstract(self) -> bool:
        """Whether the address is abstract, and no file."""
        return self.address.startswith("@")

    def suits(self, other_user: bool) -> bool:
        """Whether a service with supervise's user, or with another, can reach it."""
        return self.abstract or not other_user

    def _bind(self, directory: StatusDir) -> None:
        if not self.abstract:
            directory.bind_notify(self._socket.bind)
            return
        try:
            self._socket.bind("\0" + self.address[1:])
        except OSError as why:
            raise OSError(why.errno, f"cannot bind the notify socket to {self.address}: {why.strerror}") from None

    def receive(self, limit: int = 32) -> Iterator[tuple[int, int, bytes]]:
        """Receive at most `limit` messages: pid and uid of the sender, and its bytes.

        Each is to be dealt with before the next is asked for (rule 5).  A pid of 0 is that of a process that cannot
        be seen from here; of a message that is too long there is one byte more than sdnotify.LIMIT.  `failed` says
        whether the last could not be received, although one may be there.
        """
        self.failed = False
        for _ in range(limit):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(LIMIT + 1, _CREDENTIALS, _socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:  # no memory: it is still there, and poll(2) would tell at once, again and again
                self.failed = True
                return
            pid = uid = 0
            for level, kind, content in ancillary:
                if level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
                    pid, uid = (int.from_bytes(content[at : at + _INT], sys.byteorder) for at in (0, _INT))
            yield pid, uid, data

    def close(self, remove: bool) -> None:
        """Close the socket; `remove`: and its name in the directory."""
        # The name as it was bound, which leads through the directory's descriptor (statusdir.py).
        name = self._socket.getsockname()
        self._socket.close()
        self.fd = -1
        if remove and not self.abstract:
            try:
                os.unlink(name)
            except OSError:
                pass  # somebody else was faster


def _longest_queue() -> int:
    """How many messages a socket that is made now can hold (unix_recvq_full in the kernel counts one more)."""
    try:
        with open("/proc/sys/net/unix/max_dgram_qlen", "rb", buffering=0) as file:
            return min(int(file.read(32) or b""), _LONGEST_QUEUE) + 1
    except (OSError, ValueError):
        return _LONGEST_QUEUE


def _earlier(directory: StatusDir, address: str | None) -> str | None:
    """The address that an earlier supervise had, if it is one that leads here."""
    if address is None:
        return None
    if address.startswith(_ABSTRACT) and address.isascii() and len(address) <= LONGEST_ADDRESS:
        return address
    try:
        folder, name = split(fsencode(address))
    except UnicodeEncodeError:
        return None
    return address if name == fsencode(NOTIFY) and directory.is_at(folder) else None


def _new(directory: StatusDir, place: bytes, other_user: bool) -> str:
    path = join(place, fsencode(NOTIFY))
    nameable = directory.is_at(b"/proc/self/fd/%d" % directory.fd)  # how it is bound: no /proc, no path
    if nameable and not other_user and len(path) <= LONGEST_ADDRESS:
        return fsdecode(path)
    return _ABSTRACT + os.urandom(16).hex()
