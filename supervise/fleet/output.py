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

from supervise.client.tail import mark
from supervise.fleet.reviving import Revival
from supervise.fleet.task import PROGRAM
from supervise.protocol.filenames import fsdecode, fsencode, join
from supervise.protocol.names import STDERR, STDOUT
from supervise.protocol.options import set_apart
from supervise.protocol.text import say
from supervise.system.installed import PACKAGE
from supervise.system.spawn import inherit, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

READER_LEFT = 3  # its exit code when nobody reads what it writes
LAST = 3.0  # seconds for the last lines
LIST = 3  # its descriptor with what it is to follow
LOGS = (STDOUT, STDERR)
_SCRIPT = join(PACKAGE, "programs/svall/shower.py")
_WORDS = 2 + 3 * len(LOGS)  # of a service that is to be followed: see `encode`
_HIGH = 10  # descriptors from here on have no meaning for a program that is spawned
_NAME = "output"


def encode(name: str, path: str, marks: Iterable[tuple[int, int, int]]) -> bytes:
    """Serialise what is to be followed, and from where: device, inode and size of each of LOGS.  No marks: not any
    more.
    """
    numbers = [str(number) for found in marks for number in found]
    words = [name, path, *(numbers or ["-"] * (_WORDS - 2))]
    return b"".join(fsencode(word) + b"\0" for word in words)


def decode(data: bytes) -> tuple[list[tuple[str, str, list[tuple[int, int, int]]]], bytes]:
    """Parse what `encode` has made, several of them: those that are whole, and the rest of the bytes."""
    words = data.split(b"\0")
    rest = words.pop()
    found = []
    whole = len(words) - len(words) % _WORDS
    for at in range(0, whole, _WORDS):
        name, path, *said = (fsdecode(word) for word in words[at : at + _WORDS])
        numbers = [int(word) for word in said if word != "-"]
        marks = [(numbers[first], numbers[first + 1], numbers[first + 2]) for first in range(0, len(numbers), 3)]
        found.append((name, path, marks))
    return found, b"".join(word + b"\0" for word in words[whole:]) + rest


class Output:
    """The process that shows what services print."""

    def __init__(self, env: dict[bytes, bytes], ignored: list[int]) -> None:
        """`env` and `ignored`: for that process."""
        self._env = set_apart(env)[0]
        self._ignored = ignored
        self._services: dict[str, str] = {}  # names and paths
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
            for name, path in self._services.items():
                self._write(name, path, True)
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

    def follow(self, services: dict[str, str]) -> None:
        """Follow these, given by name and path, from where they end now, and no others; first of all start it."""
        gone = [name for name, path in self._services.items() if services.get(name) != path]
        new = [name for name, path in services.items() if self._services.get(name) != path]
        for name in gone:
            self._write(name, self._services[name], False)
        for name in new:
            self._write(name, services[name], True)
        self._services = dict(services)
        if not self._begun:
            self._begun = True
            self._begin()
        if (gone or new) and self._more >= 0:
            try:
                os.write(self._more, b"\n")
            except OSError:
                pass  # so many that there is no room: it will look; or it has died

    def _write(self, name: str, path: str, shown: bool) -> None:
        if self._list < 0:
            return
        found = [mark(path, log) for log in LOGS] if shown else []
        data = encode(name, path, [(*one.ident, one.size) for one in found])
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
