"""When supervises that have died are started again: at once, and those that die again and again after pauses."""

from __future__ import annotations

from supervise.fleet.dues import Dues

_FIRST, _LONGEST = 1.0, 60.0  # seconds from one start to the next


class Revival(Dues):
    """The supervises that are to be started again, and when."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, tuple[float, float]] = {}  # when each was due last, and the pause before the next

    def again(self, name: str, now: float) -> None:
        """Have one started again."""
        before, pause = self._last.get(name, (0.0, 0.0))
        if now - before > _LONGEST:
            pause = 0.0
        self.put(name, now + pause)
        self._last[name] = now + pause, min(max(2 * pause, _FIRST), _LONGEST)
