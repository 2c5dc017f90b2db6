"""Descendants of processes: finding them, naming them for the log, and signalling each of them.

What lives here: looking at /proc, and signals that reach the process that was looked at or none.  What does not: which
of them are whose (members.py).  It is imported when something was left to be looked at, which is seldom.
"""

from __future__ import annotations

import posix as os

from supervise.protocol.sdnotify import printable
from supervise.system.procfs import stat_of
from supervise.system.spawn import NUMBERS, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Iterable

    from supervise.system.procfs import Stat
else:
    import _signal  # see spawn.py

_SHOWN = 20  # processes that a line names
_NAME = 15  # characters: the kernel keeps no more
_ROUNDS = 100  # looks for those who were born meanwhile


def below(roots: Iterable[int], everybody: list[Stat]) -> set[int]:
    """These processes and all of their descendants."""
    born: dict[int, list[int]] = {}
    for stat in everybody:
        born.setdefault(stat.parent, []).append(stat.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += born.get(pid, ())
    return found


def with_all(everybody: list[Stat], others: list[Stat]) -> list[Stat]:
    """Join two looks at /proc: a process that has ended in between still connects its children to its parent."""
    pids = {stat.pid for stat in everybody}
    return everybody + [stat for stat in others if stat.pid not in pids]


def shown(pids: list[int]) -> str:
    """Name processes for a log line: pids and names.  Arguments may be secret, and are never shown."""
    text = ", ".join(f"pid {pid} ({_name(pid)})" for pid in pids[:_SHOWN])
    return f"{text} and {len(pids) - _SHOWN} more" if len(pids) > _SHOWN else text


def _name(pid: int) -> str:
    """What the kernel calls a process: by default the name of its program's file."""
    try:
        with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
            return printable(file.read(64).rstrip(b"\n"), _NAME)
    except OSError:
        return "?"


def send_to(stat: Stat, name: str) -> str | None:
    """Send a signal to a process that was looked at, never to another that has its pid by now.

    The problem, or None; that it has ended is none.
    """
    try:
        fd = os.pidfd_open(stat.pid)
    except ProcessLookupError:
        return None
    except OSError:
        fd = -1  # an old kernel, or no descriptor left
    try:
        if stat_of(stat.pid).start_ticks != stat.start_ticks:
            return None
        if fd >= 0:
            _signal.pidfd_send_signal(fd, NUMBERS[name])
        else:
            os.kill(stat.pid, NUMBERS[name])
    except ProcessLookupError:
        return None
    except OSError as why:
        return f"cannot send {name} to pid {stat.pid}: {why.strerror}"
    finally:
        if fd >= 0:
            os.close(fd)
    return None


def kill_all(look: Callable[[], list[Stat]]) -> None:
    """Send KILL to all whom `look` finds, until it finds no new ones: after KILL a process has no more children.

    Where they have sessions of their own, with the process group that each is in: its child may be there instead of it.
    """
    killed: set[tuple[int, int]] = set()
    own, quiet = os.getsid(0), 0
    for _ in range(_ROUNDS):
        new = [stat for stat in look() if (stat.pid, stat.start_ticks) not in killed]
        quiet = 0 if new else quiet + 1
        if quiet == 2:  # one look may miss somebody who is in between
            break
        for group in {stat.group for stat in new if stat.session != own}:
            send(group, "KILL", True)
        for stat in new:
            send_to(stat, "KILL")
            killed.add((stat.pid, stat.start_ticks))
