"""When the last line of a log was written, as far as its file tells."""

from __future__ import annotations

import os
import stat

from supervise.client.logfiles import open_directory, rotated

_BLOCK = 4096  # bytes
_SETTLED = 10  # seconds: what a rotation does last to the file is done by then


def written(directory: str, name: str) -> float | None:
    """When the end of the log `name` was written, Unix seconds; None where that is not known.  Raises LogError.

    A rotation is a change of the file, too: the time that it has soon after one is not told.  Nor is that of a part
    that was copied, whose size is whole blocks, or of one that is compressed.
    """
    fd = open_directory(directory)
    try:
        newest = next(rotated(fd, name), None)
        for file in (name, newest.name if newest and not newest.compressed else ""):
            try:
                found = os.stat(file, dir_fd=fd, follow_symlinks=False) if file else None
                if found and found.st_size and stat.S_ISREG(found.st_mode):
                    return found.st_mtime if _tells(fd, file, name, found) else None
            except OSError:
                continue
        return None
    finally:
        os.close(fd)


def _tells(fd: int, file: str, name: str, found: os.stat_result) -> bool:
    if file != name:
        return found.st_size % _BLOCK != 0
    try:
        part = os.stat(f"{name}.1", dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return not 0 <= found.st_mtime - part.st_ctime < _SETTLED
