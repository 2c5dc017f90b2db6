"""What a lock file says: which path it is held for.  path_conflict.py has the theory.

`DEVICE:INODE PATH` and a newline: the numbers are the lock's own, so that a copy of it says nothing.
"""

from __future__ import annotations

import errno
import posix as os

_LONGEST = 8192  # bytes: more than a path and two numbers have


def path_of(lock: int) -> bytes:
    """The absolute path that a lock file is held for, as it says itself; empty if it does not.  Raises OSError."""
    whose, _, place = content(lock).partition(b" ")
    return place[:-1] if whose == _whose(lock) else b""


def claim(lock: int, place: bytes) -> None:
    """Have it say so.  Raises OSError."""
    rewrite(lock, b"%s %s\n" % (_whose(lock), place))


def content(lock: int) -> bytes:
    """All that it says.  Raises OSError."""
    return os.pread(lock, _LONGEST, 0)


def rewrite(lock: int, data: bytes) -> None:
    """Have it say this.  Raises OSError."""
    os.ftruncate(lock, 0)
    if os.pwrite(lock, data, 0) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _whose(lock: int) -> bytes:
    found = os.fstat(lock)
    return b"%d:%d" % (found.st_dev, found.st_ino)
