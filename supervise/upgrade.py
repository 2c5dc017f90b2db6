"""Replacing the running supervise by the installed version of itself: the letter `e`.

Theory of operation
-------------------

Rule 1.  First the new version is tried in a child, with everything that it would be given: it must load and
         understand the state.  If it does not, the old one stays and says why.
Rule 2.  The replacement is an exec: same pid, same children, same descriptors for the directory, the lock and the
         FIFOs.  So the lock is never free, letters that were not read yet stay in the FIFO, those that were read are
         obeyed, and exit statuses wait as zombies.
Rule 3.  Signals are blocked from before the exec until their handlers are there: none of them is lost, and none of
         them ends a process that has no handlers yet.
Rule 4.  Before the exec the state is written, so a kill at any moment is a case for adopt.py.
"""

from __future__ import annotations

import os
import sys
import time

from supervise.handoff import NO_ORPHANS, interpreter, told
from supervise.log import NOTICE, WARNING
from supervise.options import Options, environment, set_apart
from supervise.service import HANDLED, inherit, send, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import Callable

    from supervise.exitstatus import ExitStatus
    from supervise.log import Log
else:
    import _signal  # see service.py

PATIENCE = 30.0  # seconds that a trial may take


class Trial:
    """The new version, tried in a child: `pid`, and `deadline` in monotonic seconds."""

    def __init__(self, options: Options, ignored: Sequence[int]) -> None:
        """`options` say that it is a trial.  Raises OSError."""
        self._output = os.memfd_create("output")
        self.deadline = time.monotonic() + PATIENCE
        task = told(options)
        try:
            descriptors = [inherit(task, 0), inherit(self._output, 2)]
            self.pid = spawn(interpreter([]), set_apart(environment())[0], ignored, descriptors, session=True)
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(task)

    def complaint(self) -> str:
        """The last line that it wrote to its standard error; only once."""
        os.lseek(self._output, 0, os.SEEK_SET)
        said = os.read(self._output, 65536).decode("utf-8", "replace").strip()
        os.close(self._output)
        return said.rpartition("\n")[2]


def replace(options: Options, shown: list[str], kept: Sequence[int]) -> None:
    """Become the new version, with the descriptors that are `kept`.  Returns only by raising OSError."""
    task = told(options)
    try:
        for fd in kept:
            os.set_inheritable(fd, True)
        os.dup2(task, 0)
        os.execve(sys.executable, interpreter(shown, NO_ORPHANS not in sys._xoptions), set_apart(environment())[0])
    finally:
        for fd in kept:
            os.set_inheritable(fd, False)
        os.close(task)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)


class Upgrader:
    """Tries and replaces when it is asked to; one at a time.

    What it needs of the supervise that is to be replaced is handed in: `handover(trial)` makes the options for the new
    version, `prepare()` has everything written and gives the descriptors to keep, or None when this is no time for it,
    `refused()` is told when nothing comes of it.
    """

    def __init__(
        self,
        handover: Callable[[bool], Options],
        prepare: Callable[[], Sequence[int] | None],
        refused: Callable[[], None],
        ignored: Sequence[int],
        log: Log,
    ) -> None:
        self._handover = handover
        self._prepare = prepare
        self._refused = refused
        self._ignored = ignored
        self._log = log
        self._trial: Trial | None = None

    @property
    def pid(self) -> int:
        """Of the trial, 0 if there is none."""
        return self._trial.pid if self._trial else 0

    @property
    def deadline(self) -> float | None:
        """When the trial has taken too long, monotonic."""
        return self._trial.deadline if self._trial else None

    def attempt(self) -> None:
        """Begin."""
        if self._trial:
            self._log.add(NOTICE, "the installed version is being tried already")
            return
        try:
            self._trial = Trial(self._handover(True), self._ignored)
        except OSError as why:
            self._refuse(f"it cannot be tried: {why.strerror}")

    def overdue(self) -> None:
        """The trial has taken too long."""
        if self._trial:
            send(self._trial.pid, "KILL", True)

    def tried(self, how: ExitStatus) -> None:
        """The trial has ended."""
        trial, self._trial = self._trial, None
        complaint = trial.complaint() if trial else ""
        if how.code != 0:
            self._refuse(f"its trial {how}: {complaint}")
            return
        try:
            with signals_blocked():
                kept = self._prepare()
                if kept is None:
                    self._refuse("the service is between two processes just now")
                elif kept:
                    replace(self._handover(False), sys.argv[1:], kept)
        except OSError as why:
            self._refuse(f"it cannot be executed: {why.strerror}")

    def _refuse(self, why: str) -> None:
        self._refused()
        self._log.add(WARNING, "not replaced by the installed version: %s", why)


class signals_blocked:
    """Signals wait (rule 3)."""

    def __enter__(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, HANDLED)

    def __exit__(self, *_: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, HANDLED)
