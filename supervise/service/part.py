"""The interface of an optional part of a service; parts.py has the list of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.config.config import Config
    from supervise.machine.machine import Machine


class Part:
    """An optional part of a service, which waits by the reactor; it overrides the methods that concern it."""

    @property
    def due(self) -> float | None:
        """The time to call `on_time`, monotonic; None: nothing is due."""
        return None

    def on_time(self, now: float) -> None:
        """Do what is due, for `due` is past."""

    def configure(self, config: Config) -> None:
        """Use this configuration from now on; called first when the part has just been made."""

    def housekeeping(self, machine: Machine) -> None:
        """Do what follows from the state of the machine, in each turn of the loop, after everything urgent."""

    def handover(self) -> dict[str, int]:
        """The descriptors for the supervise that replaces this one in the same process, by name; -1: not there."""
        return {}

    def restore(self, fields: dict[str, Any]) -> None:
        """Restore after an upgrade in the same process; `fields`: state and `descriptors` of the supervise before."""

    def disown(self) -> None:
        """Forget all children, in a copy of the process that is their parent."""

    def close(self, leaving: bool) -> None:
        """Close it, for supervise ends or is about to be replaced, which may fail; `leaving`: the service goes on."""
