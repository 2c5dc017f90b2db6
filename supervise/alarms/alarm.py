"""Alarms: what they say, and the helper that delivers them.

Delivering takes seconds, imports and other people's programs, so a helper (alarm_helper.py) does it: it cannot
delay a restart or a command, and lives on where supervise ends with the alarm that it gives up.
"""

from __future__ import annotations

import posix as os
import time

from supervise.protocol.exitstatus import kind_of
from supervise.protocol.filenames import fsdecode
from supervise.protocol.names import LOG, LOG_WF, STDERR, STDOUT
from supervise.protocol.options import set_apart
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.states import HUNG, NOT_READY, SICK
from supervise.protocol.text import one_line
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

_DETAILS = 2000  # bytes
_KEPT = 10  # alarms whose helper could not be started
_RETRY, _LONGEST_RETRY = 0.05, 10.0  # seconds from one try to the next
_WIDTH = 200  # characters of a line of them
# Exit statuses of the helper that say that the log has it; a Python that comes to grief ends with others.
NOBODY_CAN_SEND = 3  # no program that sends is installed
SAID = 4  # something else went wrong


class Text:
    """What an alarm says: `subject`, on a telephone there is nothing else, and `body`."""

    def __init__(
        self,
        name: str,
        env: Mapping[bytes, bytes],
        config: Config,
        how: ExitStatus,
        uptime: float,
        restarts: int,
        gave_up: bool,
        *,
        stays_down: bool = False,
        details: str = "",
    ) -> None:
        """How a service ended, after so many seconds, and so many restarts within the window; `env` is its own.

        `stays_down`: it is not to be restarted.  `details`: what else is known, lines of anybody's making.
        """
        # None of them may begin a line: what those that do can mean to mailers is below.
        host = one_line(os.uname().nodename)
        said_name, said_how = one_line(name), one_line(str(how))
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        what = _what(how)
        follows = "it is not restarted (autorestart)" if stays_down else "it is being restarted"
        if gave_up:
            what = f"gave up after {restarts} restarts!"
            follows = "supervise has given up: the service stays down"
        path = one_line(fsdecode(env[b"SUPERVISE_STATUS_DIR"]))
        logs = "\n            ".join(f"{path}/{log}" for log in (LOG, LOG_WF, STDOUT, STDERR))
        self.subject = f"{stamp} [Alarm: {host}] Service {said_name} {what}"
        # Every line is indented or begins with a word: `.` and `~` mean something to mailers.
        self.body = (
            f"Service {said_name} {said_how}; {follows}.\n\n"
            f"  uptime:   {uptime:.1f} seconds\n"
            f"  restarts: {restarts} before this exit, within the last {config.alarm_interval} seconds\n"
            f"  host:     {host}\n"
            f"  logs:     {logs}\n"
        )
        if details.strip():
            self.body += f"\n  details:\n{_block(details)}"


def _what(how: ExitStatus) -> str:
    """What has happened, for the subject."""
    kind = kind_of(how.fault)
    if kind in (HUNG, SICK):
        return "hung!"
    if kind == NOT_READY:
        return "not ready!"
    return "exited with coredump!" if how.core else "exited!"


def lost(how: ExitStatus) -> str | None:
    """What the end of the helper says that the log does not have yet, if anything."""
    if how.code in (0, NOBODY_CAN_SEND, SAID):
        return None
    return f"an alarm may be lost: the helper that delivers it {how}"


def _block(text: str) -> str:
    """Anybody's lines, indented, without what could disturb a terminal or a mailer, and no more than a mail can bear.

    Where there are too many, those in the middle are left out: what it was about is said first, what went wrong last.
    """
    lines = []
    for line in text.splitlines():
        kept = "".join(char for char in line.expandtabs() if char.isprintable()).rstrip()
        lines.append(f"    {kept[:_WIDTH]}...\n" if len(kept) > _WIDTH else f"    {kept}\n")
    if sum(len(line.encode()) for line in lines) > _DETAILS:
        lines = [*_fitting(lines), "    ...\n", *reversed(_fitting(lines[::-1]))]
    return "".join(lines)


def _fitting(lines: list[str]) -> list[str]:
    """As many of the lines as half of `_DETAILS` has room for."""
    left = _DETAILS // 2
    for count, line in enumerate(lines):
        left -= len(line.encode())
        if left < 0:
            return lines[:count]
    return lines


class Alarms:
    """Alarms on their way.  `pids`: of their helpers; `nobody_can_send`: one has said that there is no mailer."""

    def __init__(
        self,
        name: str,
        directory: StatusDir,
        env: Mapping[bytes, bytes],
        ignored: Sequence[int],
        log: Log,
        on_exit: Callable[[int, Callable[[ExitStatus], None]], None],
    ) -> None:
        """`on_exit` is the reactor's."""
        self._name = name
        self._directory = directory
        self._env = env
        self._ignored = ignored
        self._log = log
        self._on_exit = on_exit
        self.pids: set[int] = set()
        self.nobody_can_send = False
        self._unsent: list[tuple[Text, Config]] = []
        self._pause = _RETRY
        self.retry_at: float | None = None  # monotonic: when those are tried again whose helper could not be started

    def inherit(self, pids: list[int], nobody_can_send: bool) -> None:
        """Those of the supervise that this one replaces in the same process."""
        self.nobody_can_send = nobody_can_send
        for pid in pids:
            self._await(pid)

    def give(self, machine: Machine, output: str, how: ExitStatus, uptime: float, restarts: int, gave_up: bool) -> None:
        """Send what the machine asks for; `output`: what the last check printed."""
        config = machine.config
        stays_down = machine.want == "up" and not machine.will_restart and not gave_up
        details = output if kind_of(how.fault) == SICK else ""
        what = self._name, self._env, config, how, uptime, restarts, gave_up
        text = Text(*what, stays_down=stays_down, details=details)
        self._unsent.append((text, config))
        del self._unsent[:-_KEPT]
        self.retry(time.monotonic())

    def retry(self, now: float) -> None:
        """Send what is to be sent."""
        unsent, self._unsent = self._unsent, []
        for text, config in unsent:
            # A helper that is still at work may be about to say that nothing can send; saying it once is enough.
            warned = self.nobody_can_send or bool(self.pids)
            try:
                pid = send(self._directory, config, text, self._env, self._ignored, warned)
            except OSError as why:
                if self.retry_at is None:
                    self._log.add(WARNING, "cannot start the alarm helper: %s; trying again", why.strerror)
                self._unsent.append((text, config))
                continue
            if pid:
                self._await(pid)
                self._log.add(NOTICE, "alarm: %s", text.subject)
        self._pause = min(self._pause * 2, _LONGEST_RETRY) if self._unsent else _RETRY
        self.retry_at = now + self._pause if self._unsent else None

    def _await(self, pid: int) -> None:
        self.pids.add(pid)
        self._on_exit(pid, lambda how: self.delivered(pid, how))

    def delivered(self, pid: int, how: ExitStatus) -> None:
        """A helper has ended."""
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
    """Start the helper, return its pid.  `warned`: the log has it already that nothing can send.

    Raises OSError.  Nobody to send to: returns 0.
    """
    if not config.alarm_mail and not config.alarm_gsm:
        return 0
    fields = ["1" if warned else "", text.subject, text.body, " ".join(config.alarm_mail), " ".join(config.alarm_gsm)]
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
