"""The beginning of the process that carries a task out: the one that supervises are forked from leaves it at once."""

from __future__ import annotations

import posix as os

from supervise.fleet.nursery_process import NurseryProcess
from supervise.fleet.task import PROGRAM, Task
from supervise.fleet.title import Title
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.filenames import DEVNULL
from supervise.protocol.options import environment, set_apart
from supervise.protocol.text import say
from supervise.system.isolated import rename
from supervise.system.spawn import ignored_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # see spawn.py

_HELD_BACK = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)


class _Nursery:
    """The nursery, which is forked at once, while nothing is loaded that no supervise needs."""

    def __init__(self, env: dict[bytes, bytes], ignored: list[int]) -> None:
        self._failure: OSError | None = None
        try:
            self._process = NurseryProcess(env, ignored, PROGRAM)
        except OSError as why:
            self._failure = why

    def __call__(self) -> NurseryProcess:
        """Raises OSError."""
        if self._failure:
            raise self._failure
        return self._process


def main() -> int:
    """Carry out the task that standard input says; the exit code."""
    data = b""
    while part := os.read(0, 65536):
        data += part
    null = os.open(DEVNULL, os.O_RDWR)
    os.dup2(null, 0)
    if null > 2:
        os.close(null)
    env, apart = set_apart(environment())
    env.update(apart)
    rename(PROGRAM)
    task = Task.decode(data)
    nursery = _Nursery(env, ignored_signals())
    if task.stays:
        # Until there are Signals to tell of them: process 1 would not get them, and any other would end.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _HELD_BACK)
    try:
        if task.starts:
            nursery().warm()
    except OSError as why:
        say(PROGRAM, "fatal", f"cannot start supervises: {why.strerror}")
        return SYSTEM
    # Not before: who holds a lock is known by its title (supervisor/path_conflict.py), and that process holds some.
    arguments = Title()
    arguments.show(arguments.of([PROGRAM, *task.typed]) or arguments.of([PROGRAM, task.verb]))
    from supervise.fleet.carrying_out import run  # while that one loads what its copies need

    return run(task, nursery, env)
