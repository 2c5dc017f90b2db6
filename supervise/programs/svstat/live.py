"""svstat --watch: the table, live, on the whole terminal.

Rule 1.  Status directories are read when inotify or the FIFO `ok` says that one has changed, and at no other time.  But
         whether a directory has become one, which shows in itself alone, is looked at once a second.
Rule 2.  Once a second the screen is drawn again, with later times, from what was read before; memory, CPU, and
         whether a signal has stopped it, which no event tells of, are asked of /proc every few seconds.
Rule 3.  However it ends (q, Ctrl-C, a signal, an error), the terminal is left as it was found.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from supervise.client import ClientError, Service, SystemRefused, services
from supervise.client.named import named
from supervise.client.resolve import directories as directories_of
from supervise.client.resolve import first_folder
from supervise.client.trouble import FAILING, summary
from supervise.client.usage import usage
from supervise.client.watcher import Watcher
from supervise.programs.program import UsageError, warning
from supervise.programs.svstat import terminal as pressed
from supervise.programs.svstat.reading import look_at, rows
from supervise.programs.svstat.table import Row, state_of, table
from supervise.programs.svstat.terminal import ENDING, Terminal
from supervise.programs.width import columns, cut, shortened
from supervise.protocol.exitcodes import FAILED
from supervise.protocol.names import STATE
from supervise.protocol.text import one_line, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_USAGE_EVERY = 5.0  # seconds between two looks at /proc
_AROUND = 3  # lines beside those of services: the summary, the head, the foot
_HELP = """\
up, down, j, k       a line up or down
PgUp, PgDn, b, space a screen up or down
Home, End, g, G      to the first, to the last
s                    sort by trouble, or by name again
/                    show those whose name or state holds a text;
                     Enter keeps it, Escape drops it
f                    show those that are failing, or all again
q, Ctrl-C            quit

Any key goes back."""


class View:
    """What of the services is shown, and in which order: what the keys change."""

    def __init__(self, failed: bool = False) -> None:
        self.failed = failed
        self.by_trouble = False
        self.text = ""  # to be found
        self.editing = False
        self.helping = False
        self.top = 0  # the first that is shown, counted from 0
        self.room = 1  # lines that there are for services
        self.count = 0

    def choose(self, rows: list[Row]) -> list[Row]:
        """Those that are shown if there is room for them, in order."""
        wanted = one_line(self.text).casefold()
        chosen = [row for row in rows if self._fits(row, wanted)]
        if self.by_trouble:
            chosen.sort(key=lambda row: row.rank)  # those of the same trouble stay in their order
        self.count = len(chosen)
        self.top = max(min(self.top, self.count - self.room), 0)
        return chosen

    def _fits(self, row: Row, wanted: str) -> bool:
        if self.failed and row.rank != FAILING:
            return False
        state = state_of(row.status) if row.status else "unreadable"
        return wanted in shown_name(row.name).casefold() or wanted in state

    def press(self, key: str) -> bool:
        """Obey a key; whether it is to go on."""
        if self.helping:
            self.helping = False
        elif self.editing:
            self._edit(key)
        elif key in ("q", "Q"):
            return False
        elif key == "/":
            self.editing = True
        elif key == pressed.ESCAPE:
            self.text = ""
        elif key == "s":
            self.by_trouble, self.top = not self.by_trouble, 0
        elif key == "f":
            self.failed, self.top = not self.failed, 0
        elif key in ("?", "h"):
            self.helping = True
        else:
            self._scroll(key)
        return True

    def _edit(self, key: str) -> None:
        if key in (pressed.ENTER, pressed.ESCAPE):
            self.editing = False
            self.text = self.text if key == pressed.ENTER else ""
        elif key == pressed.BACKSPACE:
            self.editing = bool(self.text)
            self.text = self.text[:-1]
        elif key == pressed.CLEAR:
            self.text = ""
        elif len(key) == 1:
            self.text += key
        else:
            self._scroll(key)
            return
        self.top = 0

    def _scroll(self, key: str) -> None:
        page = max(self.room - 1, 1)
        by = {
            **dict.fromkeys((pressed.UP, "k"), -1),
            **dict.fromkeys((pressed.DOWN, "j", pressed.ENTER), 1),
            **dict.fromkeys((pressed.PAGE_UP, "b"), -page),
            **dict.fromkeys((pressed.PAGE_DOWN, " "), page),
            **dict.fromkeys((pressed.HOME, "g"), -self.count),
            **dict.fromkeys((pressed.END, "G"), self.count),
        }
        self.top = max(min(self.top + by.get(key, 0), self.count - self.room), 0)

    def foot(self, width: int) -> str:
        """The last line: what is shown, and what can be pressed."""
        if self.editing:
            prompt = "show: "
            text = one_line(self.text)
            while columns(prompt) + columns(text) + 1 > width and text:
                text = text[1:]  # its end is where it is edited
            return cut(f"{prompt}{text}_", width)
        last = min(self.top + self.room, self.count)
        parts = [time.strftime("%H:%M:%S"), f"{min(self.top + 1, last)}-{last} of {self.count}"]
        if self.text:
            parts.append(f'with "{one_line(self.text)}"')
        if self.failed:
            parts.append("failing only")
        if self.by_trouble:
            parts.append("by trouble")
        parts += ["q quits", "s sorts", "/ finds", "? helps"]
        return shortened("  ".join(parts), width)


class Screen:
    """The services that are watched, and what was last read of them."""

    def __init__(self, watcher: Watcher, directories: list[str], colour: bool, view: View) -> None:
        """Raises ClientError: a name is unknown, there is no directory of services, no inotify watch is left."""
        self._watcher = watcher
        self._colour = colour
        self._view = view
        self._services: dict[str, Service] = {}  # by path, as the rows
        self._rows: dict[str, Row] = {}
        self.more_may_come = False  # there are directories in which no supervise has been yet
        self._words = directories
        self._lasting: set[str] = set()  # paths of those that were named themselves
        folders = [] if directories else [first_folder()]
        for word, service in named(directories, warning("svstat")):
            if isinstance(service, ClientError):
                raise service
            self._add(service)
            if word in directories:
                self._lasting.add(service.path)
            else:
                folders.append(os.path.dirname(service.path) or os.curdir)
        self.folder = watcher.watch(folders[0]) if folders else ""
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
        """Where not all services were named, but some or all are meant: find those that have come or gone."""
        if not self.folder:
            return
        known = directories_of(self.folder)
        found = {service.path: service for service in self._found()}
        if self._words:  # a group is known when there is a state
            self.more_may_come = not all(os.path.lexists(os.path.join(self.folder, name, STATE)) for name in known)
        else:
            self.more_may_come = len(known) > len(found)
        for path in self._services.keys() - found.keys() - self._lasting:
            self._watcher.remove(self._services.pop(path))
            del self._rows[path]
        for service in found.values():
            self._add(service)
        if self._words:
            order = [*found, *(path for path in self._rows if path not in found)]
            self._rows = {path: self._rows[path] for path in order}

    def _found(self) -> Iterable[Service]:
        """The services that are meant; of those that were named by more than their names the ones that there are."""
        if not self._words:
            return services()
        return (service for _, service in named(self._words) if isinstance(service, Service))

    def read(self, changed: set[Service]) -> None:
        """Look at services again."""
        known = [service for service in changed if service.path in self._services]
        for row, service in zip(rows([look_at(service) for service in known]), known):
            self._rows[service.path] = row

    def refresh(self) -> None:
        """Ask for memory and CPU again, and look again whether a signal has stopped it."""
        running = {row.status.pid: row for row in self._rows.values() if row.status and row.usage}
        used = usage(set(running))
        for pid, row in running.items():
            row.usage = used.get(pid)
        for row in self._rows.values():
            if row.status:
                row.status.look_again()

    def amiss(self) -> bool:
        """Whether something is amiss with one of them, as far as was read."""
        return any(row.rank == FAILING for row in self._rows.values())

    def draw(self, terminal: Terminal) -> None:
        """Draw all of it, over what is there, in one write: nothing flickers.  Raises OSError."""
        width, height = terminal.size()
        view = self._view
        view.room = max(height - _AROUND, 1)
        known = [self._rows[path] for path in (self._rows if self._words else sorted(self._rows))]
        head, *lines = table(view.choose(known), self._colour, width)
        if view.helping:
            lines = ["", *(shortened(text, width) for text in _HELP.splitlines())][: view.room]
        else:
            lines = lines[view.top : view.top + view.room]
        top = shortened(summary(None if row.problem else row.status for row in known), width)
        # Erased before it is written: a line that ends in the last column has the cursor on its last character.
        body = "".join(f"\033[K{line}\r\n" for line in [top, head, *lines][: max(height - 1, 0)])
        terminal.write(f"\033[H{body}\033[J\033[{height};1H\033[K{view.foot(width)}")


def watch(directories: list[str], colour: bool, failed: bool) -> int:
    """Show the table until the user has seen enough; the exit code.  Raises ClientError.

    `failed`: at first only those that are failing; and the exit code says whether one is at the end.
    """
    if not sys.stdout.isatty():
        raise UsageError("cannot watch: standard output is not a terminal")
    with Watcher() as watcher:
        view = View(failed)
        screen = Screen(watcher, directories, colour, view)
        with Terminal() as terminal:
            ended_by = _loop(watcher, screen, terminal, view)
    if ended_by in (signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), ended_by)  # whoever sent it is to see that it was obeyed
    return FAILED if failed and screen.amiss() else 0


def _loop(watcher: Watcher, screen: Screen, terminal: Terminal, view: View) -> int:
    """Draw and wait until it is to end; the signal that ended it, or 0."""
    watcher.also(terminal.wake)
    if terminal.keys is not None:
        watcher.also(terminal.keys)
    usage_at = time.monotonic() + _USAGE_EVERY
    while True:
        screen.draw(terminal)
        changed, paths, readable = watcher.wait(1.0)
        if screen.folder in paths or screen.more_may_come:
            screen.list()
        if changed:
            screen.read(changed)
        if time.monotonic() >= usage_at:
            screen.refresh()
            usage_at = time.monotonic() + _USAGE_EVERY
        if terminal.wake in readable:
            for number in terminal.caught():
                if number in ENDING:
                    return number
                if number == signal.SIGTSTP:
                    terminal.suspend()
        if terminal.keys in readable and not all([view.press(key) for key in terminal.pressed()]):
            return 0
