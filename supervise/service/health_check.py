"""Health checks: running `check_command` again and again while the service is ready.

What lives here: when a check is due, what its end means, what it printed.  What does not: how it is started
(launcher.py), and waiting (reactor.py).

Theory of operation
-------------------

Rule 1.  The first check is due `check_delay` after `begin`, each other `check_interval` after the start of the one
         before it.  There is one at a time: where one takes longer, the next is due as soon as it has ended.
Rule 2.  A check that runs for `check_timeout` has failed there and then; it is killed with its process group, and
         nothing is made of its end.  While it cannot end (a disk or a server that does not answer), no other is
         started, and each interval is one more failure.
Rule 3.  `check_failures` in a row are a fault.  A success ends the row, and so does `begin`.  A check that cannot be
         started is no failure: that is said, once.
Rule 4.  Where `check_delay` says nothing, a service that does not say when it is ready may take its time to start:
         until its first success, or for `starttimeoutsecs` (START_WAIT where that is 0) from its start, failures are
         no fault.  If the row goes on then, it is one.
Rule 5.  What a check prints is read as it comes, so that it never waits for us, and little of it is kept.  Its end
         is the end of its process, not of its output: what it left in the background may hold that open.
"""

from __future__ import annotations

import posix as os
import time

from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.states import UNHEALTHY
from supervise.service.part import Part
from supervise.system.descriptors import close
from supervise.system.spawn import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from supervise.config.config import Config
    from supervise.machine.machine import Machine
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor

    class CheckStarter(Protocol):
        """Starts checks."""

        def check_command(self, argv: tuple[str, ...], pid: int, output: int) -> int | str:
            """Start one, in a session of its own: its pid, or what went wrong."""


START_WAIT = 90  # seconds that a service may take to get healthy, where nothing is configured
_READ = 65536  # bytes at once
_READS = 16  # at most, when a check has ended: somebody else may still be printing
_HEAD, _TAIL = 3500, 500  # bytes that are kept of what a check prints: its first and its last
_SHOWN = 200  # characters of it in the log
_TOLD = 500  # characters of it in the state


class Checks(Part):
    """The health checks of the main process `service`.

    `output`: what the last check that failed had printed.  `health`: what they have found, as state.py has it.
    """

    def __init__(self, launcher: CheckStarter, reactor: Reactor, log: Log) -> None:
        self._launcher = launcher
        self._reactor = reactor
        self._log = log
        self._checked = 0  # the main process, as `housekeeping` saw it
        self._config: Config | None = None  # None: nothing is to be checked now
        self.service = 0
        self._begun_at = 0.0
        self._starting_since: float | None = None  # None: it has started
        self._started_at: float | None = None  # the last check since `begin`
        self.killed = False  # the one that runs is to end, and its result is of no interest
        self._again_at = 0.0  # when one that was killed should have ended
        self._failed = 0  # in a row
        self._refused = ""  # why the last one could not be started
        self._head = self._tail = b""
        self._cut = False
        self.pid = 0  # of the check that runs; 0: none
        self.fd = -1  # what it prints is read from here; registered with the poll
        self.output = ""
        self.health: dict[str, Any] | None = None

    def begin(self, config: Config, pid: int, now: float, starting_since: float | None = None) -> None:
        """Begin the checks of the main process `pid`, which is ready.  `now` is monotonic, here and below.

        `starting_since` if it does not say when it is ready: when it was started.
        """
        self.end()
        self._starting_since = starting_since
        self.health = None
        self._config, self.service = config, pid
        self._begun_at, self._started_at, self._failed = now, None, 0
        # One of the time before is about to end; it is no failure of this one.
        self._again_at = now + self._timeout

    def end(self) -> None:
        """End the checks: the service is down, is being stopped, or paused."""
        self._config = None
        self._kill()

    def health_of(self, pid: int) -> dict[str, Any] | None:
        """What the checks have found of that main process; None as well for another, or none."""
        return self.health if pid and pid == self.service else None

    def housekeeping(self, machine: Machine) -> None:
        """Check a service that is up and ready, and no other."""
        pid = machine.pid if machine.healthy else 0
        if pid == self._checked:
            return
        self._checked = pid
        if pid:
            # One that says when it is ready has said so; another may still be starting.
            self.begin(machine.config, pid, time.monotonic(), None if machine.phase else machine.started_at)
        else:
            self.end()

    def close(self, leaving: bool) -> None:
        """Kill a check that runs, without waiting; if supervise goes on after all, another is due."""
        self.end()
        self._checked = 0

    def disown(self) -> None:
        """Forget a check that was being ended, for it is another process's child now."""
        self.pid, self.killed = 0, False

    def configure(self, config: Config, now: float | None = None) -> None:
        """Use another configuration from now on; `now` None: just now."""
        if self._config is None:
            return
        if config.check_command != self._config.check_command:
            # Another question: what the last one's answers were says nothing.
            self._kill()
            self._started_at, self._failed = None, 0
            self.health = None
            self._again_at = (time.monotonic() if now is None else now) + max(config.check_timeout, 1)
        self._config = config

    @property
    def due(self) -> float | None:
        """The time of the next check, or of the current one's timeout: monotonic."""
        config = self._config
        if config is None or not config.check_command:
            return None
        if self.pid and self.killed:
            return self._again_at
        if self._started_at is None:
            return self._begun_at + (config.check_delay or 0)
        return self._started_at + (self._timeout if self.pid else max(config.check_interval, 1))

    def on_time(self, now: float) -> None:
        """Start the next check, or kill one that takes too long, if `due` is past."""
        due, config = self.due, self._config
        if due is None or config is None or now < due:
            return
        if not self.pid:
            self._start(now)
            return
        self._read_rest()
        self._kill()
        self._again_at = now + max(config.check_interval, 1)
        self._failure(config, f"did not end within {self._timeout} seconds", now)

    def readable(self, events: int = 0) -> None:
        """Read the check's output once, when `fd` is readable."""
        if self.fd < 0:
            return
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return
        if data:
            self._keep(data)
        else:
            self._close()

    def ended(self, how: ExitStatus, now: float | None = None) -> None:
        """Take the end of the check that ran, and was reaped; `now` None: just now."""
        self._read_rest()
        self._close()
        self.pid = 0
        killed, self.killed = self.killed, False
        config = self._config
        if config is None or killed:
            return
        if how.code != 0:
            self._failure(config, str(how), time.monotonic() if now is None else now)
            return
        if self._failed:
            self._log.add(NOTICE, "check_command succeeded, after %d that did not", self._failed)
            self._failed = 0
        self._starting_since = None
        self.health = self._found(config)

    @property
    def _timeout(self) -> int:
        return max(self._config.check_timeout, 1) if self._config else 1

    def _start(self, now: float) -> None:
        """Start the next check.  Where that fails nothing is known of the service: a typo never ends one."""
        assert self._config is not None
        self._started_at = now
        self._head = self._tail = b""
        self._cut = False
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as why:
            self._refuse(str(why.strerror))
            return
        try:
            # Of ours alone: the check need not know what to do when a pipe is full.
            os.set_blocking(reading, False)
            result = self._launcher.check_command(self._config.check_command, self.service, writing)
        except BaseException:
            close(reading)
            raise
        finally:
            close(writing)
        if isinstance(result, str):
            close(reading)
            self._refuse(result)
            return
        self._refused = ""
        self.pid, self.fd = result, reading
        self._reactor.on_readable(reading, self.readable)
        self._reactor.on_exit(result, self.ended)

    def _refuse(self, why: str) -> None:
        if self._config:
            self.health = {**(self.health or self._found(self._config)), "problem": why}
        if why != self._refused:
            self._refused = why
            self._log.add(WARNING, "cannot start check_command, so the service is not checked: %s", why)

    def _failure(self, config: Config, what: str, now: float) -> None:
        self._failed += 1
        self.output = self._printed()
        starting, needed = self._starting(config, now), max(config.check_failures, 1)
        line = self.output.strip().partition("\n")[0][:_SHOWN].rstrip()
        more = f": {line}" if line else ""
        count = f"{self._failed}, while it starts" if starting else f"{self._failed} of {needed}"
        self._log.add(NOTICE, "check_command %s (%s)%s", what, count, more)
        self.health = self._found(config, what, starting)
        if self._failed >= needed and not starting:
            self._reactor.post(UNHEALTHY, f"unhealthy: check_command {what}")

    def _starting(self, config: Config, now: float) -> bool:
        """Rule 4."""
        since = self._starting_since
        if since is None or config.check_delay is not None:
            return False
        return now < since + (config.starttimeoutsecs or START_WAIT)

    def _found(self, config: Config, failure: str | None = None, starting: bool = False) -> dict[str, Any]:
        """What is known now, for the state."""
        before = self.health if self._failed > 1 and self.health and self.health["failures"] else None
        times = round(time.time(), 3), round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)
        if before:
            times = before["failing_time"], before["failing_boottime"]
        return {
            "failures": self._failed,
            "limit": max(config.check_failures, 1),
            "starting": starting,
            "failure": failure,
            "output": self.output.strip()[:_TOLD] if failure else "",
            "failing_time": times[0] if failure else None,
            "failing_boottime": times[1] if failure else None,
            "problem": None,
        }

    def _kill(self) -> None:
        """Have the one that runs end, if one does."""
        if self.pid:
            # All of its group; as long as it has not been reaped, that has its number.
            send(self.pid, "KILL", True)
            self.killed = True
        self._close()

    # What it prints.

    def _keep(self, data: bytes) -> None:
        room = _HEAD - len(self._head)
        self._head += data[:room]
        rest = self._tail + data[room:]
        self._cut |= len(rest) > _TAIL
        self._tail = rest[-_TAIL:]

    def _printed(self) -> str:
        gap = b"\n...\n" if self._cut else b""
        return (self._head + gap + self._tail).decode("utf-8", "replace")

    def _read_rest(self) -> None:
        """Read what is there, and no more: somebody may never stop printing."""
        for _ in range(_READS):
            if self.fd < 0:
                return
            try:
                data = os.read(self.fd, _READ)
            except OSError:
                return  # no more now; and what it printed matters less than that it has ended
            if not data:
                return
            self._keep(data)

    def _close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self._reactor.unregister(fd)
            close(fd)
