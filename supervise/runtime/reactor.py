"""The reactor: callbacks for readable descriptors, children that exit, and deadlines.

Rule 1.  Who waits for a descriptor says so (`on_readable`), and is called with poll's events when there is something;
         what it returns are events for the state machine, each dealt with before the next is asked for.
Rule 2.  Who has started a child says so (`on_exit`), and is called once, with how it ended, after it was reaped.
Rule 3.  Who has deadlines is one of `parts`: `due` says when, monotonic, or None; `on_time` is called when that is
         past.  It is asked anew in each turn, so that nobody has to tell that a deadline has changed.
Rule 4.  Nobody is called twice for a number: a descriptor is forgotten before it is closed, a child when it was reaped.

What lives here: who is called.  What does not: in which order things are dealt with in a turn (loop.py), and the poll
itself (polling.py).
"""

from __future__ import annotations

import select

from supervise.runtime.polling import Poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable, Optional, Protocol

    from supervise.config.config import Config
    from supervise.machine.machine import Machine
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log

    Events = Iterable[tuple[str, Any]]
    Readable = Callable[[int], Optional[Events]]
    Exited = Callable[[ExitStatus], Optional[Events]]

    class Timed(Protocol):
        """Rule 3."""

        @property
        def due(self) -> float | None:
            """When `on_time` has something to do."""

        def on_time(self, now: float) -> Events | None:
            """`due` is past."""


class Part:
    """A part of a service (parts.py); what of this does not concern it it leaves out."""

    @property
    def due(self) -> float | None:
        """When `on_time` has something to do, monotonic."""
        return None

    def on_time(self, now: float) -> Events | None:
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


class Reactor(Poll):
    """The callbacks of one supervise, and its `parts`, which have deadlines."""

    __slots__ = ("parts", "_readable", "_exited")

    def __init__(self, log: Log) -> None:
        super().__init__(log)
        self.parts: list[Timed] = []
        self._readable: dict[int, Readable] = {}
        self._exited: dict[int, Exited] = {}

    def on_readable(self, fd: int, call: Readable, mask: int = select.POLLIN) -> None:
        """Register a callback for when a descriptor is readable, or what else `mask` says."""
        self._readable[fd] = call
        self.register(fd, mask)

    def unregister(self, fd: int) -> None:
        """Remove a descriptor and its callback, before it is closed and its number reused."""
        self._readable.pop(fd, None)
        super().unregister(fd)

    def readable(self, fd: int, events: int) -> Events:
        """Call the callback of a descriptor; the events that it returns."""
        call = self._readable.get(fd)
        return (call(events) if call else None) or ()

    def on_exit(self, pid: int, call: Exited) -> None:
        """Register a callback for when a child has been reaped."""
        self._exited[pid] = call

    def exited(self, pid: int) -> Exited | None:
        """Take the callback of a child that was reaped."""
        return self._exited.pop(pid, None)

    def disown(self) -> None:
        """Remove all children, in a copy of the process that is their parent."""
        self._exited.clear()
