"""Reading the end of a log, and following it.

What lives here: reading and following one log.  What does not: which files it consists of (wholelog.py), reading one
that our own rotations take blocks out of (livefile.py), showing it.

How a log is followed: inotify tells that something in the directory has changed, never what; then one looks.  (Where
there is no inotify, one looks a few times a second.)

Rule 1.  What has been added to the file since the last look is new.
Rule 2.  A file that has become shorter, or does not hold any more what was read last, was truncated (logrotate's
         copytruncate): the rest of it is in NAME.1 if that goes on where the reading stopped, and is not as it was at
         the last look; then it is read anew.  (Its time is not compared with a clock's, which may have been set.)
Rule 3.  Where NAME has become another file there was a rotation: the files between the two are read, then NAME.  The
         one before stays open, for the service writes to it until it is restarted.
Rule 4.  Where the directory has become another one, or is gone, the log in the new one is read from its start, and the
         nearest directory above is watched until there is one.
"""

from __future__ import annotations

import io
import os

from supervise.client.livefile import LiveFile
from supervise.client.logfiles import BLOCK, CompressedFile, LogError, LogFile, open_directory, open_file
from supervise.client.mark import parts_since
from supervise.client.wholelog import exists, ignore, last_parts, open_files
from supervise.protocol.text import shown_name
from supervise.system.trust import signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.client.inotify import Changes
    from supervise.client.livefile import Lost
    from supervise.client.mark import Mark

__all__ = ["Follower", "exists", "last_blocks", "last_lines"]
_SAMPLE = 64  # bytes


def last_lines(directory: str, name: str, lines: int) -> list[bytes]:
    """The last `lines` lines of the log `name`, each with its newline but for an incomplete last one.

    Rotated files are part of the log.  No log: no lines.  Raises LogError.
    """
    return io.BytesIO(b"".join(last_blocks(directory, name, lines))).readlines()


def last_blocks(directory: str, name: str, lines: int, lost: Lost = ignore) -> Iterator[bytes]:
    """Read the last lines in pieces, for logs that may be larger than memory.  Raises LogError.

    `lost` is told of bytes that were removed before they could be read.
    """
    fd = open_directory(directory)
    parts: list[tuple[LogFile, int]] = []
    try:
        parts = last_parts(open_files(directory, fd, name, lost), lines)
        for file, start in parts:
            yield from file.blocks(start)
    finally:
        os.close(fd)
        for file, _ in parts:
            file.close()


class _Place:
    """The place in a file up to which it has been read."""

    def __init__(self, file: LogFile, at: int) -> None:
        self.file = file
        self.at = at
        file.read(max(at - _SAMPLE, 0), min(at, _SAMPLE))  # for the sample
        self.rotated: object = None  # how NAME.1 was at the last look

    def new(self) -> Iterator[bytes]:
        """Read what was added, no further than the file reaches now, so that a fast writer does not keep us here."""
        end = self.file.reaches()
        while self.at < end:
            self.at, data = self.file.take(self.at, min(BLOCK, end - self.at))
            if not data:
                break
            self.at += len(data)
            yield data

    def truncated(self) -> bool:
        """Whether the file is not the one any more that was read up to here (rule 2)."""
        return not self.file.holds()

    def copied_to(self, file: LogFile) -> bool:
        """Whether a file is a copy of this one, made since the last look."""
        return signature(os.fstat(file.fd)) != self.rotated and self.file.copied_to(file)

    def rewind(self) -> None:
        self.file.rewind()
        self.at = 0


class Follower:
    """Follows one log: `read()` gives its last lines, then each time what is new.

    Call it again when `changes` reports one of the directories in `watched`.
    """

    def __init__(
        self,
        directory: str,
        name: str,
        lines: int,
        changes: Changes,
        lost: Lost = ignore,
        since: Mark | None = None,
    ) -> None:
        """Watch the directory; `lost` is told of bytes that are gone before they could be read; with `since` begin
        there in place of the last lines, and with the directory when there is one.  Raises LogError.
        """
        from supervise.client.inotify import GROWTH  # pyinotify, which only following needs

        self.directory = directory
        self.name = name
        self.watched: set[str] = set()
        self._lines = lines
        self._lost = lost
        self._changes = changes
        self._mask = GROWTH
        self._places: list[_Place] = []  # the oldest first, two at most
        self._above: tuple[str, int, int] | None = None  # what is watched while the directory is gone
        self._begun = False
        self._since = since
        self._fd = -1
        try:
            self._fd = open_directory(directory)
        except LogError:
            if since is None:
                raise
            self._reopen()
        else:
            self._watch(directory)

    def _watch(self, path: str) -> None:
        try:
            self._changes.add(path, self._mask)
        except OSError as why:
            raise LogError(f"watch {shown_name(path)}: {why.strerror}") from None
        self.watched.add(path)

    def close(self) -> None:
        """Close what is open; the watches are those of `changes`."""
        for place in self._places:
            place.file.close()
        self._places.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self) -> Iterator[bytes]:
        """Read what is new, in pieces.  Raises LogError."""
        if not self._begun:
            self._begun = True
            if self._fd >= 0:
                yield from self._begin()
        if self._fd >= 0:
            yield from self._grown()
        while self._moved():
            self.close()
            if not self._reopen():
                return
            yield from self._grown()

    def _begin(self) -> Iterator[bytes]:
        files = open_files(self.directory, self._fd, self.name, self._lost)
        for file, start in parts_since(files, self._since) if self._since else last_parts(files, self._lines):
            yield from self._take(file, start)

    def _take(self, file: LogFile, start: int) -> Iterator[bytes]:
        """Read a file from an offset on, and follow it."""
        if isinstance(file, CompressedFile):  # it is finished
            yield from file.blocks(start)
            file.close()
            return
        self._places.append(_Place(file, start))
        for place in self._places[:-2]:
            place.file.close()
        del self._places[:-2]
        yield from self._added(self._places[-1])

    def _added(self, place: _Place) -> Iterator[bytes]:
        """What was added to a file.  First it is noted how NAME.1 is: what that has by now, is read here."""
        try:
            place.rotated = signature(os.stat(f"{self.name}.1", dir_fd=self._fd, follow_symlinks=False))
        except OSError:
            place.rotated = None
        yield from place.new()

    def _grown(self) -> Iterator[bytes]:
        """What is new in the directory that is open (rules 1 to 3)."""
        newer = self._newer()  # looked for first: what the old file got before there was a new one comes first
        for place in self._places:
            if place.truncated():
                yield from self._rest_of_copy(place)
                place.rewind()
            yield from self._added(place)
        for file in newer:
            yield from self._take(file, 0)

    def _rest_of_copy(self, place: _Place) -> Iterator[bytes]:
        try:
            copy = open_file(self.directory, self._fd, f"{self.name}.1")
        except LogError:
            return
        if copy:
            if copy.ident not in [other.file.ident for other in self._places] and place.copied_to(copy):
                yield from copy.blocks(place.file.physical(place.at) - copy.hole)
            copy.close()

    def _newer(self) -> list[LogFile]:
        """The files that came after the one that is followed, the oldest first, opened."""
        file = self._places[-1].file if self._places else None
        held = file.ident if file else None
        try:
            current = os.stat(self.name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return []  # moved away, and the next one not made yet
        if (current.st_dev, current.st_ino) == held:
            return []
        newer: list[LogFile] = []
        for found in open_files(self.directory, self._fd, self.name, self._lost):
            if found.ident == held or (isinstance(file, LiveFile) and file.knows(found)):
                found.close()
                return newer[::-1]
            newer.append(found)
            if held is None:
                return newer
        # The one that was followed is not there any more: which of the rotated ones are newer is not known.
        for found in newer[1:]:
            found.close()
        return newer[:1]

    # The directory (rule 4).

    def _moved(self) -> bool:
        """Whether the path leads elsewhere than to the directory that is open."""
        try:
            found = os.stat(self.directory)
        except OSError:
            return True
        return self._fd < 0 or not os.path.samestat(found, os.fstat(self._fd))

    def _reopen(self) -> bool:
        """Open and watch the directory that is there now; else see to it that its coming is noticed."""
        while True:
            try:
                self._fd = open_directory(self.directory)
                self._watch(self.directory)
                self._above = None
                return True
            except LogError:
                self.close()
            above = _nearest(self.directory)
            if above == self._above:
                return False
            self._above = above
            self._watch(above[0])
            # It may have come before this watch did: look again.


def _nearest(path: str) -> tuple[str, int, int]:
    """The nearest directory above that exists: its path, device and inode.  Raises LogError."""
    while path not in ("/", "."):
        path = os.path.dirname(path.rstrip("/")) or "."
        try:
            found = os.stat(path)
        except OSError:
            continue
        return path, found.st_dev, found.st_ino
    raise LogError(f"follow {shown_name(path)}: it is gone")
