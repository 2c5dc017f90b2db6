"""What the verbs of svc are: the letters they send, what they wait for, and how they say that it is so.

What lives here: the table of verbs.  What does not: the command line, sending, waiting.
"""

from __future__ import annotations

import os

from supervise.client import conditions
from supervise.client.errors import SystemRefused
from supervise.protocol.letters import SIGNALS
from supervise.protocol.names import LOG, LOG_WF
from supervise.protocol.record import UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.client import Service, Status
    from supervise.client.conditions import Condition

    Words = Callable[[Status, Status], str]

_LOG_READ = 1 << 20  # bytes of supervise's log that are searched for an answer


class Verb:
    """One verb: `letters` to send, when they have been obeyed (`condition`), and the `words` that say so."""

    __slots__ = ("name", "letters", "condition", "words")

    def __init__(self, name: str, letters: str, condition: Condition | None, words: Words | None) -> None:
        self.name = name
        self.letters = letters
        self.condition = condition
        self.words = words


class Confirmed:
    """The condition that supervise's log says that a letter was obeyed, where nothing else shows it.

    Made before the letter is sent: what is in the log by then does not count.  A supervise of the C implementation
    words its log otherwise, so that having sent the letter is all that can be known.
    """

    def __init__(self, service: Service, letter: str) -> None:
        self._path = f"{service.path}/{LOG}"
        self._mark = f" command {letter}: ".encode()
        found = self._stat()
        self._inode, self._offset = (found.st_ino, found.st_size) if found else (0, 0)
        self.said = ""  # what the log says, once it does

    def _stat(self) -> os.stat_result | None:
        try:
            return os.lstat(self._path)
        except OSError:
            return None

    def __call__(self, before: Status, now: Status) -> bool:
        if now.state is None:
            return True
        found = self._stat()
        if found is None:
            return False
        rotated = found.st_ino != self._inode or found.st_size < self._offset
        for line in self._lines(0 if rotated else self._offset):
            if line.startswith(b"[NOTICE] ") and self._mark in line:
                self.said = line.partition(self._mark)[2].decode("utf-8", "replace")
                return True
        return False

    def _lines(self, offset: int) -> list[bytes]:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            return os.pread(fd, _LOG_READ, offset).split(b"\n")[:-1]
        except OSError:
            return []
        finally:
            os.close(fd)


def _was(before: Status, now: Status) -> str:
    return " already" if now.pid == before.pid else ""


def _finished(before: Status, now: Status) -> str:
    """Of a service that was started, has ended and is not restarted."""
    assert now.state and before.state
    if now.state["totals"]["expected"] != before.state["totals"]["expected"]:
        return f"has run and is not restarted: it {now.last_exit}"
    raise SystemRefused(f"it {now.last_exit}, and is not restarted")


def _pid(now: Status) -> str:
    return f"(pid {now.pid}), ready" if now.phase == "ready" else f"(pid {now.pid})"


def _start(before: Status, now: Status) -> str:
    return f"up{_was(before, now)} {_pid(now)}" if now.pid else _finished(before, now)


def _stop(before: Status, now: Status) -> str:
    return f"down{_was(before, now)}"


def _restart(before: Status, now: Status) -> str:
    if not now.pid:
        return _finished(before, now)
    if not before.pid:
        return f"started {_pid(now)}"
    return f"restarted (pid {before.pid}, now {now.pid})" + (", ready" if now.phase == "ready" else "")


def _once(before: Status, now: Status) -> str:
    return f"up, not to be restarted (pid {now.pid})" if now.pid else "has run once and is down"


def _exit(before: Status, now: Status) -> str:
    return f"supervise has ended; the service runs on (pid {now.pid})" if now.outlived else "supervise has ended"


def _pause(before: Status, now: Status) -> str:
    return f"paused (pid {now.pid})"


def _resume(before: Status, now: Status) -> str:
    return f"not paused (pid {now.pid})" if now.pid else "down, not paused"


def _upgrade(before: Status, now: Status) -> str:
    assert now.state and before.state
    version = now.state["supervise_version"]
    if now.state["upgrades_refused"] > before.state["upgrades_refused"]:
        raise SystemRefused(f"supervise stays version {version}; {LOG_WF} says why")
    return f"supervise is version {version} now (pid {now.supervise_pid})"


def _kill(before: Status, now: Status) -> str:
    if not before.pid:
        return "down already"
    if now.pid:
        after = f"up again (pid {now.pid})"
    elif now.finished:
        after = "not restarted"
    else:
        after = "to be started again" if now.want == UP else "down"
    return f"killed (pid {before.pid}), {after}"


def _not_up(before: Status, now: Status) -> bool:
    return not before.pid or conditions.ended(before, now)


VERBS = {
    verb.name: verb
    for verb in (
        Verb("start", "u", conditions.kept_up, _start),
        Verb("stop", "d", conditions.kept_down, _stop),
        Verb("restart", "R", conditions.back_up, _restart),
        Verb("once", "o", conditions.run_once, _once),
        # `x` alone lets supervise end when the service is down, which it may never be.
        Verb("exit", "dx", conditions.unsupervised, _exit),
        Verb("pause", "p", conditions.paused, _pause),
        Verb("resume", "c", conditions.not_paused, _resume),
        Verb("kill", "k", _not_up, _kill),
        Verb("reload", "r", None, None),
        Verb("upgrade", "e", conditions.upgraded, _upgrade),
    )
}
VERBS["reconf"] = VERBS["reload"]  # the name that the C toolset has

ALARM = {
    "on": Verb("alarm on", "n", conditions.alarms_on, lambda before, now: "alarms on"),
    "off": Verb("alarm off", "s", conditions.alarms_off, lambda before, now: "alarms off"),
}

SIGNAL = {name: Verb(f"signal {name}", letter, None, None) for letter, name in SIGNALS.items()}
