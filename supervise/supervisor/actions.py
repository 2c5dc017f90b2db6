"""Dispatch: handing events to the state machine, and carrying out the actions that it asks for.

What lives here: carrying them out, each for itself, so that one that fails does not cost those behind it; and what only
they need.  What does not: descriptors and waiting (loop.py).
"""

from __future__ import annotations

import time

from supervise.protocol import states
from supervise.protocol.record import DOWN
from supervise.service.signal_retry import LONGEST, SignalRetry
from supervise.system.spawn import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    from supervise.alarms.alarm import Alarms
    from supervise.machine.machine import Machine
    from supervise.machine.situation import Action
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.internal_errors import InternalErrors
    from supervise.runtime.reactor import Reactor, Steps, Timed
    from supervise.runtime.status_writer import StatusWriter
    from supervise.service.launcher import Launcher
    from supervise.service.service import Service
    from supervise.supervisor.conf_follower import ConfFollower
    from supervise.system.pidfd import Process

    class Upgrader(Timed, Protocol):
        """Replaces this supervise by the installed version: upgrade.py."""

        def attempt(self) -> None:
            """Begin."""

_POSTPONED = 32  # actions that are kept for parts that are not there
_SHORTEST = 0.05  # seconds from a signal to what is left that could not be sent to the next try


class Actions:
    """Carries out the actions of the state machine.

    `sent`: a signal that was sent before the machine asked for it.  `follower`, `alarms` and `new_upgrader` are None
    until they have been imported; what needs them is `postponed` until then.
    """

    def __init__(
        self,
        machine: Machine,
        service: Service,
        launcher: Launcher,
        status_writer: StatusWriter,
        reactor: Reactor,
        internal_errors: InternalErrors,
        log: Log,
    ) -> None:
        self._machine = machine
        self._service = service
        self._launcher = launcher
        self._status_writer = status_writer
        self._reactor = reactor
        self._internal_errors = internal_errors
        self._log = log
        self.sent: str | None = None
        self.signal_retry = SignalRetry(log)
        self._clear_again = ""  # the signal that somebody of what is left is still to be sent
        self._clear_at, self._pause = 0.0, _SHORTEST
        self.script_pid = 0
        self.script: Process | None = None  # the restart script, where it is not a child
        self.follower: ConfFollower | None = None
        self.alarms: Alarms | None = None
        self.upgrader: Upgrader | None = None  # since the first `e`
        self.new_upgrader: Callable[[], Upgrader] | None = None
        self.postponed: list[Action] = []
        self._obeyed = 0  # bytes of `control`, of which something is still to be done

    def event(self, event: str, value: Any = None) -> None:
        """Hand an event to the machine, and carry out what it asks for."""
        self.carry_out(self._machine.handle(event, time.monotonic(), value))

    def deal(self, steps: Steps | None = None) -> None:
        """Hand posted events to the machine, each with all that comes of it before the next; so after each step."""
        posted = self._reactor.posted
        for _ in steps or ():
            while posted:
                self.event(*posted.pop(0))
        while posted:
            self.event(*posted.pop(0))

    def carry_out(self, actions: list[Action]) -> None:
        """Carry out actions in order; events that come of them are handled after the rest of the list."""
        results: list[tuple[str, Any]] = []
        for action in actions:
            kind = action[0]
            try:
                if kind == states.START:
                    results.append(self._service.start())
                elif kind == states.SIGNAL:
                    sent, self.sent = self.sent, None
                    if self._service.process and sent is None:
                        self.send(self._service.process, *action[1:])
                elif kind in states.LINES:
                    self._log.add(*action)
                else:
                    results += self._do(kind, action)
            except Exception as why:
                self._internal_errors.note(why)
                if kind not in (states.START, states.SCRIPT):  # the state of the machine tells that these are missing
                    self._internal_errors.redo(action)
        for event, value in results:
            self.event(event, value)

    def _do(self, kind: str, action: Action) -> list[tuple[str, Any]]:
        """Carry out an action for which there is time; the events that come of it."""
        if kind == states.KILL_LEFTOVERS:
            return self._clear(action[1]) if self._machine.state == states.CLEANUP else []
        if kind == states.REPORT_LEFTOVERS:
            self._service.report_left()
        elif kind == states.SCRIPT:
            started = self._launcher.script(action[1])
            if isinstance(started, str):
                return [(states.SCRIPT_DONE, started)]
            self.script_pid = started
            self._reactor.on_exit(started, self._script_reaped)
        elif kind == states.END_SCRIPT:
            self._end_script()
        elif kind == states.GONE:
            self._status_writer.exited(*action[1:])
            if self._machine.quick_exits and not action[1].failure:  # a failure names it itself
                self._launcher.note_lost_directory()
        elif not (self.follower and self.new_upgrader and self.alarms):
            if action not in self.postponed:  # an alarm is like no other
                self.postponed.append(action)
            del self.postponed[:-_POSTPONED]
        elif kind == states.RELOAD:
            config = self.follower.read()
            if self._status_writer.conf:
                self._status_writer.conf.awaited = True
            return [(states.CONFIG, config)]
        elif kind == states.UPGRADE:
            self.upgrader = self.upgrader or self.new_upgrader()
            self.upgrader.attempt()
        elif kind == states.ALARM:
            self.alarms.give(self._machine, self._service.check_output, *action[1:])
        return []

    def complete(self) -> None:
        """Carry out what was postponed, for the parts are imported."""
        postponed, self.postponed = self.postponed, []
        self.carry_out(postponed)
        self.obeyed(0)

    def obeyed(self, count: int) -> None:
        """Count bytes of `control` as obeyed, when all that they led to has been done."""
        self._obeyed += count
        if not self._unfinished:
            self._status_writer.control_obeyed += self._obeyed
            self._obeyed = 0

    @property
    def _unfinished(self) -> bool:
        conf = self._status_writer.conf
        unsure = conf and conf.awaited and conf.unsure
        return bool(self.postponed or self._internal_errors.tries_again or unsure)

    def _clear(self, signal: str) -> list[tuple[str, Any]]:
        results = self._service.clear(signal)
        self._clear_again = signal if self._service.leftovers.unsignalled and not results else ""
        self._pause = min(self._pause * 2, LONGEST) if self._clear_again else _SHORTEST
        self._clear_at = time.monotonic() + self._pause
        return results

    @property
    def due(self) -> float | None:
        """The time when `on_time` has something to do: monotonic."""
        due = self.signal_retry.at
        if self._obeyed and not self._unfinished:
            return 0.0
        if self._clear_again:
            due = self._clear_at if due is None else min(due, self._clear_at)
        return due

    def on_time(self, now: float) -> None:
        """Retry what could not be done and is due again, and count what has been done meanwhile."""
        self.obeyed(0)
        if self.signal_retry.at is not None and now >= self.signal_retry.at:
            self._send_again(now)
        if self._clear_again and now >= self._clear_at:
            signal, self._clear_again = self._clear_again, ""
            self.carry_out([(states.KILL_LEFTOVERS, signal)])

    def _end_script(self) -> None:
        if self.script:
            problem = self.script.send("TERM", True)
        else:
            problem = send(self.script_pid, "TERM", True) if self.script_pid else None
        if problem:
            raise ChildProcessError(problem)

    def await_script(self, pid: int, script: Process | None) -> None:
        """Wait for a restart script that another supervise has started; `script` where it is not a child."""
        self.script_pid, self.script = pid, script
        if script and script.fd >= 0:
            self._reactor.on_readable(script.fd, self._script_readable)
        elif not script:
            self._reactor.on_exit(pid, self._script_reaped)

    def _script_readable(self, events: int) -> None:
        script, self.script = self.script, None
        assert script
        how = script.exit_status()
        self._reactor.unregister(script.fd)
        script.close()
        self._script_reaped(how)

    def _script_reaped(self, how: ExitStatus) -> None:
        self.script_pid = 0
        self._reactor.post(states.SCRIPT_DONE, f"restart script {how}" if how.code != 0 else None)

    # Signals to the service.

    def send(self, process: Process, name: str, group: bool) -> None:
        """Send a signal, again later if the kernel refuses."""
        problem = process.send(name, group)
        if problem or self.signal_retry.signals:
            self.signal_retry.note(process.pid, name, group, problem, time.monotonic())

    def _send_again(self, now: float) -> None:
        """What could not be sent; a service that is told to end has the time for it that it has from being told."""
        self.signal_retry.retry(self._service.process, now)
        if self._machine.state == states.STOPPING:
            self.event(states.EXTEND, self._machine.config.stopwaitsecs)

    def spare(self) -> None:
        """Cancel a stop that the service has not been told yet, for it is to stay up."""
        machine = self._machine
        stopping = machine.state == states.STOPPING and machine.want == DOWN
        if stopping and self.signal_retry.drop(machine.config.stopsignal):
            self.event(states.SPARED)

    # InternalErrors.

    def mend(self) -> None:
        """Recover after an internal error: carry out again what has failed."""
        self.sent = None
        if self._machine.state == states.SCRIPT_RUN and not self.script_pid:
            self.event(states.SCRIPT_DONE, "cannot run the restart script: an internal error")
        self.carry_out(self._internal_errors.undone())
        self.obeyed(0)
        if self._internal_errors.lasting and self._machine.state == states.ENDED:
            self.postponed.clear()  # supervise is not kept from its end for good
