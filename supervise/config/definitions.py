"""Which services a file defines: `read` it, or `find` one of them.

Theory of operation
-------------------

A file is a supervise.conf (native.py), a supervisord.conf (supervisord.py) or a Procfile (procfile.py).  Each of these
knows which programs there are (sections, lines), and makes the services of one of them when it is asked to: so one
service of ten thousand is found without reading the others.  What is the same for all is here: names, groups, whom
`depends_on` means.

Rule 1.  Nothing raises, whatever stands in a file.  What is wrong is in `errors`, for which nothing is to be started;
         or in `warnings`: what is not carried over, an include that matches nothing.  All are `FILE:LINE: ...`.
Rule 2.  What is included is of the same kind as the file itself (dialects.py).
Rule 3.  Two services of one name are an error; so are two groups.  A program with several services, or one of another
         name, is a group as well, unless there is one of that name.
Rule 4.  `depends_on` names services, else programs, else groups: a service is meant where all three have the name.
         `GROUP:*` is a group, `GROUP:NAME` a service in it.  A program does not wait for itself for being in a group.
         One that is missing because of an error in it is not said again where it is named.
Rule 5.  `priority` is a number that sorts: in a supervisord.conf with groups that of the group counts first.
"""

from __future__ import annotations

import posix as os

from supervise.config.definition import Definition
from supervise.config.dialects import is_procfile, is_supervisords
from supervise.config.sources import Report, Source, Unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from supervise.config.definition import Group

    class Dialect(Protocol):
        """What makes services of a file."""

        groups: dict[str, Group]

        @property
        def programs(self) -> Mapping[str, object]:
            """The programs, in the order of the file; some may define nothing."""

        @property
        def sources(self) -> list[Source]: ...

        def variants(self) -> list[str]:
            """The programs whose services may have other names than their own."""

        def make(self, program: str) -> list[Definition]:
            """The services of a program; `depends_on` are the words that are said."""

        def look_through(self) -> None:
            """Report what is wrong beyond what any one program says."""


NATIVE, SUPERVISORD, PROCFILE = "supervise.conf", "supervisord.conf", "Procfile"


class Fleet:
    """The services that a file defines.

    `path` is the file, `folder` where it is (absolute), `dialect` what it is.  `services` are in the order of the file;
    `groups` have the names of services.  `sources` are the files that were read.  All of it is read when it is first
    asked for, but by `find`.
    """

    def __init__(self, path: str, environ: Mapping[bytes, bytes] | None = None) -> None:
        self.path = path
        self.folder = ""
        self.dialect = NATIVE
        self._report = Report(path)
        self._dialect: Dialect | None = None
        self._made: dict[str, list[Definition]] = {}
        self._all: dict[str, Definition] | None = None
        self._groups: dict[str, list[str]] = {}
        self._variants: list[str] | None = None
        self._broken: set[str] = set()  # programs of which an error says why they make nothing
        try:
            main = Source.read(path)
        except Unusable as why:
            self._report.unusable(why)
            return
        self.folder = main.folder
        self._dialect = self._of(main, os.environ if environ is None else environ)

    def _of(self, main: Source, environ: Mapping[bytes, bytes]) -> Dialect:
        """What makes services of the file, by what it is (rule 2)."""
        if is_procfile(main):
            self.dialect = PROCFILE
            from supervise.config.procfile import Procfile

            return Procfile(main, self._report, environ)
        if is_supervisords(main):
            self.dialect = SUPERVISORD
            from supervise.config.supervisord import Supervisord

            return Supervisord(main, self._report, environ)
        from supervise.config.native import Native

        return Native(main, self._report, environ)

    @property
    def errors(self) -> list[str]:
        """For what nothing is to be started, of what was read until now."""
        return self._report.errors

    def add_error(self, path: str, line: int, text: str) -> None:
        """An error that somebody else has found in what is defined."""
        self._report.error(path, line, text)

    @property
    def transient(self) -> bool:
        """Whether a file could not be read for a reason that may pass."""
        return self._report.transient

    @property
    def warnings(self) -> list[str]:
        """What is not carried over, and what matches nothing, of what was read until now."""
        return self._report.warnings

    @property
    def left_out(self) -> set[str]:
        """Those of them that are about what is not carried over from another program's file."""
        return self._report.left_out

    @property
    def sources(self) -> list[str]:
        """The files that were read, the main one first."""
        return [source.path for source in self._dialect.sources] if self._dialect else [self.path]

    @property
    def seen(self) -> dict[str, tuple[object, ...]]:
        """The same, with what each of them was when it was read (Source.seen)."""
        return {source.path: source.seen for source in self._dialect.sources} if self._dialect else {}

    @property
    def services(self) -> dict[str, Definition]:
        """All services, by name, in the order of the file."""
        return self._read() if self._all is None else self._all

    @property
    def groups(self) -> dict[str, list[str]]:
        """The names of the services in each group, those of programs with several included (rule 3)."""
        return self._groups if self.services else {}

    def _read(self) -> dict[str, Definition]:
        if self._dialect is None:
            return {}
        found: dict[str, Definition] = {}
        for program in self._dialect.programs:
            for made in self._of_program(program):
                before = found.setdefault(made.name, made)
                if before is not made:
                    where = f"{before.file}:{before.line}"
                    self._report.error(made.file, made.line, f"{made.name} is defined in {where} already")
        self._dialect.look_through()
        for name, group in self._dialect.groups.items():
            for program in group.programs:
                if program not in self._dialect.programs:
                    self._report.error(group.file, group.line, f"group {name}: there is no program {program}")
                elif not self._of_program(program) and program not in self._broken:
                    self._report.error(group.file, group.line, f"group {name}: {program} defines no service")
            self._groups[name] = self._in_group(group)
        for program, made_of_it in self._made.items():
            names = [made.name for made in made_of_it]
            if made_of_it and names != [program]:
                self._groups.setdefault(program, names)
        self._all = found
        for made in found.values():
            self._resolve(made)
        return found

    def find(self, name: str) -> Definition | None:
        """The service of that name, without reading others than it depends on; None if there is none, or an error."""
        if self._dialect is None:
            return None
        made = self._named(name)
        if made is not None:
            self._resolve(made)
        return made

    def places(self, made: Definition) -> dict[str, list[int]]:
        """The groups that a service is in, each with its place there: its program's, and its number in that."""
        found = {}
        for name, group in self._dialect.groups.items() if self._dialect else ():
            if made.program in group.programs:
                found[name] = [group.programs.index(made.program), made.process_num]
        if [one.name for one in self._of_program(made.program)] != [made.program]:
            found.setdefault(made.program, [0, made.process_num])
        return found

    def release(self) -> None:
        """Let go of the files, whose sections refer to them: nothing more can be asked, and what was found is alone.

        Otherwise they stay until the collector comes past, which where little happens is after many more of them.
        """
        for source in self._dialect.sources if self._dialect else ():
            source.sections.clear()
        self._dialect = None

    def _of_program(self, program: str) -> list[Definition]:
        made = self._made.get(program)
        if made is None:
            before = self._report.count
            made = self._made[program] = self._dialect.make(program) if self._dialect else []
            if not made and self._report.count > before:
                self._broken.add(program)
        return made

    def _named(self, name: str) -> Definition | None:
        assert self._dialect is not None
        if self._all is not None:
            return self._all.get(name)
        programs = [name] if name in self._dialect.programs else []
        likely = sorted(self._known_variants(), key=lambda program: not name.startswith(program))
        for program in (*programs, *likely):
            for made in self._of_program(program):
                if made.name == name:
                    return made
        return None

    def _known_variants(self) -> list[str]:
        if self._variants is None:
            self._variants = self._dialect.variants() if self._dialect else []
        return self._variants

    def _in_group(self, group: Group) -> list[str]:
        known = (program for program in group.programs if program in self._programs)
        return [made.name for program in known for made in self._of_program(program)]

    @property
    def _programs(self) -> Mapping[str, object]:
        return self._dialect.programs if self._dialect else {}

    def _resolve(self, made: Definition) -> None:
        """Make names of services of the words of `depends_on` (rule 4)."""
        if made.resolved:
            return
        names: dict[str, None] = {}
        for word in made.depends_on:
            found = self._meant(word)
            if not found and not self._may_be_broken(word):
                self._report.error(*made.places["depends_on"], f"depends_on: there is no service or group {word}")
            own = self._of_program(made.program) if self._is_group(word) and ":" not in word else []
            itself = {one.name for one in own}
            names.update(dict.fromkeys(name for name in found if name == word or name not in itself))
        made.depends_on = list(names)
        made.resolved = True

    def _may_be_broken(self, word: str) -> bool:
        """Whether what a word names may be missing for an error that is said already."""
        assert self._dialect is not None
        name = word.partition(":")[0]
        group = self._dialect.groups.get(name)
        if name in self._broken or (group and not self._broken.isdisjoint(group.programs)):
            return True
        return any(program in self._broken and name.startswith(program) for program in self._known_variants())

    def _is_group(self, word: str) -> bool:
        group, colon, _ = word.partition(":")
        return bool(self._dialect and group in self._dialect.groups and (colon or group not in self._programs))

    def _meant(self, word: str) -> list[str]:
        assert self._dialect is not None
        group, colon, name = word.partition(":")
        if not colon:
            if self._named(word):
                return [word]
            group, name = word, "*"
        if self._is_group(word):
            members = self._in_group(self._dialect.groups[group])
        elif group in self._programs:
            members = [made.name for made in self._of_program(group)]
        else:
            members = []
        return members if name == "*" else [name] if name in members else []


def read(path: str, environ: Mapping[bytes, bytes] | None = None) -> Fleet:
    """Read all services that a file defines.  Never raises.

    `environ` is what `%(ENV_X)s` comes from, one's own if it is not given.
    """
    fleet = Fleet(path, environ)
    _ = fleet.services
    return fleet


def find(path: str, name: str, environ: Mapping[bytes, bytes] | None = None) -> tuple[Definition | None, list[str]]:
    """One service that a file defines, and the errors that were met on the way.

    None without an error: the file defines no such service.  None with one: nobody knows.
    """
    fleet = Fleet(path, environ)
    return fleet.find(name), fleet.errors
