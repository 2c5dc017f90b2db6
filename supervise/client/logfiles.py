"""The files of one log in a status directory: the current one, and those that a rotation left behind.

What lives here: which files they are, opening them safely, finding where their last lines begin.  What does not:
following them (tail.py).

Rule 1.  A log called NAME is NAME and, older, NAME.1, NAME.2 and so on; the higher the number, the older.  NAME.2.gz
         serves where there is no NAME.2.  Other suffixes (dates, other compressions) are not read.
Rule 2.  The log is these files one after the other, the oldest first, as `cat` would join them: a line that begins at
         the end of one and ends in the next is one line.
Rule 3.  Whoever may write in the directory can plant what he likes there: nothing is followed out of it, nothing but
         regular files is read, no FIFO is waited for.
Rule 4.  A rotation may happen at any time.  Files are opened from the newest to the oldest, the way they are renamed,
         and one that was met already under its earlier name is passed over.
"""

from __future__ import annotations

import os
import re
import stat

from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 16  # bytes that are read at once
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
    """One open file.  `size` is its length in bytes when it was opened, `ident` tells it from all other files."""

    def __init__(self, path: str, fd: int) -> None:
        found = os.fstat(fd)
        self.path = path  # for messages: the name that it had when it was opened
        self.fd = fd
        self.size = found.st_size
        self.ident = (found.st_dev, found.st_ino)

    def close(self) -> None:
        os.close(self.fd)

    def read(self, at: int, size: int) -> bytes:
        """At most `size` bytes from the offset `at`; fewer at the end.  Raises LogError."""
        try:
            return os.pread(self.fd, size, at)
        except OSError as why:
            raise unreadable(self.path, why) from None

    def blocks(self, start: int) -> Iterator[bytes]:
        """The content from `start` to where it ended when it was opened; less where it was truncated meanwhile."""
        while start < self.size:
            data = self.read(start, min(BLOCK, self.size - start))
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
                return start + _after(data, here - newlines), 0
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
        for data in self._content():
            self.size += len(data)
            self._newlines += data.count(b"\n")
            self._last = data[-1:]

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
    path = f"{directory}/{name}"
    try:
        found = os.open(name, _SAFE, dir_fd=fd)
    except FileNotFoundError:
        return None
    except OSError as why:
        if stat.S_IFMT(_mode(fd, name)) in (0, stat.S_IFREG):
            raise unreadable(path, why) from None
        raise unreadable(path, ValueError(_IRREGULAR)) from None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise unreadable(path, ValueError(_IRREGULAR))
    try:
        return (CompressedFile if name.endswith(".gz") else LogFile)(path, found)
    except LogError:
        os.close(found)
        raise


def _mode(fd: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except OSError:
        return 0


def rotated_names(fd: int, name: str) -> list[str]:
    """The rotated files of the log `name`, the newest first (rule 1).  Raises OSError."""
    pattern = re.compile(re.escape(name) + r"\.([1-9][0-9]{0,8})(\.gz)?")
    found: dict[int, str] = {}
    for entry in os.listdir(fd):
        match = pattern.fullmatch(entry)
        # Where gzip is at work there are both, and its own is not complete.
        if match and not (match[2] and int(match[1]) in found):
            found[int(match[1])] = entry
    return [found[number] for number in sorted(found)]


def open_files(directory: str, fd: int, name: str) -> Iterator[LogFile]:
    """The files of the log `name`, the newest first, each opened when it is asked for; the caller closes them.

    A rotated file that cannot be read ends the log there, for what is older would not join on.  Raises LogError for
    the file that is written to.
    """
    met: set[tuple[int, int]] = set()
    current = open_file(directory, fd, name)
    if current:
        met.add(current.ident)
        yield current
    try:
        names = rotated_names(fd, name)
    except OSError as why:
        raise unreadable(directory, why) from None
    for older in names:
        try:
            file = open_file(directory, fd, older)
        except LogError:
            return
        if file is None or file.ident in met:
            if file:
                file.close()
            continue
        met.add(file.ident)
        yield file


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
