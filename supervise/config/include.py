"""`[include]`: which files its patterns name, and reading each of them once.

What lives here: patterns and the names in directories.  What does not: what an included file may say.

A pattern is a path, relative to the file that it stands in, with `*`, `?` and `[...]` in any part of it; none of them
stands for a `/`, nor for a dot at the beginning of a name.  Files come in the order of the patterns, those of one
pattern in the order of their names.
"""

from __future__ import annotations

import posix as os

from supervise.config.sources import Source, Unusable
from supervise.protocol.filenames import dirname, from_file, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.sources import Report

_SPECIAL = frozenset("*?[")


def matching(pattern: str, folder: str) -> list[str]:
    """The paths that a pattern names, sorted; one without anything special names itself, if it is there."""
    path = join(folder, pattern)
    found = ["/" if path.startswith("/") else ""]
    for part in (part for part in path.split("/") if part):
        found = [name for above in found for name in _below(above, part)]
    return sorted(found)


def _below(above: str, part: str) -> list[str]:
    if _SPECIAL.isdisjoint(part):
        path = join(above, part)
        try:
            os.lstat(path)
        except (OSError, ValueError):
            return []
        return [path]
    try:
        names = os.listdir(above or ".")
    except (OSError, ValueError):
        return []
    return [join(above, name) for name in names if (name[0] != "." or part[0] == ".") and matches(name, part)]


def matches(name: str, pattern: str) -> bool:
    """Whether a name is one that a pattern stands for; takes no more steps than the two are long, multiplied."""
    at = place = 0
    star = after = -1  # the last `*`, and where in the name what follows it was tried
    while at < len(name):
        end, fits = _fits(name[at], pattern, place)
        if end and fits and pattern[place] != "*":
            at, place = at + 1, end
        elif pattern[place : place + 1] == "*":
            star, after, place = place, at, place + 1
        elif star >= 0:
            after += 1
            at, place = after, star + 1
        else:
            return False
    return not pattern[place:].strip("*")


def _fits(char: str, pattern: str, place: int) -> tuple[int, bool]:
    """Where the part of the pattern that stands for one character ends, 0 at its end; and whether it is this one."""
    if place == len(pattern):
        return 0, False
    first = pattern[place]
    if first != "[":
        return place + 1, first in ("?", char)
    start = place + 2 if pattern[place + 1 : place + 2] == "!" else place + 1
    end = pattern.find("]", start + 1)
    if end < 0:
        return place + 1, char == "["
    listed, at = False, start
    while at < end:
        if pattern[at + 1 : at + 2] == "-" and at + 2 < end:
            listed = listed or pattern[at] <= char <= pattern[at + 2]
            at += 3
        else:
            listed = listed or pattern[at] == char
            at += 1
    return end + 1, listed != (start == place + 2)


class Included:
    """The files that are read, the main one first: each once, whatever names it."""

    def __init__(self, main: Source) -> None:
        self.sources = [main]
        self._seen: dict[tuple[int, int], str] = {}
        self._is_new(main.path)

    def read(self, patterns: str, by: Source, line: int, report: Report) -> list[Source]:
        """Read the files that the patterns in a line of `by` name; what is not read is reported."""
        found = []
        for pattern in patterns.split():
            paths = matching(from_file(pattern), dirname(by.path))
            if not paths:
                report.warn(by.path, line, f"files: {pattern} matches nothing")
            for path in paths:
                if not self._is_new(path):
                    report.warn(by.path, line, f"files: {path} is read already: ignored")
                    continue
                try:
                    found.append(Source.read(path))
                except Unusable as why:
                    report.unusable(why, f", and {by.path}:{line} includes it")
        self.sources += found
        return found

    def _is_new(self, path: str) -> bool:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return True  # which reading it will say
        known = self._seen.setdefault((status.st_dev, status.st_ino), path)
        return known is path
