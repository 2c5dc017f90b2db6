"""Formatting values as supervise.conf has them: for the log, for the state, for `--check`.

What lives here: from what a value means to its text.  What does not: the way there (values.py, expand.py), which is in
memory only where there is a configuration to read.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# These are %-expanded before they are read; so are the values in `environment`.
COMMANDS = ("check_command", "stdout_command", "stderr_command")
EXPANDED = ("directory", "cgroup", *COMMANDS, "pidfile", "stdout_logfile", "stderr_logfile")


def written(key: str, value: Any) -> str:
    """Format a value as a person would write it; parsed again, it is the same."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "umask":
        return f"{value:03o}"
    if key == "environment":
        return written_environment(value)
    if key.endswith("_maxbytes"):
        return _size(value)
    if key == "exitcodes":
        return ",".join(map(str, value))
    if key in COMMANDS:
        return unexpanded(" ".join(map(_quoted, value)))
    if isinstance(value, tuple):
        return " ".join(value)
    return unexpanded(value) if key in EXPANDED else str(value)


def logged(key: str, value: Any) -> str:
    """Format a value for the log, which more people may read than the file: no values of variables, no arguments."""
    if key == "environment":
        return " ".join(name for name, _ in value)
    if key in COMMANDS:
        return written(key, value[:1]) + (" ..." if len(value) > 1 else "")
    return written(key, value)


def _size(number: int) -> str:
    """In the greatest unit that divides it."""
    power = next((power for power in (3, 2, 1) if number and not number & ((1 << 10 * power) - 1)), 0)
    return f"{number >> 10 * power}{'KMG'[power - 1]}B" if power else str(number)


def _quoted(word: str) -> str:
    """The word as shellwords.py splits it from others."""
    if word and all(char.isalnum() or char in "%+,-./:=@_" for char in word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def unexpanded(text: str) -> str:
    """Escape a text, so that `expand` gives it back."""
    return text.replace("%", "%%")


def written_environment(pairs: tuple[tuple[str, str], ...]) -> str:
    """Serialise variables, so that splitting and expanding give them back."""
    return ",".join(f'{name}="{unexpanded(escaped(value))}"' for name, value in pairs)


def escaped(value: str) -> str:
    """Escape a value for double quotes in `environment`."""
    return value.replace("\\", "\\\\").replace('"', '\\"')
