"""What governs a service of a supervise.conf beyond its definition: the lines that its supervise reads as its own.

What lives here: which lines those are, and the changes without which they would mean another thing in another place.
What does not: what they mean (parser.py).

Rule 1.  They are `[global]` and the sections of the service, as they stand in the file, and in that order.  The name of
         the section becomes that of the service; the keys of definition.py are not among them.
Rule 2.  So is all that parser.py takes for a reason to doubt what restricts the service: what stands before the first
         section, below what is no header, or in a section in which another header may be lost.
Rule 3.  Where values are expanded, what parser.py does not know is expanded here: `%(process_num)d`, `%(numprocs)d`,
         `%(group_name)s`; `%(program_name)s`, which to it is the name of the service; and `%(here)s` of an included
         file.
Rule 4.  A relative `directory` is one below the folder of the main file, and that folder is where a service runs that
         has none.  `command`, `pidfile` and `check_command` are relative to where the service runs, as always.
"""

from __future__ import annotations

from supervise.config.definition import KEYS
from supervise.config.expand import BadText, split_environment, usable
from supervise.config.instances import Known, expand_all, expand_some
from supervise.config.misspellings import misplaced
from supervise.config.native_lines import entries
from supervise.config.written import EXPANDED, escaped, unexpanded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervise.config.definition import Line
    from supervise.config.sources import Section, Source

_MARK = "\ufeff"
_PAIRS = ("gl", "lo", "ob", "ba", "al")  # one typing error leaves some of these


class Governing:
    """The sections of all files that govern any service: `[global]`, and those in doubt (rule 2)."""

    def __init__(
        self, sources: list[Source], global_sections: list[Section], host: str, environ: Mapping[bytes, bytes]
    ) -> None:
        self._main = sources[0]
        self._order = {source: place for place, source in enumerate(sources)}
        self._globals = global_sections
        self._host = host
        self._environ = environ
        self._doubtful = {source: [one for one in source.sections if self._in_doubt(one)] for source in sources}

    def _in_doubt(self, section: Section) -> bool:
        title = section.title
        if section.odd or not title:
            return True
        if self._globals or not any(pair in title.lower() for pair in _PAIRS):
            return False
        return misplaced(title, "") == "global"

    def alone(self, own: list[Section]) -> bool:
        """Whether the sections of a service stand alone, for the first of them stands before `[global]`."""
        first = self._globals[0] if self._globals else None
        return first is not None and own[0].source is self._main and own[0].start < first.start

    def lines(self, name: str, own: list[Section], names: Mapping[str, str | int]) -> list[Line]:
        """The lines that govern the service `name`, whose sections are `own`; `names` as rule 3 has them."""
        doubtful = [one for source in {self._main, *(one.source for one in own)} for one in self._doubtful[source]]
        alone = self.alone(own)
        found: list[Line] = []
        said = False
        placed = -1  # where a directory can be said
        for section in sorted({*doubtful, *self._globals, *own}, key=lambda one: (self._order[one.source], one.start)):
            path = section.source.path
            mine = section in own
            if mine or section in self._globals:
                found.append((path, section.line, f"[{name}]" if mine else "[global]"))
                placed = len(found) if mine and placed < 0 else placed
                known = Known({**names, "here": section.source.folder}, {})
                for number, line, key, text in entries(section):
                    if key == "directory" and text is not None and (mine or not alone):
                        line = f"directory : {self._directory(text, known)}"
                        said = True
                    elif text is not None and "%(" in text:
                        line = _expanded(line, key, text, known)
                    if key not in KEYS:
                        found.append((path, number, line))
            else:
                if section.title != "":
                    found.append((path, section.line, next(section.lines())[1]))
                found += [(path, number, line) for number, line, _, _ in entries(section)]
        if not said:
            found.insert(placed, (own[0].source.path, own[0].line, f"directory : {unexpanded(self._main.folder)}"))
        if found[0][2].startswith(_MARK):
            found.insert(0, (*found[0][:2], ""))  # it stands for itself only where it is not the first of all
        return found

    def _directory(self, text: str, known: Known) -> str:
        """The value of `directory`, so that it means the same wherever the supervise runs (rule 4)."""
        folder = unexpanded(self._main.folder)
        changed = expand_some(text, known, unexpanded)
        try:
            meant = expand_all(text, Known({**known.names, "host_node_name": self._host}, self._environ))
        except BadText:
            return changed  # parser.py will say why
        if not meant:
            return folder
        return changed if meant[0] in "/~" else f"{folder.rstrip('/')}/{changed}"


def _expanded(line: str, key: str, text: str, known: Known) -> str:
    """A line whose value holds `%(...)s`, with what is known here put in (rule 3)."""
    if key in EXPANDED:
        return f"{key} : {expand_some(text, known, unexpanded)}"
    if key != "environment":
        return line
    try:
        pairs = split_environment(text)
    except BadText:
        return line
    if not all(usable(name) for name, _ in pairs):
        return line
    values = ((name, escaped(expand_some(value, known, unexpanded))) for name, value in pairs)
    return "environment : " + ",".join(f'{name}="{value}"' for name, value in values)
