"""The configuration that a state has recorded, of keys that restrict the service: for a takeover or an upgrade."""

from __future__ import annotations

from supervise.config.config import RESTRICTING, Config
from supervise.config.expand import BadText, Names, expand
from supervise.config.restrictions import BLOCKED
from supervise.config.values import SCALARS, BadValue
from supervise.config.written import EXPANDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def config_from_state(fields: dict[str, Any]) -> Config | None:
    """The configuration with the recorded values, at its defaults otherwise; None if none are recorded.

    What this version does not understand is not known: nothing can be started with it.
    """
    recorded = fields["restrictions"]
    if recorded is None:
        return None
    config = Config()
    for key, text in recorded.items():
        if key == BLOCKED:
            config.blocked = str(text)
            continue
        try:
            if key not in RESTRICTING:
                raise BadValue("not a key that this version knows")
            setattr(config, key, SCALARS[key](expand(text, Names()) if key in EXPANDED else text))
        except (BadText, BadValue, TypeError, AttributeError) as why:
            config.blocked = f"what the state says is in force cannot be understood: {key}: {why}"
    return config
