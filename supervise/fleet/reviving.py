"""When supervises that have died are started again: at once, and those that die again and again after pauses."""

from __future__ import annotations

_FIRST, _LONGEST = 1.0, 60.0  # seconds from one start to the next


class Revival:
    """The supervises that are to be started again, and when."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._last: dict[str, tuple[float, float]] = {}  # when each was due last, and the pause before the next

    def again(self, name: str, now: float) -> None:
        """Have one started again."""
        before, pause = self._last.get(name, (0.0, 0.0))
        if now - before > _LONGEST:
            pause = 0.0
        self._due[name] = now + pause
        self._last[name] = now + pause, min(max(2 * pause, _FIRST), _LONGEST)

    @property
    def due(self) -> float | None:
        """When the first is to be started, monotonic."""
        return min(self._due.values(), default=None)

    def take(self, now: float) -> list[str]:
        """The names whose time has come."""
        names = [name for name, at in self._due.items() if at <= now]
        for name in names:
            del self._due[name]
        return names

    def clear(self) -> None:
        """Start none again."""
        self._due.clear()
