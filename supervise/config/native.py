"""supervise.conf as the definition of services: a section that has `command` is one.

What lives here: which sections those are, groups, included files.  What does not: what the keys of a definition mean
(definition.py), what else governs a service (governing.py), and what that means (parser.py).

Rule 1.  `[NAME]`, or `[program:NAME]`, which is the same, defines a service if it has `command`; a `[program:NAME]`
         must.  The keys of definition.py count in `[global]` as well, as defaults, but `command`.  Where `[NAME]`
         stands before `[global]`, it stands alone, as always.
Rule 2.  `[group:NAME]` names services with `programs : a, b`: names of sections, separated by commas or blanks.
Rule 3.  `[include]` with `files : GLOB ...` reads more files, as if they stood behind all that is in the file itself,
         in the order of include.py.  They are relative to the file that names them, and may include others.  A file is
         read once: again, or one that includes itself, is ignored with a warning, as is a pattern that matches nothing.
Rule 4.  `[global]` stands in the main file.  `%(here)s` is the folder of the file that it stands in.
Rule 5.  What may hide a service or the order of services is an error: a broken header, a section of one instance of a
         program, a key of definition.py that is misspelt, indented or without a sign, or twice in one section.
         Anything else that is wrong is parser.py's.
"""

from __future__ import annotations

import posix as os

from supervise.config.config import KEYS as CONFIG_KEYS
from supervise.config.definition import KEYS, Definition, Entry, Group, count, make
from supervise.config.expand import BadText
from supervise.config.governing import Governing
from supervise.config.include import Included
from supervise.config.instances import Known, bad_name, expand_all
from supervise.config.misspellings import lost_header, one_off
from supervise.config.native_lines import entries, key_and_text, title_of
from supervise.config.values import show
from supervise.protocol.filenames import in_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervise.config.sources import Report, Section, Source

_PROGRAM, _GROUP, _INCLUDE, _GLOBAL = "program:", "group:", "include", "global"


class Native:
    """A supervise.conf and what it includes: the sections of each program, the groups, and what each defines."""

    def __init__(self, main: Source, report: Report, environ: Mapping[bytes, bytes]) -> None:
        self._report = report
        self._environ = environ
        self._host = in_file(os.uname().nodename)
        self._main = main
        self._included = Included(main)
        self._globals: list[Section] = []
        self.programs: dict[str, list[Section]] = {}  # each section that may define services, by the program's name
        self.groups: dict[str, Group] = {}
        self._groups_of: dict[str, list[str]] = {}
        self._add(main)
        self._defaults: dict[str, Entry] = {}
        for section in self._globals:
            self._defaults.update(self._keys_of(section))
        self._governing = Governing(self.sources, self._globals, self._host, environ)

    @property
    def sources(self) -> list[Source]:
        """All files that are read, the main one first."""
        return self._included.sources

    def _add(self, source: Source) -> None:
        source.split(title_of)
        includes = []
        for section in source.sections[1:]:
            title = section.title
            if title is None:
                line = next(section.lines())[1]
                self._report.error(source.path, section.line, f"not a section header: {show(line)}")
            elif title == _INCLUDE:
                includes.append(section)
            elif title == _GLOBAL:
                if source is self._main:
                    self._globals.append(section)
                else:
                    self._report.error(source.path, section.line, f"[global] stands in {self._main.path} only")
            elif title.startswith(_GROUP):
                self._add_group(title[len(_GROUP) :], section)
            else:
                name = title[len(_PROGRAM) :] if title.startswith(_PROGRAM) else title
                self.programs.setdefault(name, []).append(section)
        for section in includes:
            for entry in self._values(section, "files"):
                try:
                    patterns = expand_all(entry.text, self._known(entry))
                except BadText as why:
                    self._report.error(source.path, entry.line, f"files: {why}")
                    continue
                for other in self._included.read(patterns, source, entry.line, self._report):
                    self._add(other)

    def _add_group(self, name: str, section: Section) -> None:
        path = section.source.path
        if why := bad_name(name):
            self._report.error(path, section.line, f"the name {show(name)} of a group {why}")
        elif name in self.groups:
            before = self.groups[name]
            self._report.error(path, section.line, f"group {name} is defined in {before.file}:{before.line} already")
        else:
            said = self._values(section, "programs")
            programs = [word for entry in said for word in entry.text.replace(",", " ").split()]
            line = said[0].line if said else section.line
            self.groups[name] = Group(list(dict.fromkeys(programs)), path, line)
            if not programs:
                self._report.error(path, line, f"group {name} has no programs")
            for program in programs:
                groups = self._groups_of.setdefault(program, [])
                groups.append(name)

    def _values(self, section: Section, wanted: str) -> list[Entry]:
        """The values of the one key that a section can have; others are reported."""
        found = []
        for number, line, key, text in entries(section):
            if key == wanted and text is not None:
                found.append(Entry(text, section.source, number))
            else:
                self._report.error(section.source.path, number, f"not `{wanted} : ...`: {show(line.strip())}")
        return found

    def _known(self, entry: Entry, **names: str | int) -> Known:
        return Known({"here": entry.source.folder, "host_node_name": self._host, **names}, self._environ)

    def _keys_of(self, section: Section) -> dict[str, Entry]:
        """The keys of definition.py in a section; what may have been meant for one is an error (rule 5)."""
        found: dict[str, Entry] = {}
        path = section.source.path
        for number, line, key, text in entries(section):
            if key in KEYS and text is not None:
                if key in found:
                    self._report.error(path, number, f"{key} again: it is in line {found[key].line} already")
                elif section.title == _GLOBAL and key == "command":
                    self._report.error(path, number, "command: [global] is no service")
                else:
                    found[key] = Entry(text, section.source, number)
            elif key in CONFIG_KEYS:
                continue
            elif not key:
                word = key_and_text(line.strip())[0]
                if word in KEYS:
                    self._report.error(path, number, f"{word}: {'a NUL byte' if line[0] > ' ' else 'indented'}")
                elif lost_header(line) is not None:
                    self._report.error(path, number, "a section header counts only at the start of its line")
            elif key in KEYS:
                self._report.error(path, number, f"{key}: no ':' after the key")
            elif meant := next((one for one in KEYS if key.lower() == one or one_off(key.lower(), one)), ""):
                self._report.error(path, number, f"unknown key {show(key)}: should that be {meant}?")
        return found

    # What a program defines.

    def variants(self) -> list[str]:
        """The programs whose services may have other names than their own."""
        words = (b"process_name", b"numprocs")
        if any(section.holds(*words) for section in self._globals):
            return list(self.programs)
        if not any(source.data.find(word) >= 0 for source in self.sources for word in words):
            return []
        return [name for name, own in self.programs.items() if any(section.holds(*words) for section in own)]

    def make(self, program: str) -> list[Definition]:
        """Make the services that a program defines: none where it has no command, or an error, which is reported."""
        own = self.programs[program]
        said: dict[str, Entry] = {}
        section = own[0]
        for one in own:
            keys = self._keys_of(one)
            if "command" in keys:
                if "command" in said:
                    before = f"{section.source.path}:{section.line}"
                    self._report.error(one.source.path, one.line, f"{program} is defined in {before} already")
                    return []
                section = one
            said.update(keys)
        if "command" not in said:
            if section.title == _PROGRAM + program:
                self._report.error(section.source.path, section.line, f"{program} has no command")
            return []
        if not self._governing.alone(own):
            said = {**self._defaults, **said}
        groups = self._groups_of.get(program, [])
        group = groups[0] if groups else program
        names: dict[str, str | int] = {"program_name": program, "group_name": group, "numprocs": 1}
        numbers = count(said, lambda entry, _: self._known(entry, **names), self._report)
        if numbers is None:
            return []
        names["numprocs"] = len(numbers)
        found = []
        for number in numbers:
            names["process_num"] = number
            place = (section.source.path, section.line)
            made = make(program, number, said, lambda entry, _: self._known(entry, **names), self._report, place)
            if made is None:
                return []
            made.group = group
            if made.name != program and made.name in self.programs:
                other = self.programs[made.name][0]
                why = f"[{made.name}] governs nothing: [{section.title}] defines {made.name}"
                self._report.error(other.source.path, other.line, why)
            made.lines = self._governing.lines(made.name, own, names)
            of_groups = (self.groups[name].file for name in groups)
            made.sources = tuple(dict.fromkeys((self._main.path, *(one.source.path for one in own), *of_groups)))
            found.append(made)
        return found

    def look_through(self) -> None:
        """Report what is wrong beyond what any one program says."""
        for source in self.sources:
            for number, line, key, _ in entries(source.sections[0]):
                if key in KEYS or key_and_text(line.strip())[0] in KEYS or lost_header(line) is not None:
                    self._report.error(source.path, number, f"outside of any section: {show(line.strip())}")
