"""svstat --watch: the table, live, on the whole terminal.

Rule 1.  Status directories are read when inotify or the FIFO `ok` says that one has changed, and at no other time.
Rule 2.  Once a second the screen is drawn again, with later times, from what was read before; memory and CPU, which
         no event tells of, are asked of /proc every few seconds.
Rule 3.  However it ends (q, Ctrl-C, a signal, an error), the terminal is left as it was found.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
import tty

from supervise.client import ClientError, Service, SystemRefused, services
from supervise.client.resolve import first_folder
from supervise.client.usage import usage
from supervise.client.wait import Watcher
from supervise.programs.program import UsageError
from supervise.programs.svstat.reading import look_at, rows
from supervise.programs.svstat.table import Row, cut, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_USAGE_EVERY = 5.0  # seconds between two looks at memory and CPU
_ENTER = "\033[?1049h\033[?25l"  # the alternate screen, no cursor
_LEAVE = "\033[?25h\033[?1049l"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """The terminal while it is ours: no echo, no line editing, the alternate screen.

    `wake` becomes readable when a signal came, and `signals` holds which; `keys` is where keys are read, or None
    where standard input is not a terminal.
    """

    def __init__(self) -> None:
        self.keys = 0 if os.isatty(0) else None
        self.wake, self._waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.signals: list[int] = []
        self._modes: list[Any] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Terminal:
        # First the handlers: a signal from here on is a reason to leave, not to die with the terminal changed.
        for number in (*_ENDING, signal.SIGWINCH, signal.SIGTSTP):
            self._handlers[number] = signal.signal(number, self._note)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self.wake)
        os.close(self._waking)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signals.append(number)

    def _take(self) -> None:
        if self.keys is not None:
            self._modes = termios.tcgetattr(self.keys)
            tty.setcbreak(self.keys, termios.TCSANOW)
        self.write(_ENTER)

    def _give_back(self) -> None:
        try:
            self.write(_LEAVE)
            if self.keys is not None:
                termios.tcsetattr(self.keys, termios.TCSANOW, self._modes)
        except (OSError, termios.error):
            pass  # it is gone

    def suspend(self) -> None:
        """Suspend this program, as Ctrl-Z does, with the terminal restored meanwhile."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def write(self, text: str) -> None:
        """Raises OSError."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def pressed(self) -> bytes:
        """The keys that were pressed; `q` as well if the terminal is gone."""
        try:
            return os.read(0, 1024) or b"q"
        except OSError:
            return b"q"

    def caught(self) -> list[int]:
        """The signals that came since the last call."""
        try:
            os.read(self.wake, 1024)
        except BlockingIOError:
            pass
        numbers, self.signals[:] = self.signals[:], []
        return numbers


class Screen:
    """The services that are shown, and what was last read of them."""

    def __init__(self, watcher: Watcher, directories: list[str], colour: bool) -> None:
        """Raises ClientError: a name is unknown, there is no directory of services, no inotify watch is left."""
        self._watcher = watcher
        self._colour = colour
        self._services: dict[str, Service] = {}  # by path, as the rows
        self._rows: dict[str, Row] = {}
        self.folder = "" if directories else watcher.watch(first_folder())
        for service in [Service(directory) for directory in directories]:
            self._add(service)
        self.list()

    def _add(self, service: Service) -> None:
        if service.path in self._services:
            return
        try:
            self._watcher.add(service)
        except SystemRefused:
            raise
        except ClientError as why:  # not ours to read: a row that says so
            self._services[service.path] = service
            self._rows[service.path] = Row(service.name, problem=str(why))
            return
        self._services[service.path] = service
        self.read({service})

    def list(self) -> None:
        """Update the list of services, where none were named."""
        if not self.folder:
            return
        found = {service.path: service for service in services()}
        for path in self._services.keys() - found.keys():
            self._watcher.remove(self._services.pop(path))
            del self._rows[path]
        for service in found.values():
            self._add(service)

    def read(self, changed: set[Service]) -> None:
        """Read the status of services again."""
        known = [service for service in changed if service.path in self._services]
        for row, service in zip(rows([look_at(service) for service in known]), known):
            self._rows[service.path] = row

    def refresh(self) -> None:
        """Read memory and CPU again."""
        running = {row.status.pid: row for row in self._rows.values() if row.status and row.usage}
        used = usage(set(running))
        for pid, row in running.items():
            row.usage = used.get(pid)

    def draw(self, terminal: Terminal) -> None:
        """Draw all of it, over what is there, in one write: nothing flickers.  Raises OSError."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        shown = [self._rows[path] for path in (sorted(self._rows) if self.folder else self._rows)]
        lines = table(shown, self._colour, width)
        room = max(height - 1, 1)
        if len(lines) > room:
            more = len(lines) - room + 1
            lines = [*lines[: room - 1], cut(f"... and {more} more", width)]
        foot = cut(f"{time.strftime('%H:%M:%S')}  q quits", width)
        body = "".join(f"{line}\033[K\r\n" for line in lines)
        terminal.write(f"\033[H{body}\033[J\033[{height};1H{foot}")


def watch(directories: list[str], colour: bool) -> int:
    """Show the table until the user quits; the exit code.  Raises ClientError."""
    if not sys.stdout.isatty():
        raise UsageError("cannot watch: standard output is not a terminal")
    with Watcher() as watcher:
        screen = Screen(watcher, directories, colour)
        with Terminal() as terminal:
            ended_by = _loop(watcher, screen, terminal)
    if ended_by in (signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), ended_by)  # whoever sent it is to see that it was obeyed
    return 0


def _loop(watcher: Watcher, screen: Screen, terminal: Terminal) -> int:
    """Draw and wait until it is to end; the signal that ended it, or 0."""
    watcher.also(terminal.wake)
    if terminal.keys is not None:
        watcher.also(terminal.keys)
    usage_at = time.monotonic() + _USAGE_EVERY
    while True:
        screen.draw(terminal)
        changed, paths, readable = watcher.wait(1.0)
        if screen.folder in paths:
            screen.list()
        if changed:
            screen.read(changed)
        if time.monotonic() >= usage_at:
            screen.refresh()
            usage_at = time.monotonic() + _USAGE_EVERY
        if terminal.wake in readable:
            for number in terminal.caught():
                if number in _ENDING:
                    return number
                if number == signal.SIGTSTP:
                    terminal.suspend()
        if terminal.keys in readable and terminal.pressed().lower().startswith((b"q", b"\x03")):
            return 0
