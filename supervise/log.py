"""supervise.log and supervise.log.wf: one line for everything that happened.

`[NOTICE] 2026-01-31 23:59:59 service exited with status 1`: notices in supervise.log, warnings and fatal errors
in supervise.log.wf, in local time.  Lines are gathered and written when the loop has nothing more urgent to do.
A log is opened for each batch, so that one that was moved away by a rotation is not written to any more.
"""

from __future__ import annotations

import os
import select
import time

from supervise.messages import one_line
from supervise.statusdir import LOG, LOG_WF, StatusDir, StatusDirError

NOTICE, WARNING, FATAL = "NOTICE", "WARNING", "FATAL"
_LONGEST = 4000  # characters of one line


class Log:
    """The two logs of one status directory; with `echo`, a copy of each line goes to that descriptor."""

    def __init__(self, directory: StatusDir, echo: int | None = None) -> None:
        self._directory = directory
        self._echo = echo
        self._waiting: list[tuple[str, str, tuple[object, ...]]] = []

    def add(self, severity: str, template: str, *values: object) -> None:
        """Gather one line: a %-template and its values, which are put together when it is written."""
        self._waiting.append((severity, template, values))

    def flush(self) -> None:
        """Write what was gathered.  What cannot be written is lost: there is no better place to say so."""
        if not self._waiting:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        lines: dict[str, list[bytes]] = {}
        for severity, template, values in self._waiting:
            text = f"[{severity}] {stamp} {one_line((template % values)[:_LONGEST])}\n"
            lines.setdefault(LOG if severity == NOTICE else LOG_WF, []).append(text.encode())
        self._waiting.clear()
        for name, texts in lines.items():
            data = b"".join(texts)
            try:
                self._directory.append(name, data)
            except (OSError, StatusDirError):
                pass
            for line in data.splitlines(True) if self._echo is not None else ():
                self._say(line)

    def _say(self, line: bytes) -> None:
        """A copy for the terminal, or none where writing it would wait: a reader that stands still does not
        stop supervise."""
        if self._echo is None:
            return
        poller = select.poll()
        poller.register(self._echo, select.POLLOUT)
        if len(line) > select.PIPE_BUF:  # more than a pipe that is ready is sure to take at once
            kept = line[: select.PIPE_BUF - 4].decode("utf-8", "ignore")
            line = f"{kept}...\n".encode()
        try:
            if poller.poll(0):
                os.write(self._echo, line)
        except OSError:
            self._echo = None
