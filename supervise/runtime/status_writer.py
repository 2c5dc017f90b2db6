"""Writing `status` and `state` when the machine has changed, and again when a full disk has room."""

from __future__ import annotations

import errno
import posix as os
import time

from supervise import __version__
from supervise.config.restrictions import in_force
from supervise.machine.policy import is_expected
from supervise.protocol.exitstatus import ExitStatus, kind_of
from supervise.protocol.names import STATE, STATUS
from supervise.protocol.record import Record, RecordError, decode
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.state import VERSION, form, text_of
from supervise.protocol.states import CLEANUP, ENDING, RUNNING, STARTING
from supervise.system import start_tag
from supervise.system.procfs import pid_namespace
from supervise.system.statusdir import StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from supervise.config.config import Config
    from supervise.config.file import ConfFile
    from supervise.machine.machine import Machine
    from supervise.protocol.record import Want
    from supervise.runtime.event_log import Log
    from supervise.system.pidfd import Process
    from supervise.system.statusdir import StatusDir

GIVEN = (STARTING, ENDING)  # phases whose deadline only the service itself moves, when it asks for more time
RETRY = 5.0  # seconds at most between tries to write what could not be written
_FIRST_RETRY = 0.02  # seconds; doubled from one try to the next
_KNOWN = 20  # texts that are kept
_GIVE_UP = 20  # tries to find out what tells a process from others: it seems to be forbidden
FULL = (errno.ENOSPC, errno.EDQUOT)
# The fields of a state, in the order of StatusWriter._values.
_FIELDS = (
    *("version", "supervise_version", "supervise_pid", "session", "boot_id", "command", "machine", "wanted"),
    *("paused", "alarms", "leaving", "service", "remains", "started_at", "exited_at", "script_exits", "window"),
    *("totals", "last_exit", "gave_up", "deadline_at", "directory", "next_mark", "pid_namespace", "upgrades"),
    *("upgrades_refused", "control_obeyed", "phase", "phase_time", "phase_boottime", "changed_boottime"),
    *("health", "status_text", "quick_exits", "watchdog", "fault", "fault_kind", "unheard", "notify_address"),
    *("formers", "unsent", "restrictions", "startsecs", "config_problems", "options", "started_with"),
    *("groups", "outputs", "loggers"),
)
_FORM = form(_FIELDS)


def boottime() -> float:
    """Seconds since boot, as state.py has them."""
    return round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)


class StatusWriter:
    """Writes the record and the state of one service, each when it has changed."""

    def __init__(
        self,
        directory: StatusDir,
        machine: Machine,
        command: list[str],
        boot: str,
        log: Log,
        options: dict[str, Any] | None = None,
    ) -> None:
        """`options` as state.py describes them."""
        self._options = options
        self._directory = directory
        self._machine = machine
        self._command = command
        self._log = log
        self._boot_id = boot
        self._where = directory.identity()
        self._self = os.getpid(), os.getsid(0)
        self._pid_namespace = pid_namespace()
        self._pid = 0
        self._changed_ns = time.time_ns()
        self._changed_boottime: float | None = boottime()
        self._service: dict[str, Any] | None = None
        self._last_exit: dict[str, Any] | None = None
        self._record: tuple[bool, Want, bool, int] | None = None  # as last written, or tried to be
        self._state: bytes | None = None
        self._texts: dict[int, tuple[Any, str]] = {}  # by id: values, and how the state has them
        self._failing: set[str] = set()
        self._restricting: tuple[Config, dict[str, str]] | None = None  # a configuration, and its restrictions
        self._next_tag: int | None = None  # start_tag.py
        self._foretold: int | None = None  # the same in the state that is on the disk
        self._tagged = -1  # starts that there had been when the tag was given
        self.upgrades = 0  # how often this process was replaced by another version of supervise
        self.upgrades_refused = 0
        self.control_obeyed = 0  # as state.py describes it
        self.remains: dict[str, int] | None = None  # the process group of which something is left
        self.notify_address: str | None = None  # where the service's notifications come to
        self.formers: list[dict[str, Any]] = []  # processes that were the main one before, and live
        # And since when, in Unix seconds and since boot.
        self._phase: tuple[str | None, float | None, float | None] = None, None, None
        self.health: dict[str, Any] | None = None  # what the checks have found
        self.loggers: list[dict[str, Any]] | None = None
        self.due: float | None = None  # monotonic: when to `write`, for what could not be written
        self._unidentified = 0  # tries in a row
        self._pause = 0.0  # from the last try to that
        self.problem = ""  # what could not be written last, and why
        self.failed_by = 0  # the errno of that, -1 where it has none; 0: everything is written
        self.outputs: dict[str, str] | None = None  # as state.py describes it
        self.unsent: list[tuple[str, bool]] = []  # signals that the service is still to be sent
        self.conf: ConfFile | None = None
        self.not_in_force: list[str] = []  # what that says and this supervise cannot do
        self._started_under: Config | None = None
        self._started_with: dict[str, str] | None = None  # as state.py describes it
        self._groups: dict[str, list[int]] | None = None  # those of the supervise before

    def restore(self, fields: dict[str, Any], pid: int) -> None:
        """Restore from the state of the supervise before; `pid` is the service's now, 0 for none.

        The record tells when the pid last changed, and that is not now if it is the same.
        """
        self._last_exit, self._foretold = fields["last_exit"], fields["next_mark"]
        same_boot = fields["boot_id"] == self._boot_id
        if self._last_exit and not same_boot:
            self._last_exit["boottime"] = None
        self._phase = fields["phase"], fields["phase_time"], fields["phase_boottime"]
        self.notify_address = fields["notify_address"]
        self._groups = fields["groups"]
        self.outputs = fields["outputs"]
        self.loggers = fields["loggers"]
        self.control_obeyed = fields["control_obeyed"] or 0
        try:
            record = decode(self._directory.read(STATUS) or b"")
        except (OSError, StatusDirError, RecordError):
            return
        if record.pid == pid:
            self._started_with = fields["started_with"]
            self._pid, self._changed_ns = pid, record.changed_ns
            self._changed_boottime = fields["changed_boottime"] if same_boot else None
            service = fields["service"]
            self._service = service if service and service["pid"] == pid else None

    def started_under(self, config: Config) -> None:
        """Note the configuration that the service was started under, where somebody is going to ask for that."""
        if config is self._started_under or not (self._options and self._options["defined"]):
            return
        try:
            from supervise.config.fingerprint import fingerprint

            self._started_under, self._started_with = config, fingerprint(config)
        except (OSError, ImportError):
            self._started_under = self._started_with = None  # nobody knows, which svall takes for another one

    def move(self) -> None:
        """Note that this is another process now, a copy that goes on in place of the one before (guardian.py)."""
        self._self = os.getpid(), os.getsid(0)

    def superseded(self) -> bool:
        """Whether the state in the file was written by the next version, in the same process."""
        try:
            return b'"upgrades": %d,' % (self.upgrades + 1) in (self._directory.read(STATE) or b"")
        except (OSError, StatusDirError):
            return False

    def exited(self, how: ExitStatus, uptime: float, planned: bool) -> None:
        """Note an exit as the last exit; `uptime` in seconds."""
        self._phase = None, None, None  # the next one has its own
        config = self._machine.config
        expected = not planned and is_expected(config, how, self._machine.quick_exits)
        self._last_exit = {
            "code": how.code,
            "signal": how.signal,
            "core": how.core,
            "failure": how.failure,
            "planned": planned,
            "uptime": round(uptime, 3),
            "time": round(time.time(), 3),
            "fault": how.fault,
            "fault_kind": kind_of(how.fault),
            "boottime": boottime(),
            "expected": expected,
        }

    def amended(self, how: ExitStatus) -> None:
        """Correct the last exit, whose status has turned out later."""
        if self._last_exit:
            self._last_exit.update(code=how.code, signal=how.signal, core=how.core)

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last exit, as a shell has it; None: there has been none."""
        last = self._last_exit
        return ExitStatus(last["code"], last["signal"], failure=last["failure"]).exit_code if last else None

    def on_time(self, now: float) -> None:
        """Do nothing: `write` comes at the end of each turn, after everything more urgent."""

    def write(self, process: Process | None) -> None:
        """Write what has changed, and what could not be written and is due again.  Never raises."""
        due = self.due is not None and time.monotonic() >= self.due
        if due:
            self.due = None
        visible = self._machine.visible
        if visible != self._record or (due and STATUS in self._failing):
            if visible[3] != self._pid:
                self._pid, self._changed_ns, self._changed_boottime = visible[3], time.time_ns(), boottime()
                self._service = None
            self._record = visible
            paused, want, alarms, pid = visible
            self._write(STATUS, Record(self._changed_ns, paused, want, alarms, pid).encode)
        if self._service is None and process and self._pid == process.pid and not self._identify(process):
            # The state that is there foretells this process, and a later supervise finds it by that.
            self._keep_to_foretold()
            return
        self.write_state(due)
        if STATE in self._failing:
            self._keep_to_foretold()

    def _identify(self, process: Process) -> bool:
        """Have what tells the process from others; whether the state can be written."""
        try:
            self._service = {**process.identity(), "start_time": self._changed_ns // 1000000 / 1000}
        except Exception as why:
            self._failed(STATE, why)
            self._unidentified += 1
            if self._unidentified < _GIVE_UP:
                return False
            self._service = {**process.unknown_identity(), "start_time": self._changed_ns // 1000000 / 1000}
        self._unidentified = 0
        return True

    def foretell(self) -> None:
        """Tag the next start, and note the tag for the state (takeover.py, rule 3)."""
        starts = self._machine.totals["starts"]
        if starts != self._tagged and STATE not in self._failing:
            try:
                self._next_tag = start_tag.give(starts)
            except OSError:
                return  # the tag of the last start stays, in the state and in what is started, until it can be given
            self._tagged = starts

    def _keep_to_foretold(self) -> None:
        """The state could not be written: what is started bears the tag that the one on the disk foretells."""
        if self._foretold is None or self._next_tag in (None, self._foretold):
            return
        self._tagged = -1
        try:
            self._next_tag = start_tag.give_again(self._foretold)
        except OSError:
            pass  # tried again when the record is written

    def write_state(self, again: bool = False) -> None:
        """Write the state if it has changed; `again`: also if it could not be written before.  Never raises."""
        self._write(STATE, self._encode, again)

    def _encode(self) -> bytes:
        """As state.encode: but all the names are one string, for to use each writes to it (docs/performance.md)."""
        texts = []
        for value in self._values():
            texts.append(self._constant(value) or text_of(value))
        return (_FORM % tuple(texts)).encode("ascii")

    def _constant(self, value: Any) -> str:
        """The text of a value that is not changed in its place, but only replaced; empty for others."""
        known = self._texts.get(id(value))
        if known and known[0] is value:
            return known[1]
        constants = self._options, self._where, self._pid_namespace, self._command, self._started_with
        restrictions = self._restricting[1] if self._restricting else None
        for one in (*constants, restrictions):
            if one is value and value is not None:
                if len(self._texts) > _KNOWN:
                    self._texts.clear()
                known = self._texts[id(value)] = value, text_of(value)
                return known[1]
        return ""

    def last(self) -> Record:
        """The record as it was written last."""
        return Record(self._changed_ns, *(self._record or self._machine.visible))

    def moved(self) -> None:
        """Write both files anew, for the directory is another one now."""
        self._where = self._directory.identity()
        self._failing.clear()
        self._pause, self.due, self.failed_by = 0.0, None, 0
        self.write_anew()

    def write_anew(self) -> None:
        """Write both files anew, after an internal error."""
        self._record = self._state = None

    def _write(self, name: str, content: Callable[[], bytes], again: bool = False) -> None:
        try:
            data = content()
            if name == STATE:
                if data == self._state and not (again and name in self._failing):
                    return
                self._state = data
            self._directory.replace(name, data)
        except Exception as why:  # also what is no answer of the disk: it is written when that has passed
            self._failed(name, why)
            return
        if name == STATE:
            self._foretold = self._next_tag
        if name in self._failing:
            self._failing.discard(name)
            if not self._failing:
                self._pause, self.due, self.failed_by = 0.0, None, 0
                self._log.add(NOTICE, "%s/%s is written again", self._directory.shown_path, name)

    def _failed(self, name: str, why: Exception) -> None:
        text = why.strerror if isinstance(why, OSError) and why.strerror else f"{type(why).__name__}: {why}"
        self.problem = f"cannot write {self._directory.shown_path}/{name}: {text}"
        self.failed_by = (why.errno if isinstance(why, OSError) else None) or -1
        if not self._failing:
            self._log.add(WARNING, "%s; trying again", self.problem)
        self._failing.add(name)
        if self.due is None:
            self._pause = min(self._pause * 2, RETRY) or _FIRST_RETRY
            self.due = time.monotonic() + self._pause

    def _restrictions(self, config: Config) -> dict[str, str]:
        if not self._restricting or self._restricting[0] is not config:  # which does not change
            self._restricting = config, in_force(config)
        return self._restricting[1]

    def _groups_known(self) -> dict[str, list[int]] | None:
        if not (self.conf and self._options and self._options["defined"]):
            return None
        return self._groups if self.conf.groups is None else self.conf.groups

    def fields(self) -> dict[str, Any]:
        """The state, as state.py describes it."""
        return dict(zip(_FIELDS, self._values()))

    def _values(self) -> tuple[Any, ...]:
        """The values of the fields, in their order."""
        machine = self._machine
        window = machine.window
        if machine.phase != self._phase[0]:
            self._phase = (machine.phase, round(time.time(), 3), boottime()) if machine.phase else (None, None, None)
        return (
            VERSION,
            __version__,
            self._self[0],
            self._self[1],
            self._boot_id,
            self._command,
            machine.state,
            machine.want,
            machine.paused,
            machine.alarms,
            machine.leaving,
            self._service,
            self.remains if machine.state == CLEANUP else None,
            machine.started_at,
            machine.exited_at,
            machine.exits,
            {"opened_at": window.opened, "exits": window.exits, "cores": window.cores},
            machine.totals,
            self._last_exit,
            machine.gave_up,
            # Of a service that is up it moves with every sign of life.
            None if machine.state == RUNNING and machine.phase not in GIVEN else machine.deadline,
            self._where,
            self._next_tag,
            self._pid_namespace,
            self.upgrades,
            self.upgrades_refused,
            self.control_obeyed,
            machine.phase,
            self._phase[1],
            self._phase[2],
            self._changed_boottime,
            self.health,
            machine.status_text,
            machine.quick_exits,
            machine.watchdog or None,
            machine.fault,
            kind_of(machine.fault),
            machine.ready_unknown,
            self.notify_address,
            self.formers,
            self.unsent,
            self._restrictions((self.conf.before if self.conf else None) or machine.config),
            machine.config.startsecs,
            [*(self.conf.problems if self.conf else ()), *self.not_in_force],
            self._options,
            self._started_with,
            self._groups_known(),
            self.outputs,
            self.loggers,
        )
