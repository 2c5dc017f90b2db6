"""The keys that restrict a service, in force: what is kept of them where a configuration does not tell.

Theory of operation
-------------------

Rule 1.  A key that restricts (RESTRICTING) never fails open.  Where one of them cannot be understood, or where
         something may have been meant for one and does not count, the configuration blocks, and so does one that is
         there and cannot be read: nothing is started that has no values in force.
Rule 2.  Where there are values in force, all of these keys keep them, and starts go on with them.  A file that goes
         away, or is emptied, does not take them along: that is what an editor does before it writes the new one.
Rule 3.  They are in the state, for a supervise that replaces this one, or takes over the service while it runs.  Where
         they are not known (`Config.blocked` says why), no start is tried before the file says them.
"""

from __future__ import annotations

from supervise.config.config import KEYS, RESTRICTING, Config
from supervise.config.written import written

_DEFAULTS = Config().settled()
BLOCKED = "blocked"  # in the state: why nothing can be started


def restricts(config: Config) -> bool:
    """Whether any of the keys says something."""
    return any(getattr(config, key) != getattr(_DEFAULTS, key) for key in RESTRICTING)


def holds(config: Config) -> bool:
    """Whether there is anything in force that is to stay: values, or that nothing can be started."""
    return bool(config.blocked or restricts(config))


def keep(config: Config, previous: Config) -> Config:
    """The configuration with the values that were in force (rule 2)."""
    for key in RESTRICTING:
        setattr(config, key, getattr(previous, key))
    config.blocked = previous.blocked
    return config


def copy(config: Config) -> Config:
    """Another one with the same values."""
    made = Config()
    for key in Config.__slots__:
        setattr(made, key, getattr(config, key))
    made.blocked = config.blocked
    return made


def plainly_harmless(data: bytes) -> bool:
    """Whether each line of a file that cannot be parsed is a comment, a header, or a key that says nothing of these."""
    for line in data.decode("latin-1").replace("\t", " ").split("\n"):
        line = line.rstrip(" \r")
        key = line.replace("=", ":").partition(":")[0].rstrip()
        says = line[:1] not in "#;[" and (key not in KEYS or (key in RESTRICTING and line[len(key) :].strip(" :=")))
        if "\r" in line or "\0" in line or says or (line[:1] == "[" and line[-1] != "]"):
            return False
    return True


def in_force(config: Config) -> dict[str, str]:
    """For the state: what is not at its default, as a person would write it."""
    if config.blocked:
        return {BLOCKED: config.blocked}
    said = ((key, getattr(config, key)) for key in RESTRICTING)
    return {key: written(key, value) for key, value in said if value != getattr(_DEFAULTS, key)}


def stays(config: Config) -> str:
    """For the log: what governs starts, the file notwithstanding."""
    if config.blocked:
        return f"the service is not started: {config.blocked}"
    said = ", ".join(f"{key} {written(key, getattr(config, key)) or '(empty)'}" for key in RESTRICTING)
    return f"what restricts the service stays as it was: {said}"
