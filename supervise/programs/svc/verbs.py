"""The verbs of svc: the letters that each sends, the condition it waits for, and its message.

What lives here: the table of verbs.  What does not: the command line, sending, waiting.
"""

from __future__ import annotations

from supervise.client import conditions
from supervise.client.errors import SystemRefused
from supervise.client.trouble import badly
from supervise.protocol.letters import SIGNALS
from supervise.protocol.names import LOG_WF
from supervise.protocol.record import UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.client import Status
    from supervise.client.conditions import Condition

    Words = Callable[[Status, Status], str]


class Problems(Exception):
    """A configuration was read, and these lines say what is wrong with it."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(*lines)
        self.lines = lines


class Verb:
    """A verb: the `letters` to send, the `condition` to wait for, if any, and the `words` that say that it is so.

    `counts`: the letters are counted, and so `condition` is not asked before they were obeyed.
    """

    __slots__ = ("name", "letters", "condition", "words", "counts")

    def __init__(
        self, name: str, letters: str, condition: Condition | None, words: Words, counts: bool = True
    ) -> None:
        self.name = name
        self.letters = letters
        self.condition = condition
        self.words = words
        self.counts = counts


def _was(before: Status, now: Status) -> str:
    return " already" if now.pid == before.pid else ""


def _finished(now: Status) -> str:
    """Of a service that was started, has ended as expected and is not restarted."""
    return f"has run and is not restarted: it {now.last_exit}"


def _pid(now: Status) -> str:
    return f"(pid {now.pid}), ready" if now.phase == "ready" else f"(pid {now.pid})"


def _start(before: Status, now: Status) -> str:
    if not now.pid:
        return _finished(now)
    return f"up{_was(before, now)} {_pid(now)}"


def _stop(before: Status, now: Status) -> str:
    return f"down{_was(before, now)}"


def _restart(before: Status, now: Status) -> str:
    if not now.pid:
        return _finished(now)
    if not before.pid:
        return f"started {_pid(now)}"
    return f"restarted (pid {before.pid}, now {now.pid})" + (", ready" if now.phase == "ready" else "")


def _once(before: Status, now: Status) -> str:
    return f"up, not to be restarted (pid {now.pid})" if now.pid else "has run once and is down"


def _reload(before: Status, now: Status) -> str:
    problems = now.state["config_problems"] if now.state else None
    if problems:
        raise Problems(problems)
    return "read the configuration again"


def ended_badly(before: Status, now: Status) -> bool:
    """Whether a service that was to run once has done so already, and has failed."""
    last = now.last_exit
    if now.pid or not last or last.planned or not (now.state and before.state):
        return False
    expected = now.state["totals"]["expected"] != before.state["totals"]["expected"]
    return badly(last) and not expected


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


def _signal(name: str) -> Words:
    def words(before: Status, now: Status) -> str:
        pid = before.pid or now.pid
        return f"send {name} to the service (pid {pid})" if pid else "the service is not running"

    return words


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
        Verb("exit", "dx", conditions.unsupervised, _exit, counts=False),
        Verb("pause", "p", conditions.paused, _pause),
        Verb("resume", "c", conditions.not_paused, _resume),
        Verb("kill", "k", _not_up, _kill),
        Verb("reload", "r", None, _reload),
        Verb("upgrade", "e", conditions.upgraded, _upgrade, counts=False),
    )
}
VERBS["reconf"] = VERBS["reload"]  # the name that the C toolset has

ALARM = {
    "on": Verb("alarm on", "n", conditions.alarms_on, lambda before, now: "alarms on"),
    "off": Verb("alarm off", "s", conditions.alarms_off, lambda before, now: "alarms off"),
}

SIGNAL = {name: Verb(f"signal {name}", letter, None, _signal(name)) for letter, name in SIGNALS.items()}
