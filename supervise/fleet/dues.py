"""Names that something is to be done about, and when."""

from __future__ import annotations


class Dues:
    """The names, each with the time that it is due, monotonic."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def put(self, name: str, at: float) -> None:
        """Have one due then, whatever was said of it before."""
        self._due[name] = at

    def __contains__(self, name: str) -> bool:
        return name in self._due

    @property
    def due(self) -> float | None:
        """When the first is due, monotonic."""
        return min(self._due.values(), default=None)

    def take(self, now: float) -> list[str]:
        """The names whose time has come."""
        names = [name for name, at in self._due.items() if at <= now]
        for name in names:
            del self._due[name]
        return names

    def clear(self) -> None:
        """Have none due."""
        self._due.clear()
