"""Where a log ended at some time, for whoever shows what comes after that, whatever rotations do meanwhile.

A mark is how much the file had that is written to, and which part was the newest then.  All that is newer than that
part was in the file, or came later; so much of it is to be passed over, the oldest first.  Where that part is gone,
only the file itself tells; and where that is gone as well, nobody knows which of the others are newer.
"""

from __future__ import annotations

import os

from supervise.client.logfiles import CompressedFile, LogError, LogFile, first_data, open_directory, open_regular
from supervise.client.logfiles import rotated as rotated_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = 6  # of a mark


class Mark:
    """`ident` of the file, as LogFile has it, and its `size` behind the hole it begins with; `part` and `time`: ident
    and time of the newest part; all of them 0 where there is none.
    """

    __slots__ = ("ident", "size", "part", "time")

    def __init__(self, ident: tuple[int, int], size: int, part: tuple[int, int], time: int) -> None:
        self.ident = ident
        self.size = size
        self.part = part
        self.time = time

    def numbers(self) -> tuple[int, ...]:
        """So many as NUMBERS, for another process."""
        return (*self.ident, self.size, *self.part, self.time)

    @classmethod
    def of(cls, numbers: list[int]) -> Mark:
        """What `numbers` tells."""
        device, inode, size, its_device, its_inode, time = numbers
        return cls((device, inode), size, (its_device, its_inode), time)


NOTHING = Mark((0, 0), 0, (0, 0), 0)


def mark(directory: str, name: str) -> Mark:
    """Where a log ends now.  Never raises: what cannot be looked at is met again by whoever reads it."""
    try:
        fd = open_directory(directory)
    except LogError:
        return NOTHING
    try:
        while True:
            part = next(rotated_files(fd, name), None)
            file = open_regular(directory, fd, name)
            if file < 0:
                return NOTHING
            try:
                found = os.fstat(file)
                size = found.st_size - first_data(file, 0, found.st_size)
            finally:
                os.close(file)
            after = next(rotated_files(fd, name), None)
            if (part and part.ident) == (after and after.ident):
                ident = (found.st_dev, found.st_ino)
                return Mark(ident, size, part.ident, part.time) if part else Mark(ident, size, (0, 0), 0)
    except (LogError, OSError):
        return NOTHING
    finally:
        os.close(fd)


def parts_since(files: Iterator[LogFile], since: Mark) -> list[tuple[LogFile, int]]:
    """The files (given newest first) that hold what came after a mark, the oldest first, and where each is to be read
    from; the others are closed.  Raises LogError, with all closed.
    """
    newer: list[LogFile] = []
    try:
        for file in files:
            if since.part != (0, 0) and _is_part(file, since):
                file.close()
                return _behind(newer, since.size)
            newer.append(file)
    except LogError:
        for file in newer:
            file.close()
        raise
    idents = [file.ident for file in newer]
    if since.part == (0, 0) and since.ident in ((0, 0), *idents):
        return _behind(newer, since.size)
    known = idents.index(since.ident) + 1 if since.ident in idents else 0
    for file in newer[known or 1 :]:
        file.close()
    return _behind(newer[:known], since.size) if known else [(file, 0) for file in newer[:1]]


def _is_part(file: LogFile, since: Mark) -> bool:
    """Whether that is the newest part of then, or what was made of it by compressing, which keeps its time."""
    return file.ident == since.part or (isinstance(file, CompressedFile) and file.time == since.time)


def _behind(newer: list[LogFile], size: int) -> list[tuple[LogFile, int]]:
    """What is behind so many bytes."""
    found = []
    for file in reversed(newer):
        if file.size <= size and file is not newer[0]:
            size -= file.size
            file.close()
        else:
            found.append((file, min(size, file.size)))
            size = max(size - file.size, 0)
    return found
