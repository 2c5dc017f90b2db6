"""The loop of one supervise: descriptors -> events -> state machine -> actions.

Nothing in it waits but the one poll(2).  What is to be waited for is either a descriptor (the control FIFO, the
pipe that signals wake, the service's pidfd, the configuration's watch) or a deadline, which is the timeout of that
poll; where nothing happens and nothing is due, the process does not run at all.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time

from supervise import birthmark, machine
from supervise.exitstatus import ExitStatus, signal_name
from supervise.letters import ONE_SIGNAL, Reader
from supervise.log import FATAL, NOTICE, WARNING, Log
from supervise.machine import Machine
from supervise.messages import origin
from supervise.process import Process, exit_info
from supervise.recorder import Recorder
from supervise.service import HANDLED, reap, send
from supervise.starter import Starter, StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any

    from supervise.conffile import ConfFile
    from supervise.config import Config
    from supervise.follow import Follower
    from supervise.heritage import Heritage
    from supervise.options import Options
    from supervise.statusdir import Kept, StatusDir
    from supervise.upgrade import Trial
else:
    import _signal  # see service.py

_CONTROL_READ = 4096  # bytes: as much as is obeyed before exits and deadlines are looked at again
_LETTERS_OF_SIGNALS = {"TERM": "dx", "INT": "dx", "HUP": "r"}


class Supervisor:
    """One service and everything that happens to it."""

    def __init__(
        self,
        options: Options,
        name: str,
        directory: StatusDir,
        kept: Kept,
        conf: ConfFile,
        config: Config,
        log: Log,
        env: dict[bytes, bytes],
        ignored: list[int],
        boot_id: str,
    ) -> None:
        """The directory is locked, its FIFOs are open, `env` is the service's; `ignored` as service.py says."""
        self._options = options
        self._name = name
        self._directory = directory
        self._kept = kept
        self._log = log
        self._env = env
        self._ignored = ignored
        self._poll = select.poll()
        self.machine = Machine(config, bool(options.script), options.reset)
        self._letters = Reader()
        self._starter = Starter(options, directory, env, ignored, log)
        self._recorder = Recorder(directory, self.machine, options.command, boot_id, log)
        self._conf = conf
        self._follower: Follower | None = None
        self._service: Process | None = None
        self._fading: Process | None = None  # was taken over and has ended, nobody knows how yet
        self._prepared = -1  # starts that there had been when the next was prepared
        self._eager_from: float | None = None
        self._direct: Process | None = None  # whom a letter that is a signal goes to before the machine is asked
        self._sent: str | None = None  # a signal that was sent before the machine asked for it
        self._successor: int | ExitStatus | None = None
        self._script_pid = 0
        self._alarm_pids: set[int] = set()
        self._mailer_missing = False
        self._trial: Trial | None = None
        self._signals: list[str] = []
        self._wake = -1
        self._left = False  # QUIT came: end, and leave the service to the next supervise

    # The start.

    def start(self, heritage: Heritage) -> None:
        """Take over the service that still runs, or start it.  Raises StartError; nothing runs then."""
        self._catch_signals()
        if heritage.fields:
            self.machine.inherit(heritage.fields, self._options.resume)
            self._recorder.inherit(heritage.fields, heritage.process.pid if heritage.process else 0)
        process, event = heritage.process, machine.ADOPTED
        self._prepare()
        if not process and self.machine.handle(machine.BEGIN, time.monotonic()):
            self._starter.check()
            # Before there is a process: the state names the session that it will be born into (adopt.py, rule 3).
            self._recorder.write_state()
            result = self._starter.service()
            if isinstance(result, ExitStatus):
                raise StartError(f"cannot start the service: {result.failure}")
            process, event = Process(result), machine.STARTED
        try:
            if process:
                self._attend(process)
                self._event(event, process.pid if event == machine.STARTED else (process.pid, heritage.fields))
            self._settle()
        except Exception as why:  # as in `run`: from here on there is a service, and it is supervised
            self._log.add(FATAL, "internal error, going on: %s", origin(why))

    def carry_on(self, fields: dict[str, Any]) -> None:
        """Be what the supervise was that this one replaces in the same process; `fields` as `_replace` has them."""
        self._catch_signals()
        self._follower = self._complete()
        self.machine.carry_on(fields)
        self._recorder.inherit(fields, self.machine.pid)
        if self.machine.pid:
            self._attend(Process(self.machine.pid, fields["child"], fields["descriptors"]["service"]))
        self._recorder.upgrades = fields["upgrades"] + 1
        self._recorder.upgrades_refused = fields["upgrades_refused"]
        self._script_pid = fields["script_pid"]
        self._alarm_pids = set(fields["alarm_pids"])
        self._mailer_missing = fields["mailer_missing"]
        self._log.add(NOTICE, "supervise replaced by the installed version")
        # What has ended and what was signalled meanwhile has been noted already.
        self._children()
        self._commands_by_signal()
        self._settle()

    def _catch_signals(self) -> None:
        """Signals write to a pipe that the loop waits for, and leave their name in a list."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._wake = reading
        for number in HANDLED:
            _signal.signal(number, self._note_signal)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())

    def _note_signal(self, number: int, frame: object) -> None:
        if number != _signal.SIGCHLD:
            self._signals.append(signal_name(number))

    # The loop.

    def run(self) -> int:
        """Supervise until the end.  The exit code: 0, or 111 after giving up."""
        self._follower = self._follower or self._complete()
        # What the start made lives as long as the process: not to be gone through again on the way to a restart.
        gc.freeze()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self._kept.control, select.POLLIN)
        self._follower.rewatch()
        while self.machine.state != machine.ENDED and not self._left:
            ready = self._poll.poll(self._timeout())
            try:
                if self._direct and len(ready) == 1 and ready[0][0] == self._kept.control:
                    self._commands(self._direct)
                else:
                    self._turn(ready)
                self._settle()
            except Exception as why:  # a bug, or no memory: the service is worth more than our pride
                self._log.add(FATAL, "internal error, going on: %s", origin(why))
                self._log.flush()
        self._log.add(NOTICE, "supervise ends")
        self._log.flush()
        return 111 if self.machine.gave_up else 0

    def _complete(self) -> Follower:
        """Import what the first start could do without.

        All of it, and now: the files of this package may be replaced by another version's at any later time.
        """
        from supervise import alarm, upgrade
        from supervise.follow import Follower
        from supervise.watch import Watch

        self._alarms, self._upgrades = alarm, upgrade
        return Follower(self._conf, self.machine.config, Watch(self._env, self._ignored), self._poll, self._log)

    def _turn(self, ready: list[tuple[int, int]]) -> None:
        # The exit first: the next process must not wait for anything else that happened at the same time.
        if self._service is not None:
            for fd, _ in ready:
                if fd == self._service.fd:
                    self._service_ended(self._service)
                    break
        if self.machine.deadline is not None and time.monotonic() >= self.machine.deadline:
            self._event(machine.TIMER)
        for fd, events in ready:
            if fd == self._kept.control:
                self._commands()
            elif fd == self._wake:
                self._children()
                self._commands_by_signal()
            elif self._follower and fd == self._follower.fd:
                self._follower.ready()
            elif self._fading and fd == self._fading.fd and events & select.POLLHUP:
                self._amend(self._fading)
        if self._follower and self._follower.look_at is not None and time.monotonic() >= self._follower.look_at:
            config = self._follower.look()
            if config is not None:
                self._event(machine.CONFIG, config)
        if self._trial and time.monotonic() >= self._trial.deadline:
            send(self._trial.pid, "KILL", True)

    def _timeout(self) -> float | None:
        """Milliseconds until the next deadline; the kernel rounds up, so it is past when poll returns."""
        deadlines = [self.machine.deadline, self._recorder.retry_at]
        deadlines += [self._follower.look_at] if self._follower else []
        deadlines += [self._trial.deadline] if self._trial else []
        due = [at for at in deadlines if at is not None]
        return max(min(due) - time.monotonic(), 0) * 1000 if due else None

    def _settle(self) -> None:
        """After everything urgent: the record and the state, then the log."""
        if self.machine.pid == 0 and self._service:
            self._dismiss(self._service)
            self._service = None
        self._prepare()
        self._recorder.settle(self._service)
        self._eager_from = self.machine.eager_from
        passes = self.machine.passes_signals and self._letters.between_writes
        self._direct = self._service if passes else None
        self._log.flush()

    def _prepare(self) -> None:
        """Have the next start marked, and the mark in the state."""
        starts = self.machine.totals["starts"]
        if starts != self._prepared:
            self._prepared = starts
            self._recorder.next_mark = birthmark.give(starts)

    # The service's process.

    def _attend(self, process: Process) -> None:
        """Wait for the end of a new process of the service; the old one is of no more interest."""
        if self._service:
            self._dismiss(self._service)
        self._service = process
        if process.fd >= 0:
            self._poll.register(process.fd, select.POLLIN)

    def _dismiss(self, process: Process) -> None:
        if process.fd >= 0 and process is not self._fading:
            self._poll.unregister(process.fd)
            process.close()

    def _service_ended(self, process: Process) -> None:
        """The shortest way from the end of the service to its successor.

        SIGCHLD would tell as well, and does where there are no pidfds, but takes a sixth longer: a signal
        handler, a pipe and another poll.  Where the state machine's answer is certain beforehand, the successor
        is started before it is asked; it claims it with its START.
        """
        if self._eager_from is not None and time.monotonic() >= self._eager_from:
            self._successor = self._starter.service()
        how = process.ended()
        if not process.child and how.unknown:
            self._fade(process)
        self._event(machine.EXITED, how)

    def _fade(self, process: Process) -> None:
        """Nobody waits for an exit status; but it is welcome when the kernel has it: the pidfd hangs up then."""
        if self._fading:
            former, self._fading = self._fading, None
            self._dismiss(former)
        self._fading = process
        self._poll.modify(process.fd, 0)

    def _amend(self, process: Process) -> None:
        how = exit_info(process.fd)
        self._fading = None
        self._dismiss(process)
        if how:
            self._event(machine.AMENDED, (how, process.pid))
            self._recorder.amended(how)

    # Events.

    def _event(self, event: str, value: Any = None) -> None:
        self._carry_out(self.machine.handle(event, time.monotonic(), value))

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
                self._mailer_missing |= how.code == self._alarms.NOBODY_CAN_SEND
            elif self._trial and pid == self._trial.pid:
                trial, self._trial = self._trial, None
                self._trial_over(trial, how)

    def _commands_by_signal(self) -> None:
        while self._signals:
            name = self._signals.pop(0)
            self._log.add(NOTICE, "received %s", name)
            if name == "QUIT":
                self._left = True
                if self.machine.paused and self._service:
                    # The kernel ends a stopped process group that is left behind with HUP; the next supervise stops
                    # one that runs again.
                    self._service.send("CONT", True)
                if self.machine.pid:
                    self._log.add(NOTICE, "leaving the service (pid %d) to the next supervise", self.machine.pid)
            for letter in _LETTERS_OF_SIGNALS.get(name, ""):
                self._event(letter, False)

    def _commands(self, direct: Process | None = None) -> None:
        """Obey what is in the FIFO; `direct`: nothing but that has happened since this process was there to signal."""
        try:
            data = os.read(self._kept.control, _CONTROL_READ)
        except BlockingIOError:
            return  # somebody else has read it
        # As with the successor of a service: what the machine's answer will be is certain, so it need not be awaited.
        name = ONE_SIGNAL.get(data) if direct else None
        if direct and name:
            self._sent = name
            self._send(direct, name, False)
        commands, unknown = self._letters.feed(data, len(data) == _CONTROL_READ)
        for event, value in commands:
            self._event(event, value)
        if unknown:
            shown = unknown[:16].decode("latin-1")
            more = "..." if len(unknown) > 16 else ""
            self._log.add(WARNING, "ignored %d unknown bytes in control: %r%s", len(unknown), shown, more)

    # Actions.

    def _carry_out(self, actions: list[machine.Action]) -> None:
        """Carry out actions in order; what comes of them is handled after the rest of their list."""
        results: list[tuple[str, Any]] = []
        for action in actions:
            kind = action[0]
            if kind == machine.START:
                results.append(self._start())
            elif kind == machine.KILL:
                sent, self._sent = self._sent, None
                if self._service and sent is None:
                    self._send(self._service, *action[1:])
            elif kind == machine.SCRIPT:
                started = self._starter.script(action[1])
                if isinstance(started, str):
                    results.append((machine.SCRIPT_DONE, started))
                else:
                    self._script_pid = started
            elif kind == machine.END_SCRIPT:
                send(self._script_pid, "TERM", True)
            elif kind == machine.GONE:
                self._recorder.exited(*action[1:])
            elif kind == machine.RELOAD and self._follower:
                results.append((machine.CONFIG, self._follower.read()))
            elif kind == machine.UPGRADE:
                self._try_upgrade()
            elif kind == machine.ALARM:
                self._alarm(*action[1:])
            else:
                self._log.add(*action)
        for event, value in results:
            self._event(event, value)

    def _send(self, process: Process, name: str, group: bool) -> None:
        problem = process.send(name, group)
        if problem:
            self._log.add(WARNING, "%s", problem)

    def _start(self) -> tuple[str, Any]:
        """Start the service, unless that has been done; the event that comes of it."""
        result, self._successor = self._successor, None
        if result is None:
            result = self._starter.service()
        if isinstance(result, ExitStatus):
            return machine.FAILED, result
        self._attend(Process(result))
        return machine.STARTED, result

    def _alarm(self, how: ExitStatus, uptime: float, restarts: int, gave_up: bool) -> None:
        config = self.machine.config
        text = self._alarms.Text(self._name, self._env, config, how, uptime, restarts, gave_up)
        # A helper that is still at work may be about to say that nothing can send; saying it once is enough.
        warned = self._mailer_missing or bool(self._alarm_pids)
        try:
            pid = self._alarms.send(self._directory, config, text, self._env, self._ignored, warned)
        except OSError as why:
            self._log.add(WARNING, "cannot start the alarm helper: %s", why.strerror)
            return
        if pid:
            self._alarm_pids.add(pid)
            self._log.add(NOTICE, "alarm: %s", text.subject)

    # Replacing this supervise by the installed version; upgrade.py has the theory.

    def _try_upgrade(self) -> None:
        if self._trial:
            self._log.add(NOTICE, "the installed version is being tried already")
            return
        try:
            self._trial = self._upgrades.Trial(self._handover(trial=True), self._ignored)
        except OSError as why:
            self._refuse_upgrade(f"it cannot be tried: {why.strerror}")

    def _trial_over(self, trial: Trial, how: ExitStatus) -> None:
        complaint = trial.complaint()
        if how.code != 0:
            self._refuse_upgrade(f"its trial {how}: {complaint}")
            return
        try:
            with self._upgrades.signals_blocked():
                # Those that came before; later ones wait for the handlers of the new version.
                self._commands_by_signal()
                if self.machine.state == machine.ENDED or self._left:
                    return
                self._settle()
                kept = [self._directory.fd, *self._kept.numbers().values()]
                if self._service and self._service.fd >= 0:
                    kept.append(self._service.fd)
                self._upgrades.replace(self._handover(), sys.argv[1:], kept)
        except OSError as why:
            self._refuse_upgrade(f"it cannot be executed: {why.strerror}")

    def _refuse_upgrade(self, why: str) -> None:
        self._recorder.upgrades_refused += 1
        self._log.add(WARNING, "not replaced by the installed version: %s", why)

    def _handover(self, trial: bool = False) -> Options:
        """What this supervise was told, and what it knows."""
        kept, service = self._kept, self._service
        child, pidfd = (service.child, service.fd) if service else (True, -1)
        fields = {
            **self._recorder.fields(),
            "child": child,
            "script_pid": self._script_pid,
            "alarm_pids": sorted(self._alarm_pids),
            "mailer_missing": self._mailer_missing,
            "descriptors": {**kept.numbers(), "directory": self._directory.fd, "service": pidfd},
        }
        return self._options.with_handover(fields, trial)
