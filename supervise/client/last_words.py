"""How a service that did not stay up has ended, in words, and the last line that it printed."""

from __future__ import annotations

import os

from supervise.client.errors import ClientError
from supervise.client.logfiles import LogError
from supervise.client.status import DidNotStayUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client.service import LogName, Service
    from supervise.client.status import LastExit, Status

_LONGEST = 200  # characters of a line
_LINES = 5  # that are looked at for one that is not blank
_SLACK = 0.5  # seconds: a process may print before supervise has noted its start


def did_not_stay_up(service: Service, status: Status) -> DidNotStayUp:
    """The exception for a service that has ended, and was not to."""
    return DidNotStayUp(f"cannot wait for {service.shown_path}", why(service, status), status)


def why(service: Service, status: Status) -> str:
    """How it last ended, what follows from that, and the last line that it printed."""
    last = status.last_exit
    if last is None:
        return "it has ended"
    said = f"it {last}"
    if last.failure is None and last.fault is None:
        said += f" after {last.uptime:.1f} seconds"
    if status.gave_up:
        said += ", and supervise has given up"
    elif status.finished or (status.want != "up" and not status.pid):
        said += ", and is not restarted"
    else:
        said += ", and is started again"
    return said + last_line(service, last)


def last_line(service: Service, last: LastExit) -> str:
    """The last line that the process that has ended has printed, of stderr if there is one; empty if none is known.

    A log that was not written since that process was started holds the words of another.
    """
    if last.failure is not None:
        return ""
    logs: tuple[LogName, ...] = ("stderr", "stdout")
    for which in logs:
        try:
            written = os.stat("/".join(service.log_place(which)), follow_symlinks=False).st_mtime
            lines = service.log(which, _LINES) if written >= last.time - last.uptime - _SLACK else []
        except (OSError, ClientError, LogError):
            continue
        for line in reversed(lines):
            text = line.decode("utf-8", "backslashreplace").strip()
            if text:
                cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
                return f"; the last line of its {which}: {cut}"
    return ""
