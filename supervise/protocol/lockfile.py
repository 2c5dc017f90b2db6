"""The content of the lock file: which path the lock is held for.  path_conflict.py says what that is for.

`DEVICE:INODE PATH` and a newline: the numbers are the lock's own, so that a copy of it says nothing.
"""

from __future__ import annotations

import errno
import posix as os

_LONGEST = 8192  # bytes: more than a path and two numbers have


def path_of(lock: int) -> bytes:
    """Read the absolute path that a lock is held for; empty if the file does not say it.  Raises OSError."""
    whose, _, place = content(lock).partition(b" ")
    return place[:-1] if whose == _whose(lock) else b""


def claim(lock: int, place: bytes) -> None:
    """Write the absolute path that a lock is held for.  Raises OSError."""
    rewrite(lock, b"%s %s\n" % (_whose(lock), place))


def content(lock: int) -> bytes:
    """Read the whole file.  Raises OSError."""
    return os.pread(lock, _LONGEST, 0)


def rewrite(lock: int, data: bytes) -> None:
    """Replace the content of the file.  Raises OSError."""
    os.ftruncate(lock, 0)
    if os.pwrite(lock, data, 0) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _whose(lock: int) -> bytes:
    found = os.fstat(lock)
    return b"%d:%d" % (found.st_dev, found.st_ino)
