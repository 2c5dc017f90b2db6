"""What keeps supervise from using a status directory, or something in it: the system, or others who can write there."""

from __future__ import annotations

import errno
import stat

# What may be over in a moment: no descriptors, no memory, a disk or a server that does not answer.
_TRANSIENT = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EINTR, errno.ENOLCK),
    *(errno.EIO, errno.EBUSY, errno.ETIMEDOUT, errno.ESTALE),
)


class StatusDirError(Exception):
    """The system refuses, or the directory holds something that it should not; the message says what.

    `transient`: it may be otherwise in a moment.
    """

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class LockHeld(StatusDirError):
    """Another process holds the lock."""


class WrongKind(StatusDirError):
    """What has the name is no regular file, or no FIFO."""


class NotBelieved(StatusDirError):
    """Others can have written it (trust.py, rule 1); `data` is what it says."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


def is_transient(why: OSError) -> bool:
    """Whether an answer of the system may be another in a moment."""
    return why.errno in _TRANSIENT


def kind(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symlink",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
