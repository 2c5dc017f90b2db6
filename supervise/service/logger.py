"""Loggers: the programs that read from a pipe what the service prints (`stdout_command`, `stderr_command`).

Theory of operation
-------------------

Rule 1.  The pipe is a FIFO of the status directory (log_pipe.py), and supervise has both of its ends open.  So nothing
         in it is lost while one of service, logger and supervise lives, whoever of them is restarted: a restart of the
         service is no end of the logger's input, and one of the logger nothing that the service notices.
Rule 2.  The service can only write to its standard output and error, as in any pipe.  That it meets no EPIPE where
         supervise and logger are gone, it has the other end, too, as a descriptor that it need not know of (_GUARD).
Rule 3.  A logger is started before the service.  One that ends is started again, at least a second after its last
         start, later if it keeps ending; where it cannot be started the service runs all the same, until the pipe is
         full: then it waits.
Rule 4.  When the service is down supervise closes its end to write to.  The logger reads what is there, and to the end
         of whatever else still writes to it; then it ends by itself, and nobody tells it to.  One that has not read all
         when it ends is started again.
Rule 5.  When supervise ends after the service it waits for that, but not for long.
Rule 6.  Another command has a logger, and what it has started, end by TERM, and the next one go on where it was.
Rule 7.  The state names the loggers, so that the next supervise starts no second one.  Was supervise killed between the
         start of one and the writing of the state, it is known by what it reads (logger_search.py).
"""

from __future__ import annotations

import fcntl
import posix as os
import time

from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.names import PIPES
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.states import ENDED, IDLE
from supervise.service.part import Part
from supervise.system.descriptors import close
from supervise.system.errors import StatusDirError
from supervise.system.log_pipe import LogPipe, is_read
from supervise.system.pidfd import Process
from supervise.system.spawn import inherit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.config.config import Config
    from supervise.machine.machine import Machine
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.launcher import Launcher
    from supervise.system.statusdir import StatusDir

_STREAMS = {"stdout": 1, "stderr": 2}  # and what the service has them as
_GUARD = 250  # what it has the other end as, or a little more: beyond what programs count on
_FIRST, _LONGEST = 1.0, 10.0  # seconds from one start of a logger to the next; doubled where it ends before _STEADY
_STEADY = 10.0
_UNKNOWN_AGAIN = 1.0  # seconds until it is looked for again
_LINGER = 10.0  # seconds that a supervise which ends waits for its loggers
_TERM_WAIT = 10.0  # seconds until it is said that one has not obeyed


class Logger:
    """One pipe and the logger that reads it; `stream`: what the service writes to it, "stdout" or "stderr".

    `process`: the logger, if it runs.  `retired`: the service does not print there any more.
    """

    def __init__(self, loggers: Loggers, stream: str, pipe: LogPipe) -> None:
        self._all = loggers
        self.stream = stream
        self.pipe = pipe
        self.command: tuple[str, ...] = ()
        self.process: Process | None = None
        self.retired = False
        self.over = False
        self.due: float | None = None  # monotonic: the next start, or look
        self._lost: dict[str, Any] | None = None  # a process of which nobody could tell whether it lives
        self._ending = False  # it was told to, for another command
        self._released = False  # it has been let read to the end since its start
        self._started_at = 0.0
        self._start_time = 0.0  # the same, in Unix seconds
        self._identity: dict[str, Any] | None = None
        self._pause = _FIRST
        self._ends = 0
        self._failure = ""
        self._waiting = 0  # bytes, when it ended last

    # What is wanted.

    def use(self, command: tuple[str, ...]) -> None:
        """Read the pipe with this command from now on."""
        if command == self.command:
            return
        known, self.command = bool(self.command), command
        if not known:  # one that was taken over, and is believed to be what is configured
            return
        if self.process:
            self._ending = True
            self._failure = ""
            problem = self.process.send("TERM", True)
            text = "the %s has changed: TERM is sent to the logger (pid %d)"
            self._all.log.add(NOTICE, text, f"{self.stream}_command", self.process.pid)
            if problem:
                self._all.log.add(WARNING, "%s", problem)
            self.due = time.monotonic() + _TERM_WAIT
        elif self.due is not None:  # it need not wait for what has failed
            self._pause, self._failure = _FIRST, ""
            self.due = time.monotonic()

    def release(self) -> None:
        """Have the logger read all, and end (rule 4)."""
        self.pipe.release()
        self._released = True
        if not self.process:
            self._rest()

    def retire(self) -> None:
        """The same, and the service has another pipe, or none."""
        self.retired = True
        self.release()

    def hold(self) -> None:
        """The service is to print there (again).  Raises OSError."""
        self.pipe.hold(self._all.directory, self.name)
        self.over = False
        if not self.process and not self._lost and (self.due is None or time.monotonic() >= self.due):
            self._start()

    @property
    def name(self) -> str:
        """The file name of the pipe."""
        return pipe_name(self.stream)

    # Starts and ends.

    def on_time(self, now: float) -> None:
        """Start it, if `due` is past."""
        if self.due is None or now < self.due:
            return
        self.due = None
        if self._lost:
            self.attend_to(self._lost)
        elif self._ending and self.process:
            text = "the logger of %s (pid %d) has not ended after TERM: the new %s comes when it has"
            self._all.log.add(WARNING, text, self.stream, self.process.pid, f"{self.stream}_command")
        elif not self.process:
            self._rest()
            if not self.over:
                self._start()

    def _start(self) -> None:
        """Start it.  Where that fails it is tried again (rule 3)."""
        now, self.due = time.monotonic(), None
        if not self.command:
            if not self._failure:
                text = "nobody reads what the service prints to %s: there is no %s any more; restart the service"
                self._all.log.add(WARNING, text, self.name, f"{self.stream}_command")
            self._failure = f"there is no {self.stream}_command"
            return
        self._started_at, self._start_time, self._released = now, round(time.time(), 3), False
        # Whoever had the descriptor before may have made it one that does not wait.
        os.set_blocking(self.pipe.reading, True)
        result = self._all.launcher.logger(self.command, self.pipe.reading)
        if isinstance(result, str):
            if result != self._failure:
                text = "cannot start %s, so what the service prints is kept in the pipe until that is full: %s"
                self._all.log.add(WARNING, text, f"{self.stream}_command", result)
            self._fail(result, now)
            return
        self._attend(Process(result))
        self._all.log.add(NOTICE, "logger of %s started (pid %d)", self.stream, result)

    def _attend(self, process: Process) -> None:
        self.process, self._lost, self._identity, self.due = process, None, None, None
        pid, reactor = process.pid, self._all.reactor
        if process.child:
            reactor.on_exit(pid, lambda how: self._ended(pid, how))
        elif process.fd >= 0:
            reactor.on_readable(process.fd, lambda events: self._seen_to_end())

    def _seen_to_end(self) -> None:
        if self.process:
            self._ended(self.process.pid, self.process.exit_status())

    def _ended(self, pid: int, how: ExitStatus) -> None:
        process = self.process
        if not process or pid != process.pid:
            return
        if not process.child:
            self._all.reactor.unregister(process.fd)
        process.close()
        self.process = self._identity = None
        # Where the service is wanted up again, it may have seen the end just before.
        asked, self._ending = self._ending or (self._released and how.code == 0), False
        if self.pipe.writing < 0 and self.pipe.ended():
            self._all.log.add(NOTICE, "logger of %s %s (pid %d), all is read", self.stream, how, pid)
            self._rest()
            return
        now = time.monotonic()
        self._ends += not asked
        severity, text = (NOTICE, "%s") if asked else (WARNING, "%s; it is started again")
        self._all.log.add(severity, f"logger of %s (pid %d) {text}", self.stream, pid, how)
        if asked or now - self._started_at >= _STEADY:
            self._pause = _FIRST
        self._fail("" if asked else str(how), now)

    def _fail(self, why: str, now: float) -> None:
        self._failure, self._waiting = why, self.pipe.waiting()
        self.due = max(now, self._started_at + self._pause)
        self._pause = min(self._pause * 2, _LONGEST)

    def _rest(self) -> None:
        """Whether a logger is needed no more: see `over`."""
        self.over = self.pipe.writing < 0 and self.pipe.ended() and not self._lost
        if self.over:
            self.due, self._failure = None, ""
        elif not self.process and self.due is None:
            self.due = max(time.monotonic(), self._started_at + self._pause)

    # From one supervise to the next.

    def attend_to(self, found: dict[str, Any] | None) -> None:
        """Go on with the logger that another supervise has started, if it lives; `found`: its identity, if known."""
        process = None
        if found and _is_child(found["pid"]):
            process = Process(found["pid"])
        elif found:
            from supervise.system.identity import named

            try:
                process = named(found)
            except OSError as why:  # not knowing is no "no": two loggers would share what there is
                if not self._lost:
                    text = "cannot tell whether the logger of %s (pid %d) still runs: %s"
                    self._all.log.add(WARNING, text, self.stream, found["pid"], why.strerror)
                self._lost, self.due = found, time.monotonic() + _UNKNOWN_AGAIN
                return
        self._lost = None
        if not process and self.pipe.read_before:
            process = self._search()
        if process:
            self._attend(process)
        else:
            self._rest()

    def _search(self) -> Process | None:
        """Rule 7."""
        from supervise.service.logger_search import reader_of

        try:
            return reader_of(self.pipe.reading)
        except OSError as why:
            text = "cannot look whether a logger of %s runs already: %s"
            self._all.log.add(WARNING, text, self.stream, why.strerror)
            return None

    def take(self, found: dict[str, Any]) -> None:
        """Take what another supervise knew of it."""
        self.retired = found["retired"]
        self._ends, self._start_time = found["ends"], found["start_time"]

    def described(self) -> dict[str, Any]:
        """As state.py has it."""
        if self.process and not self._identity:
            try:
                self._identity = self.process.identity()
            except OSError:
                self._identity = self.process.unknown_identity()
        return {
            "stream": self.stream,
            "process": self._identity or self._lost,
            "start_time": self._start_time,
            "retired": self.retired,
            "ends": self._ends,
            "failure": (self._failure or None) if not self.process else None,
            "waiting": self._waiting if self._failure and not self.process else 0,
        }

    def disown(self) -> None:
        """It is the child of another process now."""
        if self.process and self.process.child:
            self.process.child = False
            self._attend(self.process)


class Loggers(Part):
    """The loggers of one service: at most one that its next start prints to for each stream, and those before them."""

    def __init__(
        self, directory: StatusDir, launcher: Launcher, status_writer: StatusWriter, reactor: Reactor, log: Log
    ) -> None:
        self.directory = directory
        self.launcher = launcher
        self.reactor = reactor
        self.log = log
        self._status_writer = status_writer
        self._found: list[dict[str, Any]] = status_writer.loggers or []  # by another supervise
        self._commands: dict[str, tuple[str, ...]] = {}
        self._descriptor = 0  # that the service has for something else
        self._loggers: list[Logger] = []
        self._until: float | None = None  # when a supervise that ends waits no longer
        self._given_up = False  # that is past
        self._restored = False

    def configure(self, config: Config) -> None:
        """Use the commands of this configuration from now on."""
        commands = {"stdout": config.stdout_command, "stderr": config.stderr_command}
        if config.redirect_stderr:
            del commands["stderr"]
        self._commands = {stream: command for stream, command in commands.items() if command}
        self._descriptor = config.notification_fd
        found, self._found = self._found, []
        if not self._restored:
            self._restored = True
            named = {one["stream"]: one for one in found if not one["retired"]}  # those end by themselves
            for stream in _STREAMS:
                if stream in named or (stream in self._commands and is_read(self.directory, pipe_name(stream))):
                    self._take_over(stream, named.get(stream))
        for logger in self._current():
            if logger.stream in self._commands:
                logger.use(self._commands[logger.stream])

    def _take_over(self, stream: str, found: dict[str, Any] | None) -> None:
        """Go on with a pipe that another supervise has left; `found`: what it has written down of its logger."""
        try:
            logger = self._open(stream)
        except StatusDirError as why:
            self.log.add(WARNING, "%s; what the service prints there is read by nobody but a logger that runs", why)
            return
        if found:
            logger.take(found)
        logger.attend_to(found["process"] if found else None)

    def _open(self, stream: str) -> Logger:
        """Open the pipe of a stream.  Raises StatusDirError."""
        logger = Logger(self, stream, LogPipe.open(self.directory, pipe_name(stream)))
        self._loggers.append(logger)
        return logger

    def _current(self) -> list[Logger]:
        return [logger for logger in self._loggers if not logger.retired]

    # Starts of the service.

    def prepare_start(self) -> str:
        """Have what the next start of the service prints to; why that cannot be had, or nothing."""
        current = {logger.stream: logger for logger in self._current()}
        try:
            for stream, logger in [*current.items()]:
                if stream not in self._commands or not logger.pipe.is_named(self.directory, logger.name):
                    logger.retire()
                    del current[stream]
            for stream, command in self._commands.items():
                if stream not in current:
                    current[stream] = logger = self._open(stream)
                    logger.use(command)
                    if logger.pipe.read_before:
                        logger.attend_to(None)
                current[stream].hold()
        except StatusDirError as why:
            return str(why)
        except OSError as why:
            return f"cannot open the pipe of its logger: {why.strerror}"
        pipes = {_STREAMS[stream]: logger.pipe.reading for stream, logger in current.items()}
        if pipes != self.launcher.pipes:
            self.launcher.use_pipes(pipes)
            self.launcher.guards = []
            number = _GUARD
            for reading in pipes.values():
                number = _free(reading, number, self._descriptor)
                if not number:
                    break
                self.launcher.guards.append(inherit(reading, number))
                number += 1
        return ""

    # The loop.

    @property
    def due(self) -> float | None:
        """The next start of one."""
        dues = [logger.due for logger in self._loggers if logger.due is not None]
        dues += [] if self._until is None or self._given_up else [self._until]
        return min(dues, default=None)

    def on_time(self, now: float) -> None:
        """Start those that are due."""
        for logger in self._loggers:
            logger.on_time(now)
        if self._until is not None and now >= self._until and not self._given_up:
            self._given_up = True
            for logger in self._loggers:
                if logger.process:
                    text = "the logger of %s (pid %d) has not ended yet: it is left to do so by itself"
                    self.log.add(WARNING, text, logger.stream, logger.process.pid)
                elif logger.pipe.waiting():
                    text = "there is no logger of %s: %d bytes that nobody has read are lost"
                    self.log.add(WARNING, text, logger.stream, logger.pipe.waiting())

    def housekeeping(self, machine: Machine) -> None:
        """Let them end when the service is down (rule 4), and say in the state how they are."""
        if machine.pid == 0 and machine.state in (IDLE, ENDED):
            for logger in self._loggers:
                if logger.pipe.writing >= 0:
                    logger.release()
            if machine.state == ENDED and self._until is None and self.lingers:
                self._until = time.monotonic() + _LINGER
        for logger in [logger for logger in self._loggers if logger.over]:
            logger.pipe.close()
            self._loggers.remove(logger)
        self._status_writer.loggers = [logger.described() for logger in self._loggers] or None

    @property
    def lingers(self) -> bool:
        """Whether a supervise that is to end waits for one of them (rule 5)."""
        return bool(self._loggers) and not self._given_up

    # From one supervise to the next.

    def handover(self) -> dict[str, int]:
        """Both ends of each pipe."""
        ends: dict[str, int] = {}
        for number, logger in enumerate(self._loggers):
            ends[f"logger{number}_reading"], ends[f"logger{number}_writing"] = logger.pipe.reading, logger.pipe.writing
        return ends

    def restore(self, fields: dict[str, Any]) -> None:
        """Go on with them after an upgrade."""
        descriptors, self._restored = fields["descriptors"], True
        for number, found in enumerate(fields["loggers"] or []):
            reading = descriptors.get(f"logger{number}_reading", -1)
            if reading < 0:
                continue
            logger = Logger(self, found["stream"], LogPipe(reading, descriptors.get(f"logger{number}_writing", -1)))
            self._loggers.append(logger)
            logger.take(found)
            logger.attend_to(found["process"])

    def disown(self) -> None:
        """Go on in a copy of the process whose children they are."""
        for logger in self._loggers:
            logger.disown()


def pipe_name(stream: str) -> str:
    """The file name of a stream's pipe."""
    return PIPES[_STREAMS[stream] - 1]


def _is_child(pid: int) -> bool:
    """Whether a process is a child of this one, be it a zombie."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return False
    return True


def _free(fd: int, number: int, taken: int) -> int:
    """A number from that one on that no descriptor has, nor is to have in the service; 0 if none is allowed."""
    try:
        found = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, number + (number == taken))
    except OSError:
        return 0  # a limit
    close(found)
    return found if found != taken else _free(fd, found + 1, taken)
