"""supervise.conf -> a Config and a list of problems.

What lives here: the syntax, the keys, which sections govern a service.  What does not: the kinds of values
(values.py), files (conffile.py).

The format is that of the C `supervise`: INI, with these rules.

Rule 1.  `[section]`, `key : value` (or `=`), `#` and `;` begin a comment line.  A key or a header counts only
         at the start of its line; an indented one is skipped.  Lines beyond 2,048 bytes are cut there, and
         what is cut short is skipped: a word of a list, or the value.
Rule 2.  A service is governed by `[NAME]` alone, if it stands before `[global]`; else by `[global]`, and over
         it by `[NAME]`.  The lists of the two are joined, without repeats, and so are the variables of
         `environment`.
Rule 3.  A bad value is skipped and the rest applies.  On a re-read, what a broken file fails to say stays as it
         was: a bad value keeps the key's earlier value, and a file whose sections cannot be told apart (a
         broken header, a NUL, a cut end) keeps the earlier values of all keys that it does not set.
Rule 4.  Everything skipped is a problem with the number of its line.  Nothing here ever raises.
Rule 5.  An empty value is the key's default, an empty list is empty.
Rule 6.  What stands in `environment`, or seems to, is quoted in no problem and in no log.
"""

from __future__ import annotations

from supervise.expand import BadText, Names, expand, split_environment, usable
from supervise.values import EXPANDED, GSM_LIMIT, LISTS, RESERVED, SCALARS, BadValue, logged, show, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LINE_LIMIT = 2048  # bytes, without the newline
SIZE_LIMIT = 1 << 20  # bytes of a file that are read: parsing them holds the loop up for a tenth of a second
PROBLEM_LIMIT = 20  # problems that are kept; the rest are counted
POLICY_KEYS = ("alarm_interval", "alarm_mail", "alarm_gsm", "max_tries", "max_tries_if_coredumped")
BOM = b"\xef\xbb\xbf"


class Config:
    """What governs one service.  Times are whole seconds; 0 stands for "no limit" or "off".

    Text is what was bytes in the file, decoded as UTF-8 with surrogateescape; to the system it goes the same way.
    """

    __slots__ = (
        *("alarm_interval", "alarm_mail", "alarm_gsm", "max_tries", "max_tries_if_coredumped"),
        *("autorestart", "exitcodes", "restart_delay", "restart_delay_max", "startsecs"),
        *("stopsignal", "stopwaitsecs", "stopasgroup", "killasgroup"),
        *("directory", "user", "umask", "environment", "redirect_stderr"),
        *("notify", "notification_fd", "starttimeoutsecs"),
        *("watchdog_secs", "watchdog_signal"),
        *("check_command", "check_interval", "check_timeout", "check_failures", "check_delay"),
        "pidfile",
    )

    def __init__(self) -> None:
        self.alarm_interval = 0
        self.alarm_mail: tuple[str, ...] = ()
        self.alarm_gsm: tuple[str, ...] = ()
        self.max_tries = 0
        self.max_tries_if_coredumped = 0
        self.autorestart = "always"  # or "unexpected", "never"
        self.exitcodes: tuple[int, ...] = (0,)
        self.restart_delay = 1
        self.restart_delay_max = 0  # 0, or less than restart_delay: as restart_delay
        self.startsecs = 1
        self.stopsignal = "TERM"
        self.stopwaitsecs = 0
        self.stopasgroup = False
        self.killasgroup = False
        self.directory = ""
        self.user = ""
        self.umask: int | None = None  # None: inherited
        self.environment: tuple[tuple[str, str], ...] = ()
        self.redirect_stderr = False
        self.notify = False
        self.notification_fd = 0
        self.starttimeoutsecs = 0
        self.watchdog_secs = 0
        self.watchdog_signal = "ABRT"
        self.check_command: tuple[str, ...] = ()
        self.check_interval = 30
        self.check_timeout = 10
        self.check_failures = 3
        self.check_delay = 0
        self.pidfile = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and all(getattr(self, key) == getattr(other, key) for key in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, key) for key in self.__slots__))

    def items(self) -> list[tuple[str, str]]:
        """Every key with its value as a person would write it."""
        return [(key, written(key, getattr(self, key))) for key in self.__slots__]

    def __str__(self) -> str:
        """For the log: the policy, and what else is not at its default."""
        said = ", ".join(f"{key} {written(key, getattr(self, key)) or '(empty)'}" for key in POLICY_KEYS)
        if not self.alarm_interval:
            said = "no policy: alarm_interval is 0, restarts are not limited"
        for key in self.__slots__[len(POLICY_KEYS) :]:
            value = getattr(self, key)
            if value != getattr(_DEFAULTS, key):
                said += f", {key} {logged(key, value) or '(empty)'}"
        return said


_DEFAULTS = Config()
_KEYS = frozenset(Config.__slots__)


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
    data: bytes,
    name: str,
    previous: Config | None = None,
    cut: bool = False,
    strict: bool = False,
    names: Names | None = None,
) -> tuple[Config, Problems]:
    """What `data` means for the service `name`, and what had to be skipped.

    `previous` is the configuration in force until now (rule 3).  `cut` says that the file is longer than
    `data`.  Problems inside sections of other services are reported only if `strict`.  `names` are what can be
    expanded; without them, the name of the service only.
    """
    problems = Problems()
    if cut and len(data) - (end := data.rfind(b"\n") + 1) <= LINE_LIMIT:
        data = data[:end]  # nobody knows how the last line goes on
    sections = split(data, problems, None if strict else {name, "global"})
    if cut:
        problems.add(0, f"longer than {SIZE_LIMIT} bytes: the rest is not read")
        sections.broken = True
    config = Config()
    names = names or Names(program=name)
    said: dict[str, bool] = {}  # key -> whether the last section that has it has a usable value
    for section in governing(sections.keys, name):
        for key, (line, text) in sections.keys[section].items():
            usable_value = text is not None and _apply(config, key, text, line, names, problems)
            # Where variables of one section are missing, those of the other do not make up for them.
            said[key] = usable_value and (key != "environment" or said.get(key, True))
    if previous is not None:
        for key in config.__slots__:
            if not said.get(key, not sections.broken):
                setattr(config, key, getattr(previous, key))
    return config, problems


def _apply(config: Config, key: str, text: str, line: int, names: Names, problems: Problems) -> bool:
    """Set one key; False if the value is of no use."""
    if key in LISTS:
        return _join(config, key, text, line, problems)
    if key == "environment":
        return _set_variables(config, text, line, names, problems)
    try:
        meant = expand(text, names) if key in EXPANDED else text
        empty = not meant and key != "exitcodes"
        setattr(config, key, getattr(_DEFAULTS, key) if empty else SCALARS[key](meant))
    except BadText as why:
        problems.add(line, f"{key}: {show(text)}: {why}")
        return False
    except BadValue as why:
        problems.add(line, f"{key}: {why}")
        return False
    return True


def _join(config: Config, key: str, text: str, line: int, problems: Problems) -> bool:
    good, complaints = LISTS[key](text)
    for complaint in complaints:
        problems.add(line, f"{key}: {complaint}")
    words = list(dict.fromkeys((*getattr(config, key), *good)))
    if key == "alarm_gsm" and len(words) > GSM_LIMIT:
        problems.add(line, f"alarm_gsm: more than {GSM_LIMIT} numbers: the rest are skipped")
        del words[GSM_LIMIT:]
    setattr(config, key, tuple(words))
    return bool(good) or not complaints


def _set_variables(config: Config, text: str, line: int, names: Names, problems: Problems) -> bool:
    """False if the variables are not all there."""
    try:
        pairs = split_environment(text)
    except BadText as why:
        problems.add(line, f"environment: {why}")
        return False
    complete = True
    found: dict[str, str] = {}
    for number, (name, value) in enumerate(pairs, 1):
        if not usable(name):
            problems.add(line, f"environment: pair {number} has no usable name: skipped")
        elif name in RESERVED:
            problems.add(line, f"environment: {name} is set by supervise: skipped")
        else:
            if name in found:
                problems.add(line, f"environment: {name} again: the last one counts")
            try:
                found[name] = expand(value, names)
            except BadText as why:
                problems.add(line, f"environment: {name}: {why}: skipped")
                complete = False
    config.environment = tuple({**dict(config.environment), **found}.items())
    return complete


def governing(names: Iterable[str], name: str) -> list[str]:
    """The sections that apply to the service `name`, the weaker first (rule 2)."""
    ordered = [section for section in names if section in ("global", name)]
    return ordered[:1] if ordered[:1] == [name] else ordered


def section_names(data: bytes) -> list[str]:
    """The sections of a file, in the order of their first headers."""
    return list(split(data, Problems(), set()).keys)


def split(data: bytes, problems: Problems, reported: set[str] | None) -> Sections:
    """Rule 1.  Unknown and repeated keys are reported for the `reported` sections, None meaning all."""
    found = Sections()
    current: dict[str, tuple[int, str | None]] | None = None
    heard, title, secret = True, "", False
    if data.startswith(BOM):
        data = data[len(BOM) :]
    for number, raw in enumerate(data.split(b"\n"), 1):
        raw = raw[:-1] if raw.endswith(b"\r") else raw
        if b"\0" in raw:
            problems.add(number, "holds a NUL byte: skipped")
            found.broken = secret = True
            continue
        incomplete = False
        if len(raw) > LINE_LIMIT:
            problems.add(number, f"longer than {LINE_LIMIT} bytes: cut there")
            incomplete = bool(raw[LINE_LIMIT:].strip())
            raw = _cut(raw)
        line = raw.decode("utf-8", "surrogateescape").rstrip()
        if not line or line[0] in "#;" or line.lstrip()[0] in "#;":
            continue
        if line[0] in " \t":
            if heard:
                problems.add(number, f"indented, so it does not count{_glimpse(line.strip(), secret)}")
        elif line[0] == "[":
            secret = False
            title = line[1:-1]
            if not line.endswith("]") or not title or title != title.strip() or "]" in title:
                problems.add(number, f"not a section header: {show(line)}: skipped up to the next one")
                found.broken, current, heard = True, None, False
                continue
            heard = reported is None or title in reported
            if title in found.keys and heard:
                problems.add(number, f"section [{show(title)[1:-1]}] again: joined with the one above")
            current = found.keys.setdefault(title, {})
        else:
            key, end = _key(line)
            secret = key == "environment" or (secret and key not in _KEYS)
            if current is None:
                problem = f"outside of any section{_glimpse(line, secret)}"
            elif key in _KEYS:
                text = line[end + 1 :].strip() if end >= 0 else None
                problem = _add_key(current, key, number, text, incomplete)
            elif end >= 0:
                problem = "unknown key" if secret else f"unknown key {show(key)}: probably a typo"
            else:
                problem = f"neither `key : value` nor a section header{_glimpse(line, secret)}"
            if problem and heard:
                problems.add(number, problem)
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
    elif line[0] != "[" and key not in _KEYS and end >= 0:
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
