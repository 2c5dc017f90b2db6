"""The FIFO between a service and its logger: making, opening and looking at it.

It is a FIFO of the status directory, so that the next supervise finds it, with what is in it, by its name.  Like the
files there it is opened without following a symlink.  Nobody but supervise's user and root can have put it there; only
its owner may be the service's user, to whom it was given (credentials.py).  In a directory of another user's that is
not so, and there it must be supervise's own.
"""

from __future__ import annotations

import errno
import fcntl
import posix as os
import select
import stat
import sys

from supervise.system.descriptors import close, samestat
from supervise.system.errors import StatusDirError, WrongKind, is_transient, kind
from supervise.system.rollback import SAFE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.system.statusdir import StatusDir

_ROUNDS = 3
_SET_SIZE = 1031  # F_SETPIPE_SZ, which `fcntl` has since Python 3.10
_GET_SIZE = 1032
_SIZES = tuple(1 << power for power in (20, 19, 18, 17))  # bytes; a user may have only so much of it (pipe(7))
_WAITING = 0x541B  # FIONREAD


class LogPipe:
    """An open pipe: `reading` and `writing` are its ends, -1 where one is closed.

    `read_before`: somebody had it open to read it already.
    """

    def __init__(self, reading: int, writing: int, read_before: bool = False) -> None:
        self.reading = reading
        self.writing = writing
        self.read_before = read_before

    @classmethod
    def open(cls, directory: StatusDir, name: str) -> LogPipe:
        """Open the pipe of that name, made if there is none; only under the lock.  Raises StatusDirError."""
        try:
            for _ in range(_ROUNDS):
                found = _open(directory, name)
                if found:
                    return found
        except OSError as why:
            text = f"cannot open {directory.shown_path}/{name}: {why.strerror}"
            raise StatusDirError(text, is_transient(why)) from None
        raise StatusDirError(f"cannot open {directory.shown_path}/{name}: it does not stay as it is made")

    def is_named(self, directory: StatusDir, name: str) -> bool:
        """Whether its name still leads to it.  Raises OSError."""
        return directory.names(name, self.reading)

    def hold(self, directory: StatusDir, name: str) -> None:
        """Open the end to write to again, so that its reader does not see its end.  Raises OSError."""
        if self.writing >= 0:
            return
        writing = os.open(name, os.O_WRONLY | SAFE, dir_fd=directory.fd)
        if not samestat(os.fstat(writing), os.fstat(self.reading)):
            close(writing)
            raise FileNotFoundError(errno.ENOENT, "another file has its name")
        self.writing = writing

    def release(self) -> None:
        """Close the end to write to: its reader sees its end when nobody else can write to it."""
        if self.writing >= 0:
            close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Close both ends; what is in it is lost where nobody else has it open."""
        self.release()
        if self.reading >= 0:
            close(self.reading)
            self.reading = -1

    def waiting(self) -> int:
        """Bytes in it that nobody has read; 0 where that cannot be told."""
        try:
            return int.from_bytes(fcntl.ioctl(self.reading, _WAITING, b"\0\0\0\0"), sys.byteorder)
        except OSError:
            return 0

    def ended(self) -> bool:
        """Whether nobody can write to it any more, and everything was read."""
        poll = select.poll()
        poll.register(self.reading, select.POLLIN)
        try:
            found = poll.poll(0)
        except OSError:
            return False
        return bool(found) and found[0][1] & (select.POLLHUP | select.POLLIN) == select.POLLHUP


def _open(directory: StatusDir, name: str) -> LogPipe | None:
    """None if it was made, or removed, in between.  Raises OSError, StatusDirError."""
    read_before = is_read(directory, name)
    try:
        reading = os.open(name, os.O_RDONLY | SAFE, dir_fd=directory.fd)
    except FileNotFoundError:
        _make(directory, name)
        return None
    except OSError as why:
        if why.errno in (errno.ELOOP, errno.ENXIO):
            raise _refused(directory, name, os.lstat(name, dir_fd=directory.fd)) from None
        raise
    try:
        found = os.fstat(reading)
        if not stat.S_ISFIFO(found.st_mode):
            raise _refused(directory, name, found)
        doubt = _why_not_ours(found) if directory.foreign else ""
        if doubt:
            raise StatusDirError(f"cannot use {directory.shown_path}/{name}: it {doubt}")
        if found.st_mode & 0o077:
            os.fchmod(reading, 0o600)
        pipe = LogPipe(reading, -1, read_before)
        pipe.hold(directory, name)
    except FileNotFoundError:
        close(reading)
        return None
    except BaseException:
        close(reading)
        raise
    _enlarge(pipe.writing)
    return pipe


def _make(directory: StatusDir, name: str) -> None:
    try:
        os.mkfifo(name, 0o600, dir_fd=directory.fd)
    except FileExistsError:
        return
    except FileNotFoundError:
        if not (directory.restore and directory.restore()):
            raise
        os.mkfifo(name, 0o600, dir_fd=directory.fd)
    directory.note_made(name)


def is_read(directory: StatusDir, name: str) -> bool:
    """Whether somebody has it open to read it."""
    try:
        fd = os.open(name, os.O_WRONLY | SAFE, dir_fd=directory.fd)
    except OSError:
        return False
    close(fd)
    return True


def _refused(directory: StatusDir, name: str, found: os.stat_result) -> WrongKind:
    return WrongKind(f"cannot use {directory.shown_path}/{name}: is {kind(found.st_mode)}, not a FIFO")


def _why_not_ours(found: os.stat_result) -> str:
    """Why it may be one that the owner of the directory has put there; empty if it cannot be."""
    if found.st_uid != os.geteuid():
        return f"belongs to user {found.st_uid}"
    return f"has {found.st_nlink} links" if found.st_nlink > 1 else ""


def _enlarge(fd: int) -> None:
    """Have it hold as much as the kernel allows, up to a megabyte."""
    for size in _SIZES:
        try:
            if fcntl.fcntl(fd, _GET_SIZE) < size:
                fcntl.fcntl(fd, _SET_SIZE, size)
            return
        except OSError:
            continue
