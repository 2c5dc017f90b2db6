"""Compression of the older parts of a log, by the least of priorities."""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_AT_ONCE = 1 << 20  # bytes
_LEVEL = 6
_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def compress(directory: int, name: str, pressing: Callable[[], bool]) -> bool:
    """Compress the parts of the log `name`, but the newest; False if that was broken off as something is `pressing`.

    The thread that does it keeps the least of priorities.  Raises OSError.
    """
    os.nice(19)
    pattern = re.compile(re.escape(name) + r"\.([0-9]+)")
    numbers = (pattern.fullmatch(found) for found in os.listdir(directory))
    for number in sorted(int(found[1]) for found in numbers if found):
        if number > 1 and not _compress(directory, f"{name}.{number}", pressing):
            return False
    return True


def _compress(directory: int, name: str, pressing: Callable[[], bool]) -> bool:
    """Until it is complete both are there, and only then the one that it was made of is not any more."""
    source = os.open(name, os.O_RDONLY | _SAFE, dir_fd=directory)
    target = -1
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            return True
        try:
            os.unlink(f"{name}.gz", dir_fd=directory)
        except FileNotFoundError:
            pass
        target = os.open(f"{name}.gz", os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600, dir_fd=directory)
        if os.geteuid() == 0:
            os.fchown(target, found.st_uid, found.st_gid)
        os.fchmod(target, stat.S_IMODE(found.st_mode))
        with open(target, "wb", closefd=False) as raw, gzip.GzipFile("", "wb", _LEVEL, raw, found.st_mtime) as out:
            while data := os.read(source, _AT_ONCE):
                if pressing():
                    raise _Broken
                out.write(data)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fsync(target)
        os.unlink(name, dir_fd=directory)
        return True
    except (OSError, _Broken) as why:
        if target >= 0:
            os.unlink(f"{name}.gz", dir_fd=directory)
        if isinstance(why, _Broken):
            return False
        if why.errno in (errno.ENOSPC, errno.EDQUOT):
            return True  # it stays as it is
        raise
    finally:
        os.close(source)
        if target >= 0:
            os.close(target)


class _Broken(Exception):
    """Something else is pressing."""
