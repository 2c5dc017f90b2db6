"""Splitting supervise.conf into sections, and noting every line that does not count.

What lives here: the syntax, rules 1, 4 and 6 of parser.py, and of rule 7 what may have been meant and does not count.
What does not: what keys mean and which sections govern a service (parser.py), words (misspellings.py).
"""

from __future__ import annotations

from supervise.config.config import FLEET_KEYS, KEYS, RESTRICTING
from supervise.config.misspellings import elsewhere, lost_header, meant, mentioned, misplaced
from supervise.config.values import LISTS, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BREAKS = (b"\r", b"\v", b"\f", b"\x1c", b"\x1d", b"\x1e")
_BLANKS = " \t\r\f\v"
LINE_LIMIT = 2048  # bytes, without the newline
PROBLEM_LIMIT = 20  # problems that are kept; the rest are counted
BOM = b"\xef\xbb\xbf"


class Problem:
    """A problem in a configuration, which is skipped: `line` counts from 1, 0 means the whole file."""

    __slots__ = ("line", "text")

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        self.text = text

    def at(self, path: str) -> str:
        """Format the problem as `FILE:LINE: what is wrong`."""
        return f"{path}:{self.line}: {self.text}" if self.line else f"{path}: {self.text}"


class Problems:
    """The problems of one file, the first PROBLEM_LIMIT of them kept; `blocking`: those that block starts.

    `places`: the lines of keys whose values may turn out later to be of no use.
    """

    __slots__ = ("kept", "dropped", "blocking", "places")

    def __init__(self) -> None:
        self.kept: list[Problem] = []
        self.dropped = 0
        self.blocking: list[Problem] = []
        self.places: dict[str, int] = {}

    def copy(self) -> Problems:
        """The same, to add others to."""
        problems = Problems()
        problems.kept, problems.dropped = [*self.kept], self.dropped
        problems.blocking, problems.places = [*self.blocking], {**self.places}
        return problems

    def add(self, line: int, text: str) -> None:
        if len(self.kept) < PROBLEM_LIMIT:
            self.kept.append(Problem(line, text))
        else:
            self.dropped += 1

    def block(self, line: int, text: str) -> None:
        """Add a problem that blocks starts, unless it is there already; it is always kept."""
        at = next((at for at, known in enumerate(self.kept) if (known.line, known.text) == (line, text)), -1)
        problem = Problem(line, text) if at < 0 else self.kept[at]
        if len(self.blocking) < PROBLEM_LIMIT and problem not in self.blocking:
            self.blocking.append(problem)
            self.blocking.sort(key=lambda problem: problem.line)
            if at < 0:
                self.kept.append(problem)

    @property
    def count(self) -> int:
        """The number of problems, also of those that were not kept."""
        return len(self.kept) + self.dropped

    def __bool__(self) -> bool:
        return bool(self.kept)

    def lines(self, path: str) -> list[str]:
        """Format each problem as `FILE:LINE: what is wrong`."""
        return self.told(lambda problem: problem.at(path))

    def told(self, at: Callable[[Problem], str]) -> list[str]:
        """The same, each as `at` formats it."""
        found = [at(problem) for problem in sorted(self.kept, key=lambda problem: problem.line)]
        if self.dropped:
            found.append(at(Problem(0, f"and {self.dropped} more problems")))
        return found


class Sections:
    """The file split into sections: for each name, in the order of their first headers, its keys."""

    __slots__ = ("keys", "broken", "doubts", "_before_global", "_nearly_global")

    def __init__(self) -> None:
        # section -> key -> line and text; no text where the `:` is missing, so that the earlier value stays
        self.keys: dict[str, dict[str, tuple[int, str | None]]] = {}
        self.broken = False  # the sections cannot be told apart with certainty
        # section, None where nobody knows which -> what may have been meant there for a key that restricts (rule 7)
        self.doubts: dict[str | None, list[tuple[int, str]]] = {}
        self._before_global: set[str] | None = None
        self._nearly_global: list[str] | None = None

    # Both are asked for each service of a file, and found once.

    @property
    def before_global(self) -> set[str]:
        """The sections that stand before [global]."""
        if self._before_global is None:
            titles = [*self.keys] if "global" in self.keys else []
            self._before_global = {*titles[: titles.index("global")]} if titles else set()
        return self._before_global

    @property
    def nearly_global(self) -> list[str]:
        """The sections, and those that may have been meant to be some, whose name may be a misspelling of global."""
        if self._nearly_global is None:
            titles = dict.fromkeys(filter(None, (*self.keys, *self.doubts)))
            self._nearly_global = [title for title in titles if misplaced(title, "") == "global"]
        return self._nearly_global

    def note(self, section: str | None, line: int, text: str) -> None:
        """Note a line that does not count in a section, None for before the first."""
        noted = self.doubts.setdefault(section, [])
        if len(noted) < PROBLEM_LIMIT:
            noted.append((line, text))


def without_torn_line(data: bytes) -> bytes:
    """Cut off an incomplete last line."""
    end = data.rfind(b"\n") + 1
    return data[:end] if len(data) - end <= LINE_LIMIT else data


def names_services(title: str) -> bool:
    """Whether a section is about several services or files, and none of a service's own: [group:NAME], [include]."""
    return title == "include" or title.startswith("group:")


def split(data: bytes, problems: Problems, reported: set[str] | None) -> Sections:
    """Split a file into sections (rule 1); unknown and repeated keys are problems in those `reported` (None: all)."""
    found = Sections()
    current: dict[str, tuple[int, str | None]] | None = None
    heard, title, secret = True, None, False
    astray: str | None = ""  # the section that a header which does not count may have begun; empty: there is none
    if data.startswith(BOM):
        data = data[len(BOM) :]
    for number, raw in enumerate(data.split(b"\n"), 1):
        raw = raw[:-1] if raw.endswith(b"\r") else raw
        if b"\0" in raw:
            problems.add(number, "holds a NUL byte: skipped")
            found.broken = secret = True
            astray = None if b"[" in raw else astray
            if mentioned(raw) or mentioned(raw.replace(b"\0", b"")):
                found.note(None if astray != "" else title, number, "holds a NUL byte: skipped")
            continue
        incomplete = False
        if not raw.isascii() or any(mark in raw for mark in _BREAKS):
            for more in raw.decode("utf-8", "surrogateescape").splitlines()[1:]:
                if hint := meant(more):
                    found.note(None, number, f"{hint} stands behind a line break that does not count")
        if len(raw) > LINE_LIMIT:
            problems.add(number, f"longer than {LINE_LIMIT} bytes: cut there")
            incomplete = bool(raw[LINE_LIMIT:].strip())
            if not raw[:LINE_LIMIT].strip() and mentioned(raw):
                found.note(title, number, f"longer than {LINE_LIMIT} bytes: cut there")
            raw = _cut(raw)
        whole = raw.decode("utf-8", "surrogateescape")
        line = whole.rstrip()
        if not line or line[0] in "#;" or line.lstrip()[0] in "#;":
            continue
        indented = line[0] in " \t"
        if line[0] == "[":
            secret, astray = False, ""
            title = line[1:-1]
            if not line.endswith("]") or not title or title != title.strip() or "]" in title:
                problem = f"not a section header: {show(line)}: skipped up to the next one"
                problems.add(number, problem)
                behind = raw.partition(b"]")
                if mentioned(behind[2] if behind[1] else raw):
                    found.note(None, number, problem)
                found.broken, current, title, heard = True, None, None, False
                continue
            heard = title in reported if reported is not None else not names_services(title)
            if title in found.keys and heard:
                problems.add(number, f"section [{show(title)[1:-1]}] again: joined with the one above")
            current = found.keys.setdefault(title, {})
            continue
        key, end = _key(line.strip())
        text = line.strip()[end + 1 :].strip() if end >= 0 else None
        if not text and key in RESTRICTING and end >= 0:
            text = whole.strip(_BLANKS)[end + 1 :].strip(_BLANKS)  # blanks beyond ASCII are a value
        if indented:
            problem = f"indented, so it does not count{_glimpse(line.strip(), secret)}"
        else:
            secret = key == "environment" or (secret and key not in KEYS)
            if current is None:
                problem = f"outside of any section{_glimpse(line, secret)}"
            elif key in KEYS:
                before = current.get(key, (0, text))
                problem = _add_key(current, key, number, text, incomplete)
                if key in RESTRICTING and before[1] != text and None not in (before[1], text):
                    problem = f"{key} again, and not as in line {before[0]}"
                    found.note(title, number, problem)
            elif end >= 0 and key in FLEET_KEYS:
                problem = ""
            elif end >= 0:
                hint, instead = meant(line, secret), elsewhere(key)
                why = f"supervisor's; here, {instead}" if instead else "probably a typo"
                problem = "unknown key" if secret else f"unknown key {show(key)}: {why}"
                problem += f" of {hint}" if hint else ""
            else:
                problem = f"neither `key : value` nor a section header{_glimpse(line, secret)}"
        if problem and heard:
            problems.add(number, problem)
        counts = not indented and current is not None and key in KEYS
        variable = secret and (indented or key.isupper())
        hint = meant(line, variable) if not counts or key in RESTRICTING else ""
        if hint and not (indented and secret and key.isupper()):  # a variable of an environment of several lines
            if counts and text is not None and not incomplete:
                problem = f"{key}: a section header above it does not count" if astray != "" else ""
            for section in (title, astray) if astray != "" else (title,):
                if problem:
                    found.note(section, number, problem)
        elif not counts and (lost := lost_header(line)) is not None:
            astray = lost or None
    return found


def _add_key(
    section: dict[str, tuple[int, str | None]], key: str, number: int, text: str | None, incomplete: bool
) -> str:
    """Add a key with its text, None where the sign is missing; what is wrong with that, if anything."""
    if text is None or (incomplete and key not in LISTS):
        section.setdefault(key, (number, None))
        return f"{key}: no ':' after the key" if text is None else f"{key}: its end is missing: skipped"
    before = section.get(key)
    section[key] = (number, text)
    return f"{key} again: this one counts, not the one in line {before[0]}" if before else ""


def _key(line: str) -> tuple[str, int]:
    """The first word, or what stands before the sign, and where the sign is; -1 if there is none."""
    colon, equals = line.find(":"), line.find("=")
    end = min(colon, equals) if colon >= 0 and equals >= 0 else max(colon, equals)
    return (line[:end].rstrip() if end >= 0 else line.split(None, 1)[0]), end


def _glimpse(line: str, secret: bool) -> str:
    """What of a line that is skipped may be quoted (rule 6): of what may be a variable not the value.

    `secret`: it follows the key environment, and may be meant to continue that.
    """
    if secret:
        return " (nor does a value go on in the next line)"
    key, end = _key(line)
    if key == "environment":
        line = key
    elif line[0] != "[" and key not in KEYS and end >= 0:
        line = line[: end + 1]
    return f": {show(line)}"


def _cut(raw: bytes) -> bytes:
    """The line without what is beyond the limit, and without a word that the limit would split: half an
    address may be somebody else's, half a number is another number."""
    kept = raw[:LINE_LIMIT]
    if raw[LINE_LIMIT : LINE_LIMIT + 1].isspace() or kept[-1:].isspace():
        return kept
    delimiters = [at for at in (kept.find(b":"), kept.find(b"=")) if at >= 0]
    end = max(kept.rfind(b" "), kept.rfind(b"\t"), min(delimiters, default=-1))
    return kept[: end + 1]
