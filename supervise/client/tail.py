"""Reading the end of a log, and following it.

What lives here: reading and following one log.  What does not: which files it consists of (logfiles.py), showing it.

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

from supervise.client.logfiles import (
    BLOCK,
    CompressedFile,
    LogError,
    LogFile,
    last_parts,
    open_directory,
    open_file,
    open_files,
)
from supervise.protocol.text import shown_name
from supervise.system.trust import signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.client.inotify import Changes

_SAMPLE = 64  # bytes before the place reached that tell whether the file still is what was read


def last_lines(directory: str, name: str, lines: int) -> list[bytes]:
    """The last `lines` lines of the log `name`, each with its newline but for an incomplete last one.

    Rotated files are part of the log.  No log: no lines.  Raises LogError.
    """
    return io.BytesIO(b"".join(last_blocks(directory, name, lines))).readlines()


def last_blocks(directory: str, name: str, lines: int) -> Iterator[bytes]:
    """Read the last lines in pieces, for logs that may be larger than memory.  Raises LogError."""
    fd = open_directory(directory)
    parts: list[tuple[LogFile, int]] = []
    try:
        parts = last_parts(open_files(directory, fd, name), lines)
        for file, start in parts:
            yield from file.blocks(start)
    finally:
        os.close(fd)
        for file, _ in parts:
            file.close()


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


class Mark:
    """Where a log ended at some time: in which file, and its size; `NOTHING` where there was none."""

    __slots__ = ("ident", "size")

    def __init__(self, ident: tuple[int, int], size: int) -> None:
        """`ident` as that of a LogFile."""
        self.ident = ident
        self.size = size


NOTHING = Mark((0, 0), 0)


def mark(directory: str, name: str) -> Mark:
    """Where a log ends now.  Never raises: what cannot be looked at is met again by whoever reads it."""
    try:
        found = os.stat(f"{directory}/{name}", follow_symlinks=False)
    except OSError:
        return NOTHING
    return Mark((found.st_dev, found.st_ino), found.st_size)


def _parts_since(files: Iterator[LogFile], since: Mark) -> list[tuple[LogFile, int]]:
    """The files (given newest first) that hold what came after a mark, the oldest first, and where each is to be read
    from.  If that file is gone, which of them are newer is not known but for the newest.
    """
    parts: list[tuple[LogFile, int]] = []
    for file in files:
        if file.ident == since.ident:
            return [*parts, (file, since.size)][::-1]
        parts.append((file, 0))
    if since is not NOTHING:
        for file, _ in parts[1:]:
            file.close()
        del parts[1:]
    return parts[::-1]


class _Place:
    """The place in a file up to which it has been read."""

    def __init__(self, file: LogFile, at: int) -> None:
        self.file = file
        self.at = at
        self._sample = file.read(max(at - _SAMPLE, 0), min(at, _SAMPLE))
        self.rotated: object = None  # how NAME.1 was at the last look

    def new(self) -> Iterator[bytes]:
        """Read what was added, no further than the file reaches now, so that a fast writer does not keep us here."""
        end = os.fstat(self.file.fd).st_size
        while self.at < end:
            data = self.file.read(self.at, min(BLOCK, end - self.at))
            if not data:
                break
            self.at += len(data)
            self._sample = (self._sample + data)[-_SAMPLE:]
            yield data

    def truncated(self) -> bool:
        """Whether the file is not the one any more that was read up to here (rule 2)."""
        return os.fstat(self.file.fd).st_size < self.at or not self._joins(self.file)

    def copied_to(self, file: LogFile) -> bool:
        """Whether a file is a copy of this one, made since the last look."""
        return signature(os.fstat(file.fd)) != self.rotated and self._joins(file)

    def _joins(self, file: LogFile) -> bool:
        return file.read(self.at - len(self._sample), len(self._sample)) == self._sample

    def rewind(self) -> None:
        self.at, self._sample = 0, b""


class Follower:
    """Follows one log: `read()` gives its last lines, then each time what is new.

    Call it again when `changes` reports one of the directories in `watched`.
    """

    def __init__(self, directory: str, name: str, lines: int, changes: Changes, since: Mark | None = None) -> None:
        """Watch the directory; with `since` begin there in place of the last lines, and with the directory when there
        is one.  Raises LogError.
        """
        from supervise.client.inotify import GROWTH  # pyinotify, which only following needs

        self.directory = directory
        self.name = name
        self.watched: set[str] = set()
        self._lines = lines
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
        files = open_files(self.directory, self._fd, self.name)
        for file, start in _parts_since(files, self._since) if self._since else last_parts(files, self._lines):
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
                yield from copy.blocks(place.at)
            copy.close()

    def _newer(self) -> list[LogFile]:
        """The files that came after the one that is followed, the oldest first, opened."""
        held = self._places[-1].file.ident if self._places else None
        try:
            current = os.stat(self.name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return []  # moved away, and the next one not made yet
        if (current.st_dev, current.st_ino) == held:
            return []
        newer: list[LogFile] = []
        for file in open_files(self.directory, self._fd, self.name):
            if file.ident == held:
                file.close()
                return newer[::-1]
            newer.append(file)
            if held is None:
                return newer
        # The one that was followed is not there any more: which of the rotated ones are newer is not known.
        for file in newer[1:]:
            file.close()
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
