"""The size of what is kept of a service's output: the file that it writes to, and its parts."""

from __future__ import annotations

import os
import re
import stat

from supervise.client.logfiles import LogError
from supervise.client.printed import log_of

_SAFE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_SECTOR = 512  # bytes; of st_blocks


def kept(path: str) -> tuple[int | None, int | None]:
    """The bytes of stdout and of stderr of the service of a status directory; compressed parts as they are.

    Never raises.  None where there is no such log, or it cannot be known; for stderr also where it is that of stdout.
    """
    places = [_place(path, "stdout"), _place(path, "stderr")]
    if places[0] == places[1]:
        places[1] = None
    first, second = (_bytes(*one) if one else None for one in places)
    return first, second


def _place(path: str, stream: str) -> tuple[str, str] | None:
    try:
        return log_of(path, stream)
    except LogError:
        return None


def _bytes(folder: str, log: str) -> int | None:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        return _sum(fd, os.listdir(fd), log)
    except OSError:
        return None
    finally:
        os.close(fd)


def _sum(fd: int, names: list[str], log: str) -> int | None:
    pattern = re.compile(re.escape(log) + r"(\.([1-9][0-9]{0,8}|next-[0-9]+-[0-9]+)(\.gz)?)?")
    sizes = [_size(fd, name) for name in names if pattern.fullmatch(name)]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None


def _size(fd: int, name: str) -> int | None:
    """The bytes of a file behind the hole that it begins with; None where it is no file, or gone by now."""
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    if found.st_blocks * _SECTOR >= found.st_size:
        return found.st_size
    try:
        file = os.open(name, _SAFE, dir_fd=fd)
    except OSError:
        return found.st_blocks * _SECTOR  # not ours to read
    try:
        return found.st_size - os.lseek(file, 0, os.SEEK_DATA)
    except OSError:
        return found.st_size
    finally:
        os.close(file)
