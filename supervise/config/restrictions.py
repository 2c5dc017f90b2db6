"""Keys that restrict a service (user, group...): which values stay in force when a configuration is lost or broken.

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

from supervise.config.config import FLEET_KEYS, KEYS, LIMITS, RESTRICTING, Config
from supervise.config.written import written

_DEFAULTS = Config().frozen()
# Of these, what names something outside of the file, which may not be there (lookup.py).
NAMING = ("user", "group", "directory", "cgroup", "memory_max", "cpu_max", "cpu_affinity")
BLOCKED = "blocked"  # in the state: why nothing can be started


def restricts(config: Config) -> bool:
    """Whether a configuration restricts the service."""
    return any(getattr(config, key) != getattr(_DEFAULTS, key) for key in RESTRICTING)


def names_something(config: Config) -> bool:
    """Whether a configuration names something outside of its file that a start needs."""
    return bool(named(config))


def named(config: Config) -> dict[str, str]:
    """What a configuration names outside of its file, by key; of the files that it prints to the paths."""
    found = {key: getattr(config, key) for key in NAMING if getattr(config, key)}
    for stream in ("stdout",) if config.redirect_stderr else ("stdout", "stderr"):
        path = config.output_path(stream)
        if path:
            found[f"{stream}_logfile"] = path
    return found


def holds(config: Config) -> bool:
    """Whether a configuration has restrictions that must stay in force: values, or that starts are blocked."""
    return bool(config.blocked or restricts(config))


def keep(config: Config, previous: Config) -> Config:
    """A copy of a configuration with the restrictions that were in force (rule 2)."""
    for key in RESTRICTING:
        setattr(config, key, getattr(previous, key))
    config.blocked = previous.blocked
    return config


def copy(config: Config) -> Config:
    """A copy that can be changed."""
    made = Config()
    for key in Config.__slots__:
        setattr(made, key, getattr(config, key))
    made.blocked, made.startretries = config.blocked, config.startretries
    return made


def plainly_harmless(data: bytes) -> bool:
    """Whether a file that cannot be parsed has only comments, headers and keys that do not restrict."""
    for line in data.decode("latin-1").replace("\t", " ").split("\n"):
        line = line.rstrip(" \r")
        key = line.replace("=", ":").partition(":")[0].rstrip()
        known = key in KEYS or key in FLEET_KEYS
        says = line[:1] not in "#;[" and (not known or (key in RESTRICTING and line[len(key) :].strip(" :=")))
        if "\r" in line or "\0" in line or says or (line[:1] == "[" and line[-1] != "]"):
            return False
    return True


def in_force(config: Config) -> dict[str, str]:
    """The restrictions for the state, as a person would write them, without defaults."""
    if config.blocked:
        return {BLOCKED: config.blocked}
    said = ((key, getattr(config, key)) for key in RESTRICTING)
    return {key: written(key, value) for key, value in said if value != getattr(_DEFAULTS, key)}


def stays(config: Config) -> str:
    """The log line that says which restrictions stay in force, whatever the file says."""
    if config.blocked:
        return f"the service is not started: {config.blocked}"
    values = ((key, written(key, getattr(config, key))) for key in RESTRICTING)
    said = ", ".join(f"{key} {text or '(empty)'}" for key, text in values if text or key not in LIMITS)
    return f"what restricts the service stays as it was: {said}"
