"""All files of one log: the one that is written to, and the rotated ones, each opened when it is asked for.

What lives here: the order, and where the last lines begin.  What does not: single files (logfiles.py, livefile.py).
"""

from __future__ import annotations

import os

from supervise.client.livefile import LiveFile
from supervise.client.logfiles import LogError, LogFile, open_directory, open_found, open_regular, rotated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.client.livefile import Lost


def ignore(count: int, all_of_it: bool) -> None:
    """Say nothing of bytes that are gone."""


def open_live(directory: str, fd: int, name: str, lost: Lost) -> LiveFile | None:
    """Open the file that is written to; None if there is none.  Raises LogError."""
    found = open_regular(directory, fd, name)
    if found < 0:
        return None
    try:
        return LiveFile(directory, found, fd, name, lost)
    except LogError:
        os.close(found)
        raise


def open_files(directory: str, fd: int, name: str, lost: Lost = ignore) -> Iterator[LogFile]:
    """The files of the log `name`, the newest first, each opened when it is asked for; the caller closes them.

    A rotated file that cannot be read ends the log there, for what is older would not join on.  Raises LogError for
    the file that is written to, and where it cannot be known which there are.
    """
    live = open_live(directory, fd, name, lost)
    if live:
        yield live
    met: dict[int, tuple[int, int]] = {}  # by their times
    for found in live.older() if live else rotated(fd, name):
        if found.compressed and found.time in met and not _is_there(fd, name, met[found.time]):
            continue  # it was met before it was compressed
        try:
            file = open_found(directory, fd, name, found)
        except LogError:
            return
        if file:
            met[found.time] = found.ident
            yield file


def _is_there(fd: int, name: str, ident: tuple[int, int]) -> bool:
    return any(found.ident == ident for found in rotated(fd, name))


def exists(directory: str, name: str) -> bool:
    """Whether there is such a log, be it that only rotated files are left of it.  Raises LogError."""
    fd = open_directory(directory)
    try:
        for file in open_files(directory, fd, name):
            file.close()
            return True
    finally:
        os.close(fd)
    return False


def last_parts(files: Iterator[LogFile], lines: int) -> list[tuple[LogFile, int]]:
    """Find where the last `lines` lines of the log begin: its files from there on, the oldest first, and the offset to
    read each from.  Files (the newest first) are taken only as far as they are needed.

    A last line that is not complete counts as a line.  Always holds the newest file, if there is one.
    Raises LogError, with the files closed.
    """
    parts: list[tuple[LogFile, int]] = []
    wanted, at_the_end = lines, True
    try:
        for file in files:
            parts.append((file, file.size))
            if lines <= 0:
                break
            if at_the_end and file.size:
                at_the_end = False
                wanted += file.ends_a_line()
            start, wanted = file.start_of(wanted)
            parts[-1] = (file, max(start, 0))
            if start >= 0:
                break
    except LogError:
        for file, _ in parts:
            file.close()
        raise
    return parts[::-1]
