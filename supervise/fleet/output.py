"""Showing what services print, for `svall run --logs`: the process that does it, seen from the one that stays.

Theory of operation
-------------------

Rule 1.  Who reads standard output may be slow, or stop: a terminal with ^S, a log driver whose pipe is full.  Whoever
         supervises must not wait for that.  So a process of its own writes there (programs/svall/shower.py), and waits
         as long as it must: what it has not shown yet is in the files, and takes no memory.
Rule 2.  It is told what to follow in a file without a name, and by a byte in a pipe that there is more in it: neither
         is ever full in a way that matters.  Of each service it is told where its output ended before anything was
         started, so nothing is lost while it loads.
Rule 3.  It ends when that pipe does, also if this process is killed: then it shows what there is still, and has a few
         seconds for that.
Rule 4.  If it dies another is started, after a pause that grows, and shows what is printed from then on.  One whose
         reader has left is not missed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

from supervise.client.mark import NOTHING, NUMBERS, Mark, mark
from supervise.fleet.reviving import Revival
from supervise.fleet.task import PROGRAM
from supervise.protocol.filenames import fsdecode, fsencode, join, split
from supervise.protocol.options import set_apart
from supervise.protocol.text import say
from supervise.system.installed import PACKAGE
from supervise.system.spawn import inherit, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Logs = tuple[str, str]

READER_LEFT = 3  # its exit code when nobody reads what it writes
LAST = 3.0  # seconds for the last lines
LIST = 3  # its descriptor with what it is to follow
_LOGS = 2  # of a service
_SCRIPT = join(PACKAGE, "programs/svall/shower.py")
_EACH = 1 + NUMBERS
_WORDS = 1 + _EACH * _LOGS  # of a service that is to be followed: see `encode`
_HIGH = 10  # descriptors from here on have no meaning for a program that is spawned
_NAME = "output"


def encode(name: str, marks: Iterable[tuple[str, Mark]]) -> bytes:
    """Serialise what is to be followed: both files, empty for none, and from where.  No marks: not any more."""
    said = [word for place, found in marks for word in (place, *map(str, found.numbers()))]
    words = [name, *(said or ["-"] * (_WORDS - 2))]
    return b"".join(fsencode(word) + b"\0" for word in words)


def decode(data: bytes) -> tuple[list[tuple[str, list[tuple[str, Mark]]]], bytes]:
    """Parse what `encode` has made, several of them: those that are whole, and the rest of the bytes."""
    words = data.split(b"\0")
    rest = words.pop()
    found = []
    whole = len(words) - len(words) % _WORDS
    for at in range(0, whole, _WORDS):
        name, *said = (fsdecode(word) for word in words[at : at + _WORDS])
        marks = []
        for first in range(0, len(said), _EACH) if said[0] != "-" else ():
            place, *numbers = said[first : first + _EACH]
            marks.append((place, Mark.of([int(number) for number in numbers])))
        found.append((name, marks))
    return found, b"".join(word + b"\0" for word in words[whole:]) + rest


class Output:
    """The process that shows what services print."""

    def __init__(self, env: dict[bytes, bytes], ignored: list[int]) -> None:
        """`env` and `ignored`: for that process."""
        self._env = set_apart(env)[0]
        self._ignored = ignored
        self._services: dict[str, Logs] = {}
        self._list = self._more = -1
        self._pid = 0
        self._begun = False
        self._revival = Revival()

    def _begin(self) -> None:
        """Start it.  What was followed before is followed from here on."""
        self._let_go()
        reading = copy = -1
        try:
            self._list = os.memfd_create("output")
            for name, logs in self._services.items():
                self._write(name, logs)
            reading, self._more = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._more, False)
            copy = fcntl.fcntl(self._list, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            words = [sys.executable, "-I", "-S", _SCRIPT]
            self._pid = spawn(words, self._env, self._ignored, [inherit(reading, 0), inherit(copy, LIST)])
        except OSError as why:
            self._let_go()
            self._again(f"cannot show what services print: {why.strerror}")
        finally:
            for fd in (reading, copy):
                if fd >= 0:
                    os.close(fd)

    def _again(self, why: str) -> None:
        say(PROGRAM, "warning", f"{why}; trying again")
        self._revival.again(_NAME, time.monotonic())

    def follow(self, services: dict[str, Logs]) -> None:
        """Follow these, of each both files, empty for none, from where they end now, and no others.

        It is started when this is called first.
        """
        gone = [name for name, logs in self._services.items() if services.get(name) != logs]
        new = [name for name, logs in services.items() if self._services.get(name) != logs]
        for name in gone:
            self._write(name, None)
        for name in new:
            self._write(name, services[name])
        self._services = dict(services)
        if not self._begun:
            self._begun = True
            self._begin()
        if (gone or new) and self._more >= 0:
            try:
                os.write(self._more, b"\n")
            except OSError:
                pass  # so many that there is no room: it will look; or it has died

    def _write(self, name: str, logs: Logs | None) -> None:
        if self._list < 0:
            return
        data = encode(name, [(log, mark(*split(log)) if log else NOTHING) for log in logs or ()])
        try:
            while data:
                data = data[os.write(self._list, data) :]
        except OSError as why:  # no memory
            say(PROGRAM, "warning", f"cannot show what services print: {why.strerror}")

    def ended(self, pid: int, status: int) -> None:
        """A child has ended, which may be this."""
        if pid != self._pid:
            return
        self._let_go()
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == READER_LEFT:
            say(PROGRAM, "warning", "what services print is not shown any more: nobody reads it")
        else:
            self._again("what shows the output of services has died: what they print meanwhile is not shown")

    @property
    def due(self) -> float | None:
        """When it is started again, monotonic."""
        return self._revival.due

    def on_time(self, now: float) -> None:
        """Start it again, if that is due."""
        if self._revival.take(now):
            self._begin()

    def _let_go(self) -> None:
        """Have it end, if there is any."""
        self._pid = 0
        for fd in (self._list, self._more):
            if fd >= 0:
                os.close(fd)
        self._list = self._more = -1

    def close(self) -> None:
        """Have it show the last lines, and wait for that, but not longer than it may take."""
        pid = self._pid
        self._let_go()
        if not pid:
            return
        try:
            if not _ends(pid, LAST + 1.0):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ChildProcessError, ProcessLookupError):
            pass  # it was reaped


def _ends(pid: int, seconds: float) -> bool:
    """Wait until a child has ended, so long at most."""
    import select

    try:
        fd = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return _is_seen_to_end(pid, seconds)
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def _is_seen_to_end(pid: int, seconds: float) -> bool:
    """The same, of an older kernel."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.01)
    return False
