"""Parser of sd_notify(3) datagrams: what a service notifies on NOTIFY_SOCKET -> events.

What lives here: from bytes to events, without any I/O.  What does not: where a datagram comes from (notify_socket.py)
and whether its sender may say it (members.py).

Theory of operation
-------------------

Rule 1.  A datagram is a set of assignments, one a line (LF or CR).  Of a name that is assigned twice the first counts.
Rule 2.  The order within a datagram means nothing, so events have an order of their own: MAINPID first, for the rest
         is about that process; READY after RELOADING, for both at once say that the reloading is over already; and
         STOPPING after both, for what stops is not ready.
Rule 3.  READY, RELOADING and STOPPING mean something as 1 and nothing otherwise.  Names that are not known here
         (FDSTORE, BARRIER, ERRNO, X_ANYTHING) mean nothing, and neither does a line without `=`.
Rule 4.  A value that cannot be understood is complained about, and the rest counts.  A datagram that is too long,
         or holds a NUL byte other than a last one, is none: nothing of it counts.  So it is with systemd.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAIN = "main"  # the main process is now another: its pid, 1 or more
WATCHDOG = "watchdog"  # seconds in which WATCHDOG=1 must come from now on; 0.0: it need not come any more
EXTEND = "extend"  # seconds from now in which it will be ready, or will have stopped, or will say so again
RELOADING, READY, STOPPING = "reloading", "ready", "stopping"
TEXT = "text"  # for people; "" takes back what was said last
KICK, TRIGGER = "kick", "trigger"  # it works; it knows itself that it hangs

LIMIT = 4096  # bytes of a datagram
TEXT_LIMIT = 200  # characters
LONGEST = 1e6  # seconds, 11 days: what a poll(2) can wait for; more is taken for so much
_SHOWN = 40  # characters of a value that is complained about
_MAX_PID = 2**31 - 1
_FOR_EVER = 2**64 - 1  # microseconds, as systemd counts them: no limit


class _Malformed(Exception):
    """The value of an assignment is malformed; the message says what it has to be."""


def parse(data: bytes) -> tuple[list[tuple[str, Any]], list[str]]:
    """Parse a datagram: its events, with None where one has no value, and complaints.  Never raises."""
    if len(data) > LIMIT:
        return [], [f"longer than {LIMIT} bytes: ignored"]
    data = data[:-1] if data.endswith(b"\0") else data
    if b"\0" in data:
        return [], ["holds a NUL byte: ignored"]
    said: dict[bytes, bytes] = {}
    for line in data.replace(b"\r", b"\n").split(b"\n"):
        name, equals, value = line.partition(b"=")
        if equals:
            said.setdefault(name, value)
    events: list[tuple[str, Any]] = []
    complaints: list[str] = []
    for name, read in _ASSIGNMENTS:
        if name in said:
            try:
                event = read(said[name])
            except _Malformed as why:
                complaints.append(f"{name.decode()}={printable(said[name], _SHOWN)}: {why}")
            else:
                events += [event] if event else []
    return events, complaints


def kinds(data: bytes) -> list[str]:
    """The known variables in a datagram, for a log line; `nothing known` if there are none."""
    names = {line.partition(b"=")[0] for line in data[:LIMIT].replace(b"\r", b"\n").split(b"\n")}
    return [name.decode() for name, _ in _ASSIGNMENTS if name in names] or ["nothing known"]


def printable(value: bytes, limit: int) -> str:
    """Make bytes printable on a terminal: one line, `?` for what is not, cut to `limit` characters."""
    text = value.decode("utf-8", "replace").replace("\ufffd", "?")
    text = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _number(value: bytes, largest: int, what: str) -> int:
    if not value.isdigit() or len(value) > 20 or int(value) > largest:
        raise _Malformed(f"not {what}")
    return int(value)


def _seconds(value: bytes) -> float:
    """Microseconds as seconds; 0.0 where they say: without a limit."""
    found = _number(value, _FOR_EVER, "a number of microseconds")
    return 0.0 if found == _FOR_EVER else min(found / 1e6, LONGEST)


def _main(value: bytes) -> tuple[str, Any]:
    pid = _number(value, _MAX_PID, "a pid")
    if pid == 0:
        raise _Malformed("not a pid")
    return MAIN, pid


def _watchdog_usec(value: bytes) -> tuple[str, Any]:
    return WATCHDOG, _seconds(value)


def _extend(value: bytes) -> tuple[str, Any] | None:
    seconds = _seconds(value)
    return (EXTEND, seconds) if seconds else None


def _flag(event: str) -> Callable[[bytes], tuple[str, Any] | None]:
    return lambda value: (event, None) if value == b"1" else None


def _text(value: bytes) -> tuple[str, Any]:
    return TEXT, printable(value.strip(), TEXT_LIMIT)


def _watchdog(value: bytes) -> tuple[str, Any]:
    if value not in (b"1", b"trigger"):
        raise _Malformed("neither 1 nor trigger")
    return (KICK if value == b"1" else TRIGGER), None


# In the order of the events.
_ASSIGNMENTS: tuple[tuple[bytes, Callable[[bytes], tuple[str, Any] | None]], ...] = (
    (b"MAINPID", _main),
    (b"WATCHDOG_USEC", _watchdog_usec),
    (b"EXTEND_TIMEOUT_USEC", _extend),
    (b"RELOADING", _flag(RELOADING)),
    (b"READY", _flag(READY)),
    (b"STOPPING", _flag(STOPPING)),
    (b"STATUS", _text),
    (b"WATCHDOG", _watchdog),
)
