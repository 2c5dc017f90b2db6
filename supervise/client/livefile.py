"""The file that a service writes to, read while rotations take blocks out of its beginning.

What lives here: where in the file, or in which of its parts, an offset is by now.  What does not: finding the parts
(partwatch.py), how it is rotated (helpers/rotation.py), other files (logfiles.py).

Theory of operation
-------------------

Rule 1.  Offsets are those of when it was opened, and stay.  What is below `out` has been taken out since, and is in
         parts.  The hole that the file begins with stands for the last of it, so that all that is not below `out` is
         `out - hole` nearer to the beginning than its offset says.
Rule 2.  A part counts once it is the only one that has its content: NAME.1 and older, and before it gets that name
         NAME.next-INODE-OFFSET, as soon as there is a hole where that is from.
Rule 3.  Parts cannot be added, nor the hole change, unseen: the newest part has another inode, then, or the hole
         another size.  (The hole alone would not tell: it may have been collapsed, and the next one be there.)  Its
         inode is no other file's as long as it is held open.  So one looks, reads, and looks again, and what was read
         is right if nothing has changed.
Rule 4.  Other things happen to logs (logrotate).  A new part is one of ours if its size is a multiple of a block, and
         if what was read last is where it has to be then.  A copy that is being made of a file that is truncated next
         looks the same, but for the file's own beginning.
Rule 5.  Where the newest part that was known is gone, nobody knows how much was taken out.  What was read last is
         looked for, block by block; where that is not there, something is missing, and the oldest that there is comes
         next.
Rule 6.  Where no parts are kept, there is only the hole to tell, and what was read last.
"""

from __future__ import annotations

import os

from supervise.client.logfiles import CompressedFile, Found, LogError, LogFile, open_file, open_found, rotated
from supervise.client.partwatch import AT_MOST, PartWatch, busy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Callable

    from supervise.client.partwatch import Survey

    Lost = Callable[[int, bool], None]  # bytes, and whether that is all

_BLOCK = 4096  # bytes of the smallest block
_TELLING = 8  # bytes that are hardly there by chance


class _Part:
    """A part that was taken out since the file was opened: the offsets that it has."""

    __slots__ = ("found", "start", "end")

    def __init__(self, found: Found, start: int, size: int) -> None:
        self.found = found
        self.start = start
        self.end = start + size


def _placed(start: int, parts: list[tuple[Found, int]]) -> tuple[list[_Part], int]:
    """Parts of such sizes, the oldest first, with their offsets, and where the last one ends."""
    placed = []
    for found, size in parts:
        placed.append(_Part(found, start, size))
        start += size
    return placed, start


class LiveFile(LogFile):
    """The file NAME of a log, by its name in the directory that `directory` is the descriptor of.

    `lost` is told of bytes that are gone.
    """

    def __init__(self, folder: str, fd: int, directory: int, name: str, lost: Lost) -> None:
        """Raises LogError."""
        super().__init__(f"{folder}/{name}", fd)
        self._folder = folder
        self._directory = directory
        self._name = name
        self._lost = lost
        self._opened: tuple[_Part, LogFile] | None = None
        self._partwatch = PartWatch(self.path, fd, directory, name)
        self._begin()

    def close(self) -> None:
        self._close_part()
        self._partwatch.close()
        super().close()

    def _begin(self) -> None:
        self.out = 0
        self._parts: list[_Part] = []  # the oldest first
        self.hole = self._partwatch.hole
        self.size = self.reaches()

    def older(self) -> Iterator[Found]:
        """The files that are older than the offset 0, the newest first.  Raises LogError."""
        return self._partwatch.older()

    def rewind(self) -> None:
        self.sample, self.sample_end = b"", 0
        self._close_part()
        self._partwatch.close()
        self._partwatch = PartWatch(self.path, self.fd, self._directory, self._name)
        self._begin()

    def knows(self, file: LogFile) -> bool:
        """Whether a file is a part of it."""
        return self._partwatch.times.get(file.ident) == file.time

    def physical(self, at: int) -> int:
        return self.hole + at - self.out

    def end(self) -> int:
        return os.fstat(self.fd).st_size - self.hole + self.out

    def reaches(self) -> int:
        """How far it reaches now, whatever happens meanwhile.  Raises LogError."""
        for _ in range(AT_MOST):
            right = self._refresh()
            end = self.end()
            if not right or self._partwatch.look() == self._partwatch.seen:
                return end
        raise busy(self.path)

    def holds(self) -> bool:
        for _ in range(AT_MOST):
            if not self._refresh():
                return False
            held = self._in_place()
            if self._partwatch.look() == self._partwatch.seen:
                return held or self._found_again()
        raise busy(self.path)

    def take(self, at: int, size: int) -> tuple[int, bytes]:
        for _ in range(AT_MOST):
            if not self._refresh():
                return at, b""
            if at < self.out:
                at, data = self._take_part(at, size)
                if data:
                    return at, self.noted(at, data)
                continue
            before = min(len(self.sample), at - self.out) if at == self.sample_end else 0
            data = self.pread(before + size, self.physical(at) - before)
            if self._partwatch.look() != self._partwatch.seen:
                continue
            if data[:before] == self.sample[len(self.sample) - before :]:
                return at, self.noted(at, data[before:])
            if not self._found_again():
                return at, b""
        raise busy(self.path)

    # What it means.

    def _refresh(self) -> bool:
        """Bring up to date where everything is; False: it is not any more what was read.  Raises LogError."""
        if self._partwatch.unchanged():
            return True
        for _ in range(AT_MOST):
            survey = self._partwatch.survey()
            before = (self.out, self.hole, len(self._parts))
            right = self._understand(survey)
            if self._partwatch.look() == survey.look:
                if right:
                    self._partwatch.note(survey)
                return right
            self.out, self.hole = before[:2]
            del self._parts[before[2] :]
        raise busy(self.path)

    def _understand(self, survey: Survey) -> bool:
        """See what has been done; False: nothing of ours."""
        hole, new = survey.hole, survey.new
        if not new:
            more = max(hole - self.hole, 0)  # rule 6
            return self._try(hole, more, []) or self._try(hole, 0, [])
        sizes = [self._size(found) for found in new]
        if all(size and size % _BLOCK == 0 for size in sizes):
            parts = list(zip(new, sizes))[::-1]
            beyond = self.sample_end - self.out
            if survey.known or beyond >= 0:
                most = 0 if survey.known else max(beyond - len(self.sample), 0)
                for skip in range(0, most + 1, _BLOCK):  # rule 5
                    if self._try(hole, skip, parts):
                        return True
            if not survey.known and (beyond < 0 or not (self._in_place() or self._is_copy(new[0]))):
                return self._partwatch.look() == survey.look and self._lose(hole, parts)
        return hole == self.hole and self._in_place()

    def _size(self, found: Found) -> int:
        """The size of its content; 0 where that cannot be known."""
        if not found.compressed:
            return found.size
        try:
            file = open_found(self._folder, self._directory, self._name, found)
        except LogError:
            return 0
        if file is None:
            return 0
        file.close()
        return file.size

    def _try(self, hole: int, skip: int, parts: list[tuple[Found, int]]) -> bool:
        """Take it that so much was taken out, of which there are these parts, the oldest first; whether it fits."""
        placed, out = _placed(self.out + skip, parts)
        if not self._fits(hole, out, placed) or (len(placed) == 1 and self._being_copied(hole, placed[0])):
            return False
        self._parts += placed
        self.out, self.hole = out, hole
        return True

    def _fits(self, hole: int, out: int, placed: list[_Part]) -> bool:
        """Whether what was read last is where it must be then."""
        end = self.sample_end
        start = end - len(self.sample)
        if end > out:
            start = max(start, out)
            return self.pread(end - start, start - out + hole) == self.sample[len(self.sample) - (end - start) :]
        for part in placed:
            if part.start < end <= part.end:
                start = max(start, part.start)
                data = self._read_part(part, start, end - start)
                return data is None or data == self.sample[len(self.sample) - (end - start) :]
        return True  # it is in parts that are known

    def _in_place(self) -> bool:
        """Whether what was read last is where it was."""
        return self.sample_end <= self.out or (self.end() >= self.sample_end and self._fits(self.hole, self.out, []))

    def _being_copied(self, hole: int, part: _Part) -> bool:
        """Whether this is a copy that is made of the file, in which nothing has changed (rule 4)."""
        if hole != self.hole or self.sample_end > part.end:
            return False
        if not self._in_place():
            return False
        mine = self.pread(_BLOCK, hole)
        if len(mine) < _BLOCK or mine != self._read_part(part, part.start, _BLOCK):
            return False
        return mine.find(mine[: _BLOCK // 2], 1) < 0  # else all of it may be the same

    def _is_copy(self, found: Found) -> bool:
        """Whether it is one of what the file was at the last look."""
        try:
            file = open_found(self._folder, self._directory, self._name, found)
        except LogError:
            return False
        if file is None:
            return False
        with_sample = not isinstance(file, CompressedFile) and bool(self.sample) and self.copied_to(file)
        file.close()
        return with_sample

    def _lose(self, hole: int, parts: list[tuple[Found, int]]) -> bool:
        """Go on with the oldest that is there (rule 5)."""
        self._lost(max(self.out - self.sample_end, 0), False)
        self._close_part()
        self.sample, self.sample_end = b"", max(self.out, self.sample_end)
        self._parts, self.out = _placed(self.sample_end, parts)
        self.hole = hole
        return True

    def _found_again(self) -> bool:
        """Whether what was read last is nearer to the beginning now, and no parts are kept (rule 6)."""
        if self._partwatch.newest or self._partwatch.seen[1] or not self.sample:
            return False
        end = self.physical(self.sample_end)
        least = max(end - os.fstat(self.fd).st_size, _BLOCK)
        for skip in range(-(-least // _BLOCK) * _BLOCK, end - self.hole - _TELLING + 1, _BLOCK)[:AT_MOST]:
            size = min(len(self.sample), end - skip - self.hole)
            if self.pread(size, end - skip - size) == self.sample[len(self.sample) - size :]:
                self.out += skip
                return True
        return False

    # Reading parts.

    def _take_part(self, at: int, size: int) -> tuple[int, bytes]:
        for part in self._parts:
            if at < part.end:
                begin = max(at, part.start)
                data = self._read_part(part, begin, min(size, part.end - begin))
                if data:
                    if begin > at:
                        self._lost(begin - at, True)
                    return begin, data
        self._lost(self.out - at, True)
        return self.out, b""

    def _read_part(self, part: _Part, at: int, size: int) -> bytes | None:
        """Read a part that may have another name by now, or be compressed; None if it is gone.  Raises LogError."""
        if not self._opened or self._opened[0].found.ident != part.found.ident:
            self._close_part()
            file = self._open_part(part)
            if file is None:
                return None
            self._opened = (part, file)
        return self._opened[1].read(at - part.start, size)

    def _open_part(self, part: _Part) -> LogFile | None:
        file = open_file(self._folder, self._directory, part.found.name)
        if file and file.ident == part.found.ident:
            return file
        if file:
            file.close()
        newer = sum(1 for other in self._parts if other.start > part.start and other.found.time == part.found.time)
        found = None
        for other in rotated(self._directory, self._name):
            if other.ident == part.found.ident:
                found = other
                break
            if other.compressed and other.time == part.found.time and not newer:
                found = other
                break
            if other.time == part.found.time:
                newer -= 1
        return open_found(self._folder, self._directory, self._name, found) if found else None

    def _close_part(self) -> None:
        if self._opened:
            self._opened[1].close()
            self._opened = None
