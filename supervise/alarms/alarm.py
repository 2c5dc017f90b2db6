"""Alarms of one service: each is handed to a helper process that delivers it, and started again if that cannot start.

Delivering takes seconds, imports and other people's programs, so a helper (alarm_helper.py) does it: it cannot
delay a restart or a command, and lives on where supervise ends with the alarm that it gives up.

What lives here: queue and helper, which stay in memory.  What does not: the words (text.py), and mail (mail.py), which
only the helper loads.
"""

from __future__ import annotations

import posix as os
import time

from supervise.alarms.text import compose
from supervise.protocol.exitstatus import kind_of
from supervise.protocol.options import set_apart
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.states import SICK
from supervise.system import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Callable

    from supervise.config.config import Config
    from supervise.machine.machine import Machine
    from supervise.protocol.exitstatus import ExitStatus
    from supervise.runtime.event_log import Log
    from supervise.system.statusdir import StatusDir

    Text = tuple[str, str]  # subject and body

_QUEUE = 10  # alarms whose helper could not be started
_RETRY, _LONGEST_RETRY = 0.05, 10.0  # seconds from one try to the next
# Exit statuses of the helper that say that the log has it; a Python that comes to grief ends with others.
NOBODY_CAN_SEND = 3  # no program that sends is installed
SAID = 4  # something else went wrong


def lost(how: ExitStatus) -> str | None:
    """Say that an alarm may be lost, if the helper ended in a way that it has not logged itself; else None."""
    if how.code in (0, NOBODY_CAN_SEND, SAID):
        return None
    return f"an alarm may be lost: the helper that delivers it {how}"


class Alarms:
    """The alarms of one service.  `pids`: of the helpers at work; `nobody_can_send`: one has found no mailer."""

    def __init__(
        self,
        name: str,
        directory: StatusDir,
        env: Mapping[bytes, bytes],
        ignored: Sequence[int],
        log: Log,
        on_exit: Callable[[int, Callable[[ExitStatus], None]], None],
    ) -> None:
        """`env` is the service's environment, `ignored` as spawn.py says; `on_exit` is the reactor's."""
        self._name = name
        self._directory = directory
        self._env = env
        self._ignored = ignored
        self._log = log
        self._on_exit = on_exit
        self.pids: set[int] = set()
        self.nobody_can_send = False
        self._queue: list[tuple[Text, Config]] = []
        self._pause = _RETRY
        self.due: float | None = None  # monotonic; None while nothing is queued

    def restore(self, pids: list[int], nobody_can_send: bool) -> None:
        """Wait for the helpers of the supervise that this one replaces in the same process."""
        self.nobody_can_send = nobody_can_send
        for pid in pids:
            self._await(pid)

    def give(self, machine: Machine, output: str, how: ExitStatus, uptime: float, restarts: int, gave_up: bool) -> None:
        """Send the alarm that the machine asks for; `output`: what the last check printed."""
        config = machine.config
        stays_down = machine.want == "up" and not machine.will_restart and not gave_up
        details = output if kind_of(how.fault) == SICK else ""
        what = self._name, self._env, config, how, uptime, restarts, gave_up
        self._queue.append((compose(*what, stays_down=stays_down, details=details), config))
        del self._queue[:-_QUEUE]
        self.on_time(time.monotonic())

    def on_time(self, now: float) -> None:
        """Start a helper for each queued alarm; those that cannot be started stay queued until `due`."""
        queue, self._queue = self._queue, []
        for text, config in queue:
            # A helper that is still at work may be about to say that nothing can send; saying it once is enough.
            warned = self.nobody_can_send or bool(self.pids)
            try:
                pid = send(self._directory, config, text, self._env, self._ignored, warned)
            except OSError as why:
                if self.due is None:
                    self._log.add(WARNING, "cannot start the alarm helper: %s; trying again", why.strerror)
                self._queue.append((text, config))
                continue
            if pid:
                self._await(pid)
                self._log.add(NOTICE, "alarm: %s", text[0])
        self._pause = min(self._pause * 2, _LONGEST_RETRY) if self._queue else _RETRY
        self.due = now + self._pause if self._queue else None

    def _await(self, pid: int) -> None:
        self.pids.add(pid)
        self._on_exit(pid, lambda how: self.delivered(pid, how))

    def delivered(self, pid: int, how: ExitStatus) -> None:
        """Note that a helper has ended, and log an alarm that it has lost."""
        self.pids.discard(pid)
        self.nobody_can_send |= how.code == NOBODY_CAN_SEND
        problem = lost(how)
        if problem:
            self._log.add(WARNING, "%s", problem)


def send(
    directory: StatusDir,
    config: Config,
    text: Text,
    env: Mapping[bytes, bytes],
    ignored: Sequence[int],
    warned: bool,
) -> int:
    """Start the helper that delivers an alarm; its pid, 0 if nobody is to be told.  Raises OSError.

    `warned`: the log says already that no mailer is installed.
    """
    if not config.alarm_mail and not config.alarm_gsm:
        return 0
    fields = ["1" if warned else "", *text, " ".join(config.alarm_mail), " ".join(config.alarm_gsm)]
    data = "\0".join(fields).encode("utf-8", "surrogateescape")
    # What is for Python the helper does not get as its environment, but the programs that deliver do.
    data += b"".join(b"\0%s=%s" % pair for pair in set_apart(env)[1].items())
    # In memory: a pipe of a user who has many holds no more than 4 KB.
    alarm = os.memfd_create("alarm")
    try:
        while data:
            data = data[os.write(alarm, data) :]
        os.lseek(alarm, 0, 0)  # SEEK_SET
        return helper.start("alarm_helper", [directory.path], env, ignored, alarm, directory.fd)
    finally:
        os.close(alarm)
