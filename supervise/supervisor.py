"""The loop of one supervise: descriptors -> events -> state machine -> actions.

Nothing in it waits but the one poll(2).  What is to be waited for is either a descriptor (the control FIFO, the
pipe that signals wake, the configuration's watch) or a deadline, which is the timeout of that poll; where
nothing happens and nothing is due, the process does not run at all.
"""

from __future__ import annotations

import gc
import os
import select
import time

from supervise import alarm, machine
from supervise.exitstatus import ExitStatus
from supervise.follow import Follower
from supervise.letters import Reader
from supervise.log import FATAL, NOTICE, WARNING, Log
from supervise.machine import Machine
from supervise.recorder import Recorder
from supervise.service import append_to, inherit, reap, send, spawn, why_not
from supervise.statusdir import STDERR, STDOUT, StatusDir, StatusDirError
from supervise.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any

    from supervise.conffile import ConfFile
    from supervise.config import Config
    from supervise.options import Options
else:
    import _signal  # see service.py

_CONTROL_READ = 4096  # bytes: as much as is obeyed before exits and deadlines are looked at again


class StartError(Exception):
    """The service cannot be started; the message says why."""


class Supervisor:
    """One service and everything that happens to it."""

    def __init__(
        self,
        options: Options,
        name: str,
        directory: StatusDir,
        fifos: tuple[int, int],
        conf: ConfFile,
        config: Config,
        log: Log,
        env: dict[bytes, bytes],
        ignored: list[int],
    ) -> None:
        """The directory is locked, its FIFOs are open, `env` is the service's; `ignored` as service.py says."""
        self._options = options
        self._name = name
        self._directory = directory
        self._control, self._ok = fifos
        self._log = log
        self._env = env
        self._ignored = ignored
        self.machine = Machine(config, bool(options.script), options.reset)
        self._letters = Reader()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._outputs = [append_to(*directory.output(name), its) for its, name in ((1, STDOUT), (2, STDERR))]
        self._eager_from: float | None = None
        self._successor: int | ExitStatus | None = None
        self._service_fd = -1  # the service's pidfd, where the kernel has them
        self._script_pid = 0
        self._alarm_pids: set[int] = set()
        self._mailer_missing = False
        self._signals: list[str] = []
        self._wake = -1
        self._poll = select.poll()
        self._follower = Follower(conf, config, Watch(env, ignored), self._poll, log)
        self._recorder = Recorder(directory, self.machine, options.command, log)
        self._output_warned: set[str] = set()

    # The start.

    def start(self) -> None:
        """Start the service for the first time.  Raises StartError; nothing runs then."""
        self._catch_signals()
        for action in self.machine.handle(machine.BEGIN, time.monotonic()):
            assert action[0] == machine.START
            for name in (STDOUT, STDERR):
                try:
                    os.close(self._directory.open_output(name))
                except StatusDirError as why:
                    raise StartError(str(why)) from None
            result = self._spawn()
            if isinstance(result, ExitStatus):
                raise StartError(f"cannot start the service: {result.failure}")
            self._event(machine.STARTED, result)
            self._watch_service(result)
        self._settle()

    def _catch_signals(self) -> None:
        """Signals write to a pipe that the loop waits for, and leave their name in a list."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._wake = reading
        for number, name in ((_signal.SIGTERM, "TERM"), (_signal.SIGINT, "INT"), (_signal.SIGHUP, "HUP")):
            _signal.signal(number, lambda *_, name=name: self._signals.append(name))
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())

    # The loop.

    def run(self) -> int:
        """Supervise until the end.  The exit code: 0, or 111 after giving up."""
        # What the start made lives as long as the process: not to be gone through again on the way to a restart.
        gc.freeze()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self._control, select.POLLIN)
        self._follower.rewatch()
        while self.machine.state != machine.ENDED:
            ready = self._poll.poll(self._timeout())
            try:
                self._turn(ready)
            except Exception as why:  # a bug, or no memory: the service is worth more than our pride
                self._log.add(FATAL, "internal error, going on: %s", _where(why))
            self._settle()
        self._log.add(NOTICE, "supervise ends")
        self._log.flush()
        return 111 if self.machine.gave_up else 0

    def _turn(self, ready: list[tuple[int, int]]) -> None:
        # The exit first: the next process must not wait for anything else that happened at the same time.
        for fd, _ in ready:
            if fd == self._service_fd:
                self._service_ended()
                break
        if self.machine.deadline is not None and time.monotonic() >= self.machine.deadline:
            self._event(machine.TIMER)
        for fd, _ in ready:
            if fd == self._control:
                self._commands()
            elif fd == self._wake:
                self._children()
                self._commands_by_signal()
            elif fd == self._follower.fd:
                self._follower.ready()
        if self._follower.look_at is not None and time.monotonic() >= self._follower.look_at:
            config = self._follower.look()
            if config is not None:
                self._event(machine.CONFIG, config)

    def _timeout(self) -> float | None:
        """Milliseconds until the next deadline; the kernel rounds up, so it is past when poll returns."""
        deadlines = (self.machine.deadline, self._follower.look_at, self._recorder.retry_at)
        due = [at for at in deadlines if at is not None]
        return max(min(due) - time.monotonic(), 0) * 1000 if due else None

    def _settle(self) -> None:
        """After everything urgent: the record and the state, then the log."""
        if self.machine.pid == 0:
            self._forget_service()
        self._recorder.settle()
        self._eager_from = self.machine.eager_from
        self._log.flush()

    # Events.

    def _event(self, event: str, value: Any = None) -> None:
        self._carry_out(self.machine.handle(event, time.monotonic(), value))

    def _service_ended(self) -> None:
        """The shortest way from the end of the service to its successor.

        SIGCHLD would tell as well, and does where there are no pidfds, but takes a sixth longer: a signal
        handler, a pipe and another poll.  Where the state machine's answer is certain beforehand, the successor
        is started before it is asked; it claims it with its START.
        """
        if self._eager_from is not None and time.monotonic() >= self._eager_from:
            self._successor = self._spawn()
        ended = reap(self.machine.pid)
        # A tracer may keep the status to itself for as long as it likes; the process is gone all the same.
        self._event(machine.EXITED, ended[1] if ended else ExitStatus())

    def _watch_service(self, pid: int) -> None:
        """Wait for the end of a new service process; the old one's pidfd is of no more use."""
        self._forget_service()
        try:
            self._service_fd = os.pidfd_open(pid)
        except OSError:
            return  # an old kernel, or no descriptors left: SIGCHLD will tell
        self._poll.register(self._service_fd, select.POLLIN)

    def _forget_service(self) -> None:
        if self._service_fd >= 0:
            self._poll.unregister(self._service_fd)
            os.close(self._service_fd)
            self._service_fd = -1

    def _children(self) -> None:
        try:
            os.read(self._wake, 4096)
        except BlockingIOError:
            pass
        while True:
            ended = reap()
            if ended is None:
                return
            pid, how = ended
            if pid == self.machine.pid:
                self._event(machine.EXITED, how)
            elif pid == self._script_pid:
                self._script_pid = 0
                failed = how.code != 0
                self._event(machine.SCRIPT_DONE, f"restart script {how}" if failed else None)
            elif pid in self._alarm_pids:
                self._alarm_pids.discard(pid)
                self._mailer_missing |= how.code == alarm.NOBODY_CAN_SEND

    def _commands_by_signal(self) -> None:
        while self._signals:
            name = self._signals.pop(0)
            self._log.add(NOTICE, "received %s", name)
            for letter in "r" if name == "HUP" else "dx":
                self._event(letter)

    def _commands(self) -> None:
        try:
            data = os.read(self._control, _CONTROL_READ)
        except BlockingIOError:
            return
        commands, unknown = self._letters.feed(data, len(data) == _CONTROL_READ)
        for event, value in commands:
            self._event(event, value)
        if unknown:
            shown = unknown[:16].decode("latin-1")
            more = "..." if len(unknown) > 16 else ""
            self._log.add(WARNING, "ignored %d unknown bytes in control: %r%s", len(unknown), shown, more)

    # Actions.

    def _carry_out(self, actions: list[machine.Action]) -> None:
        """Carry out actions in order; what comes of a start is handled after the rest of its list."""
        results: list[tuple[str, Any]] = []
        for action in actions:
            kind = action[0]
            if kind == machine.START:
                result = self._spawn()
                failed = isinstance(result, ExitStatus)
                results.append((machine.FAILED if failed else machine.STARTED, result))
            elif kind == machine.KILL:
                problem = send(self.machine.pid, action[1], action[2])
                if problem:
                    self._log.add(WARNING, "%s", problem)
            elif kind == machine.SCRIPT:
                problem = self._run_script(action[1])
                if problem:
                    results.append((machine.SCRIPT_DONE, problem))
            elif kind == machine.END_SCRIPT:
                send(self._script_pid, "TERM", True)
            elif kind == machine.GONE:
                self._recorder.exited(*action[1:])
            elif kind == machine.RELOAD:
                results.append((machine.CONFIG, self._follower.read()))
            elif kind == machine.ALARM:
                self._alarm(*action[1:])
            else:
                self._log.add(*action)
        for event, value in results:
            self._event(event, value)
            if event == machine.STARTED:
                self._watch_service(value)

    def _spawn(self) -> int | ExitStatus:
        """Start the service: its pid, or why not."""
        successor, self._successor = self._successor, None
        if successor is not None:
            return successor
        command = self._options.command
        try:
            pid = spawn(command, self._env, self._ignored, self._outputs)
        except (OSError, ValueError):
            pass  # the program, or one of the files?
        else:
            # Both of us are runnable now, perhaps on one processor: what is left to do here can wait.
            os.sched_yield()
            return pid
        outputs = [(self._output(STDOUT), 1), (self._output(STDERR), 2)]
        try:
            return spawn(command, self._env, self._ignored, [inherit(ours, its) for ours, its in outputs])
        except (OSError, ValueError) as why:
            return ExitStatus(failure=_reason(command[0], why))
        finally:
            self._close_outputs(outputs)

    def _output(self, name: str) -> int:
        """Where the service prints to: the file, or nowhere, with one warning, while that cannot be opened."""
        try:
            fd = self._directory.open_output(name)
        except StatusDirError as why:
            if name not in self._output_warned:
                self._output_warned.add(name)
                self._log.add(WARNING, "%s; what the service prints there is lost", why)
            return self._null
        self._output_warned.discard(name)
        return fd

    def _close_outputs(self, outputs: list[tuple[int, int]]) -> None:
        for fd, _ in outputs:
            if fd != self._null:
                os.close(fd)

    def _run_script(self, exits: int) -> str | None:
        """Run the restart script; what went wrong, or None."""
        argv = [*self._options.script, str(exits)]
        outputs = [(self._output(STDOUT), 1), (self._output(STDERR), 2)]
        try:
            descriptors = [inherit(ours, its) for ours, its in outputs]
            self._script_pid = spawn(argv, self._env, self._ignored, descriptors, session=True)
        except (OSError, ValueError) as why:
            return f"cannot run the restart script: {_reason(argv[0], why)}"
        finally:
            self._close_outputs(outputs)
        self._log.add(NOTICE, "restart script started (pid %d), exits: %d", self._script_pid, exits)
        return None

    def _alarm(self, how: ExitStatus, uptime: float, restarts: int, gave_up: bool) -> None:
        config = self.machine.config
        title = alarm.subject(self._name, how, restarts, gave_up)
        path = os.fsdecode(self._env[b"SUPERVISE_STATUS_DIR"])
        text = alarm.body(self._name, how, uptime, restarts, config.alarm_interval, gave_up, path)
        try:
            pid = alarm.send(self._directory, config, title, text, self._env, self._ignored, self._mailer_missing)
        except OSError as why:
            self._log.add(WARNING, "cannot start the alarm helper: %s", why.strerror)
            return
        if pid:
            self._alarm_pids.add(pid)
            self._log.add(NOTICE, "alarm: %s", title)


def _reason(program: str, why: OSError | ValueError) -> str:
    return why_not(program, why) if isinstance(why, OSError) else f"{program!r}: {why}"


def _where(why: BaseException) -> str:
    """An exception and the line it came from, in one line."""
    trace = why.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return f"{type(why).__name__}: {why}{place}"
