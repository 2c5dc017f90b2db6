"""Alarms: what they say, and the helper that delivers them.

Delivering takes seconds, imports and other people's programs, so a helper (alarm_helper.py) does it: it cannot
delay a restart or a command, and lives on where supervise ends with the alarm that it gives up.
"""

from __future__ import annotations

import os
import time

from supervise import helper
from supervise.messages import one_line
from supervise.statusdir import LOG, LOG_WF, STDERR, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervise.config import Config
    from supervise.exitstatus import ExitStatus
    from supervise.statusdir import StatusDir

NOBODY_CAN_SEND = 3  # the helper's exit status: no program that sends is installed, and that is in the log now


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
    ) -> None:
        """How a service ended, after so many seconds, and so many restarts within the window; `env` is its own."""
        host = os.uname().nodename
        what = "exited with coredump!" if how.core else "exited!"
        if gave_up:
            what = f"gave up after {restarts} restarts!"
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        follows = "supervise has given up: the service stays down" if gave_up else "it is being restarted"
        path = os.fsdecode(env[b"SUPERVISE_STATUS_DIR"])
        logs = "\n            ".join(f"{path}/{log}" for log in (LOG, LOG_WF, STDOUT, STDERR))
        self.subject = one_line(f"{stamp} [Alarm: {host}] Service {name} {what}")
        # Every line is indented or begins with a word: `.` and `~` mean something to mailers.
        self.body = (
            f"Service {name} {how}; {follows}.\n\n"
            f"  uptime:   {uptime:.1f} seconds\n"
            f"  restarts: {restarts} before this exit, within the last {config.alarm_interval} seconds\n"
            f"  host:     {host}\n"
            f"  logs:     {logs}\n"
        )


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
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        os.write(writing, data)  # fits: a pipe holds 64 KB (4 KB at the worst), the lists have 2 KB a line
    finally:
        os.close(writing)
    try:
        return helper.start("alarm_helper", [directory.path], env, ignored, reading, directory.fd)
    finally:
        os.close(reading)
