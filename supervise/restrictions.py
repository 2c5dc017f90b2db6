"""The keys that restrict a service, in force: what is kept of them where a configuration does not tell.

Theory of operation
-------------------

Rule 1.  A key that restricts (values.RESTRICTING) never fails open.  Where one of them cannot be understood, or where
         something may have been meant for one and does not count, the configuration blocks, and so does one that is
         there and cannot be read: nothing is started that has no values in force.
Rule 2.  Where there are values in force, all of these keys keep them, and starts go on with them.  A file that goes
         away, or is emptied, does not take them along: that is what an editor does before it writes the new one.
Rule 3.  They are in the state, for a supervise that replaces this one, or takes over the service while it runs.  Where
         they are not known (`Config.blocked` says why), no start is tried before the file says them.
"""

from __future__ import annotations

from supervise.config import Config
from supervise.expand import BadText, Names, expand
from supervise.values import EXPANDED, RESTRICTING, SCALARS, BadValue, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULTS = Config()
_BLOCKED = "blocked"


def restricts(config: Config) -> bool:
    """Whether any of the keys says something."""
    return any(getattr(config, key) != getattr(_DEFAULTS, key) for key in RESTRICTING)


def keep(config: Config, previous: Config) -> Config:
    """The configuration with the values that were in force (rule 2)."""
    for key in RESTRICTING:
        setattr(config, key, getattr(previous, key))
    config.blocked = previous.blocked
    return config


def in_force(config: Config) -> dict[str, str]:
    """For the state: what is not at its default, as a person would write it."""
    if config.blocked:
        return {_BLOCKED: config.blocked}
    said = ((key, getattr(config, key)) for key in RESTRICTING)
    return {key: written(key, value) for key, value in said if value != getattr(_DEFAULTS, key)}


def recalled(fields: dict[str, Any]) -> Config | None:
    """A configuration with the values of the state, at its defaults otherwise; None if the state has none.

    What this version does not understand is not known: nothing can be started with it.
    """
    recorded = fields["restrictions"]
    if recorded is None:
        return None
    config = Config()
    for key, text in recorded.items():
        if key == _BLOCKED:
            config.blocked = str(text)
            continue
        try:
            if key not in RESTRICTING:
                raise BadValue("not a key that this version knows")
            setattr(config, key, SCALARS[key](expand(text, Names()) if key in EXPANDED else text))
        except (BadText, BadValue, TypeError, AttributeError) as why:
            config.blocked = f"what the state says is in force cannot be understood: {key}: {why}"
    return config


def stays(config: Config) -> str:
    """For the log: what governs starts, the file notwithstanding."""
    if config.blocked:
        return f"the service is not started: {config.blocked}"
    said = ", ".join(f"{key} {written(key, getattr(config, key)) or '(empty)'}" for key in RESTRICTING)
    return f"what restricts the service stays as it was: {said}"
