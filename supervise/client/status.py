"""Status: record and state of a service at one moment; and the exceptions that hold one."""

from __future__ import annotations

import errno
import os
import time

from supervise.client.clocks import monotonic, same_boot, since_boot, started
from supervise.client.errors import ClientError, refused
from supervise.protocol.exitcodes import FAILED, TIME_LIMIT
from supervise.protocol.record import UP, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from supervise.protocol.record import Want

    # As supervise/protocol/states.py has them.
    MachineState = Literal[
        "idle",
        "spawning",
        "running",
        "stopping",
        "aborting",
        "cleanup",
        "succession",
        "delay",
        "script",
        "ended",
    ]
    Phase = Literal["starting", "ready", "reloading", "stopping"]


class LastExit:
    """The last exit of a service, or why it could not be started.

    `code` (0-255) or `signal` (a number) or `failure` (why it could not be started) is set, or none of them when
    nobody knows; `core`: it dumped core; `planned`: it was asked for; `fault`: why supervise ended it, if it did, such
    as `hung: no WATCHDOG=1 for 10 seconds`; `expected`: its exit code is one of its `exitcodes`, None where that is not
    known; `uptime` in seconds; `time` in Unix seconds; `seconds`: how long ago that was when it was looked at.
    """

    __slots__ = ("code", "signal", "core", "failure", "planned", "fault", "expected", "uptime", "time", "seconds")

    def __init__(self, fields: dict[str, Any], seconds: float) -> None:
        for name in self.__slots__[:-1]:
            setattr(self, name, fields[name])
        self.seconds = seconds

    if TYPE_CHECKING:
        code: int | None
        signal: int | None
        core: bool
        failure: str | None
        planned: bool
        fault: str | None
        expected: bool | None
        uptime: float
        time: float
        seconds: float

    def __str__(self) -> str:
        """In words: `exited with status 1`, `was killed by signal 15 (TERM), as asked`."""
        from supervise.protocol.exitstatus import ExitStatus

        how = ExitStatus(self.code, self.signal, self.core, self.failure, self.fault)
        return f"{how}, as asked" if self.planned else str(how)


class Health:
    """What the checks of a service that runs have found (`check_command`).

    `failures` in a row, 0 if the last one succeeded; of `limit` supervise ends the service, but not while it is
    `starting`.  Where there are some: `failure`, what the last check did, such as `exited with status 1`; `output`, how
    what it printed begins, not to be printed as it is; `since` when they fail, Unix seconds; `seconds`, how long that
    was ago.  `problem`: why the service is not checked, such as `./check: No such file or directory`.
    """

    __slots__ = ("failures", "limit", "starting", "failure", "output", "since", "seconds", "problem")

    def __init__(self, fields: dict[str, Any], seconds: float | None) -> None:
        for name in ("failures", "limit", "starting", "failure", "output", "problem"):
            setattr(self, name, fields[name])
        self.since, self.seconds = fields["failing_time"], seconds

    if TYPE_CHECKING:
        failures: int
        limit: int
        starting: bool
        failure: str | None
        output: str
        since: float | None
        seconds: float | None
        problem: str | None

    @property
    def healthy(self) -> bool | None:
        """Whether the last check succeeded; None: there is none that tells."""
        return None if self.problem and not self.failures else not self.failures


class LoggerStatus:
    """A program that reads what a service prints (`stdout_command`, `stderr_command`).

    `stream`: "stdout" or "stderr"; `pid`, 0 if it does not run; `seconds` since its start, None if it does not run;
    `restarts`: how often it has ended and was started again; and where it should run and does not: `failure`, how it
    has ended or why it cannot be started, and `waiting`, the bytes that were waiting for it then.
    """

    __slots__ = ("stream", "pid", "seconds", "restarts", "failure", "waiting")

    def __init__(self, fields: dict[str, Any], seconds: float | None) -> None:
        process = fields["process"]
        self.stream: str = fields["stream"]
        self.pid: int = process["pid"] if process else 0
        self.seconds = seconds
        self.restarts: int = fields["ends"]
        self.failure: str | None = None if process else fields["failure"]
        self.waiting: int = 0 if process else fields["waiting"]


class Status:
    """The status of a service at one moment.

    From the FIFO `ok`: `supervised`, whether a supervise runs.  From the record: `pid` of the service as last
    written (0: none), `changed` (when that changed, Unix seconds), `paused`, `want` ("up", "down" or "once"),
    `alarms`.  From the state, None where there is none: `state`, all of its fields, as protocol/state.py has them, and
    what the properties below make of them.  `seconds`: for how long the process of the record has run, or none has,
    whatever was done to the wall clock meanwhile; by the wall clock where no state tells; never negative.
    """

    __slots__ = ("supervised", "pid", "changed", "seconds", "paused", "want", "alarms", "state", "_stopped", "_looked")

    def __init__(self, supervised: bool, record: Record, state: dict[str, Any] | None) -> None:
        self.supervised = supervised
        self.pid = record.pid
        self.changed = record.changed_ns / 1e9
        self.paused = record.paused
        self.want: Want = record.want
        self.alarms = record.alarms
        self.state = state
        self.seconds = self._seconds()
        self._stopped: bool | None = None
        self._looked = False

    def _seconds(self) -> float:
        state = self.state
        service = state["service"] if state else None
        if state and self.current and same_boot(state["boot_id"]):
            now = since_boot()
            if service and service["start_ticks"]:
                return max(now - started(service["start_ticks"]), 0.0)
            if state["changed_boottime"] is not None:
                return float(max(now - state["changed_boottime"], 0.0))
        return max(time.time() - self.changed, 0.0)

    def _ago(self, unix_seconds: float, boottime: float | None) -> float:
        """How long ago a moment of the state was; by the wall clock where nothing else tells."""
        if boottime is not None and self.state and same_boot(self.state["boot_id"]):
            return max(since_boot() - boottime, 0.0)
        return max(time.time() - unix_seconds, 0.0)

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
        return self._process_state() not in "-ZX"

    @property
    def stopped(self) -> bool | None:
        """Whether the service is stopped by a signal (STOP, TTIN, ...) that supervise did not send it to pause it.

        None: nobody knows, for there is no state, or the process may not be looked at.  Looked at once, see
        `look_again`.
        """
        if not self._looked:
            self._looked, self._stopped = True, self._is_stopped()
        return self._stopped

    def _is_stopped(self) -> bool | None:
        if not self.state or not self.current:
            return None
        if not self.supervised or not self.pid or self.paused:
            return False
        try:
            found = self._process_state()
        except ClientError:
            return None
        return None if found == "-" else found == "T"  # `-`: it is hidden, or of another PID namespace

    def look_again(self) -> None:
        """Have `stopped` look at the process as it is now: no file tells of a change."""
        self._looked = False

    def _process_state(self) -> str:
        """The state of the process that the state names, as /proc/PID/stat has it; `-` if it is gone."""
        from supervise.system.procfs import boot_id, stat_of

        service = self.state["service"] if self.state else None
        if not self.state or not service:
            return "-"
        try:
            if not os.path.isdir("/proc/self"):
                raise OSError(errno.ENOENT, "there is no /proc")
            found = stat_of(self.pid)
            same = bool(service["start_ticks"] == found.start_ticks and self.state["boot_id"] == boot_id())
        except OSError as why:
            raise refused(f"look at process {self.pid}", why) from None
        if not same:
            return "-"
        return "S" if found.running and found.state == "Z" else found.state  # its first thread has ended alone

    @property
    def supervise_pid(self) -> int | None:
        """The pid of the running supervise."""
        return self.state["supervise_pid"] if self.state and self.supervised else None

    @property
    def restarts(self) -> int | None:
        """The number of starts after the first, since the service was first supervised here."""
        return max(self.state["totals"]["starts"] - 1, 0) if self.state else None

    @property
    def last_exit(self) -> LastExit | None:
        """The last exit; None as well if there was none."""
        found = self.state["last_exit"] if self.state else None
        return LastExit(found, self._ago(found["time"], found["boottime"])) if found else None

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
    def machine(self) -> MachineState | None:
        """The state of the running supervise's state machine (supervise/protocol/states.py)."""
        return self.state["machine"] if self.state and self.supervised and self.current else None

    @property
    def phase(self) -> Phase | None:
        """The phase that the service notifies: "starting", "ready", "reloading" or "stopping", or None.

        A service says so by the protocol that its supervise.conf names (notify, notification_fd).
        """
        return self.state["phase"] if self.state and self.pid and self.machine else None

    @property
    def phase_seconds(self) -> float | None:
        """The seconds since that phase began."""
        began = self.state["phase_time"] if self.state and self.phase else None
        return None if began is None or not self.state else self._ago(began, self.state["phase_boottime"])

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
        """The text of the last STATUS= notification, as it came: not safe to be printed."""
        return self.state["status_text"] if self.state and self.pid and self.machine else None

    @property
    def fault(self) -> str | None:
        """Why supervise is ending the service at the moment, such as `not ready within 30 seconds`."""
        return self.state["fault"] if self.state and self.machine == "aborting" else None

    @property
    def health(self) -> Health | None:
        """What the checks of the service that runs have found; None: none has told yet, or it is not checked now."""
        found = self.state["health"] if self.state and self.pid and self.machine and not self.paused else None
        if not found:
            return None
        since = found["failing_time"]
        return Health(found, None if since is None else self._ago(since, found["failing_boottime"]))

    @property
    def loggers(self) -> list[LoggerStatus]:
        """The programs that read what the service prints, where it is configured to have any and supervise runs."""
        found = (self.state["loggers"] if self.state and self.supervised else None) or ()
        return [LoggerStatus(one, self._logger_seconds(one)) for one in found if not one["retired"]]

    def _logger_seconds(self, fields: dict[str, Any]) -> float | None:
        process = fields["process"]
        if not process:
            return None
        if process["start_ticks"] and self.state and same_boot(self.state["boot_id"]):
            return max(since_boot() - started(process["start_ticks"]), 0.0)
        return float(max(time.time() - fields["start_time"], 0.0))

    @property
    def next_start_seconds(self) -> float | None:
        """In how many seconds from now the next start is due; None: none is being waited for."""
        if not self.state or self.machine != "delay" or self.state["deadline_at"] is None:
            return None
        left: float = self.state["deadline_at"] - monotonic()
        return max(left, 0.0) if same_boot(self.state["boot_id"]) else None

    @property
    def finished(self) -> bool:
        """Whether the service has ended by itself and is not restarted, as its `autorestart` has it."""
        state = self.state
        if not state or self.machine != "idle" or not self.want == state["wanted"] == UP:
            return False
        return state["last_exit"] is not None

    @property
    def groups(self) -> tuple[str, ...] | None:
        """The groups that the service is in, as the file that defines it says; None: none does, as far as is known."""
        found = self.state["groups"] if self.state else None
        if found is None:
            return None
        from supervise.protocol.filenames import from_file

        return tuple(map(from_file, found))

    @property
    def hangs(self) -> int | None:
        """The number of times that the service hung and was ended, since it was first supervised here."""
        return self.state["totals"]["hangs"] if self.state else None

    @property
    def quick_exits(self) -> int | None:
        """The number of exits in a row before the service had been up for `startsecs`."""
        return self.state["quick_exits"] if self.state else None


class DamagedState(ClientError):
    """`state` is not what a supervise writes; `status` is what the record alone says."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class DidNotStayUp(ClientError):
    """A service ended before it had been up for its `startsecs`, or before it was ready; or ended, and stays down.

    `why` is the end of the message: how it ended, what follows, and the last line that it printed; `status` is the
    status then.
    """

    exit_code = FAILED

    def __init__(self, what: str, why: str, status: Status) -> None:
        super().__init__(f"{what}: {why}")
        self.why = why
        self.status = status


class IsStopped(ClientError):
    """A service that was to work is up, but paused, or stopped by a signal; `status` is the status then."""

    exit_code = FAILED

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class TimeLimit(ClientError):
    """A condition did not become true in time; `status` is the last one, if it could be read."""

    exit_code = TIME_LIMIT

    def __init__(self, message: str, status: Status | None = None) -> None:
        super().__init__(message)
        self.status = status
