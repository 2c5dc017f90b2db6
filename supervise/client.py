"""The Python interface to services: look at them, command them, wait for them, read what they print.

    from supervise.client import Service

    app = Service("status/app")            # or Service("app")
    if not app.status().running:
        app.command("u")
        app.wait("ready", seconds=10)
    print(app.log("stderr", lines=3))

The programs svc, svstat, svok, svwait and svlog are written with it.  What it raises are the exceptions of
supervise/errors.py, ClientError being the base of all; nothing here blocks but `wait`.  A supervise of the C
implementation does as well: it has no `state`, so that what comes from there is None.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from supervise.errors import (
    CannotComeTrue,
    ClientError,
    DamagedRecord,
    DamagedState,
    NoPermission,
    NotAStatusDir,
    NotRunning,
    SystemRefused,
    TimeLimit,
    UnknownService,
    refused,
)
from supervise.letters import COMMANDS, SIGNALS
from supervise.record import SIZE, UP, Record, RecordError
from supervise.record import decode as decode_record
from supervise.resolve import first_folder, names, resolve
from supervise.statusdir import CONTROL, LOG, LOG_WF, OK, STATE, STATUS, STDERR, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.conditions import Condition

__all__ = [
    "CannotComeTrue",
    "ClientError",
    "DamagedRecord",
    "DamagedState",
    "LastExit",
    "NoPermission",
    "NotAStatusDir",
    "NotRunning",
    "Service",
    "Status",
    "SystemRefused",
    "TimeLimit",
    "UnknownService",
    "services",
]

LETTERS = COMMANDS + "".join(SIGNALS) + "+="  # all that `control` is documented to take
LOGS = {"stdout": STDOUT, "stderr": STDERR, "supervise": LOG, "warnings": LOG_WF}

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FIFO = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class LastExit:
    """How the service last ended, or could not be started.

    `code` (0-255) or `signal` (a number) or `failure` (why it could not be started) is set, or none of them when
    nobody knows; `core`: it dumped core; `planned`: it was asked for; `fault`: why supervise ended it, if it did, such
    as `hung: no WATCHDOG=1 for 10 seconds`; `uptime` in seconds; `time` in Unix seconds.
    """

    __slots__ = ("code", "signal", "core", "failure", "planned", "fault", "uptime", "time")

    def __init__(self, fields: dict[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, fields[name])

    if TYPE_CHECKING:
        code: int | None
        signal: int | None
        core: bool
        failure: str | None
        planned: bool
        fault: str | None
        uptime: float
        time: float

    def __str__(self) -> str:
        """In words: `exited with status 1`, `was killed by signal 15 (TERM), as asked`."""
        from supervise.exitstatus import ExitStatus

        how = ExitStatus(self.code, self.signal, self.core, self.failure, self.fault)
        return f"{how}, as asked" if self.planned else str(how)


class Status:
    """How a service is at one moment.

    From the FIFO `ok`: `supervised`, whether a supervise runs.  From the record: `pid` of the service as last
    written (0: none), `changed` (when that changed, Unix seconds), `paused`, `want` ("up", "down" or "once"),
    `alarms`.  From the state, None where there is none: `state`, all of its fields, as supervise/state.py has them,
    and what the properties below make of them.  `seconds`: how long ago `changed` was, by the wall clock, never
    negative.
    """

    __slots__ = ("supervised", "pid", "changed", "seconds", "paused", "want", "alarms", "state")

    def __init__(self, supervised: bool, record: Record, state: dict[str, Any] | None) -> None:
        self.supervised = supervised
        self.pid = record.pid
        self.changed = record.changed_ns / 1e9
        self.seconds = max(time.time() - self.changed, 0.0)
        self.paused = record.paused
        self.want = record.want
        self.alarms = record.alarms
        self.state = state

    def __repr__(self) -> str:
        """The fields but for the state, which is long."""
        return f"Status({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__[:7])})"

    @property
    def running(self) -> bool:
        """Whether the service runs; without a supervise, whether it has outlived it."""
        return self.pid != 0 and (self.supervised or self.outlived)

    @property
    def outlived(self) -> bool:
        """Whether the process of the record runs although its supervise does not; only known with a state.

        Raises NoPermission, SystemRefused where the system does not let it be known.
        """
        service = self.state["service"] if self.state else None
        if self.supervised or not self.state or not service or service["pid"] != self.pid:
            return False
        from supervise.process import stat_of
        from supervise.recorder import boot_id

        try:
            found = stat_of(self.pid)
            same = bool(service["start_ticks"] == found.start_ticks and self.state["boot_id"] == boot_id())
        except OSError as why:
            raise refused(f"look at process {self.pid}", why) from None
        return found.running and same

    @property
    def supervise_pid(self) -> int | None:
        """The pid of the running supervise."""
        return self.state["supervise_pid"] if self.state and self.supervised else None

    @property
    def restarts(self) -> int | None:
        """How many starts came after the first, since the service was first supervised here."""
        return max(self.state["totals"]["starts"] - 1, 0) if self.state else None

    @property
    def last_exit(self) -> LastExit | None:
        """How the service last ended; None as well if it never has."""
        found = self.state["last_exit"] if self.state else None
        return LastExit(found) if found else None

    @property
    def gave_up(self) -> bool | None:
        """Whether supervise has ended because the service failed too often."""
        return bool(self.state["gave_up"]) if self.state else None

    @property
    def current(self) -> bool:
        """Whether the state tells of the process of the record.

        supervise replaces the record first, then the state: in between the state is that of the process before.
        """
        service = self.state["service"] if self.state else None
        return self.state is not None and (service["pid"] if service else 0) == self.pid

    @property
    def machine(self) -> str | None:
        """What the running supervise is about: a state of its machine (supervise/states.py)."""
        return self.state["machine"] if self.state and self.supervised and self.current else None

    @property
    def phase(self) -> str | None:
        """How far the service says that it is: "starting", "ready", "reloading" or "stopping"; None: it does not say.

        A service says so by the protocol that its supervise.conf names (notify, notification_fd).
        """
        return self.state["phase"] if self.state and self.pid and self.machine else None

    @property
    def phase_seconds(self) -> float | None:
        """How long ago that phase began."""
        began = self.state["phase_time"] if self.state and self.phase else None
        return None if began is None else max(time.time() - began, 0.0)

    @property
    def ready(self) -> bool:
        """Whether the service runs, and is ready as far as it says; one that is reloading is.

        Of a service that does not say, or a supervise that does not know (the C implementation), running is all there
        is to know.  One that is being ended is not ready.
        """
        if self.pid == 0 or not self.supervised:
            return False
        return self.state is None or (self.machine == "running" and self.phase in (None, "ready", "reloading"))

    @property
    def status_text(self) -> str | None:
        """What the service last said of itself (STATUS=), as it came: not to be printed as it is."""
        return self.state["status_text"] if self.state and self.pid and self.machine else None

    @property
    def fault(self) -> str | None:
        """Why supervise is ending the service at the moment, such as `not ready within 30 seconds`."""
        return self.state["fault"] if self.state and self.machine == "aborting" else None

    @property
    def next_start_seconds(self) -> float | None:
        """In how many seconds from now the next start is due; None: none is being waited for."""
        if not self.state or self.machine != "delay" or self.state["deadline_at"] is None:
            return None
        from supervise.recorder import boot_id

        left: float = self.state["deadline_at"] - time.monotonic()
        try:
            same = self.state["boot_id"] == boot_id()
        except OSError as why:
            raise refused("read this system's boot id", why) from None
        return max(left, 0.0) if same else None

    @property
    def finished(self) -> bool:
        """Whether the service has ended by itself and is not restarted, as its `autorestart` has it."""
        state = self.state
        if not state or self.machine != "idle" or not self.want == state["wanted"] == UP:
            return False
        return state["last_exit"] is not None

    @property
    def hangs(self) -> int | None:
        """How often supervise has ended the service because it hung, since it was first supervised here."""
        return self.state["totals"]["hangs"] if self.state else None

    @property
    def quick_exits(self) -> int | None:
        """How many times in a row the service has ended before it had been up for `startsecs`."""
        return self.state["quick_exits"] if self.state else None


class Service:
    """One service, by its status directory.  `path` is that directory, `name` the service's name."""

    __slots__ = ("path", "name")

    def __init__(self, status_dir: str | os.PathLike[str]) -> None:
        """A path, or a bare name, which is looked for as supervise/resolve.py says.

        Raises UnknownService, NotAStatusDir, NoPermission.
        """
        self.path = resolve(os.fspath(status_dir))
        name = os.path.basename(self.path)
        self.name = os.path.basename(os.path.realpath(self.path)) if name in ("", ".", "..") else name

    def __repr__(self) -> str:
        return f"Service({self.path!r})"

    def supervised(self) -> bool:
        """Whether a supervise runs here.  Raises NotAStatusDir, NoPermission, SystemRefused."""
        fd = self.open_fifo(OK)
        if fd is None:
            return False
        os.close(fd)
        return True

    def open_fifo(self, name: str) -> int | None:
        """Open `ok` or `control` to write, if a supervise reads it; never waits, never makes it.

        Raises NotAStatusDir, NoPermission, SystemRefused.
        """
        path = f"{self.path}/{name}"
        try:
            fd = os.open(path, _FIFO)
        except OSError as why:
            if why.errno in (errno.ENXIO, errno.ENOENT):
                return None
            if why.errno in (errno.ELOOP, errno.EISDIR, errno.ENOTDIR):
                raise NotAStatusDir(f"cannot use {path}: it is not a FIFO") from None
            raise refused(f"open {path}", why) from None
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotAStatusDir(f"cannot use {path}: it is not a FIFO")
        return fd

    def status(self) -> Status:
        """How the service is now.

        Raises NotAStatusDir, DamagedRecord, DamagedState (which holds what the record says), NoPermission,
        SystemRefused.
        """
        # First, so that of a supervise that has ended by now the last record is read.
        supervised = self.supervised()
        record = self._record(supervised)
        path = f"{self.path}/{STATE}"
        damaged = ""
        state = None
        try:
            from supervise.state import SIZE_LIMIT, StateError, decode

            state = decode(_read(path, SIZE_LIMIT))
        except FileNotFoundError:
            pass  # a supervise of the C implementation
        except StateError as why:
            damaged = f"cannot read {path}: damaged: {why}"
        except OSError as why:
            damaged = f"cannot read {path}: {why.strerror}"
        status = Status(supervised, record, state)
        if damaged:
            raise DamagedState(damaged, status)
        return status

    def _record(self, supervised: bool) -> Record:
        path = f"{self.path}/{STATUS}"
        try:
            return decode_record(_read(path, SIZE))
        except RecordError as why:
            raise DamagedRecord(f"cannot read {path}: damaged: {why}") from None
        except FileNotFoundError as why:
            if not supervised and not os.path.lexists(f"{self.path}/{OK}"):
                raise NotAStatusDir(f"cannot read {self.path}: not a status directory") from None
            raise DamagedRecord(f"cannot read {path}: {why.strerror}", missing=True) from None
        except OSError as why:
            if why.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO):
                raise DamagedRecord(f"cannot read {path}: damaged: not a regular file") from None
            raise refused(f"read {path}", why) from None

    def command(self, letters: str) -> None:
        """Have supervise obey letters (supervise/letters.py), in their order, in one write; never waits.

        Raises ValueError for a letter that means nothing, NotRunning, NotAStatusDir, NoPermission, SystemRefused.
        """
        for letter in letters:
            if letter not in LETTERS:
                raise ValueError(f"no command has the letter {letter!r}")
        fd = self.open_fifo(CONTROL)
        if fd is None:
            if not os.path.lexists(f"{self.path}/{CONTROL}") and not os.path.lexists(f"{self.path}/{STATUS}"):
                raise NotAStatusDir(f"cannot command {self.path}: not a status directory")
            raise NotRunning(f"cannot command {self.path}: supervise not running")
        try:
            # The newline ends what `+` began: a FIFO does not keep the boundaries of writes.
            os.write(fd, letters.encode("ascii") + b"\n")
        except BrokenPipeError:
            raise NotRunning(f"cannot command {self.path}: supervise not running") from None
        except BlockingIOError:
            raise SystemRefused(f"cannot command {self.path}: {CONTROL} is full, supervise does not read it") from None
        finally:
            os.close(fd)

    def wait(self, condition: str | Condition, seconds: float | None = None) -> Status:
        """Wait until something is so, and return how the service is then; `seconds` None: without a limit.

        The condition is "up", "ready" (Status.ready), "down", "restarted" (started after this call), "unsupervised"
        (no supervise runs), or a function of the status before and now.  Raises ValueError for another word, TimeLimit,
        CannotComeTrue, and what `status` raises.
        """
        from supervise.waiting import wait

        return wait(self, condition, seconds)

    def log(self, which: str = "stdout", lines: int = 10) -> list[bytes]:
        """The last lines of what was printed, rotated files included.

        `which`: "stdout" or "stderr" of the service, "supervise" or "warnings" for supervise's own two logs.
        Raises ValueError for another word, SystemRefused where a file cannot be read.
        """
        if which not in LOGS:
            raise ValueError(f"no log is called {which!r}: {', '.join(LOGS)}")
        from supervise.logfiles import LogError
        from supervise.tail import last_lines

        try:
            return last_lines(self.path, LOGS[which], lines)
        except LogError as why:
            raise SystemRefused(f"cannot {why}") from None


def services() -> list[Service]:
    """Every service below `status` in the current directory, or where that is not there below $SUPERVISE_ROOT.

    Raises UnknownService if there is no such directory.
    """
    folder = first_folder()
    return [Service(os.path.join(folder, name)) for name in names(folder)]


def _read(path: str, limit: int) -> bytes:
    """A regular file, or its first limit + 1 bytes.  Raises OSError."""
    fd = os.open(path, _READ)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.read(fd, min(found.st_size, limit) + 1)
    finally:
        os.close(fd)
