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

from supervise.handoff import interpreter, told
from supervise.options import Options, environment
from supervise.service import HANDLED, inherit, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
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
            self.pid = spawn(interpreter([]), environment(), ignored, descriptors, session=True)
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
        os.execve(sys.executable, interpreter(shown), environment())
    finally:
        for fd in kept:
            os.set_inheritable(fd, False)
        os.close(task)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)


class signals_blocked:
    """Signals wait (rule 3)."""

    def __enter__(self) -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, HANDLED)

    def __exit__(self, *_: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, HANDLED)
