"""What a service is, as a value, and making it of the keys that say so: the same for all dialects.

What lives here: `command`, `autostart`, `depends_on`, `depends_restart`, `priority`, `startretries`, `numprocs`,
`numprocs_start` and `process_name`.  What does not: where they stand in a file (native.py, supervisord.py,
procfile.py), and what governs the service beyond them, which a supervise reads as any supervise.conf (parser.py).

Rule 1.  The values of these keys are %-expanded: `%(here)s`, the folder of the file that they stand in;
         `%(program_name)s`, the name of the section; `%(process_num)d`, `%(numprocs)d`, `%(group_name)s`,
         `%(host_node_name)s` and `%(ENV_X)s`.
Rule 2.  A command is expanded, then split as a shell splits words.
Rule 3.  A value that cannot be understood is an error, and there is no such service then: nothing is started.  What
         only a shell would understand in a command is a warning, as for `supervise -f`.
"""

from __future__ import annotations

from supervise.config.expand import BadText
from supervise.config.instances import LARGEST, MOST, bad_name, expand_all, numbers, whole_number
from supervise.config.shellsyntax import in_command
from supervise.config.shellwords import Unbalanced, split, suspicious
from supervise.config.values import BadValue, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from supervise.config.instances import Known
    from supervise.config.sources import Report, Source

    Line = tuple[str, int, str]  # file, number, text

KEYS = (
    *("command", "autostart", "depends_on", "depends_restart", "priority"),
    *("numprocs", "numprocs_start", "process_name", "startretries"),
)
_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
PRIORITY = 999


class Entry:
    """The text of a key, and where it stands."""

    __slots__ = ("text", "source", "line")

    def __init__(self, text: str, source: Source, line: int) -> None:
        self.text = text
        self.source = source
        self.line = line


class Definition:
    """A service as its file defines it: a value, once it was read.

    `program` is the section's name, `process_num` which of its services this is; `group` the first one that it is in,
    else `program`.  `file` and `line` are those of the section, `places` those of the keys.  `startretries` is None
    where it is never given up.

    `lines` is what governs it, each with file and number, in the dialect of supervise.conf whatever the file's is:
    `text` is what parser.py reads, `place` where a line of that stands.  The keys of this module are not in there, and
    what parser.py could not expand has been.  `environment` are variables that it gets beside those of its caller,
    before those that `lines` says: which cannot be said there, because they have a newline in them, or are too long.
    `sources` are the files that all this comes from, whether they are there or not.
    """

    __slots__ = (
        *("name", "program", "process_num", "group", "command", "file", "line", "places"),
        *("autostart", "depends_on", "depends_restart", "priority", "startretries"),
        *("lines", "environment", "sources", "resolved"),
    )

    def __init__(self, name: str, program: str, file: str, line: int) -> None:
        self.name = name
        self.program = program
        self.process_num = 0
        self.group = program
        self.command: list[str] = []
        self.file = file
        self.line = line
        self.places: dict[str, tuple[str, int]] = {}
        self.autostart = True
        self.depends_on: list[str] = []
        self.depends_restart = False
        self.priority = PRIORITY
        self.startretries: int | None = None
        self.lines: list[Line] = []
        self.environment: tuple[tuple[str, str], ...] = ()
        self.sources: tuple[str, ...] = (file,)
        self.resolved = False  # depends_on has names of services

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Definition):
            return NotImplemented
        return all(getattr(self, key) == getattr(other, key) for key in Definition.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Definition({self.name!r}, {self.file}:{self.line})"

    def text(self) -> bytes:
        """What governs it, for parser.py."""
        return "".join(f"{text}\n" for _, _, text in self.lines).encode("utf-8", "surrogateescape")

    def place(self, number: int) -> tuple[str, int]:
        """File and line of a line of `text`, counted from 1; the section's for 0, which is the whole."""
        if 1 <= number <= len(self.lines):
            return self.lines[number - 1][:2]
        return self.file, self.line


class Group:
    """A `[group:NAME]`: the names of the sections in it, and where it stands."""

    __slots__ = ("programs", "priority", "file", "line")

    def __init__(self, programs: list[str], file: str, line: int) -> None:
        self.programs = programs
        self.priority = PRIORITY
        self.file = file
        self.line = line


class _Reader:
    """Reads the values of one section's keys; `failed` once one of them could not be understood."""

    def __init__(self, said: Mapping[str, Entry], known: Callable[[Entry, int], Known], report: Report) -> None:
        self._said = said
        self._known = known
        self._report = report
        self.failed = False

    def text(self, key: str, number: int = 0) -> str:
        """The value, expanded for the service with this number; empty if there is none."""
        entry = self._said.get(key)
        if entry is None:
            return ""
        try:
            return expand_all(entry.text, self._known(entry, number))
        except BadText as why:
            self.fail(key, str(why))
            return ""

    def whole(self, key: str, default: int, number: int = 0, most: int = LARGEST) -> int:
        text = self.text(key, number)
        try:
            return whole_number(text, most) if text else default
        except BadText as why:
            self.fail(key, f"{show(text)} {why}")
            return default

    def flag(self, key: str, default: bool, number: int) -> bool:
        word = self.text(key, number).lower()
        if word and word not in _YES + _NO:
            self.fail(key, f"{show(word)} is neither yes nor no")
        return word in _YES if word else default

    def advise(self, key: str, text: str) -> None:
        entry = self._said[key]
        self._report.warn(entry.source.path, entry.line, f"{key}: {text}")

    def fail(self, key: str, why: str) -> None:
        self.failed = True
        entry = self._said[key]
        self._report.error(entry.source.path, entry.line, f"{key}: {why}")


def count(said: Mapping[str, Entry], known: Callable[[Entry, int], Known], report: Report) -> range | None:
    """The numbers of the services that a section makes; None where they cannot be understood, which is reported."""
    reader = _Reader(said, known, report)
    numprocs, start = reader.whole("numprocs", 1, most=MOST), reader.whole("numprocs_start", 0)
    if reader.failed:
        return None
    if not numprocs:
        reader.advise("numprocs", "0: defines no service")
    template = said["process_name"].text if "process_name" in said else ""
    try:
        return numbers(numprocs, start, template)
    except BadText as why:
        reader.fail("numprocs" if "numprocs" in said else "numprocs_start", str(why))
        return None


def make(
    program: str,
    number: int,
    said: Mapping[str, Entry],
    known: Callable[[Entry, int], Known],
    report: Report,
    place: tuple[str, int],
    kept_in_quotes: str | None = None,
) -> Definition | None:
    """Make the service with this number of what its section says; None if there is an error, which is reported.

    `place` is that of the section.  `depends_on` are the words that are said: names of services, programs and groups.
    """
    reader = _Reader(said, known, report)
    name = reader.text("process_name", number).strip() or program
    made = Definition(name, program, *place)
    made.process_num = number
    made.places = {key: (entry.source.path, entry.line) for key, entry in said.items()}
    if not reader.failed and (why := bad_name(name)):
        if "process_name" in said:
            reader.fail("process_name", f"the name {show(name)} {why}")
        else:
            reader.failed = True
            report.error(*place, f"the name {show(name)} {why}")
    made.command = _split(reader, number, kept_in_quotes)
    made.autostart = reader.flag("autostart", True, number)
    made.depends_restart = reader.flag("depends_restart", False, number)
    made.depends_on = reader.text("depends_on", number).replace(",", " ").split()
    made.priority = reader.whole("priority", PRIORITY, number)
    tries = reader.whole("startretries", -1, number)
    if tries < 0 and said.get("startretries") and reader.text("startretries", number):
        reader.fail("startretries", f"{tries} is less than 0")
    made.startretries = tries if tries >= 0 else None
    return None if reader.failed else made


def _split(reader: _Reader, number: int, kept_in_quotes: str | None) -> list[str]:
    text = reader.text("command", number)
    if reader.failed:
        return []
    if "\0" in text:
        reader.fail("command", "holds a NUL byte")
        return []
    try:
        words = split(text) if kept_in_quotes is None else split(text, kept_in_quotes=kept_in_quotes)
        if not words or not words[0]:
            raise BadValue("the program has no name" if words else "is empty")
        if suspicious(text, words):
            for advice in in_command(text):
                reader.advise("command", advice)
        return words
    except (Unbalanced, BadValue) as why:
        reader.fail("command", str(why))
        return []
