"""One service: spawning its main process, and the events of its end, its successors and its notifications.

What lives here: which descriptors and deadlines there are for that, and what events they make.  What does not: what
follows from them (the state machine), and the parts themselves: successor.py says who the main process is, readiness.py
what it says, health_check.py whether it is healthy, leftovers.py what is left of it.
Each part is only there where the configuration asks for it.
"""

from __future__ import annotations

import select

from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.severities import NOTICE
from supervise.service.leftovers import Leftovers
from supervise.service.parts import Parts
from supervise.service.recheck import Rechecks
from supervise.system.descriptors import close
from supervise.system.members import belongs, in_group
from supervise.system.pidfd import Process, exit_info
from supervise.system.spawn import HELPERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.machine.machine import Machine
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor, Steps
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.launcher import Launcher
    from supervise.system.statusdir import StatusDir

_LEFT = "what is left of the service"


class Service:
    """The processes of one service.  `process`: its main process, if it runs."""

    def __init__(
        self,
        machine: Machine,
        launcher: Launcher,
        status_writer: StatusWriter,
        directory: StatusDir,
        env: dict[bytes, bytes],
        ignored: list[int],
        reactor: Reactor,
        log: Log,
    ) -> None:
        self._machine = machine
        self._launcher = launcher
        self._status_writer = status_writer
        self._directory = directory
        self._env = env
        self._ignored = ignored
        self._reactor = reactor
        self._log = log
        self.process: Process | None = None
        self._session = 0  # of the last main process
        self._fading: Process | None = None  # was taken over and has ended, nobody knows how yet
        self._outlived: Process | None = None  # a main process whose end need not be that of the service
        self._ahead: int | ExitStatus | None = None  # a successor that was started before the machine asked for it
        self.leftovers = Leftovers(machine, status_writer, reactor, log, self._main_pid, self.children_gone)
        own = machine, launcher, status_writer, self.leftovers
        self.parts = Parts(*own, directory, env, ignored, reactor, log, self._told, self._named)
        self.rechecks = Rechecks(log)

    def _main_pid(self) -> int:
        return self.process.pid if self.process else 0

    # Going on.

    def restore(self, fields: dict[str, Any]) -> None:
        """Restore after an upgrade in the same process; `fields` as the supervise before has handed them over."""
        descriptors = fields["descriptors"]
        if self._machine.pid:
            self.attend(Process(self._machine.pid, fields["child"], descriptors["service"]))
        self.parts.restore(fields)

    def restore_previous_mains(self, fields: dict[str, Any]) -> None:
        """Restore the previous main processes from the state of the supervise before."""
        if self.parts.successor and self.process:
            for identity in fields.get("formers") or []:
                self._recall(identity)

    def _recall(self, identity: dict[str, Any]) -> None:
        from supervise.system.identity import named

        try:
            process = named(identity)
        except OSError as why:
            self.rechecks.add(f"former main process {identity['pid']}", why, self._recall, identity)
            return
        if process and self.parts.successor:
            self.parts.successor.restore_previous([process])

    def hold(self) -> None:
        """Open the pidfd, if there was no descriptor left for it when the process was started.  Raises OSError."""
        if self.process and self.process.hold():
            self._wait_for(self.process)

    def go_on(self) -> bool:
        """Go on in a copy of the process whose children they are; whether the service can be supervised from there."""
        for part in self.parts.made:
            part.disown()
        return not self.process or self.process.disown(self._machine.paused)

    def descriptors(self) -> dict[str, int]:
        """The descriptors for the supervise that replaces this one in the same process, -1 for what is not there."""
        descriptors = {"service": self.process.fd if self.process else -1}
        for part in self.parts.made:
            descriptors.update(part.handover())
        return descriptors

    def is_named(self) -> bool:
        """Whether NOTIFY_SOCKET still leads to the socket.  Raises OSError: it could not be looked at."""
        return self.parts.readiness is None or self.parts.readiness.is_named()

    def moved(self, old: int | None = None) -> None:
        """Bind the socket's name again, which is lost, or the status directory is another (`old` is the one before)."""
        if self.parts.readiness:
            self.parts.readiness.moved(old)

    def housekeeping(self) -> None:
        """Close what has ended, and prepare the next start, when nothing is urgent."""
        machine = self._machine
        if machine.pid == 0 and self.process:
            self._dismiss(self.process)
            self.process = None
            if self.parts.successor and machine.state != states.SUCCESSION:
                self.parts.successor.forget()
            if self.parts.readiness:
                self.parts.readiness.close_pipe()
        elif self.process:
            self.process.look_again()
            self._session = self.process.session
        if machine.state != states.CLEANUP:
            self.leftovers.let_go()
        self._status_writer.formers = self.parts.successor.identities() if self.parts.successor else []
        self.prepare()
        for part in self.parts.made:
            part.housekeeping(machine)
        checks = self.parts.checks
        self._status_writer.health = checks.health_of(machine.pid) if checks else None

    def prepare(self) -> None:
        """Make the configured parts, and tag the next start."""
        self.parts.equip()
        self._status_writer.foretell()

    def close(self, leaving: bool = False) -> None:
        """Close all of it, `leaving` the service to another or not: supervise ends, or is replaced if that works."""
        for part in self.parts.made:
            part.close(leaving)

    # Starts.

    def spawn(self) -> int | ExitStatus:
        """Spawn the service: its pid, or why not."""
        problem = self._prepare_output()
        if problem:
            return ExitStatus(failure=problem)
        fd = self._machine.config.notification_fd
        if not self.parts.readiness or not fd:
            return self._launcher.service()
        self._launcher.notification = self.parts.readiness.open_pipe()
        try:
            return self._launcher.service()
        finally:
            if self._launcher.notification >= 0:
                close(self._launcher.notification)
            self._launcher.notification = -1

    def spawn_ahead(self) -> None:
        """Spawn it before the machine asks for it, unless another process may turn out to be the main one."""
        if self._ahead is not None or (self.parts.successor and self.parts.successor.previous_mains()):
            return
        if not self._prepare_output():
            self._ahead = self._launcher.service()

    def _prepare_output(self) -> str:
        """Have what a start prints to, as the configuration has it by now; why that cannot be had, or nothing."""
        self._status_writer.outputs = self._launcher.places
        if self.parts.output_cap:
            self.parts.output_cap.freshen()
        return self.parts.loggers.prepare_start() if self.parts.loggers else ""

    def start(self) -> tuple[str, Any]:
        """Spawn the service, unless that has been done: the event STARTED or FAILED."""
        result, self._ahead = self._ahead, None
        if result is None:
            self.parts.equip()
            result = self.spawn()
        if isinstance(result, ExitStatus):
            return states.FAILED, result
        self.attend(Process(result))  # first of all: what fails from here on, it runs
        self._status_writer.started_under(self._launcher.config)
        if self.parts.successor:
            self.parts.successor.forget()
        if self.parts.readiness:
            self.parts.readiness.close_old_sockets()
        if not self._launcher.notify_socket:
            self._status_writer.notify_address = None
        return states.STARTED, result

    def attend(self, process: Process) -> None:
        """Wait for the end of a new main process, in place of the old one."""
        if self.process:
            self._dismiss(self.process)
        self.process, self._session = process, process.session
        if process.fd >= 0:
            self._wait_for(process)

    def _wait_for(self, process: Process) -> None:
        # Nobody is to be called: the loop looks for this one first.
        self._reactor.register(process.fd, select.POLLIN)

    def _dismiss(self, process: Process) -> None:
        if process.fd >= 0 and process is not self._fading:
            self._reactor.unregister(process.fd)
            process.close()

    # Ends.

    def is_main(self, pid: int) -> bool:
        """Whether the machine has this for the main process."""
        return self.process is not None and pid == self.process.pid == self._machine.pid

    def ended(self, process: Process) -> None:
        """Reap the main process, which has ended, by its pidfd; after `heard`: it may have named its successor."""
        process.look_again()
        how = process.exit_status()
        if not process.child and how.unknown:
            self._fade(process)
        self._main_ended(process, how)

    def _main_ended(self, process: Process, how: ExitStatus) -> None:
        self._session = process.session
        self.leftovers.after(process)
        if self.parts.successor and self._machine.state in (states.RUNNING, states.STOPPING, states.ABORTING):
            starts = self._machine.totals["starts"]
            follows = self.parts.successor.after(process, how, self._helpers(), starts)
            if isinstance(follows, Process):
                self._log.add(NOTICE, "main process %s (pid %d)", how, process.pid)
                self._outlived = process
                self._now_main(follows)
                return
            if follows is not None:
                # One of them is to follow; if none does, none is to stay.
                self.leftovers.after(process, self._candidates)
                self._outlived = process
                self._reactor.post(states.MAIN_EXITED, how)
                return
        self._reactor.post(states.EXITED, how)

    def _now_main(self, process: Process) -> None:
        if self.parts.successor:
            self.parts.successor.succeed(self.process)
        self.attend(process)
        self._reactor.post(states.MAIN, process.pid)

    def _fade(self, process: Process) -> None:
        """Nobody waits for an exit status; but it is welcome when the kernel has it: the pidfd hangs up then."""
        if self._fading:
            former, self._fading = self._fading, None
            self._dismiss(former)
        self._fading = process
        self._reactor.on_readable(process.fd, self._hung_up, 0)

    def _amend(self, process: Process) -> None:
        how = exit_info(process.fd)
        self._fading = None
        self._dismiss(process)
        if how and process is self._outlived:
            if how.code != 0 and self._machine.state == states.SUCCESSION:
                self._reactor.post(states.NO_SUCCESSOR, how)
            else:
                self._log.add(NOTICE, "former main process %s (pid %d)", how, process.pid)
        elif how:
            self._status_writer.amended(how)
            self._reactor.post(states.AMENDED, (how, process.pid))

    def reaped(self, pid: int, how: ExitStatus) -> None:
        """Handle the end of a child that was reaped and is no helper; of the main process: after `heard`."""
        if self.process and self.is_main(pid):
            self._main_ended(self.process, how)
        elif self.parts.successor:
            self.parts.successor.reaped(pid, how)

    def children_gone(self, events: int = 0) -> None:
        """Post CLEARED or NO_SUCCESSOR, if nothing is left of what is waited for, after children have ended."""
        try:
            if self._machine.state == states.CLEANUP and self.leftovers.gone():
                self._reactor.post(states.CLEARED)
            elif self._machine.state == states.SUCCESSION and not self._candidates() and not self._strays():
                self._reactor.post(states.NO_SUCCESSOR)
        except OSError as why:
            self.rechecks.add(_LEFT, why, self.children_gone)

    def _candidates(self) -> list[int]:
        successor = self.parts.successor
        return successor.candidates(self._helpers(), self._machine.totals["starts"]) if successor else []

    def _strays(self) -> list[int]:
        successor = self.parts.successor
        return successor.strays(self._session, self._machine.totals["starts"]) if successor else []

    # What is left.

    def clear(self, signal: str) -> list[tuple[str, Any]]:
        """Send a signal to the leftovers; CLEARED if there are none."""
        try:
            gone = self._machine.state == states.CLEANUP and self.leftovers.clear(signal)
        except OSError as why:
            self.rechecks.add(_LEFT, why, self._clear_later, signal)
            return []
        return [(states.CLEARED, None)] if gone else []

    def _clear_later(self, signal: str) -> None:
        for event, value in self.clear(signal):
            self._reactor.post(event, value)

    def report_left(self) -> None:
        """Log the leftovers."""
        try:
            self.leftovers.report()
        except OSError as why:
            self.rechecks.add(_LEFT, why, self.report_left)

    # What it says, and what there is to see.

    def heard(self, all: bool = True) -> Steps:
        """Post the notifications that have come, in their order; a portion of them, if not `all`.

        In steps: each message is received when what those before it lead to has been done.  Its sender waits for just
        that (notify_socket.py, rule 5), and whether he is believed depends on who is the main process by then.
        """
        post = self._reactor.post
        if self._machine.watchdog and (not self.parts.readiness or self.parts.readiness.socket < 0):
            post(states.KICK)  # a sign of life could not be heard, so it is not ended for giving none
        if not self.parts.readiness:
            return
        self.parts.readiness.pipe_readable()
        yield
        heard = self.parts.readiness.heard(lambda: self._machine.pid, self._belongs, self._is_former, all)
        for message in heard:
            for event, value, sender in message:
                if event == states.MAIN:
                    self._named(value, f"MAINPID= of pid {sender}")
                else:
                    post(event, value)
            yield

    def _belongs(self, pid: int) -> bool:
        try:
            return belongs(pid, self._machine.pid, self._helpers(), self._session, zombies=True)
        except OSError:
            # Without /proc, which takes descriptors, there is still the process group: nobody else can join it.
            if self.process and in_group(pid, self.process.group, self.process.session):
                return True
            raise

    def _is_former(self, pid: int) -> bool:
        return bool(self.parts.successor and pid in self.parts.successor.previous_mains())

    def _named(self, pid: int, by: str) -> None:
        waiting = self._machine.state == states.SUCCESSION
        if self.parts.successor and (self._machine.pid or waiting):
            try:
                process = self.parts.successor.named(pid, by, self._machine.pid, self._helpers(), self._session)
            except OSError as why:
                self.rechecks.add(f"pid {pid}, named by {by}", why, self._named, pid, by)
                return
            if process:
                self._now_main(process)

    def _helpers(self) -> set[int]:
        return set(HELPERS)

    def look_for_successor(self) -> None:
        """Read the pidfile now, if a successor is awaited."""
        if self.parts.successor and self._machine.state == states.SUCCESSION:
            self.parts.successor.look()

    def _told(self, events: int) -> Steps:
        """Somebody has sent something to the socket."""
        return self.heard(all=False)

    def _hung_up(self, events: int) -> None:
        if self._fading and events & select.POLLHUP:
            self._amend(self._fading)

    @property
    def lingers(self) -> bool:
        """Whether there is still something to be done for a service that has ended for good."""
        return bool(self.parts.loggers and self.parts.loggers.lingers)

    @property
    def check_pid(self) -> int:
        """The pid of the check that runs; 0: none."""
        return self.parts.checks.pid if self.parts.checks else 0

    @property
    def check_killed(self) -> bool:
        """Whether the check that runs is being ended by supervise."""
        return bool(self.parts.checks and self.parts.checks.killed)

    @property
    def check_output(self) -> str:
        """What the last check that failed has printed."""
        return self.parts.checks.output if self.parts.checks else ""
