"""Files of definitions as bytes: reading them, and finding their sections without reading what is in them.

What lives here: one file.  What does not: what a dialect makes of a section (native.py, supervisord.py), and what is
included where (include.py says what a pattern names).

Rule 1.  A file is believed as any configuration is (system/trust.py), an included one too.
Rule 2.  A file is read once and searched for brackets.  Nothing else of it is looked at but the sections that somebody
         asks for: finding one service among ten thousand takes some milliseconds.
Rule 3.  A header stands at the start of its line.  What may be another one, or makes it doubtful where lines belong (an
         indented bracket, a NUL, a line break that does not count), marks the section that it is in as `odd`.
"""

from __future__ import annotations

from supervise.config.file import names_for, open_configuration, read_from
from supervise.config.sections import BOM
from supervise.protocol.text import one_line
from supervise.system.errors import is_transient
from supervise.system.trust import Untrusted, signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 16 << 20  # bytes of one file
# Each may hide what stands behind it, or end a line for some readers; the second and third are brackets of Chinese and
# Japanese keyboards.
_DOUBTFUL = tuple(mark.encode() for mark in "\0\uff3b\u3010\v\f\x1c\x1d\x1e\x85\u2028\u2029")


class Unusable(Exception):
    """A file, `path`, cannot be read; the message says why.  `missing`: there is none; `transient`: that may pass."""

    def __init__(self, path: str, why: str, missing: bool = False, transient: bool = False) -> None:
        super().__init__(why)
        self.path = path
        self.missing = missing
        self.transient = transient


class Report:
    """What is said of a configuration: `errors` keep everything down, `warnings` nothing.  No line is there twice.

    Both are in the order of the lines, file by file as they are first spoken of, the main one first.  `left_out`: those
    warnings that are about what another program's file says and is not carried over.  `transient`: a file could not be
    read for a reason that may pass.
    """

    __slots__ = ("_errors", "_warnings", "_files", "left_out", "transient")

    def __init__(self, main: str) -> None:
        self.transient = False
        self.left_out: set[str] = set()
        self._errors: dict[str, tuple[int, int]] = {}  # with the place that it sorts by
        self._warnings: dict[str, tuple[int, int]] = {}
        self._files = {main: 0}

    @property
    def errors(self) -> list[str]:
        return sorted(self._errors, key=self._errors.__getitem__)

    @property
    def warnings(self) -> list[str]:
        return sorted(self._warnings, key=self._warnings.__getitem__)

    @property
    def count(self) -> int:
        """How many errors there are."""
        return len(self._errors)

    def unusable(self, why: Unusable, behind: str = "") -> None:
        """An error for a file that cannot be read."""
        self.transient |= why.transient
        self.error(why.path, 0, f"{why}{behind}")

    def error(self, path: str, line: int, text: str) -> None:
        self._errors[at(path, line, text)] = self._place(path, line)

    def warn(self, path: str, line: int, text: str) -> None:
        self._warnings[at(path, line, text)] = self._place(path, line)

    def leave_out(self, path: str, line: int, text: str) -> None:
        """A warning for what is not carried over."""
        self.warn(path, line, text)
        self.left_out.add(at(path, line, text))

    def _place(self, path: str, line: int) -> tuple[int, int]:
        return self._files.setdefault(path, len(self._files)), line


def at(path: str, line: int, text: str) -> str:
    """`FILE:LINE: TEXT`, for line 0 `FILE: TEXT`; one printable line."""
    return one_line(f"{path}:{line}: {text}" if line else f"{path}: {text}")


class Section:
    """A header with the lines up to the next one.  Its `title` is None where the line is no header after all.

    The lines before the first header are one with the title "" and no header.
    """

    __slots__ = ("source", "title", "line", "start", "end", "odd")

    def __init__(self, source: Source, title: str | None, line: int, start: int, end: int) -> None:
        self.source = source
        self.title = title
        self.line = line
        self.start = start
        self.end = end
        self.odd = False

    def lines(self) -> Iterator[tuple[int, str]]:
        """Each line with its number, the header's first; decoded as everything in a configuration is."""
        text = self.source.data[self.start : self.end].decode("utf-8", "surrogateescape")
        if text.endswith("\n"):
            text = text[:-1]
        for number, line in enumerate(text.split("\n"), self.line):
            yield number, line[:-1] if line.endswith("\r") else line

    def holds(self, *words: bytes) -> bool:
        """Whether one of these stands in it, wherever."""
        return any(self.source.data.find(word, self.start, self.end) >= 0 for word in words)


class Source:
    """A file that was read: its `path`, as messages have it, the absolute `folder` it is in, and its `sections`.

    `seen` is its signature (system/trust.py), as it was when it was read.
    """

    def __init__(self, path: str, data: bytes, seen: tuple[object, ...] = ()) -> None:
        self.path = path
        self.seen = seen
        self.data = data[len(BOM) :] if data.startswith(BOM) else data
        self.folder = names_for(path, "").here
        self.sections: list[Section] = []

    @classmethod
    def read(cls, path: str) -> Source:
        """Read a file.  Raises Unusable."""
        try:
            data, cut, found = read_from(open_configuration(path), LIMIT)
        except FileNotFoundError:
            raise Unusable(path, "does not exist", missing=True) from None
        except Untrusted as why:
            raise Unusable(path, f"not believed: {why}") from None
        except (OSError, ValueError) as why:  # a NUL in the path is a ValueError
            transient = isinstance(why, OSError) and is_transient(why)
            raise Unusable(path, f"cannot be read: {getattr(why, 'strerror', None) or why}", False, transient) from None
        if cut:
            raise Unusable(path, f"longer than {LIMIT} bytes")
        source = cls(path, data, signature(found))
        if "\n" in source.folder:
            raise Unusable(path, "the name of the folder that it is in has a line break in it")
        return source

    def split(self, title_of: Callable[[str], str | None]) -> None:
        """Find the sections; `title_of` says what a header is the title of, None if it is none."""
        data = self.data
        section = Section(self, "", 1, 0, len(data))
        self.sections = [section]
        for start, end, bracket in _brackets(data):
            if start < bracket:
                section.odd = True
                continue
            line = section.line + data.count(b"\n", section.start, start)
            section.end = start
            title = title_of(data[start:end].decode("utf-8", "surrogateescape"))
            section = Section(self, title, line, start, len(data))
            self.sections.append(section)
        for mark in _DOUBTFUL:
            self._mark(mark)
        if data.count(b"\r") != data.count(b"\r\n"):
            self._mark(b"\r")

    def _mark(self, mark: bytes) -> None:
        found = self.data.find(mark)
        for section in self.sections if found >= 0 else ():
            if 0 <= found < section.end:
                section.odd = True
                found = self.data.find(mark, section.end)


def _brackets(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each line that begins with a bracket, whatever signs and blanks are before that: start, end, where that is."""
    found = data.find(b"[")
    while found >= 0:
        start = data.rfind(b"\n", 0, found) + 1
        end = data.find(b"\n", found)
        end = len(data) if end < 0 else end
        before = data[start:found].lstrip()
        if not before or not (before[0] in b"#;" or any(map(str.isalnum, before.decode("utf-8", "surrogateescape")))):
            yield start, end, found
        found = data.find(b"[", end)
