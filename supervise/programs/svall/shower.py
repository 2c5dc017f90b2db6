"""Run as a script by `svall run --logs`: shows what services print, each line behind the name of its service.

What it is to follow, and when, fleet/output.py tells on descriptors 0 and LIST.

Rule 1.  Nothing is read that cannot be written yet: what waits, waits in the files.
Rule 2.  A line is shown when it is whole, or has been begun some seconds ago: it may be a question.
Rule 3.  What comes soon after something else is shown together with it.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Last, not first: site-packages may hold modules by the names of the standard library's.
    sys.path.append(__file__.rsplit("/", 4)[0])

import select
import signal
import time

from supervise.client.inotify import Changes
from supervise.client.logfiles import LogError
from supervise.client.mark import Mark
from supervise.client.tail import Follower
from supervise.fleet.output import LAST, LIST, READER_LEFT, decode
from supervise.fleet.task import PROGRAM
from supervise.programs.harmless import Harmless
from supervise.programs.labelled import Lines, coloured, labels
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.text import say
from supervise.system.isolated import reach_others, rename

_HELD = 3.0  # seconds from the beginning of a line to its being shown without its end
_TOGETHER = 0.02  # seconds in which no more is looked for
_AT_ONCE = 4096  # bytes that a pipe takes without waiting if it takes any (pipe(7), PIPE_BUF)


class Ended(Exception):
    """It is to end; `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Writer:
    """Standard output, which is waited for, but not longer than LAST once whoever has started this has gone."""

    def __init__(self) -> None:
        self._until: float | None = None

    def write(self, data: bytes) -> None:
        """Raises Ended, OSError."""
        view = memoryview(data)
        while view:
            self._wait()
            try:
                view = view[os.write(1, view[:_AT_ONCE]) :]
            except BlockingIOError:  # somebody who shares it has made it non-blocking, and filled it
                pass
            except BrokenPipeError:
                raise Ended(READER_LEFT) from None

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        while True:
            if self._until is None:
                poll.register(0, 0)  # its end is always reported
            left = None if self._until is None else max(self._until - time.monotonic(), 0.0) * 1000
            ready = dict(poll.poll(left))
            if ready.get(1):
                return
            if 0 in ready:
                self._until = time.monotonic() + LAST
                poll.unregister(0)
            elif left is not None and not ready:
                raise Ended(SYSTEM)


class Stream:
    """One log of one service."""

    def __init__(self, log: str, since: Mark, changes: Changes, terminal: bool) -> None:
        """Raises LogError."""
        self._follower: Follower | None = Follower(*os.path.split(log), 0, changes, since=since)
        self._lines = Lines()
        self._harmless = Harmless(sys.stdout.encoding) if terminal else None
        self.due: float | None = None  # when to show a line that is not whole

    @property
    def watched(self) -> set[str]:
        """The directories whose changes matter."""
        return self._follower.watched if self._follower else set()

    def show(self, label: bytes, writer: Writer) -> None:
        """Show what is new.  Raises LogError, Ended, OSError."""
        if self._follower:
            for data in self._follower.read():
                shown = self._harmless.shown(data) if self._harmless else data
                writer.write(b"".join([label + line for line in self._lines.add(shown)]))
        if not self._lines.held:
            self.due = None
        elif self.due is None:
            self.due = time.monotonic() + _HELD

    def on_time(self, label: bytes, now: float, writer: Writer) -> None:
        """Show a line that is not whole, if that is due.  Raises Ended, OSError."""
        if self.due is not None and now >= self.due:
            self.due = None
            writer.write(b"".join([label + line for line in self._lines.end()]))

    def end(self, label: bytes, writer: Writer) -> None:
        """Read no more, and show a line that never ended.  Raises Ended, OSError."""
        if self._follower:
            self._follower.close()
            self._follower = None
        rest = self._harmless.end() if self._harmless else b""
        writer.write(b"".join([label + line for line in (*self._lines.add(rest), *self._lines.end())]))
        self.due = None


class Shower:
    """What shows the output of services."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._writer = Writer()
        self._terminal = os.isatty(1)
        self._streams: dict[str, list[Stream]] = {}  # by the names of services
        self._labels: dict[str, bytes] = {}
        self._known: list[str] = []  # all names that there have been: each keeps its colour
        self._at = 0  # how much of the list was read
        self._rest = b""
        self._ending = False

    def run(self) -> int:
        """Show it until the end; the exit code.  Raises OSError."""
        changed: set[str] | None = None
        try:
            while True:
                self._learn()
                self._show(changed)
                if self._ending:
                    break
                changed = self._wait()
            for name, streams in self._streams.items():
                for stream in streams:
                    stream.end(self._labels[name], self._writer)
        except Ended as why:
            return why.code
        return 0

    def _learn(self) -> None:
        """Learn what to follow, and what not any more."""
        parts = [self._rest]
        while part := os.pread(LIST, 1 << 16, self._at):
            parts.append(part)
            self._at += len(part)
        found, self._rest = decode(b"".join(parts))
        for name, marks in found:
            for stream in self._streams.pop(name, ()):
                self._shown(stream, name, None)
                stream.end(self._labels[name], self._writer)
            if marks:
                self._follow(name, marks)
        if found:
            self._known += [name for name in self._streams if name not in self._labels]
            given = labels([name if name in self._streams else "" for name in self._known], coloured())
            self._labels = dict(zip(self._known, given))

    def _follow(self, name: str, marks: list[tuple[str, Mark]]) -> None:
        self._streams[name] = streams = []
        for log, since in marks:
            try:
                if log:
                    streams.append(Stream(log, since, self._changes, self._terminal))
            except LogError as why:
                say(PROGRAM, "warning", f"cannot {why}")

    def _show(self, changed: set[str] | None) -> None:
        """Show what is new in these directories; None: in all."""
        now = time.monotonic()
        for name, streams in self._streams.items():
            for stream in [*streams]:
                if changed is None or stream.watched & changed or stream.due is not None:
                    if not self._shown(stream, name, changed):
                        stream.end(self._labels[name], self._writer)
                        streams.remove(stream)
                        continue
                    stream.on_time(self._labels[name], now, self._writer)

    def _shown(self, stream: Stream, name: str, changed: set[str] | None) -> bool:
        """Show what is new of one; False, with a complaint, if it cannot be read any more."""
        try:
            stream.show(self._labels[name], self._writer)
        except LogError as why:
            say(PROGRAM, "warning", f"cannot {why}")
            return False
        return True

    def _wait(self) -> set[str] | None:
        """Wait until there may be something new: where, None for everywhere.  Raises Ended."""
        poll = select.poll()  # each time anew, for the descriptor of `changes` is not the same for ever
        poll.register(0, select.POLLIN)
        quick = self._ready(poll, _TOGETHER)
        if not quick:
            poll.register(1, 0)
            if self._changes.fileno() >= 0:
                poll.register(self._changes, select.POLLIN)
            dues = [stream.due for streams in self._streams.values() for stream in streams if stream.due is not None]
            left = max(min(dues) - time.monotonic(), 0.0) if dues else None
            quick = self._ready(poll, self._changes.left(left))
        if 1 in quick:
            raise Ended(READER_LEFT)
        self._changes.drain()
        changed = self._changes.wait(0)
        if 0 not in quick:
            return changed
        if not os.read(0, 4096):
            self._ending = True
        return None

    @staticmethod
    def _ready(poll: select.poll, seconds: float | None) -> set[int]:
        return {fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)}


def main() -> int:
    """Show what services print until told to end; the exit code."""
    # These are for whoever has started it, who tells it to end; and a terminal may stop who writes to it from behind.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    rename(PROGRAM)
    try:
        reach_others()
        _widen()
        return Shower().run()
    except OSError as why:
        say(PROGRAM, "warning", f"cannot show what services print: {why.strerror or why}")
        return SYSTEM


def _widen() -> None:
    """Have as many descriptors as the system allows: each service takes four."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[0] != limits[1]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))


if __name__ == "__main__":
    try:
        code = main()
    except Exception as why:  # one line, and no traceback
        say(PROGRAM, "warning", f"cannot show what services print: {type(why).__name__}: {why}")
        code = SYSTEM
    os._exit(code)
