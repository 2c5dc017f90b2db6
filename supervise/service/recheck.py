"""Rechecks of what could not be looked at (no descriptor, no memory), until it can be.

A process that could not be looked at (no descriptor left, no memory) is not a process that is gone.  Whoever acts on
whether it is leaves here what is to be asked again, and does nothing until then.
"""

from __future__ import annotations

import time

from supervise.protocol.severities import WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from supervise.runtime.event_log import Log

_FIRST, _LONGEST = 0.25, 32.0  # seconds to the next look: doubled each time


class Rechecks:
    """The questions that are open; `due`: when to ask them again, monotonic, None while there are none."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._questions: dict[tuple[str, str], tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self._said: set[str] = set()
        self._pause = _FIRST
        self.due: float | None = None

    def add(self, what: str, why: OSError, ask: Callable[..., object], *args: Any) -> None:
        """Add a question: `what` could not be looked at; `ask(*args)` looks again, and posts what comes of it."""
        if what not in self._said:
            self._said.add(what)
            self._log.add(WARNING, "cannot look at %s: %s; looking again", what, why.strerror)
        self._questions[what, ask.__name__] = ask, args
        self.due = time.monotonic() + self._pause

    def on_time(self, now: float) -> None:
        """Ask all questions again."""
        questions, self._questions, self.due = self._questions, {}, None
        self._pause = min(self._pause * 2, _LONGEST)
        for ask, args in questions.values():
            ask(*args)
        self._said &= {what for what, _ in self._questions}
        if not self._questions:
            self._pause = _FIRST
