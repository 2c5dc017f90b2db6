"""The loop of one supervise: descriptors -> events -> state machine -> actions.

Nothing in it waits but the one poll(2).  What is to be waited for is either a descriptor (the control FIFO, the
pipe that signals wake, the service's pidfd, what the service says, the watches on files) or a deadline, which is the
timeout of that poll; where nothing happens and nothing is due, the process does not run at all.

What belongs to the service's main process, and to those that follow it in its place, is in charge.py.
"""

from __future__ import annotations

import gc
import os
import select
import time
from _random import Random  # without `random`, which costs more than all of this package

from supervise import states
from supervise.charge import Charge
from supervise.exitstatus import ExitStatus, signal_name
from supervise.letters import ONE_SIGNAL, Reader
from supervise.log import FATAL, NOTICE, WARNING, Log
from supervise.machine import Machine
from supervise.messages import origin
from supervise.process import Process
from supervise.recorder import Recorder
from supervise.service import HANDLED, reap, send
from supervise.starter import Starter, StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any

    from supervise.conffile import ConfFile
    from supervise.config import Config
    from supervise.follow import ConfFollower
    from supervise.heritage import Heritage
    from supervise.machine import Action
    from supervise.options import Options
    from supervise.statusdir import Kept, StatusDir
    from supervise.upstream import Forwarder
else:
    import _signal  # see service.py

_CONTROL_READ = 4096  # bytes: as much as is obeyed before exits and deadlines are looked at again
_ALARM_LIMIT = 35.0  # seconds that the alarms on their way may take: a little more than their helper has
_TELL_AGAIN = 1.0  # seconds to the next try to tell systemd what it had no room for
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
        forwarder: Forwarder | None = None,
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
        chance = Random(int.from_bytes(os.urandom(8), "big")).random
        ends = options.exit_with_service
        self.machine = Machine(config, bool(options.script), options.reset, ends, chance)
        self._letters = Reader()
        self._starter = Starter(options, directory, env, ignored, log, config)
        self._recorder = Recorder(directory, self.machine, options.command, boot_id, log)
        self._charge = Charge(self.machine, self._starter, self._recorder, directory, env, ignored, self._poll, log)
        self._conf = conf
        self._follower: ConfFollower | None = None
        self._eager_from: float | None = None
        self._direct: Process | None = None  # whom a letter that is a signal goes to before the machine is asked
        self._sent: str | None = None  # a signal that was sent before the machine asked for it
        self._script_pid = 0
        self._alarm_pids: set[int] = set()
        self._mailer_missing = False
        self._forwarder = forwarder
        self._signals: list[str] = []
        self._wake = -1
        self._left = False  # QUIT came: end, and leave the service to the next supervise

    # The start.

    def start(self, heritage: Heritage) -> None:
        """Take over the service that still runs, or start it.  Raises StartError; nothing runs then."""
        self._become_ready()
        if heritage.fields:
            self.machine.inherit(heritage.fields, self._options.resume)
            self._recorder.inherit(heritage.fields, heritage.process.pid if heritage.process else 0)
        process, event = heritage.process, states.ADOPTED
        self._charge.prepare()
        actions: list[Action] = []
        if not process:
            if heritage.left:
                self._charge.left_behind(*heritage.left)
            actions = self.machine.handle(states.BEGIN, time.monotonic(), bool(heritage.left))
        if actions == [(states.START,)]:
            actions = []
            self._starter.check()
            # Before there is a process: the state names the session that it will be born into (adopt.py, rule 3).
            self._recorder.write_state()
            result = self._charge.spawn()
            if isinstance(result, ExitStatus):
                self._charge.close()
                raise StartError(f"cannot start the service: {result.failure}")
            process, event = Process(result), states.STARTED
        try:
            if process:
                self._charge.attend(process)
                if heritage.process and heritage.fields:
                    self._charge.recall(heritage.fields)
                self._event(event, process.pid if event == states.STARTED else (process.pid, heritage.fields))
            self._carry_out(actions)
            self._settle()
        except Exception as why:  # as in `run`: from here on there is a service, and it is supervised
            self._log.add(FATAL, "internal error, going on: %s", origin(why))

    def carry_on(self, fields: dict[str, Any]) -> None:
        """Be what the supervise was that this one replaces in the same process; `fields` as `_handover` has them."""
        self._become_ready()
        self._follower = self._complete()
        self.machine.carry_on(fields, time.monotonic())
        self._recorder.inherit(fields, self.machine.pid)
        self._charge.inherit(fields)
        self._charge.equip(self.machine.config)
        self._charge.recall(fields)
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

    def _become_ready(self) -> None:
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
        """Supervise until the end.  The exit code: 0, or 111 after giving up; with the service, that of the service."""
        self._follower = self._follower or self._complete()
        # What the start made lives as long as the process: not to be gone through again on the way to a restart.
        gc.freeze()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self._kept.control, select.POLLIN)
        self._follower.rewatch()
        self._settle()
        while self.machine.state != states.ENDED and not self._left:
            ready = self._poll.poll(self._timeout())
            try:
                if self._direct and len(ready) == 1 and ready[0][0] == self._kept.control and not self._is_due():
                    self._commands(self._direct)
                else:
                    self._turn(ready)
                self._settle()
            except Exception as why:  # a bug, or no memory: the service is worth more than our pride
                self._log.add(FATAL, "internal error, going on: %s", origin(why))
                self._log.flush()
        self._charge.close(self._left)
        if self._options.foreground and not self._left:
            self._see_alarms_off()
        self._log.add(NOTICE, "supervise ends")
        self._log.flush()
        code = self._recorder.exit_code
        if self._options.exit_with_service and code is not None and not self._left:
            return code
        return 111 if self.machine.gave_up else 0

    def _see_alarms_off(self) -> None:
        """Wait for alarms on their way: a container, or a systemd unit, ends with this process.  A signal ends that."""
        self._log.flush()
        end = time.monotonic() + _ALARM_LIMIT
        wake = select.poll()
        wake.register(self._wake, select.POLLIN)
        self._signals.clear()
        while self._alarm_pids and not self._signals and time.monotonic() < end:
            wake.poll(max(end - time.monotonic(), 0) * 1000)
            self._children()

    def _complete(self) -> ConfFollower:
        """Import what the first start could do without.

        All of it, and now: the files of this package may be replaced by another version's at any later time.  (What
        only some configurations need is imported when one asks for it, and then only if they have not been.)
        """
        from supervise import alarm
        from supervise.follow import ConfFollower
        from supervise.upgrade import Upgrader
        from supervise.watch import Watch

        self._alarms = alarm
        hooks = self._handover, self._prepare_upgrade, self._upgrade_refused
        self._upgrader = Upgrader(*hooks, self._ignored, self._log)
        return ConfFollower(self._conf, self.machine.config, Watch(self._env, self._ignored), self._poll, self._log)

    def _is_due(self) -> bool:
        return self.machine.deadline is not None and time.monotonic() >= self.machine.deadline

    def _turn(self, ready: list[tuple[int, int]]) -> None:
        # The exit first: the next process must not wait for anything else that happened at the same time.
        charge = self._charge
        ended = charge.process.fd if charge.process is not None else -1
        for fd, _ in ready:
            if fd == ended and charge.process is not None:
                self._service_ended(charge.process)
                break
        now = time.monotonic()
        if self.machine.deadline is not None and now >= self.machine.deadline:
            # A sign of life that has arrived counts, whenever it is read.
            for event, value in charge.heard():
                self._event(event, value)
            self._event(states.TIMER)
        for fd, events in ready:
            if fd == self._kept.control:
                self._commands()
            elif fd == self._wake:
                self._children()
                self._commands_by_signal()
            elif self._follower and fd == self._follower.fd:
                self._follower.ready()
            elif fd != ended:  # whose number may be another descriptor's by now
                for event, value in charge.ready(fd, events):
                    self._event(event, value)
        if self._follower and self._follower.look_at is not None and now >= self._follower.look_at:
            config = self._follower.look()
            if config is not None:
                self._event(states.CONFIG, config)
        for event, value in charge.on_time(time.monotonic()):
            self._event(event, value)
        if self._upgrader.deadline is not None and now >= self._upgrader.deadline:
            self._upgrader.overdue()

    def _timeout(self) -> float | None:
        """Milliseconds until the next deadline; the kernel rounds up, so it is past when poll returns."""
        deadlines = [self.machine.deadline, self._recorder.retry_at, self._upgrader.deadline, *self._charge.deadlines()]
        deadlines += [self._follower.look_at] if self._follower else []
        deadlines += [time.monotonic() + _TELL_AGAIN] if self._forwarder and self._forwarder.unsent else []
        due = [at for at in deadlines if at is not None]
        # At most a day, which poll can count in milliseconds.
        return min(max(min(due) - time.monotonic(), 0), 86400.0) * 1000 if due else None

    def _settle(self) -> None:
        """After everything urgent: the record and the state, then the log."""
        self._charge.settle()
        self._recorder.settle(self._charge.process)
        self._eager_from = self.machine.eager_from
        passes = self.machine.passes_signals and self._letters.between_writes
        self._direct = self._charge.process if passes else None
        if self._forwarder:
            problem = self._forwarder.follow(self.machine)
            if problem:
                self._log.add(WARNING, "%s", problem)
        self._log.flush()

    def _service_ended(self, process: Process) -> None:
        """The shortest way from the end of the service to its successor.

        SIGCHLD would tell as well, and does where there are no pidfds, but takes a sixth longer: a signal
        handler, a pipe and another poll.  Where the state machine's answer is certain beforehand, the successor
        is started before it is asked; it claims it with its START.
        """
        if self._eager_from is not None and time.monotonic() >= self._eager_from:
            self._charge.spawn_ahead()
        for event, value in self._charge.ended(process):
            self._event(event, value)

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
                break
            pid, how = ended
            if pid == self._script_pid:
                self._script_pid = 0
                failed = how.code != 0
                self._event(states.SCRIPT_DONE, f"restart script {how}" if failed else None)
            elif pid in self._alarm_pids:
                self._alarm_pids.discard(pid)
                self._mailer_missing |= how.code == self._alarms.NOBODY_CAN_SEND
            elif pid == self._upgrader.pid:
                self._upgrader.tried(how)
            else:
                for event, value in self._charge.reaped(pid, how):
                    self._event(event, value)
        for event, value in self._charge.children_gone():
            self._event(event, value)

    def _commands_by_signal(self) -> None:
        while self._signals:
            name = self._signals.pop(0)
            self._log.add(NOTICE, "received %s", name)
            if name == "QUIT":
                self._left = True
                if self.machine.paused and self._charge.process:
                    # The kernel ends a stopped process group that is left behind with HUP; the next supervise stops
                    # one that runs again.
                    self._charge.process.send("CONT", True)
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

    def _carry_out(self, actions: list[Action]) -> None:
        """Carry out actions in order; what comes of them is handled after the rest of their list."""
        results: list[tuple[str, Any]] = []
        for action in actions:
            kind = action[0]
            if kind == states.START:
                results.append(self._charge.start())
            elif kind == states.KILL:
                sent, self._sent = self._sent, None
                if self._charge.process and sent is None:
                    self._send(self._charge.process, *action[1:])
            elif kind == states.CLEAR:
                results += self._charge.clear(action[1])
            elif kind == states.LEFT:
                self._charge.report_left()
            elif kind == states.SCRIPT:
                started = self._starter.script(action[1])
                if isinstance(started, str):
                    results.append((states.SCRIPT_DONE, started))
                else:
                    self._script_pid = started
                    self._charge.note_helper(started)
            elif kind == states.END_SCRIPT:
                send(self._script_pid, "TERM", True)
            elif kind == states.GONE:
                self._recorder.exited(*action[1:])
            elif kind == states.RELOAD and self._follower:
                results.append((states.CONFIG, self._follower.read()))
            elif kind == states.UPGRADE:
                self._upgrader.attempt()
            elif kind == states.ALARM:
                self._alarm(*action[1:])
            else:
                self._log.add(*action)
        for event, value in results:
            self._event(event, value)

    def _send(self, process: Process, name: str, group: bool) -> None:
        problem = process.send(name, group)
        if problem:
            self._log.add(WARNING, "%s", problem)

    def _alarm(self, how: ExitStatus, uptime: float, restarts: int, gave_up: bool) -> None:
        config = self.machine.config
        stays_down = self.machine.want == "up" and not self.machine.again and not gave_up
        details = self._charge.check_output if how.fault and how.fault.startswith("unhealthy") else ""
        text = self._alarms.Text(
            *(self._name, self._env, config, how, uptime, restarts, gave_up), stays_down=stays_down, details=details
        )
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

    def _prepare_upgrade(self) -> list[int] | None:
        """Everything is written: the descriptors to keep; none if supervise ends, None if it cannot be now."""
        # Those that came before; later ones wait for the handlers of the new version.
        self._commands_by_signal()
        if self.machine.state == states.ENDED or self._left:
            return []
        if self.machine.state in (states.CLEANUP, states.SUCCESSION):
            return None
        self._charge.end_check()
        self._settle()
        descriptors = [self._directory.fd, *self._kept.numbers().values(), *self._charge.descriptors().values()]
        return [fd for fd in descriptors if fd >= 0]

    def _upgrade_refused(self) -> None:
        self._recorder.upgrades_refused += 1

    def _handover(self, trial: bool) -> Options:
        """What this supervise was told, and what it knows."""
        process = self._charge.process
        fields = {
            **self._recorder.fields(),
            "deadline_at": self.machine.deadline,  # in the same process it holds on
            "child": process.child if process else True,
            "script_pid": self._script_pid,
            "alarm_pids": sorted(self._alarm_pids),
            "mailer_missing": self._mailer_missing,
            "descriptors": {**self._kept.numbers(), "directory": self._directory.fd, **self._charge.descriptors()},
        }
        return self._options.with_handover(fields, trial)
