"""The loop of one supervise: descriptors -> events -> state machine -> actions.

Nothing in it waits but the one poll(2).  What is to be waited for is either a descriptor (the control FIFO, the
pipe that signals wake, the service's pidfd, what the service says, the watches on files) or a deadline, which is the
timeout of that poll; where nothing happens and nothing is due, the process does not run at all.

What belongs to the service's main process, and to those that follow it in its place, is in service.py.  No error ends
the loop: internal_errors.py says what follows from one.  What was read (letters, how a child has ended) is kept until
the machine has been told.
"""

from __future__ import annotations

import errno
import gc
import posix as os
import select
import time

from supervise.machine.machine import Machine
from supervise.protocol import states
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.text import origin
from supervise.runtime.event_log import Log
from supervise.runtime.internal_errors import InternalErrors
from supervise.runtime.polling import pause
from supervise.runtime.reactor import Reactor
from supervise.runtime.status_writer import FULL, StatusWriter
from supervise.runtime.wakeup import Wakeup
from supervise.service.launcher import Launcher, StartError
from supervise.service.reaper import Reaper
from supervise.service.service import Service
from supervise.supervisor import preloaded
from supervise.supervisor.actions import Actions
from supervise.supervisor.control import Control
from supervise.supervisor.reconcile import post_missed_events
from supervise.system.pidfd import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from supervise.config.config import Config
    from supervise.config.file import ConfFile
    from supervise.machine.situation import Action
    from supervise.protocol.options import Options
    from supervise.supervisor.actions import Upgrader
    from supervise.supervisor.predecessor import Predecessor
    from supervise.supervisor.statusdir_watch import StatusDirWatch
    from supervise.supervisor.systemd import Forwarder
    from supervise.system.descriptors import HeldDescriptors
    from supervise.system.statusdir import StatusDir

    class Course(Protocol):
        """A part of the loop that a rehearsal has (nursery.py)."""

        machine: Machine | None
        due: float | None

        def on_time(self, now: float) -> None:
            """What is due is done."""

_MOMENT = 1.5  # seconds
_LAST_TRY = 5.0  # seconds in which the record must be written when supervise ends


def _chance() -> float:
    """A number from 0 to less than 1, without `random`, which costs more than all of this package."""
    return (int.from_bytes(os.urandom(7), "big") >> 3) / (1 << 53)


class Supervisor:
    """The supervisor of one service: its parts, and the loop over everything that happens to it."""

    def __init__(
        self,
        options: Options,
        name: str,
        directory: StatusDir,
        kept: HeldDescriptors,
        conf: ConfFile,
        config: Config,
        log: Log,
        env: dict[bytes, bytes],
        ignored: list[int],
        boot_id: str,
        forwarder: Forwarder | None = None,
    ) -> None:
        """The directory is locked, its FIFOs are open, `env` is the service's; `ignored` as spawn.py says."""
        self._options = options
        self._name = name
        self._directory = directory
        self._kept = kept
        self._log = log
        self._env = env
        self._ignored = ignored
        self._reactor = Reactor(log)
        self._internal_errors = InternalErrors(log)
        ends = options.exit_with_service
        self.machine = Machine(config, bool(options.script), options.reset, ends, _chance)
        self._launcher = Launcher(options, directory, env, ignored, log, config)
        self._status_writer = StatusWriter(directory, self.machine, options.command, boot_id, log, options.for_state())
        parts = self.machine, self._launcher, self._status_writer, directory, env, ignored, self._reactor, log
        self._service = Service(*parts)
        doers = self._service, self._launcher, self._status_writer, self._reactor, self._internal_errors
        self._actions = Actions(self.machine, *doers, log)
        self._reactor.parts += [self._service.rechecks, self._actions, self._status_writer, log]
        self._event = self._actions.event
        self._reaper = Reaper(self._service, log)
        self._wakeup = Wakeup()
        self._control = Control(kept.control, self._wakeup, self.machine, self._service, self._actions, log)
        self._conf = self._status_writer.conf = conf
        self._statusdir_watch: StatusDirWatch | None = None
        self._eager_from: float | None = None
        self._direct: Process | None = None  # see Control.direct
        self._ended: list[tuple[int, ExitStatus]] = []  # children that were reaped
        self._ahead = False  # whether a copy of this process is to make the start, or makes it
        self._guardian = 0  # the pid of a copy of the supervise that this one has replaced
        self._forwarder = forwarder
        self._reactor.parts += [forwarder] if forwarder else []

    # The start.

    def start(self, predecessor: Predecessor) -> None:
        """Take over the service that still runs, or start it.  Raises StartError; nothing runs then that did not."""
        self._status_writer.move()  # another process may have prepared this
        self._wakeup.begin(ended=not self._ahead)  # a copy has no children
        if predecessor.fields and not self._ahead:
            self._restore(predecessor.fields, predecessor.process)
        process, event = predecessor.process, states.ADOPTED
        self._service.prepare()
        actions: list[Action] = []
        if not process:
            if predecessor.leftover_group:
                self._service.leftovers.of(*predecessor.leftover_group)
            actions = self.machine.handle(states.BEGIN, time.monotonic(), bool(predecessor.leftover_group))
        if actions == [(states.START,)]:
            actions = []
            if not self._ahead or predecessor.fields:
                self._launcher.check(self._conf.where)
            # Before there is a process: the state names the session that it will be born into (takeover.py, rule 3).
            self._status_writer.write_state()
            self._insist()
            result = self._service.spawn()
            if isinstance(result, ExitStatus):
                self._service.close()
                raise StartError(f"cannot start the service: {self._conf.blamed(result.failure or '')}")
            self._conf.unsure = False  # all that it names was there
            process, event = Process(result), states.STARTED
            self._status_writer.started_under(self._launcher.config)
        try:
            if process:
                self._service.attend(process)
                if predecessor.process and predecessor.fields:
                    self._service.restore_previous_mains(predecessor.fields)
                    self._actions.signal_retry.restore(process.pid, predecessor.fields["unsent"], time.monotonic())
                self._event(event, process.pid if event == states.STARTED else (process.pid, predecessor.fields))
            self._actions.carry_out(actions)
            self._settle(said=False)
            self._insist()
        except Exception as why:
            if process and not predecessor.process:
                process.take_back()
            self._service.close()
            self._log.drop()
            if isinstance(why, StartError):
                raise
            raise StartError(f"cannot begin to supervise the service: {origin(why)}") from None
        self._log.flush()

    def _restore(self, fields: dict[str, Any], process: Process | None) -> None:
        from supervise.machine.restore import after_takeover

        after_takeover(self.machine, fields, self._options.resume)
        self._status_writer.restore(fields, process.pid if process else 0)

    def _insist(self) -> None:
        """A caller that is told that the service runs must find its record.  Raises StartError.

        Nor has the next supervise anything to find the service by, where nothing was written.
        """
        if self._status_writer.failed_by:
            raise StartError(self._status_writer.problem)

    def complete_if_possible(self) -> None:
        """Import and build what the first start can do without, unless it is there; never raises."""
        try:
            if self._actions.follower is None:
                self._complete()
        except Exception as why:  # and as long as there is trouble it is tried again
            self._internal_errors.note(why)

    def _complete(self) -> None:
        """Import what the first start could do without.  Raises whatever an import may raise.

        All of it, and now: the files of this package may be replaced by another version's at any later time.  (What
        only some configurations need is imported when one asks for it, and then only if they have not been.)
        """
        if not preloaded.done():
            preloaded.strip()
        from supervise.alarms.alarm import Alarms
        from supervise.runtime.inotify_lease import Watch
        from supervise.supervisor.conf_follower import ConfFollower
        from supervise.supervisor.statusdir_watch import StatusDirWatch

        if self._options.script:
            from supervise.service import helper_leftovers  # noqa: F401  (as service.py does for checks)
        if self._options.foreground:
            from supervise.supervisor import shutdown  # noqa: F401  (for the end)
        watch, log = Watch(self._env, self._ignored), self._log
        self._reactor.watch = watch
        self._actions.alarms = Alarms(self._name, self._directory, self._env, self._ignored, log, self._reactor.on_exit)
        place, parts = self._env[b"SUPERVISE_STATUS_DIR"], (self.machine, self._status_writer, self._service, log)
        says = self._reactor.post, self._control.keep
        self._statusdir_watch = StatusDirWatch(self._directory, self._kept, place, *parts, *says)
        preloaded.preload()
        self._actions.new_upgrader = self._new_upgrader
        paths = self._statusdir_watch
        self._actions.follower = ConfFollower(self._conf, self.machine.config, watch, self._reactor, log, paths)
        self._reactor.parts += [self._actions.alarms, self._actions.follower]
        self._actions.complete()

    def do_ahead(self, predecessor: Predecessor) -> None:
        """Do before the start what else follows it, where a copy of this process will make it, and takes nothing over.

        Raises StartError.
        """
        self.complete_if_possible()
        if predecessor.fields:
            self._restore(predecessor.fields, predecessor.process)
        else:
            self._launcher.check(self._conf.where)
        self._ahead = True
        self._service.parts.equip()
        self._status_writer.started_under(self._launcher.config)
        self._status_writer.fields()
        self._log.spell_out()
        self._follow()

    def await_watches(self, end: float) -> None:
        """Wait for the watches that `do_ahead` has asked for, until then at most (monotonic)."""
        follower = self._actions.follower
        while follower and follower.arming and (left := end - time.monotonic()) > 0:
            for fd, events in self._reactor.poll(left * 1000):
                self._reactor.readable(fd, events)
        config = follower.look() if follower and follower.watching else None  # it may have changed before
        if config is not None:
            self._reactor.post(states.CONFIG, config)

    def rehearse(self, course: Course) -> None:
        """Have `course` called in each turn, and what is looked at later looked at as soon as possible."""
        course.machine = self.machine
        self._reactor.parts.append(course)
        if self._statusdir_watch:
            self._statusdir_watch.due = time.monotonic()

    # The loop.

    def run(self) -> int:
        """Supervise until the end.  The exit code: 0, or 111 after giving up; with the service, that of the service."""
        self.complete_if_possible()
        # What the start made lives as long as the process: not to be gone through again on the way to a restart.
        gc.freeze()
        gc.enable()  # daemon.py
        self._wait()
        if not self._ahead:
            self._follow()
        self._settle()
        self._arrived()
        while not self._control.quit:
            if self.machine.state == states.ENDED and not self._actions.postponed and not self._service.lingers:
                break
            try:
                ready = self._reactor.poll(self._timeout())
                if self._direct and len(ready) == 1 and ready[0][0] == self._kept.control and not self._is_due():
                    self._control.read(self._direct)
                else:
                    self._turn(ready)
            except Exception as why:
                self._internal_errors.note(why)
            self._settle()
            if self._internal_errors.fresh:
                self._recover()
        return self._end()

    def _wait(self) -> None:
        """For what the loop itself waits for; the letters it reads when all others have been called."""
        self._reactor.on_readable(self._wakeup.fd, self._woken)
        self._reactor.register(self._kept.control, select.POLLIN)

    def _woken(self, events: int) -> None:
        self._children()
        self._control.by_signal()

    def _follow(self) -> None:
        try:
            if self._actions.follower:
                self._actions.follower.rewatch()
        except Exception as why:
            self._internal_errors.note(why)

    def _end(self) -> int:
        try:
            self._service.close(self._control.quit)
            if self._options.foreground:
                from supervise.supervisor import shutdown

                if not self._control.quit:
                    shutdown.await_alarms(self._actions.alarms, self._wakeup, self._children, self._log)
                if os.getpid() == 1:
                    seconds = self.machine.config.stopwaitsecs
                    shutdown.end_all_processes(self._wakeup.fd, self._kept.control, seconds, self._log)
        except Exception as why:
            self._internal_errors.note(why)
        # Nobody will write later what cannot be written now; but a full disk is not waited for longer than a moment.
        began = time.monotonic()
        end = began + _LAST_TRY
        while self._status_writer.failed_by not in (0, errno.ENOENT):  # nor is a directory that was removed
            if time.monotonic() >= (began + _MOMENT if self._status_writer.failed_by in FULL else end):
                break
            pause(0.05)
            self._status_writer.write_anew()
            self._settle()
        self._log.add(NOTICE, "supervise ends")
        self._log.flush(ending=True)
        while self._log.unwritten and self._status_writer.failed_by not in FULL and time.monotonic() < end:
            pause(0.05)
            self._log.flush(ending=True)
        code = self._status_writer.exit_code
        if self._options.exit_with_service and code is not None and not self._control.quit:
            return code
        return SYSTEM if self.machine.gave_up or (self._statusdir_watch and self._statusdir_watch.lost) else 0

    def _recover(self) -> None:
        """Put everything in order from what is true, after a pause (internal_errors.py)."""
        self._eager_from = self._direct = None
        self._internal_errors.rest()
        try:
            self._reactor.mend()
            self._wait()
            if self._actions.follower is None:
                self.complete_if_possible()
                self._follow()
            self._actions.deal()
            ended = post_missed_events(self.machine, self._service, self._reactor)
            self._actions.deal()
            if ended:
                self._ended_main(ended)
            self._children()
            self._control.by_signal()
            self._actions.mend()
            self._status_writer.write_anew()
            if self._statusdir_watch:
                self._statusdir_watch.due = time.monotonic()
        except Exception as why:
            self._internal_errors.note(why)
        self._settle()

    def _is_due(self) -> bool:
        return self.machine.deadline is not None and time.monotonic() >= self.machine.deadline

    def _turn(self, ready: list[tuple[int, int]]) -> None:
        self._attend(ready)
        now = time.monotonic()
        due = self._deadline()
        if due is not None and due <= now:
            # Whatever came in time is known before a deadline is judged, however late we are; and that by the clock
            # as it was before this last look.
            self._attend(self._reactor.poll(0))
            if self._service.check_pid:
                self._children()  # a check may have ended, and the signal that tells be lost
            self._judge(now)

    def _attend(self, ready: list[tuple[int, int]]) -> None:
        # The exit first: the next process must not wait for anything else that happened at the same time.
        service = self._service
        # One that has ended in this turn already is still there, until everything is settled.
        ended = service.process.fd if service.process is not None and self.machine.pid else -1
        for fd, events in ready:
            if fd == ended and events and service.process is not None:
                self._service_ended(service.process)
                break
        for fd, events in ready:
            if fd == ended:  # whose number may be another descriptor's by now
                continue
            try:  # each for itself: one that fails does not keep the others waiting
                self._actions.deal(self._reactor.readable(fd, events))
            except Exception as why:
                self._internal_errors.note(why)
        control = self._kept.control
        for fd, _ in ready:
            if fd == control:
                self._control.read()
                return
        if self._control.waiting:
            self._control.read()

    def _judge(self, now: float) -> None:
        """Do what was due at `now`."""
        self._news()
        if self.machine.deadline is not None and now >= self.machine.deadline:
            self._event(states.TIMER)
        for part in self._reactor.parts:
            try:
                if part.due is not None and now >= part.due:
                    part.on_time(now)
                    self._actions.deal()
            except Exception as why:
                self._internal_errors.note(why)

    def _deadline(self) -> float | None:
        """When the next thing is due.  Written out: each comprehension makes a function, and writes to its module."""
        earliest = self.machine.deadline
        for part in self._reactor.parts:
            at = part.due
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest

    def _timeout(self) -> float | None:
        """Milliseconds until the next deadline; the kernel rounds up, so it is past when poll returns."""
        if self._control.waiting or (self._internal_errors.fresh and self._actions.postponed):
            return 0
        due = self._deadline()
        # At most a day, which poll can count in milliseconds.
        return None if due is None else min(max(due - time.monotonic(), 0), 86400.0) * 1000

    def _settle(self, said: bool = True) -> None:
        """After everything urgent: the record and the state, then the log.  Never raises."""
        try:
            self._service.housekeeping()
        except Exception as why:
            self._internal_errors.note(why)
        try:
            self._status_writer.unsent = self._actions.signal_retry.signals
            self._status_writer.write(self._service.process)
            if not self._internal_errors.fresh:
                self._eager_from, self._direct = self.machine.eager_from, self._control.direct
            problem = self._forwarder.follow(self.machine) if self._forwarder else None
            if problem:
                self._log.add(WARNING, "%s", problem)
        except Exception as why:
            self._internal_errors.note(why)
        if said:
            self._log.flush()

    def _service_ended(self, process: Process) -> None:
        """The shortest way from the end of the service to the next process.

        SIGCHLD would tell as well, and does where there are no pidfds, but takes a sixth longer: a signal
        handler, a pipe and another poll.  Where the state machine's answer is certain beforehand, the next
        process is started before it is asked; it claims it with its START.
        """
        if self._eager_from is not None and time.monotonic() >= self._eager_from:
            self._service.spawn_ahead()
        self._ended_main(process)

    def _ended_main(self, process: Process) -> None:
        self._actions.deal(self._service.heard())  # it may have named its successor
        if process is self._service.process:
            self._service.ended(process)
            self._actions.deal()

    # Events.

    def _news(self) -> None:
        """Handle the events that must be handled before a deadline is judged or a child is reaped."""
        self._actions.deal(self._service.heard())
        self._service.look_for_successor()
        self._actions.deal()

    def _children(self) -> None:
        try:
            self._wakeup.drain()
            self._news()  # from those who have ended, as long as they can be told from others
        except Exception as why:
            self._internal_errors.note(why)
        try:
            while True:
                ended = self._reaper.next()
                if ended is None:
                    break
                self._ended.append(ended)
        except Exception as why:
            self._internal_errors.note(why)
        while self._ended:
            pid, how = self._ended.pop(0)
            try:
                self._child_ended(pid, how)
            except Exception as why:
                self._internal_errors.note(why)
        self._service.children_gone()
        self._actions.deal()

    def _child_ended(self, pid: int, how: ExitStatus) -> None:
        call = self._reactor.exited(pid)
        if call:
            call(how)
        else:
            if self._service.is_main(pid):
                self._actions.deal(self._service.heard())
            self._service.reaped(pid, how)
        self._actions.deal()

    # Replacing this supervise by the installed version; upgrade.py has the theory.

    def _new_upgrader(self) -> Upgrader:
        *_, upgrade, replaceable = map(preloaded.module, preloaded.UPGRADE)
        self.__class__ = replaceable.Replaceable
        made: Upgrader = upgrade.Upgrader(self, self._reactor, self._ignored, self._log)
        self._reactor.parts.append(made)
        return made

    def _arrived(self) -> None:
        """About to obey: where this replaces another (upgraded.py), there is something to do."""

    def _replaced(self, how: ExitStatus | None = None) -> None:
        """This is the supervise now, and there is no other that has the lock open."""
        self._guardian = 0
        self._status_writer.upgrades += 1
        self._log.add(NOTICE, "supervise replaced by the installed version")
