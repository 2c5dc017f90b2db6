"""Exceptions about the status directory: refused by the system, of the wrong kind, or writable by others."""

from __future__ import annotations

import errno
import posix as os
import stat

from supervise.protocol.text import shown_name

# What may be over in a moment: no descriptors, no memory, a disk or a server that does not answer.
_TRANSIENT = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR, errno.ENOLCK),
    *(errno.EIO, errno.EBUSY, errno.ETIMEDOUT, errno.ESTALE),
)


class StatusDirError(Exception):
    """The status directory, or a file in it, cannot be used; the message says why.

    `transient`: it may work in a moment.
    """

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class LockHeld(StatusDirError):
    """Another process holds the lock."""


class WrongKind(StatusDirError):
    """The file of that name is no regular file, or no FIFO."""


class NotBelieved(StatusDirError):
    """Other users can have written the file (trust.py, rule 1); `data` is its content."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


def is_transient(why: OSError) -> bool:
    """Whether an error of the system is transient: no memory, no descriptors, a busy disk."""
    return why.errno in _TRANSIENT


def lost_directory(path: str = ".") -> str:
    """For a message about a path: that it begins in a working directory that was removed; "" if it does not."""
    if path.startswith("/"):
        return ""
    try:
        os.getcwd()
    except FileNotFoundError:
        pass
    except OSError:
        return ""
    else:
        return ""
    try:
        place = os.readlink("/proc/self/cwd").rpartition(" (deleted)")[0]
    except OSError:
        place = ""
    return f" (the working directory{' ' if place else ''}{shown_name(place)} was removed)"


def kind(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symlink",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
