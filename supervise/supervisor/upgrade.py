"""Upgrade: replacing the running supervise by the installed version of itself, for the letter `e`.

Theory of operation
-------------------

Rule 1.  First the new version is tried in a child, with everything that it would be given and under the same limits: it
         must load all of its code, understand the state and the configuration, and build what it will be
         (trial.py).  If it cannot, the old one stays and says why.
Rule 2.  The replacement is an exec: same pid, same children, same descriptors for the directory, the lock and the
         FIFOs.  So the lock is never free, letters that were not read yet stay in the FIFO, those that were read are
         obeyed, and exit statuses wait as zombies.
Rule 3.  Before the exec supervise makes a copy of itself, which waits until the new version is about to obey, and goes
         on as the supervise where that never comes: whatever ends the new version before, an error, a signal, a
         limit, or that it does not get on (guardian.py).  The copy has another pid, and the service is not its child.
Rule 4.  Until then the new version reads, builds and writes what the old one would write, and nothing else: it reaps no
         child, starts none that matters, and obeys no letter and no signal.  So what the copy remembers is true.
Rule 5.  Signals are blocked from before the exec until their handlers are there: none of them is lost, and none of
         them ends a process that has no handlers yet.
Rule 6.  Before the exec the state is written, so a kill at any moment is a case for takeover.py.
Rule 7.  In the foreground the process is somebody's: of a container that ends with it, of a systemd that starts it
         again.  So one that fails by an error of its own stays, and stands in for the copy (signal_proxy.py).
"""

from __future__ import annotations

import posix as os
import sys
import time

from supervise.protocol.options import NO_ORPHANS, Options, environment, set_apart
from supervise.protocol.severities import NOTICE, WARNING
from supervise.supervisor.guardian import Guardian, last_line, let_go
from supervise.supervisor.handoff import interpreter, options_fd, read_nothing
from supervise.system import subreaper
from supervise.system.spawn import HANDLED, inherit, reap, send, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
    from typing import Any, Callable

    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.runtime.reactor import Reactor
    from supervise.supervisor.replaceable import Replaceable
else:
    import _signal  # see spawn.py

PATIENCE = 30.0  # seconds that a trial may take
_AGAIN = 1.0  # seconds to the next look whether a trial that was killed has ended


class Trial:
    """A trial of the new version in a child: its `pid`, and `deadline` in monotonic seconds."""

    def __init__(self, options: Options, ignored: Sequence[int]) -> None:
        """`options` say that it is a trial.  Raises OSError."""
        self.deadline = time.monotonic() + PATIENCE
        self._output = os.memfd_create("output")
        task = -1
        try:
            task = options_fd(options)
            descriptors = [inherit(task, 0), inherit(self._output, 2)]
            self.pid = spawn(interpreter([]), set_apart(environment())[0], ignored, descriptors, session=True)
        except BaseException:
            let_go(self._output)
            raise
        finally:
            let_go(task)

    def complaint(self) -> str:
        """The last line of its standard error; only once."""
        said = last_line(self._output)
        let_go(self._output)
        return said


def replace(
    handover: Callable[[Mapping[str, Any]], Options], kept: Sequence[int], replaced: Callable[[], bool]
) -> tuple[str, list[str]]:
    """Execute the new version, with the descriptors that are `kept`.

    Returns only in the copy that goes on in its place, with what Guardian.watch has to say.  Raises OSError if nothing
    has come of it, and this process is as it was.  `handover` makes the options for the new version, with what these
    fields add to it.
    """
    guardian = Guardian()
    if not guardian.pid:
        return guardian.watch(replaced)
    task = -1
    inherited = [*kept, *guardian.kept.values()]
    try:
        options = handover({"guardian": guardian.pid, "descriptors": guardian.kept})
        task = options_fd(options)
        for fd in inherited:
            os.set_inheritable(fd, True)
        os.dup2(task, 0)
        os.dup2(guardian.output, 2)
        stand_in_for = guardian.pid if options.foreground else 0
        words = interpreter(sys.argv[1:], NO_ORPHANS not in sys._xoptions, stand_in_for)
        os.execve(sys.executable, words, set_apart(environment())[0])
    except BaseException:
        guardian.dismiss()
        for fd in kept:
            _try(os.set_inheritable, fd, False)
        let_go(task)
        _try(read_nothing)
        raise
    raise AssertionError("exec has returned")


class Upgrader:
    """Carries out upgrades, one at a time: trial, then exec."""

    def __init__(self, supervisor: Replaceable, reactor: Reactor, ignored: Sequence[int], log: Log) -> None:
        self._supervisor = supervisor
        self._reactor = reactor
        self._ignored = ignored
        self._log = log
        self._trial: Trial | None = None

    @property
    def due(self) -> float | None:
        """The time when the trial has taken too long: monotonic."""
        return self._trial.deadline if self._trial else None

    def attempt(self) -> None:
        """Begin the trial."""
        if self._trial:
            self._log.add(NOTICE, "an upgrade is being tried already")
            return
        try:
            self._trial = Trial(self._supervisor.handover(True), self._ignored)
            self._reactor.on_exit(self._trial.pid, self.ended)
        except OSError as why:
            self._refuse(f"it cannot be tried: {why.strerror}")

    def on_time(self, now: float) -> None:
        """End a trial that takes too long, or reap one whose SIGCHLD was lost."""
        trial = self._trial
        if trial:
            send(trial.pid, "KILL", True)
            trial.deadline = time.monotonic() + _AGAIN
            done = reap(trial.pid)
            if done:
                self._reactor.exited(done[0])
                self.ended(done[1])

    def ended(self, how: ExitStatus) -> None:
        """Replace this supervise when the trial has ended well, else log why not."""
        complaint = self._trial.complaint() if self._trial else ""
        try:  # until it is decided another `e` begins nothing
            if how.code != 0:
                self._refuse(f"its trial {how}: {complaint}")
                return
            with signals_blocked():
                self._replace()
        except OSError as why:
            self._refuse(f"it cannot be executed: {why.strerror}")
        finally:
            self._trial = None

    def _replace(self) -> None:
        kept = self._supervisor.prepare()
        if kept is None:
            self._refuse("the service is between two processes just now")
        elif kept:
            made = self._supervisor
            came, signals = replace(lambda more: made.handover(False, more), kept, made.superseded)
            # From here on this is the copy.
            if subreaper.become():
                sys._xoptions[NO_ORPHANS] = True
            self._supervisor.go_on(signals)
            self._refuse(f"{came}: the old version goes on as pid {os.getpid()}")

    def _refuse(self, why: str) -> None:
        self._supervisor.refused()
        self._log.add(WARNING, "not replaced by the installed version: %s", why)


def _try(action: Callable[..., object], *args: object) -> None:
    """Do what there is no other way for, again where the kernel refuses it for a transient reason."""
    for _ in range(3):
        try:
            action(*args)
            return
        except OSError:
            continue


class signals_blocked:
    """Context in which signals are blocked (rule 5)."""

    def __enter__(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, HANDLED)

    def __exit__(self, *_: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, HANDLED)
