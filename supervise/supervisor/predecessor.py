"""The predecessor: what a supervise that is gone has left in the status directory, as takeover.py finds it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.system.pidfd import Process


class Predecessor:
    """What takeover.py has found of the supervise before this one.

    `restrictions`: what it had in force of the keys that restrict, whenever that was.
    `fields`: its state, if it can be used; `process`: its service, if that still runs; `leftover_group`: where that has
    ended and left something, the numbers of its process group and session, and `leftover_line` a line about that;
    `notices` and `warnings`: lines for the log.
    """

    def __init__(self) -> None:
        self.restrictions: dict[str, Any] = {}
        self.fields: dict[str, Any] | None = None
        self.process: Process | None = None
        self.leftover_group: tuple[int, int] | None = None
        self.leftover_line = ""
        self.notices: list[str] = []
        self.warnings: list[str] = []
