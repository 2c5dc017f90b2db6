"""The files of one log in a status directory: the current one, and those that a rotation left behind.

What lives here: the files, opening them safely, finding where their last lines begin.  What does not: the file that is
written to and rotated while it is read (livefile.py), all files of a log (wholelog.py), following them (tail.py).

Rule 1.  A log called NAME is NAME and, older, NAME.1, NAME.2 and so on; the higher the number, the older.  NAME.2.gz
         serves where there is no NAME.2.  Other suffixes (dates, other compressions) are not read.
Rule 2.  The log is these files one after the other, the oldest first, as `cat` would join them: a line that begins at
         the end of one and ends in the next is one line.
Rule 3.  Whoever may write in the directory can plant what he likes there: nothing is followed out of it, nothing but
         regular files is read, no FIFO is waited for.
Rule 4.  A rotation may happen at any time.  Files are looked for from the newest to the oldest, the way they are
         renamed, so that none is missed, and one that was met already under its earlier name is passed over.
Rule 5.  The hole that a file begins with is nothing that a service has written: offsets are those of what follows it.
Rule 6.  In the directory of multilog, s6-log or svlogd the log is `current` and, older, @, a TAI64N label and .s or .u:
         the greater that is, the newer.  What a processor has made of one may be gzip's.  Before multilog gives it a
         label it is called `previous`.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from gzip import GzipFile

BLOCK = 1 << 16  # bytes that are read at once
_SAMPLE = 64  # bytes
_GZ, _GZIP = ".gz", b"\x1f\x8b"  # RFC 1952
CURRENT, _PREVIOUS = "current", "previous"
_LABELLED = re.compile(r"@[0-9a-f]{24}\.[su]")
_IRREGULAR = "not a regular file"
_SAFE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LogError(Exception):
    """A log cannot be read; the message says which and why, and begins after "cannot"."""


def open_directory(path: str) -> int:
    """Open a status directory; the descriptor is the caller's.  Raises LogError."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as why:
        raise unreadable(path, why) from None


def unreadable(path: str, why: Exception) -> LogError:
    """The exception for what cannot be read."""
    said = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
    return LogError(f"read {shown_name(path)}: {said}")


class LogFile:
    """One open file.  `size` is its length in bytes when it was opened, `ident` tells it from all other files.

    A sample of what was read last is kept, which tells whether the file still is what was read.
    """

    def __init__(self, path: str, fd: int) -> None:
        found = os.fstat(fd)
        self.path = path  # for messages: the name that it had when it was opened
        self.fd = fd
        self.hole = first_data(fd, 0, found.st_size)
        self.size = found.st_size - self.hole
        self.ident = (found.st_dev, found.st_ino)
        self.time = found.st_mtime_ns
        self.sample_end = 0
        self.sample = b""

    def close(self) -> None:
        os.close(self.fd)

    def end(self) -> int:
        """How far it reaches now."""
        return os.fstat(self.fd).st_size - self.hole

    def reaches(self) -> int:
        """The same, whatever happens meanwhile.  Raises LogError."""
        return self.end()

    def physical(self, at: int) -> int:
        """Where in the file an offset is."""
        return self.hole + at

    def pread(self, size: int, at: int) -> bytes:
        """Read where it is in the file.  Raises LogError."""
        try:
            return os.pread(self.fd, size, at)
        except OSError as why:
            raise unreadable(self.path, why) from None

    def take(self, at: int, size: int) -> tuple[int, bytes]:
        """At most `size` bytes from the offset `at` on, and where they begin: later, where what was there is gone.

        None at the end, or where it is not any more what was read.  Raises LogError.
        """
        return at, self.noted(at, self.pread(size, self.physical(at)))

    def noted(self, at: int, data: bytes) -> bytes:
        """Remember the end of what was read at `at` as the sample."""
        if data:
            joins = at == self.sample_end and len(data) < _SAMPLE
            self.sample = (self.sample + data if joins else data)[-_SAMPLE:]
            self.sample_end = at + len(data)
        return data

    def read(self, at: int, size: int) -> bytes:
        """So many bytes from `at` on; fewer where it ends, and where what it begins with is gone.  Raises LogError."""
        end, found = at + size, b""
        while at < end:
            begin, data = self.take(at, end - at)
            if not data or begin >= end:
                break
            found = (found if begin == at else b"") + data[: end - begin]
            at = begin + len(data)
        return found

    def holds(self) -> bool:
        """Whether it still is what was read.  Raises LogError."""
        return self.end() >= self.sample_end and self.copied_to(self)

    def copied_to(self, other: LogFile) -> bool:
        """Whether another file holds the sample where it is, or was, in this one.  Raises LogError."""
        start = self.physical(self.sample_end) - len(self.sample)
        return start >= 0 and other.pread(len(self.sample), start) == self.sample

    def rewind(self) -> None:
        """It is to be read anew."""
        self.hole = first_data(self.fd, 0, os.fstat(self.fd).st_size)
        self.sample, self.sample_end = b"", 0

    def blocks(self, start: int) -> Iterator[bytes]:
        """The content from `start` to where it ended when it was opened; less where it was truncated meanwhile."""
        while start < self.size:
            start, data = self.take(start, min(BLOCK, self.size - start))
            if not data:
                break
            yield data
            start += len(data)

    def ends_a_line(self) -> bool:
        """Whether the last byte is a newline."""
        return self.read(self.size - 1, 1) == b"\n"

    def start_of(self, newlines: int) -> tuple[int, int]:
        """The offset that follows the newline so many from the end (1: the last), and 0.

        Where there are not so many: -1, and how many are missing.  Reads backwards, and no more than it must.
        """
        end = self.size
        while end > 0:
            start = max(end - BLOCK, 0)
            data = self.read(start, end - start)
            here = data.count(b"\n")
            if here >= newlines:
                return end - len(data) + _after(data, here - newlines), 0
            if len(data) < end - start:
                return end - len(data), 0  # what was before that is gone
            newlines -= here
            end = start
        return -1, newlines


class CompressedFile(LogFile):
    """A file of gzip's.  Offsets and sizes are those of the content; each look at it decompresses from its start."""

    def __init__(self, path: str, fd: int) -> None:
        """Raises LogError where the file is damaged."""
        super().__init__(path, fd)
        self.size = self._newlines = 0
        self._last = b""
        self._stream: GzipFile | None = None
        for data in self._content():
            self.size += len(data)
            self._newlines += data.count(b"\n")
            self._last = data[-1:]

    def close(self) -> None:
        self._stream = None
        super().close()

    def end(self) -> int:
        return self.size

    def take(self, at: int, size: int) -> tuple[int, bytes]:
        """Going on from where the last one ended costs nothing more."""
        import gzip
        import zlib

        try:
            if self._stream is None:
                os.lseek(self.fd, 0, os.SEEK_SET)
                self._stream = gzip.GzipFile(fileobj=open(self.fd, "rb", closefd=False))  # noqa: SIM115
            self._stream.seek(at)
            return at, self.noted(at, self._stream.read(size))
        except (OSError, EOFError, zlib.error) as why:
            raise unreadable(self.path, why) from None

    def _content(self) -> Iterator[bytes]:
        import gzip
        import zlib

        try:
            os.lseek(self.fd, 0, os.SEEK_SET)
            with open(self.fd, "rb", closefd=False) as raw, gzip.open(raw) as content:
                while True:
                    data = content.read(BLOCK)
                    if not data:
                        break
                    yield data
        except (OSError, EOFError, zlib.error) as why:
            raise unreadable(self.path, why) from None

    def blocks(self, start: int) -> Iterator[bytes]:
        for data in self._content():
            if start < len(data):
                yield data[start:]
            start = max(start - len(data), 0)

    def ends_a_line(self) -> bool:
        return self._last == b"\n"

    def start_of(self, newlines: int) -> tuple[int, int]:
        if self._newlines < newlines:
            return -1, newlines - self._newlines
        before, offset = self._newlines - newlines, 0
        for data in self._content():
            here = data.count(b"\n")
            if here > before:
                return offset + _after(data, before), 0
            before -= here
            offset += len(data)
        return self.size, 0


def _after(data: bytes, newlines: int) -> int:
    """The offset that follows the newline number `newlines`, counted from 0."""
    at = -1
    for _ in range(newlines + 1):
        at = data.index(b"\n", at + 1)
    return at + 1


def open_file(directory: str, fd: int, name: str) -> LogFile | None:
    """Open one file of the directory, of which `fd` is the descriptor; None if there is none.  Raises LogError."""
    found = open_regular(directory, fd, name)
    if found < 0:
        return None
    path = f"{directory}/{name}"
    try:
        packed = name.endswith(_GZ) or (name.startswith("@") and os.pread(found, 2, 0) == _GZIP)
        return (CompressedFile if packed else LogFile)(path, found)
    except (OSError, LogError) as why:
        os.close(found)
        raise (why if isinstance(why, LogError) else unreadable(path, why)) from None


def open_regular(directory: str, fd: int, name: str) -> int:
    """Open a regular file of the directory, and nothing else; its descriptor, -1: there is none.  Raises LogError."""
    path = f"{directory}/{name}"
    try:
        found = os.open(name, _SAFE, dir_fd=fd)
    except FileNotFoundError:
        return -1
    except OSError as why:
        if stat.S_IFMT(_mode(fd, name)) in (0, stat.S_IFREG):
            raise unreadable(path, why) from None
        raise unreadable(path, ValueError(_IRREGULAR)) from None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise unreadable(path, ValueError(_IRREGULAR))
    return found


def _mode(fd: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except OSError:
        return 0


class Found:
    """A rotated file that was found: its name, its content's time of writing, and what tells it from others."""

    __slots__ = ("name", "ident", "time", "size", "regular", "compressed")

    def __init__(self, name: str, found: os.stat_result) -> None:
        self.name = name
        self.ident = (found.st_dev, found.st_ino)
        self.time = found.st_mtime_ns  # compressing keeps it
        self.size = found.st_size
        self.regular = stat.S_ISREG(found.st_mode)
        self.compressed = name.endswith(_GZ)

    def was(self, earlier: Found) -> bool:
        """Whether it is one that was found earlier, or what was made of that by compressing."""
        return self.ident == earlier.ident or (self.compressed and self.time == earlier.time)


def find(fd: int, name: str) -> Found | None:
    """The file of that name in a directory, regular or not; None if there is none.  Raises LogError."""
    try:
        return Found(name, os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return None
    except OSError as why:
        raise unreadable(name, why) from None


def names(fd: int) -> list[str]:
    """What there is in a directory.  Raises LogError."""
    try:
        return os.listdir(fd)
    except OSError as why:
        raise unreadable("the directory", why) from None


def rotated(fd: int, name: str) -> Iterator[Found]:
    """The rotated files of the log `name`, the newest first (rules 1, 4).  Raises LogError."""
    met: set[tuple[int, int]] = set()
    number = missing = 0
    while True:
        number += 1
        # Where gzip is at work there are both, and its own is not complete.
        found = find(fd, f"{name}.{number}") or find(fd, f"{name}.{number}{_GZ}")
        if found is None:
            # While they are moved up one may be missing.
            missing += 1
            if missing > 1:
                further = [other for other in _numbers(fd, name) if other > number]
                if not further:
                    break
                number, missing = min(further) - 1, 0
            continue
        missing = 0
        if found.ident not in met:
            met.add(found.ident)
            yield found
    if name == CURRENT:
        yield from _labelled(fd)


def is_older(name: str) -> bool:
    """Whether that is the name of a logger's older file (rule 6)."""
    return name == _PREVIOUS or _LABELLED.fullmatch(name) is not None


def _labelled(fd: int) -> list[Found]:
    """The older files of a logger, the newest first (rule 6)."""
    unlabelled = find(fd, _PREVIOUS)  # looked for first: one that has a label by then is met by that
    labelled = sorted(filter(_LABELLED.fullmatch, names(fd)), reverse=True)
    found = [other for other in (find(fd, label) for label in labelled) if other]
    if unlabelled and unlabelled.ident not in [other.ident for other in found]:
        found.insert(0, unlabelled)
    return found


def open_found(directory: str, fd: int, name: str, wanted: Found) -> LogFile | None:
    """Open a rotated file of the log `name`, whatever it is called by now; None if it is gone.  Raises LogError."""
    found: Found | None = wanted
    while found:
        file = open_file(directory, fd, found.name)
        if file and file.ident == found.ident:
            return file
        if file:
            file.close()
        found = next((other for other in rotated(fd, name) if other.was(wanted)), None)
    return None


def _numbers(fd: int, name: str) -> list[int]:
    pattern = re.compile(re.escape(name) + r"\.([1-9][0-9]{0,8})(\.gz)?")
    return [int(match[1]) for match in map(pattern.fullmatch, names(fd)) if match]


def first_data(fd: int, start: int, end: int) -> int:
    """Where the first data is from `start` on; `end` where there is none."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA)
    except OSError as why:
        return end if why.errno == errno.ENXIO else start  # or holes are not known there
