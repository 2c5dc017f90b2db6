"""What a part of a service is told, and what it is asked; parts.py has the list of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.config.config import Config
    from supervise.machine.machine import Machine


class Part:
    """A part of a service, which waits by the reactor; what of this does not concern it, it leaves out."""

    @property
    def due(self) -> float | None:
        """When `on_time` has something to do, monotonic."""
        return None

    def on_time(self, now: float) -> None:
        """`due` is past."""

    def configure(self, config: Config) -> None:
        """This governs the service from now on; the first time when the part has just been made."""

    def settle(self, machine: Machine) -> None:
        """In each turn of the loop, when everything urgent is done."""

    def handover(self) -> dict[str, int]:
        """The descriptors that a supervise which replaces this one in the same process needs, by name."""
        return {}

    def inherit(self, fields: dict[str, Any]) -> None:
        """This supervise has replaced another; `fields` are its state, and `descriptors` in there what it had."""

    def disown(self) -> None:
        """This is a copy of the process now, and nobody its child."""

    def close(self, leaving: bool) -> None:
        """Supervise ends, or is about to be replaced, which may fail; `leaving`: the service goes on."""
