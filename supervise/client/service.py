"""Service: the status of one service, commanding it, waiting for it, its output."""

from __future__ import annotations

import errno
import os
import stat
import sys

from supervise.client.errors import (
    ClientError,
    DamagedRecord,
    NoPermission,
    NotAStatusDir,
    SystemRefused,
    refused,
)
from supervise.client.meant import check
from supervise.client.resolve import resolve
from supervise.client.status import DamagedState, Status
from supervise.protocol.names import CONTROL, LOG, LOG_WF, OK, STATE, STATUS, STDERR, STDOUT
from supervise.protocol.record import SIZE, Record, RecordError
from supervise.protocol.record import decode as decode_record
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from supervise.client.conditions import Condition, ConditionName

    LogName = Literal["stdout", "stderr", "supervise", "warnings"]

LOGS: dict[LogName, str] = {"stdout": STDOUT, "stderr": STDERR, "supervise": LOG, "warnings": LOG_WF}

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FIFO = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Service:
    """One service, by its status directory.  `path` is that directory, `name` the service's name.

    Both are text as os.fsdecode makes it: os.fsencode has the bytes, also of a name that is not UTF-8.
    """

    __slots__ = ("path", "name")

    def __init__(self, status_dir: str | bytes | os.PathLike[str]) -> None:
        """A path, or a bare name, which is looked for as supervise/client/resolve.py says.

        Raises UnknownService, NotAStatusDir, NoPermission.
        """
        self.path = resolve(os.fsdecode(status_dir))
        name = os.path.basename(self.path)
        self.name = os.path.basename(os.path.realpath(self.path)) if name in ("", ".", "..") else name

    @property
    def shown_path(self) -> str:
        """The path as messages have it: no other is shown alike, and nothing in it disturbs a terminal."""
        return shown_name(self.path)

    def __repr__(self) -> str:
        return f"Service({self.path!r})"

    def supervised(self) -> bool:
        """Whether a supervise runs here.  Raises NotAStatusDir, NoPermission, SystemRefused.

        Who may only look at the directory cannot open `ok`, and is told what the lock says.
        """
        try:
            fd = self.open_fifo(OK)
        except NoPermission as why:
            return self._supervised_by_lock(why)
        if fd is None:
            return False
        os.close(fd)
        return True

    def _supervised_by_lock(self, refusal: NoPermission) -> bool:
        from supervise.client.liveness import holds_lock
        from supervise.protocol.state_reader import SIZE_LIMIT, decode

        try:
            held = holds_lock(self.path, lambda: decode(_read(f"{self.path}/{STATE}", SIZE_LIMIT)))
        except OSError:
            held = None
        if held is None:
            raise refusal
        return held

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
                raise NotAStatusDir(f"cannot use {shown_name(path)}: it is not a FIFO") from None
            raise refused(f"open {shown_name(path)}", why) from None
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise NotAStatusDir(f"cannot use {shown_name(path)}: it is not a FIFO")
        return fd

    def status(self) -> Status:
        """Read the status now.

        Raises NotAStatusDir, DamagedRecord, DamagedState (which holds what the record says), NoPermission,
        SystemRefused.
        """
        # First, so that of a supervise that has ended by now the last record is read.
        supervised = self.supervised()
        record = self._record(supervised)
        state, damaged = self.recorded_state()
        status = Status(supervised, record, state)
        if damaged:
            raise DamagedState(damaged, status)
        return status

    def recorded_state(self) -> tuple[dict[str, Any] | None, str]:
        """The state alone, None where there is none, and what is wrong with it, if anything.

        Raises SystemRefused where it cannot be read just now.
        """
        path = f"{self.path}/{STATE}"
        try:
            from supervise.protocol.state_reader import SIZE_LIMIT, StateError, decode

            return decode(_read(path, SIZE_LIMIT)), ""
        except FileNotFoundError:
            return None, ""  # a supervise of the C implementation
        except StateError as why:
            return None, f"cannot read {shown_name(path)}: damaged: {why}"
        except OSError as why:
            from supervise.system.errors import is_transient

            if is_transient(why):  # which says nothing about the file
                raise refused(f"read {shown_name(path)}", why) from None
            return None, f"cannot read {shown_name(path)}: {why.strerror}"

    def _record(self, supervised: bool) -> Record:
        path = f"{self.path}/{STATUS}"
        try:
            return decode_record(_read(path, SIZE))
        except RecordError as why:
            raise DamagedRecord(f"cannot read {shown_name(path)}: damaged: {why}") from None
        except FileNotFoundError as why:
            if not supervised and not os.path.lexists(f"{self.path}/{OK}"):
                raise NotAStatusDir(f"cannot read {self.shown_path}: not a status directory") from None
            raise DamagedRecord(f"cannot read {shown_name(path)}: {why.strerror}", missing=True) from None
        except OSError as why:
            if why.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO):
                if not supervised and os.path.isdir(path) and not os.path.lexists(f"{self.path}/{OK}"):
                    raise NotAStatusDir(
                        f"cannot read {self.shown_path}: not a status directory; {shown_name(path)} is a directory"
                    ) from None
                raise DamagedRecord(f"cannot read {shown_name(path)}: damaged: not a regular file") from None
            raise refused(f"read {shown_name(path)}", why) from None

    def command(self, letters: str) -> None:
        """Send letters to supervise (supervise/protocol/letters.py), in one write; never waits.

        Raises BadLetters for what cannot be meant (supervise/client/meant.py), TypeError for what is no str,
        NotRunning, NotAStatusDir, NoPermission, SystemRefused.
        """
        self.send(letters)

    def send(self, letters: str) -> int:
        """Command as `command` does; the number of bytes in `control` then, up to the last of these.

        When supervise has obeyed so many more than it had before the call (state.py, `control_obeyed`), it has obeyed
        these.
        """
        check(letters)
        fd = self.open_fifo(CONTROL)
        if fd is None:
            raise self._gone()
        try:
            # The newline ends what `+` began: a FIFO does not keep the boundaries of writes.
            return _unread(fd) + os.write(fd, letters.encode("ascii") + b"\n")
        except BrokenPipeError:
            raise self._gone() from None
        except BlockingIOError:
            text = f"cannot command {self.shown_path}: {CONTROL} is full, supervise does not read it"
            raise SystemRefused(text) from None
        finally:
            os.close(fd)

    def _gone(self) -> ClientError:
        from supervise.client.resume import gone

        return gone(self, "command")

    def start(self, seconds: float | None = 30.0) -> Status:
        """Start the service and wait until it has been up for its startsecs, and is ready where it tells that.

        One that runs already goes on, and is restarted from now on when it exits; one that is just being stopped is
        started when it has ended.  One that has ended again with an expected exit code, and is not restarted, has done
        what it was to do.  Where no supervise runs any more, one is started first, a daemon that goes on as the last
        one did (`supervise -p STATUS_DIR --resume`), with the environment of this process; no other method does that.
        The status then; `seconds` None: without a limit.

        Raises DidNotStayUp (it has ended, or is not ready in time), IsStopped (it is up, but paused or stopped by a
        signal), TimeLimit, CannotComeTrue (supervise ends or gives up meanwhile), NotRunning (no supervise runs, and it
        is not known how one was started, or it was with --foreground), NotAStatusDir, DamagedRecord, NoPermission,
        SystemRefused.
        """
        from supervise.client.commanding import start

        return start(self, seconds)

    def stop(self, seconds: float | None = 30.0) -> Status:
        """Stop the service and wait until it is down, with what is left of it; the status then.

        It stays down until it is started, however it was before.  Raises what `start` does, but DidNotStayUp and
        IsStopped, and NotRunning wherever no supervise runs.
        """
        from supervise.client.commanding import stop

        return stop(self, seconds)

    def restart(self, seconds: float | None = 30.0) -> Status:
        """Restart the service, without an alarm, and wait as `start` does; one that is down is started.

        Raises what `start` does, and NotRunning wherever no supervise runs: `start` starts one.
        """
        from supervise.client.commanding import restart

        return restart(self, seconds)

    def to_dict(self) -> dict[str, Any]:
        """All that is known of the service now as plain values, which json.dumps takes; never raises.

        The fields are those of an object in svstat --json (supervise/client/document.py), memory and CPU included.
        `error` says what could not be read, and is None when all could.
        """
        from supervise.client.document import describe

        return describe(self)

    def wait(self, condition: ConditionName | Condition, seconds: float | None = None) -> Status:
        """Wait for a condition, and return the status then; `seconds` None: without a limit.

        The condition is "up", "ready" (Status.ready), "down", "restarted" (started after this call), "unsupervised"
        (no supervise runs), "stayed_up" (ready, and up for its `startsecs`), or a function of the status before and
        now.  Raises ValueError for another word, TypeError for what is neither, TimeLimit, CannotComeTrue, DidNotStayUp
        (for "stayed_up"), and what `status` raises.
        """
        from supervise.client.wait import wait

        return wait(self, condition, seconds)

    def log(self, which: LogName = "stdout", lines: int = 10) -> list[bytes]:
        """The last lines of what was printed, rotated files included.

        `which`: "stdout" or "stderr" of the service, "supervise" or "warnings" for supervise's own two logs.
        Raises ValueError for another word, or fewer lines than none; SystemRefused where a file cannot be read.
        """
        from operator import index

        if which not in list(LOGS):
            raise ValueError(f"no log is called {which!r}: {', '.join(LOGS)}")
        if index(lines) < 0:
            raise ValueError(f"cannot read {lines} lines: 0 or more are asked for")
        from supervise.client.logfiles import LogError
        from supervise.client.tail import last_lines

        try:
            return last_lines(*self.log_place(which), lines)
        except LogError as why:
            raise SystemRefused(f"cannot {why}") from None

    def log_place(self, which: LogName) -> tuple[str, str]:
        """The directory and the name of a log: what the service prints may be in a file of the user's choice.

        Raises LogError where it is in none.
        """
        if which in ("stdout", "stderr"):
            from supervise.client.printed import log_of

            return log_of(self.path, which)
        return self.path, LOGS[which]


def _unread(fd: int) -> int:
    """How many bytes are in a FIFO."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)


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
