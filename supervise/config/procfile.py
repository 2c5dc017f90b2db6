"""A Procfile as the definition of services: each line `name: command` is one, as foreman and honcho run it.

What lives here: the lines, ports, and what a supervise reads for such a service.  What does not: the file `.env`
(dotenv.py).

Rule 1.  What is no such line is ignored, with a warning unless it is blank or a comment.
Rule 2.  A service gets the variables of the file `.env` beside the Procfile, and PORT: the first one 5000, or what
         `.env`, or else the environment, has for PORT; each further one 100 more.
Rule 3.  It runs in the folder of the Procfile.  A command that only a shell understands is read by `sh -c`; any other
         is executed as it is.
Rule 4.  `release` is what runs once before the others are deployed: it is left down unless it is named, and not
         started again when it has ended, whatever came of it.
Rule 5.  A service is stopped as foreman and honcho stop it: with TERM to the process group, and KILL 5 seconds later.
"""

from __future__ import annotations

from supervise.config.definition import Definition, Group
from supervise.config.dotenv import beside, read_beside
from supervise.config.instances import bad_name
from supervise.config.shellsyntax import in_command
from supervise.config.shellwords import Unbalanced, split
from supervise.config.values import show
from supervise.config.written import unexpanded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supervise.config.sources import Report, Source

_FIRST_PORT, _STEP, _LAST_PORT = 5000, 100, 65535
_GOVERNING = ("stopasgroup : yes", "killasgroup : yes", "stopwaitsecs : 5")
_RELEASE = "release"
_ONCE = "autorestart : never"
_NAME_MARKS = "_-"
_SIGNS = frozenset("*?[](){}")  # patterns, and what shellsyntax.py has nothing to say of
# What a shell does itself, beyond what shellsyntax.py knows, and which is no program, or none that does the same.
_BUILTINS = ("trap", "wait", "read", "[", "[[", ":", "alias", "case", "until", "shift", "unset", "command", "builtin")


def lines_of(data: bytes) -> Iterator[tuple[int, str, str, str]]:
    """The lines that say something: number, text, name, command; no name where it is no `name: command`."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        line = raw.decode("utf-8", "surrogateescape").rstrip()
        if not line or line.lstrip()[0] == "#":
            continue
        name, colon, command = line.partition(":")
        plain = bool(name) and all(char.isascii() and (char.isalnum() or char in _NAME_MARKS) for char in name)
        command = command.strip()
        yield number, line, name if colon and plain and command else "", command


class Procfile:
    """A Procfile: the command of each service."""

    def __init__(self, main: Source, report: Report, environ: Mapping[bytes, bytes]) -> None:
        self._main = main
        self._report = report
        self.sources = [main]
        self.groups: dict[str, Group] = {}
        self.programs: dict[str, tuple[int, str]] = {}
        self._ports: dict[str, int] = {}
        for number, line, name, command in lines_of(main.data):
            if not name:
                report.warn(main.path, number, f"not `name: command`: {show(line)}: ignored")
            elif name in self.programs:
                before = f"{main.path}:{self.programs[name][0]}"
                report.error(main.path, number, f"{name} is defined in {before} already")
            else:
                self.programs[name] = number, command
        self._variables, source = read_beside(main, report)
        if source is not None:
            self.sources.append(source)
        port = self._first_port(environ)
        self._ports = {name: port + place * _STEP for place, name in enumerate(self.programs)}

    def _first_port(self, environ: Mapping[bytes, bytes]) -> int:
        text = self._variables.get("PORT") or environ.get(b"PORT", b"").decode("utf-8", "surrogateescape")
        if not text:
            return _FIRST_PORT
        if text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) <= _LAST_PORT:
            return int(text)
        self._report.error(self._main.path, 0, f"PORT: {show(text)} is no port")
        return _FIRST_PORT

    def variants(self) -> list[str]:
        """None: each service has the name of its line."""
        return []

    def make(self, program: str) -> list[Definition]:
        """Make the service of a line; none where there is an error, which is reported."""
        number, text = self.programs[program]
        path = self._main.path
        try:
            words = argv(text)
        except Unbalanced as why:
            self._report.error(path, number, f"{program}: {why}")
            return []
        why_not = bad_name(program)
        if why_not:
            self._report.error(path, number, f"the name {show(program)} {why_not}")
        elif "\0" in text:
            self._report.error(path, number, f"{program}: holds a NUL byte")
        elif not words[0]:
            self._report.error(path, number, f"{program}: the program has no name")
        else:
            if self._ports[program] > _LAST_PORT:
                self._report.warn(path, number, f"{program}: its PORT, {self._ports[program]}, is none")
            made = Definition(program, program, path, number)
            once = (_ONCE,) if program == _RELEASE else ()
            if once:
                made.autostart = False
                self._report.warn(
                    path, number, f"{program}: is what runs once before others: left down unless it is named"
                )
            made.command = words
            made.places = {"command": (path, number)}
            said = (f"[{program}]", f"directory : {unexpanded(self._main.folder)}", *_GOVERNING, *once)
            made.lines = [(path, number, line) for line in said]
            made.environment = tuple({**self._variables, "PORT": str(self._ports[program])}.items())
            made.sources = (path, beside(path))
            return [made]
        return []

    def look_through(self) -> None:
        """Report nothing: all that is wrong is wrong in a line."""


def argv(text: str) -> list[str]:
    """The words of a command; those of `sh -c` where only a shell does what is meant (rule 3).  Raises Unbalanced."""
    words, masked = split(text), split(text, masked=True)
    own = masked[0] in _BUILTINS or any(word[:1] == "#" or not _SIGNS.isdisjoint(word) for word in masked)
    own = own or "$" in text or "`" in text  # between double quotes, too
    return ["/bin/sh", "-c", text] if own or in_command(text) else words
