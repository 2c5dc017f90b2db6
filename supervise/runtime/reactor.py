"""The reactor: callbacks for readable descriptors, children that exit, and deadlines.

Rule 1.  Who waits for a descriptor says so (`on_readable`), and is called with poll's events when there is something.
Rule 2.  Who has started a child says so (`on_exit`), and is called once, with how it ended, after it was reaped.
Rule 3.  Who has deadlines is one of `parts`: `due` says when, monotonic, or None; `on_time` is called when that is
         past.  It is asked anew in each turn, so that nobody has to tell that a deadline has changed.
Rule 4.  Whoever is called posts what the state machine is to know (`post`), and returns: the loop has it told when that
         call is over, in the order of posting.  What was posted stays until then, whatever fails.
Rule 5.  Nobody is called twice for a number: a descriptor is forgotten before it is closed, a child when it was reaped.

What lives here: who is called.  What does not: in which order things are dealt with in a turn (loop.py), and the poll
itself (polling.py).
"""

from __future__ import annotations

import select

from supervise.runtime.polling import Poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable, Optional, Protocol

    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.inotify_lease import Watch

    Steps = Iterator[None]  # after each what was posted is dealt with; Service.heard says why there are any
    Readable = Callable[[int], Optional[Steps]]
    Exited = Callable[[ExitStatus], None]

    class Timed(Protocol):
        """Rule 3."""

        @property
        def due(self) -> float | None:
            """When `on_time` has something to do."""

        def on_time(self, now: float) -> None:
            """`due` is past."""


class Reactor(Poll):
    """The callbacks of one supervise, and its `parts`, which have deadlines."""

    __slots__ = ("parts", "posted", "watch", "_readable", "_exited")

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.parts: list[Timed] = []
        self.watch: Watch | None = None  # that of the loop, where others may have watches, too
        self.posted: list[tuple[str, Any]] = []  # events for the machine, and their values
        self._readable: dict[int, Readable] = {}
        self._exited: dict[int, Exited] = {}

    def post(self, event: str, value: Any = None) -> None:
        """Post an event for the machine, and its value (rule 4)."""
        self.posted.append((event, value))

    def on_readable(self, fd: int, call: Readable, mask: int = select.POLLIN) -> None:
        """Register a callback for when a descriptor is readable, or what else `mask` says."""
        self._readable[fd] = call
        self.register(fd, mask)

    def unregister(self, fd: int) -> None:
        """Remove a descriptor and its callback, before it is closed and its number reused."""
        self._readable.pop(fd, None)
        super().unregister(fd)

    def readable(self, fd: int, events: int) -> Steps | None:
        """Call the callback of a descriptor; its steps, if it takes any."""
        call = self._readable.get(fd)
        return call(events) if call else None

    def on_exit(self, pid: int, call: Exited) -> None:
        """Register a callback for when a child has been reaped."""
        self._exited[pid] = call

    def exited(self, pid: int) -> Exited | None:
        """Take the callback of a child that was reaped."""
        return self._exited.pop(pid, None)

    def disown(self) -> None:
        """Remove all children, in a copy of the process that is their parent."""
        self._exited.clear()
