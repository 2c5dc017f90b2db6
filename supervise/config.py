"""supervise.conf -> a Config and a list of problems.

What lives here: the syntax, the keys, which sections govern a service.  What does not: files (conffile.py).

The format is that of the C `supervise`: INI, with these rules.

Rule 1.  `[section]`, `key : value` (or `=`), `#` and `;` begin a comment line.  A key or a header counts only
         at the start of its line; an indented one is skipped.  Lines beyond 2,048 bytes are cut there.
Rule 2.  A service is governed by `[NAME]` alone, if it stands before `[global]`; else by `[global]`, and over
         it by `[NAME]`.  The lists of the two are joined, without repeats.
Rule 3.  A bad value is skipped and the rest applies.  On a re-read, what a broken file fails to say stays as it
         was: a bad value keeps the key's earlier value, and a file whose sections cannot be told apart (a
         broken header, a NUL, a cut end) keeps the earlier values of all keys that it does not set.
Rule 4.  Everything skipped is a problem with the number of its line.  Nothing here ever raises.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

LINE_LIMIT = 2048  # bytes, without the newline
SIZE_LIMIT = 1 << 20  # bytes of a file that are read: parsing them holds the loop up for a tenth of a second
PROBLEM_LIMIT = 20  # problems that are kept; the rest are counted
MAX_INT = 2**31 - 1
SHORTEST_INTERVAL = 60  # seconds
GSM_LIMIT = 10
BOM = b"\xef\xbb\xbf"


class Config:
    """What governs one service.  Times are whole seconds; 0 stands for "no limit" or "off"."""

    __slots__ = ("alarm_interval", "alarm_mail", "alarm_gsm", "max_tries", "max_tries_if_coredumped")

    def __init__(self) -> None:
        self.alarm_interval = 0
        self.alarm_mail: tuple[str, ...] = ()
        self.alarm_gsm: tuple[str, ...] = ()
        self.max_tries = 0
        self.max_tries_if_coredumped = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and all(getattr(self, key) == getattr(other, key) for key in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, key) for key in self.__slots__))

    def items(self) -> list[tuple[str, str]]:
        """Every key with its value as a person would write it."""
        pairs = []
        for key in self.__slots__:
            value = getattr(self, key)
            pairs.append((key, " ".join(value) if isinstance(value, tuple) else str(value)))
        return pairs

    def __str__(self) -> str:
        if not self.alarm_interval:
            return "no policy: alarm_interval is 0, restarts are not limited"
        return ", ".join(f"{key} {value or '(empty)'}" for key, value in self.items())


class BadValue(Exception):
    """A value that cannot be used; the message says why."""


def _integer(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise BadValue(f"{show(text)} is not a whole number")
    if len(text) > 10 or int(text) > MAX_INT:
        raise BadValue(f"{show(text)} is out of range (0 to {MAX_INT})")
    return int(text)


def _interval(text: str) -> int:
    seconds = _integer(text)
    return max(seconds, SHORTEST_INTERVAL) if seconds else 0


# Recipients become arguments of `mail` and `sendmail`, which take some words for options, files or commands.
_ADDRESS_MARKS = "._+-=%&#~@:[]'"
_NUMBER_MARKS = "._+-@:"


def _words(text: str, what: str, marks: str) -> tuple[list[str], list[str]]:
    good, complaints = [], []
    for word in text.split():
        plain = word.isascii() and all(char.isalnum() or char in marks for char in word)
        if plain and (word[0].isalnum() or word[0] in "_" or (what == "number" and word[0] == "+")):
            good.append(word)
        else:
            complaints.append(f"{show(word)} is not a usable {what}: skipped")
    return good, complaints


def _addresses(text: str) -> tuple[list[str], list[str]]:
    return _words(text, "address", _ADDRESS_MARKS)


def _numbers(text: str) -> tuple[list[str], list[str]]:
    return _words(text, "number", _NUMBER_MARKS)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "alarm_interval": _interval,
    "max_tries": _integer,
    "max_tries_if_coredumped": _integer,
}
_LISTS: dict[str, Callable[[str], tuple[list[str], list[str]]]] = {
    "alarm_mail": _addresses,
    "alarm_gsm": _numbers,
}


def show(text: str) -> str:
    """Text from a file, quoted and short, without anything that could disturb a log or a terminal."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Problem:
    """Something skipped: `line` counts from 1, 0 means the whole file."""

    __slots__ = ("line", "text")

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        self.text = text

    def at(self, path: str) -> str:
        """`FILE:LINE: what is wrong`."""
        return f"{path}:{self.line}: {self.text}" if self.line else f"{path}: {self.text}"


class Problems:
    """The problems of one reading, the first PROBLEM_LIMIT of them kept."""

    __slots__ = ("kept", "dropped")

    def __init__(self) -> None:
        self.kept: list[Problem] = []
        self.dropped = 0

    def add(self, line: int, text: str) -> None:
        if len(self.kept) < PROBLEM_LIMIT:
            self.kept.append(Problem(line, text))
        else:
            self.dropped += 1

    def __bool__(self) -> bool:
        return bool(self.kept)

    def lines(self, path: str) -> list[str]:
        """Every problem as `FILE:LINE: what is wrong`."""
        found = [problem.at(path) for problem in sorted(self.kept, key=lambda problem: problem.line)]
        if self.dropped:
            found.append(f"{path}: and {self.dropped} more problems")
        return found


class Sections:
    """The file split into sections: for each name, in the order of their first headers, its keys."""

    __slots__ = ("keys", "broken")

    def __init__(self) -> None:
        # section -> key -> line and text; no text where the `:` is missing, so that the earlier value stays
        self.keys: dict[str, dict[str, tuple[int, str | None]]] = {}
        self.broken = False  # the sections cannot be told apart with certainty


def parse(
    data: bytes, name: str, previous: Config | None = None, cut: bool = False, strict: bool = False
) -> tuple[Config, Problems]:
    """What `data` means for the service `name`, and what had to be skipped.

    `previous` is the configuration in force until now (rule 3).  `cut` says that the file is longer than
    `data`.  Problems inside sections of other services are reported only if `strict`.
    """
    problems = Problems()
    if cut and len(data) - (end := data.rfind(b"\n") + 1) <= LINE_LIMIT:
        data = data[:end]  # nobody knows how the last line goes on
    sections = _split(data, problems, None if strict else {name, "global"})
    if cut:
        problems.add(0, f"longer than {SIZE_LIMIT} bytes: the rest is not read")
        sections.broken = True
    config = Config()
    said: dict[str, bool] = {}  # key -> whether the last section that has it has a usable value
    for section in governing(sections.keys, name):
        for key, (line, text) in sections.keys[section].items():
            said[key] = text is not None and _apply(config, key, text, line, problems)
    if previous is not None:
        for key in config.__slots__:
            if not said.get(key, not sections.broken):
                setattr(config, key, getattr(previous, key))
    return config, problems


def _apply(config: Config, key: str, text: str, line: int, problems: Problems) -> bool:
    """Set one key; False if the value is of no use."""
    if key in _SCALARS:
        try:
            setattr(config, key, _SCALARS[key](text))
        except BadValue as why:
            problems.add(line, f"{key}: {why}")
            return False
        return True
    good, complaints = _LISTS[key](text)
    for complaint in complaints:
        problems.add(line, f"{key}: {complaint}")
    words = list(dict.fromkeys((*getattr(config, key), *good)))
    if key == "alarm_gsm" and len(words) > GSM_LIMIT:
        problems.add(line, f"alarm_gsm: more than {GSM_LIMIT} numbers: the rest are skipped")
        del words[GSM_LIMIT:]
    setattr(config, key, tuple(words))
    return bool(good) or not complaints


def governing(names: Iterable[str], name: str) -> list[str]:
    """The sections that apply to the service `name`, the weaker first (rule 2)."""
    ordered = [section for section in names if section in ("global", name)]
    return ordered[:1] if ordered[:1] == [name] else ordered


def section_names(data: bytes) -> list[str]:
    """The sections of a file, in the order of their first headers."""
    return list(_split(data, Problems(), set()).keys)


def _split(data: bytes, problems: Problems, reported: set[str] | None) -> Sections:
    """Rule 1.  Unknown and repeated keys are reported for the `reported` sections, None meaning all."""
    found = Sections()
    current: dict[str, tuple[int, str | None]] | None = None
    heard, title = True, ""
    if data.startswith(BOM):
        data = data[len(BOM) :]
    for number, raw in enumerate(data.split(b"\n"), 1):
        raw = raw[:-1] if raw.endswith(b"\r") else raw
        if b"\0" in raw:
            problems.add(number, "holds a NUL byte: skipped")
            found.broken = True
            continue
        if len(raw) > LINE_LIMIT:
            problems.add(number, f"longer than {LINE_LIMIT} bytes: cut there")
            raw = _cut(raw)
        line = raw.decode("utf-8", "surrogateescape").rstrip()
        if not line or line[0] in "#;" or line.lstrip()[0] in "#;":
            continue
        if line[0] in " \t":
            if heard:
                problems.add(number, f"indented, so it does not count: {show(line.strip())}")
        elif line[0] == "[":
            title = line[1:-1]
            if not line.endswith("]") or not title or title != title.strip() or "]" in title:
                problems.add(number, f"not a section header: {show(line)}: skipped up to the next one")
                found.broken, current, heard = True, None, False
                continue
            heard = reported is None or title in reported
            if title in found.keys and heard:
                problems.add(number, f"section [{show(title)[1:-1]}] again: joined with the one above")
            current = found.keys.setdefault(title, {})
        elif current is None:
            if heard:
                problems.add(number, f"outside of any section: {show(line)}")
        else:
            _add_key(current, line, number, problems, heard)
    return found


def _add_key(
    section: dict[str, tuple[int, str | None]], line: str, number: int, problems: Problems, heard: bool
) -> None:
    ends = [at for at in (line.find(":"), line.find("=")) if at >= 0]
    key = line[: min(ends)].rstrip() if ends else line.split()[0]
    if key not in _SCALARS and key not in _LISTS:
        if heard and ends:
            problems.add(number, f"unknown key {show(key)}: probably a typo")
        elif heard:
            problems.add(number, f"neither `key : value` nor a section header: {show(line)}")
        return
    if not ends:
        if heard:
            problems.add(number, f"{key}: no ':' after the key")
        section.setdefault(key, (number, None))
        return
    if key in section and heard:
        problems.add(number, f"{key} again: this one counts, not the one in line {section[key][0]}")
    section[key] = (number, line[min(ends) + 1 :].strip())


def _cut(raw: bytes) -> bytes:
    """The line without what is beyond the limit, and without a word that the limit would split: half an
    address may be somebody else's, half a number is another number."""
    kept = raw[:LINE_LIMIT]
    if raw[LINE_LIMIT : LINE_LIMIT + 1].isspace() or kept[-1:].isspace():
        return kept
    delimiters = [at for at in (kept.find(b":"), kept.find(b"=")) if at >= 0]
    end = max(kept.rfind(b" "), kept.rfind(b"\t"), min(delimiters, default=-1))
    return kept[: end + 1]
