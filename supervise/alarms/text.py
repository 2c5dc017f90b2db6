"""The text of an alarm: what has happened to a service, for a mail and for a telephone.

What lives here: words.  What does not: when an alarm is sent (alarm.py), and how it gets there (mail.py).
"""

from __future__ import annotations

import posix as os
import time

from supervise.protocol.exitstatus import kind_of
from supervise.protocol.filenames import from_file, fsdecode
from supervise.protocol.names import LOG, LOG_WF, STDERR, STDOUT
from supervise.protocol.states import HUNG, NOT_READY, SICK
from supervise.protocol.text import one_line, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervise.config.config import Config
    from supervise.protocol.exitstatus import ExitStatus

_DETAILS = 2000  # bytes
_WIDTH = 200  # characters of a line of them


def compose(
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
) -> tuple[str, str]:
    """Compose the subject, on a telephone there is nothing else, and the body of an alarm.

    It says how the service `name` ended after `uptime` seconds and `restarts` restarts within the window.  `env`: the
    service's environment; `stays_down`: the service is not restarted; `details`: untrusted lines for the body.
    """
    # None of them may begin a line: what those that do can mean to mailers is below.
    host = one_line(os.uname().nodename)
    said_name, said_how = shown_name(name), one_line(str(how))
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    what = _what(how)
    follows = "it is not restarted (autorestart)" if stays_down else "it is being restarted"
    if gave_up:
        what = f"gave up after {restarts} restarts!"
        follows = "supervise has given up: the service stays down"
    path = shown_name(fsdecode(env[b"SUPERVISE_STATUS_DIR"]))
    logs = "\n            ".join([f"{path}/{log}" for log in (LOG, LOG_WF)] + _printed(path, config))
    subject = f"{stamp} [Alarm: {host}] Service {said_name} {what}"
    # Every line is indented or begins with a word: `.` and `~` mean something to mailers.
    body = (
        f"Service {said_name} {said_how}; {follows}.\n\n"
        f"  uptime:   {uptime:.1f} seconds\n"
        f"  restarts: {restarts} before this exit, within the last {config.alarm_interval} seconds\n"
        f"  host:     {host}\n"
        f"  logs:     {logs}\n"
    )
    if details.strip():
        body += f"\n  details:\n{_block(details)}"
    return subject, body


def _printed(path: str, config: Config) -> list[str]:
    """The files that it prints to."""
    found = []
    for stream, name, command in (("stdout", STDOUT, config.stdout_command), ("stderr", STDERR, config.stderr_command)):
        chosen = config.output_path(stream)
        if chosen:
            found.append(shown_name(from_file(chosen)))
        elif not command and not config.logfile_of(stream):
            found.append(f"{path}/{name}")
    return list(dict.fromkeys(found))


def _what(how: ExitStatus) -> str:
    """What has happened, for the subject."""
    kind = kind_of(how.fault)
    if kind in (HUNG, SICK):
        return "hung!"
    if kind == NOT_READY:
        return "not ready!"
    return "exited with coredump!" if how.core else "exited!"


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
