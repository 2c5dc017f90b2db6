"""supervisord.conf as the definition of services: its [program:x] and [group:x] sections, as supervisor means them.

What lives here: which sections there are, and what makes a service of one.  What does not: the syntax
(supervisord_syntax.py), which keys become which of ours (supervisord_keys.py).  The facts are those of supervisor 4.

Rule 1.  [program:x] defines a service, or `numprocs` of them, named by `process_name`.  Two programs with the same
         `process_name` are told apart by supervisor through their groups; here their services are named PROGRAM_NAME.
Rule 2.  Everything is expanded: `%(here)s` is the folder of the file that it stands in; the variables of `environment`,
         that of [supervisord] first, are known as `%(ENV_X)s`.
Rule 3.  [supervisord] says of all programs: environment, directory, user, umask (022, as supervisord sets it where it
         does not stay in the foreground), and the limits minfds and minprocs, where they are above one's own.
Rule 4.  [include] counts in the main file alone.  Files come in the order of include.py, behind the main one.
Rule 5.  Keys that supervisor does not have and supervise does count, in [program:x], and in a section [global]: so a
         file can say depends_on, alarm_mail or check_command, and still be supervisor's.
Rule 6.  What is not carried over is a warning, one line for each key or section.
Rule 7.  A relative `directory` is one below that of [supervisord], else below the folder of the main file.  Where there
         is none, a service runs where its supervise does, as with supervisord.
"""

from __future__ import annotations

import posix as os

from supervise.config.definition import KEYS, Definition, Entry, Group, count, make
from supervise.config.expand import BadText
from supervise.config.include import Included
from supervise.config.instances import Known, bad_name, expand_all, whole_number
from supervise.config.supervisord_keys import Translation, not_carried_over
from supervise.config.supervisord_syntax import Block, blocks, split_variables, title_of
from supervise.config.values import show
from supervise.protocol.filenames import in_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervise.config.sources import Report, Section, Source

_PROGRAM, _FCGI, _GROUP = "program:", "fcgi-program:", "group:"
_SUPERVISORD, _INCLUDE, _DEFAULT, _GLOBAL = "supervisord", "include", "DEFAULT", "global"
_STARTRETRIES = "3"
_KEPT_IN_QUOTES = '"\\'  # by a backslash in a command
_NAMING = (b"process_name", b"numprocs")
_SPAN = 1 << 32  # priorities of programs, within one of their group


class Supervisord:
    """A supervisord.conf and what it includes: the sections of each program, the groups, and what each defines."""

    def __init__(self, main: Source, report: Report, environ: Mapping[bytes, bytes]) -> None:
        self._report = report
        self._environ = environ
        self._main = main
        self._host = in_file(os.uname().nodename)
        self._included = Included(main)
        self._titles: dict[str, list[Section | Block]] = {}
        self.programs: dict[str, str] = {}  # name -> title
        self.groups: dict[str, Group] = {}
        self._group_of: dict[str, str] = {}
        self._known_keys: dict[str, dict[str, Entry]] = {}  # of each title, once all files are read
        self._complete = False
        self._add(main)
        self._include()
        self._complete = True
        self._global = self._keys(_GLOBAL)
        base = self._keys(_SUPERVISORD)
        self._variables, self._translation = {}, Translation(base, self._global, main.folder, report)
        if "environment" in base:
            self._variables = self._environment(base["environment"], {})
        self._translation.read(lambda entry: self._expanded(entry, Known(self._names(entry), environ, self._variables)))
        for title in self._titles:
            if title.startswith(_PROGRAM):
                self.programs.setdefault(title[len(_PROGRAM) :].strip(), title)
        for title in self._titles:
            if title.startswith(_GROUP):
                self._add_group(title[len(_GROUP) :].strip(), title)
        self._shared: set[str] | None = None

    @property
    def sources(self) -> list[Source]:
        """All files that are read, the main one first."""
        return self._included.sources

    # Sections.

    def _add(self, source: Source) -> None:
        source.split(title_of)
        for section in source.sections:
            if section.title is None:
                line = next(section.lines())[1]
                self._report.error(source.path, section.line, f"not a section header: {show(line)}")
            elif section.odd or section.title == "":
                for block in self._blocks(section):
                    self._titles.setdefault(block.title, []).append(block)
            else:
                self._titles.setdefault(section.title, []).append(section)

    def _blocks(self, section: Section) -> list[Block]:
        return blocks(section, lambda line, text: self._report.error(section.source.path, line, text))

    def _keys(self, title: str) -> dict[str, Entry]:
        """The keys of all sections with that title, the last of each, and those of [DEFAULT] (rule 3 of the syntax)."""
        known = self._known_keys.get(title)
        if known is not None:
            return known
        found: dict[str, Entry] = {}
        if title != _DEFAULT and _DEFAULT in self._titles:
            found.update(self._keys(_DEFAULT))
        for section in self._titles.get(title, ()):
            for block in [section] if isinstance(section, Block) else self._blocks(section):
                found.update(block.keys)
        if self._complete:
            self._known_keys[title] = found
        return found

    def _include(self) -> None:
        if _INCLUDE not in self._titles:
            return
        section = self._titles[_INCLUDE][0]
        entry = self._keys(_INCLUDE).get("files")
        if entry is None:
            self._report.error(section.source.path, section.line, "[include] has no files")
            return
        patterns = self._expanded(entry, Known(self._names(entry), self._environ))
        for source in self._included.read(patterns or "", self._main, entry.line, self._report):
            self._add(source)

    def _add_group(self, name: str, title: str) -> None:
        section = self._titles[title][0]
        keys = self._keys(title)
        path, line = section.source.path, section.line
        if bad := bad_name(name):
            self._report.error(path, line, f"the name {show(name)} of a group {bad}")
            return
        group = self.groups[name] = Group([], path, line)
        for key, entry in keys.items():
            text = self._expanded(entry, Known(self._names(entry), self._environ, self._variables)) or ""
            if key == "programs":
                group.line, words = entry.line, [word.strip() for word in text.split(",")]
                for word in filter(None, dict.fromkeys(words)):
                    if _FCGI + word in self._titles and word not in self.programs:
                        why = f"{word} is no [program:{word}]: left out"
                        self._report.leave_out(path, entry.line, f"group {name}: {why}")
                    else:
                        group.programs.append(word)
            elif key == "priority":
                try:
                    group.priority = whole_number(text)
                except BadText as why_not:
                    self._report.error(path, entry.line, f"priority: {show(text)} {why_not}")
            else:
                self._report.leave_out(entry.source.path, entry.line, f"{key}: not a key of [{title}]: skipped")
        for word in group.programs:
            self._group_of.setdefault(word, name)

    # Values.

    def _names(self, entry: Entry) -> dict[str, str | int]:
        return {"here": entry.source.folder, "host_node_name": self._host}

    def _expanded(self, entry: Entry, known: Known) -> str | None:
        """The value of an entry; None if it cannot be expanded, which is reported."""
        try:
            return expand_all(entry.text, known)
        except BadText as why:
            self._report.error(entry.source.path, entry.line, str(why))
            return None

    def _environment(self, entry: Entry, names: Mapping[str, str | int]) -> dict[str, str]:
        """The variables that an `environment` sets.  What was expanded is not looked at again, if that can be."""
        known = Known({**names, **self._names(entry)}, self._environ, self._variables)
        try:
            try:
                pairs = list(split_variables(entry.text))
            except ValueError:
                return dict(split_variables(expand_all(entry.text, known)))
            return {expand_all(name, known): expand_all(value, known) for name, value in pairs}
        except ValueError as why:
            self._report.error(entry.source.path, entry.line, f"environment: {why}")
            return {}

    # What a program defines.

    def variants(self) -> list[str]:
        """The programs whose services may have other names than their own."""
        if _DEFAULT in self._titles:
            return list(self.programs)
        data = {source: source.data.lower() for source in self.sources}
        if not any(word in text for text in data.values() for word in _NAMING):
            return []
        return [name for name, title in self.programs.items() if self._names_services(title, data)]

    def _names_services(self, title: str, data: Mapping[Source, bytes]) -> bool:
        for one in self._titles[title]:
            if isinstance(one, Block):
                return True
            if any(data[one.source].find(word, one.start, one.end) >= 0 for word in _NAMING):
                return True
        return False

    def _is_shared(self, template: str) -> bool:
        """Whether several programs have this `process_name`, so that services would have the same names (rule 1)."""
        if "%(program_name)" in template:
            return False
        if self._shared is None:
            said = (self._keys(self.programs[name]).get("process_name") for name in self.variants())
            counted: dict[str, int] = {}
            for entry in said:
                if entry is not None:
                    counted[entry.text] = counted.get(entry.text, 0) + 1
            self._shared = {text for text, times in counted.items() if times > 1}
        return template in self._shared

    def make(self, program: str) -> list[Definition]:
        """Make the services that a program defines; none where there is an error, which is reported."""
        title = self.programs[program]
        keys = self._keys(title)
        section = self._titles[title][0]
        path, line = section.source.path, section.line
        if "command" not in keys:
            self._report.error(path, line, f"[{title}] has no command")
            return []
        said = {key: entry for key, entry in keys.items() if key in KEYS}
        if not said.get("startretries"):
            said["startretries"] = Entry(_STARTRETRIES, section.source, line)
        template = said.get("process_name")
        if template is not None and self._is_shared(template.text):
            self._report.leave_out(
                path, template.line, f"process_name: others have the same: the services are called {program}_..."
            )
            said["process_name"] = Entry("%(program_name)s_" + template.text, template.source, template.line)
        group = self._group_of.get(program, program)
        names: dict[str, str | int] = {"program_name": program, "group_name": group}
        variables = self._variables

        def known(entry: Entry, _: int = 0) -> Known:
            return Known({**self._names(entry), **names}, self._environ, variables)

        numbers = count(said, known, self._report)
        if numbers is None:
            return []
        sources = [self._main.path, *(one.source.path for one in self._titles[title])]
        sources += [one.source.path for one in self._titles.get(_SUPERVISORD, ())]
        if group in self.groups:
            sources.append(self.groups[group].file)
        names["numprocs"] = len(numbers)
        found = []
        for number in numbers:
            names["process_num"] = number
            variables = self._variables
            own = self._environment(keys["environment"], names) if "environment" in keys else {}
            variables = {**self._variables, **own}
            made = make(program, number, said, known, self._report, (path, line), _KEPT_IN_QUOTES)
            if made is None:
                return []
            made.group = group
            if self.groups:
                of_group = self.groups[group].priority if group in self.groups else made.priority
                made.priority += of_group * _SPAN
            self._translation.govern(made, keys, lambda entry: self._expanded(entry, known(entry)), variables)
            made.sources = tuple(dict.fromkeys(sources))
            found.append(made)
        return found

    def look_through(self) -> None:
        """Report what is wrong, or not carried over, beyond what any one program says."""
        self._translation.look_through()
        for title, sections in self._titles.items():
            first = sections[0]
            if title.startswith(_PROGRAM) and len(sections) > 1:
                for other in sections[1:]:
                    where = f"{first.source.path}:{first.line}"
                    self._report.warn(other.source.path, other.line, f"[{title}] again: joined with that in {where}")
            elif title == _INCLUDE:
                for other in sections:
                    if other.source is not self._main:
                        self._report.warn(other.source.path, other.line, "[include] counts in the main file only")
            elif not title.startswith((_PROGRAM, _GROUP)) and title not in (_SUPERVISORD, _GLOBAL, _DEFAULT):
                self._report.leave_out(first.source.path, first.line, not_carried_over(title))
