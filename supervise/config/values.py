"""Values of supervise.conf: parsing the text behind a key.

What lives here: each kind of value, its limits and its wording.  What does not: which key stands where
(parser.py), and the way back (written.py).
"""

from __future__ import annotations

import sys

from supervise.config.config import INHERIT, LIMITS, NONE
from supervise.config.shellwords import Unbalanced, split
from supervise.protocol.exitstatus import signal_name
from supervise.protocol.text import quoted
from supervise.system.installed import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MAX_INT = 2**31 - 1
MAX_SECONDS = MAX_INT // 1000  # what poll(2) can wait for, in milliseconds: nearly 25 days
MAX_SIZE = 1 << 50  # bytes of a file
MAX_PARTS = 999
SHORTEST_INTERVAL = 60  # seconds
GSM_LIMIT = 10
FIRST_FD, LAST_FD = 3, 1023  # what a service can be told to write to
_LAST_ID = 2**32 - 2  # of users and groups
_SIGNALS = tuple(signal_name(number) for number in range(1, 32))
_YES, _NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")

# Set by supervise itself for every service.
RESERVED = ("SUPERVISE_SERVICE", "SUPERVISE_STATUS_DIR", "NOTIFY_SOCKET")


class BadValue(Exception):
    """A value that cannot be used; the message says why."""


def show(text: str) -> str:
    """Quote text from a file for a message: short and printable."""
    return quoted(text if len(text) <= 60 else text[:57] + "...")


# Numbers.


def _integer(text: str, most: int = MAX_INT) -> int:
    if not (text.isascii() and text.isdigit()):
        raise BadValue(f"{show(text)} is not a whole number")
    if len(text) > 10 or int(text) > most:
        raise BadValue(f"{show(text)} is out of range (0 to {most})")
    return int(text)


def _size(text: str) -> int:
    """Bytes; also in KB, MB or GB, each 1,024 times the one before, as supervisor has them."""
    word = text.upper().replace("IB", "B")
    word = word[:-1] if word.endswith("B") else word
    power = "KMG".find(word[-1:]) + 1 if word[-1:] else 0
    number = word[:-1].rstrip() if power else word
    if not (number.isascii() and number.isdigit()) or len(number) > 16:
        raise BadValue(f"{show(text)} is not a size, such as 50MB")
    size = int(number) << 10 * power
    if size > MAX_SIZE:
        raise BadValue(f"{show(text)} is out of range (0 to {MAX_SIZE >> 40} TB)")
    return size


def _interval(text: str) -> int:
    seconds = _integer(text)
    return max(seconds, SHORTEST_INTERVAL) if seconds else 0


def _seconds(text: str) -> int:
    return _integer(text, MAX_SECONDS)


def _some_seconds(text: str) -> int:
    return max(_seconds(text), 1)


def _some(text: str) -> int:
    return max(_integer(text), 1)


def _parts(text: str) -> int:
    return _integer(text, MAX_PARTS)


def _compression(text: str) -> str:
    if text.lower() in ("none", *_NO):
        return ""
    if text.lower() not in ("gzip", *_YES):
        raise BadValue(f"{show(text)} is neither gzip nor none")
    return "gzip"


def _descriptor(text: str) -> int:
    number = _integer(text)
    if number and not FIRST_FD <= number <= LAST_FD:
        raise BadValue(f"{show(text)} is neither 0 nor a descriptor from {FIRST_FD} to {LAST_FD}")
    return number


def _exit_codes(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_integer(word, 255) for word in text.replace(",", " ").split()))


def _mode(text: str) -> int:
    if not text.isascii() or text.strip("01234567"):
        raise BadValue(f"{show(text)} is not an octal number")
    if len(text) > 10 or int(text, 8) > 0o777:
        raise BadValue(f"{show(text)} is out of range (000 to 777)")
    return int(text, 8)


# Words.


def _flag(text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise BadValue(f"{show(text)} is neither yes nor no")
    return text.lower() in _YES


def _kill_group(text: str) -> bool | str:
    if text.lower() == "all":
        return "all"
    if text.lower() not in _YES + _NO:
        raise BadValue(f"{show(text)} is neither yes nor no nor all")
    return text.lower() in _YES


def _autorestart(text: str) -> str:
    word = text.lower()
    if word in _YES:
        return "always"
    if word in _NO:
        return "never"
    if word not in ("always", "unexpected", "never"):
        raise BadValue(f"{show(text)} is neither always nor unexpected nor never")
    return word


def _signal(text: str) -> str:
    name = text.upper()
    if text.isascii() and text.isdigit() and len(text) < 3 and 1 <= int(text) <= len(_SIGNALS):
        return _SIGNALS[int(text) - 1]
    name = name[3:] if name.startswith("SIG") else name
    if name not in _SIGNALS:
        raise BadValue(f"{show(text)} is not a signal")
    return name


def _id(text: str, what: str) -> str:
    """A name or a number.  Whether there is such a user or group is asked at each start."""
    if text.isascii() and text.isdigit():
        if len(text) > 10 or int(text) > _LAST_ID:
            raise BadValue(f"{show(text)} is out of range (0 to {_LAST_ID})")
    elif not text or not all((char.isprintable() and char not in " :=,/%()'\"#;") for char in text) or text[0] in "-+~":
        raise BadValue(f"{show(text)} is neither the name nor the number of a {what}")
    return text


def _user(text: str) -> str:
    """USER or USER:GROUP."""
    user, colon, group = text.partition(":")
    _id(user, "user")
    if colon:
        _id(group, "group")
    return text


def _group(text: str) -> str:
    return _id(text, "group")


def _logfile(text: str) -> str:
    word = text.upper()
    if word in (INHERIT, NONE):
        return word
    if word == "AUTO":
        return ""
    if text == "/dev/null":
        return NONE
    if text.startswith(("/dev/std", "/dev/fd/", "/proc/self/fd/")):
        raise BadValue(f"{show(text)} is not {INHERIT}, by which it goes to what supervise prints to itself")
    if word == "SYSLOG":
        raise BadValue(f"{show(text)} is no path: ./{text} is the file of that name")
    return text


def _text(text: str) -> str:
    return text


def _command(text: str) -> tuple[str, ...]:
    try:
        words = split(text)
    except Unbalanced as why:
        raise BadValue(str(why)) from None
    if words and not words[0]:
        raise BadValue("the program has no name")
    return tuple(words)


# Lists of words, each of which may be good or bad.

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


# What limits the service, which few configurations do: what reads that is in memory where one does.


def _limit(key: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if "supervise.config.limits" not in sys.modules and replaced():
            raise BadValue("another version of supervise is installed: upgrade this one (letter e) to read it")
        from supervise.config.limits import BadLimit, parse_limit

        try:
            return parse_limit(key, text)
        except BadLimit as why:
            raise BadValue(f"{show(why.text)} {why.why}") from None

    return parse


# Which key has which kind of value.  Each raises BadValue; none is asked about an empty text but those of LISTS.
SCALARS: dict[str, Callable[[str], Any]] = {
    "alarm_interval": _interval,
    "max_tries": _integer,
    "max_tries_if_coredumped": _integer,
    "autorestart": _autorestart,
    "exitcodes": _exit_codes,
    "restart_delay": _some_seconds,
    "restart_delay_max": _seconds,
    "startsecs": _seconds,
    "stopsignal": _signal,
    "stopwaitsecs": _seconds,
    "stopasgroup": _flag,
    "killasgroup": _kill_group,
    "directory": _text,
    "user": _user,
    "group": _group,
    "umask": _mode,
    "redirect_stderr": _flag,
    "stdout_logfile": _logfile,
    "stderr_logfile": _logfile,
    "stdout_logfile_maxbytes": _size,
    "stdout_logfile_backups": _parts,
    "stderr_logfile_maxbytes": _size,
    "stderr_logfile_backups": _parts,
    "logfile_compress": _compression,
    "stdout_command": _command,
    "stderr_command": _command,
    "logfile_maxbytes": _size,
    "logfile_backups": _parts,
    "notify": _flag,
    "notification_fd": _descriptor,
    "starttimeoutsecs": _seconds,
    "watchdog_secs": _seconds,
    "watchdog_signal": _signal,
    "check_command": _command,
    "check_interval": _some_seconds,
    "check_timeout": _some_seconds,
    "check_failures": _some,
    "check_delay": _seconds,
    "pidfile": _text,
    **{key: _limit(key) for key in LIMITS},
}
# Of these, the words that are of use and the complaints about the others.
LISTS: dict[str, Callable[[str], tuple[list[str], list[str]]]] = {
    "alarm_mail": _addresses,
    "alarm_gsm": _numbers,
}
