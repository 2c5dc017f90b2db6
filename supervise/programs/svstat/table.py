"""The table of services for people: svstat --long and --watch.

What lives here: rows, columns, colours, and what is left out where the terminal is narrow.  What does not: reading,
terminals.

Rule 1.  Where there is room, all is shown.  Where there is not, the reason has at least _REASON columns, and for that
         the columns in _DISPENSABLE are left out, one after the other, until the rest fits.
Rule 2.  Before the last of these, long names are shortened within, but not so that two are the same; and the states.
Rule 3.  No line is longer than the terminal is wide: what does not fit is cut.
"""

from __future__ import annotations

import math

from supervise.client.clocks import since_boot
from supervise.client.trouble import FAILING, WELL, ending, rank, run_failed, sick, starts, unlogged, unsteady
from supervise.programs.svstat.line import PHASES, unread
from supervise.programs.width import columns, index, padded, shortened, shortened_within
from supervise.protocol.exitstatus import signal_name
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.text import one_line, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client import Health, LastExit, Status
    from supervise.client.usage import Usage

HEAD = ("SERVICE", "STATE", "PID", "UPTIME", "MEMORY", "CPU", "RESTARTS", "LOGS", "SAYS", "REASON")
_SERVICE, _STATE, _REASON_AT = (HEAD.index(name) for name in ("SERVICE", "STATE", "REASON"))
_DISPENSABLE = ("LOGS", "CPU", "MEMORY", "SAYS", "RESTARTS", "PID", "UPTIME")  # rule 1, in this order
_NAMES_BEFORE = "RESTARTS"  # rule 2
_REASON = 26  # columns
_NAME = 16  # columns that a name has at least, and a quarter of the terminal
_STATE_AT_LEAST = 21
_SAYS_AT_MOST = 32
_IF_ANY = ("LOGS", "SAYS")  # shown where there is one
_RIGHT = {"PID", "MEMORY", "CPU", "LOGS", "RESTARTS"}
_GAP = "  "

_BOLD, _RED, _GREEN, _YELLOW, _PLAIN = "\033[1m", "\033[31m", "\033[32m", "\033[33m", "\033[0m"
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class Row:
    """One service: its `name`, and how it was at `read_at` (since boot), or the `problem` with reading that."""

    __slots__ = ("name", "status", "usage", "problem", "logs", "read_at")

    def __init__(
        self,
        name: str,
        status: Status | None = None,
        usage: Usage | None = None,
        problem: str = "",
        logs: int | None = None,
    ) -> None:
        self.name = name
        self.status = status
        self.usage = usage
        self.problem = problem
        self.logs = logs  # bytes of its output that are kept
        self.read_at = since_boot()

    def cells(self) -> list[str]:
        """The texts of its columns; the time since it was read counts as uptime."""
        status = self.status
        if status is None:
            state = "unreadable" if self.problem else "not started"
            return [shown_name(self.name), state, *[""] * (len(HEAD) - 3), one_line(self.problem)]
        use, restarts = self.usage, status.restarts
        return [
            shown_name(self.name),
            state_of(status),
            str(status.pid) if status.running else "",
            duration(status.seconds + since_boot() - self.read_at),
            size(use.memory) if use else "",
            f"{use.percent:.1f}%" if use else "",
            "" if restarts is None else str(restarts),
            size(self.logs) if self.logs else "",
            shortened(one_line((status.status_text or "")[: _SAYS_AT_MOST * 2]), _SAYS_AT_MOST),
            one_line(self.problem) or reason(status),
        ]

    @property
    def rank(self) -> int:
        """How much is amiss: trouble.py."""
        return FAILING if self.problem else rank(self.status)

    def colour(self) -> str:
        """Green where all is as wanted, red where something is amiss, else yellow."""
        return {FAILING: _RED, WELL: _GREEN}.get(self.rank, _YELLOW)


def state_of(status: Status) -> str:
    """How a service is, in words."""
    if not status.supervised:
        text = "gave up" if status.gave_up else "no supervise"
        text += ", runs on" if status.outlived else ""
    elif status.pid:
        text = "paused" if status.paused else "stopped by a signal" if status.stopped else "up"
        text += _up(status)
    else:
        text = _down(status)
    return text if status.alarms else f"{text}, alarms off"


def _up(status: Status) -> str:
    """What is to be said of a service that runs beyond that it does."""
    once = " once" if status.want == ONCE else ""
    if status.want == DOWN or status.machine == "stopping":
        return f"{once}, stopping"
    if status.machine == "aborting":
        return f"{once}, being ended"
    if status.paused or status.stopped:
        return once
    if sick(status):
        return f"{once}, {'not checked' if status.health and status.health.problem else 'failing'}"
    if unlogged(status):
        return f"{once}, no logger"
    if unsteady(status):
        return f"{once}, unsteady"
    if status.phase in PHASES:
        return f"{once}, {status.phase}"
    return f"{once}, starting" if starts(status) else once


def _down(status: Status) -> str:
    """How a service is that does not run."""
    next_start = status.next_start_seconds
    if status.finished:
        return ending(status)
    if status.machine == "succession":
        return "changing over"
    if status.machine == "cleanup" and status.want != UP:
        return "stopping"
    if next_start is not None:
        return f"restarting in {duration(math.ceil(next_start))}"
    if run_failed(status):
        return ending(status)
    return "restarting" if status.want == UP else "down"


def reason(status: Status) -> str:
    """Why it is as it is, what matters most first: why it is being ended, what its check says, how it last ended."""
    health, last = status.health, status.last_exit
    if status.fault:
        return one_line(status.fault)
    if health and health.problem:
        return f"not checked: {one_line(health.problem)}"
    if health and health.failures:
        return _complaint(health)
    for logger in status.loggers:
        if logger.failure:
            return unread(logger)
    return f"{_how(last)}, {duration(last.seconds, 1)} ago" if last else ""


def _complaint(health: Health) -> str:
    said = health.output.partition("\n")[0].strip() or health.failure or ""
    count = "for" if health.starting else f"{health.failures} of {health.limit},"
    return f"check: {one_line(said)} ({count} {duration(health.seconds or 0, 1)})"


def _how(last: LastExit) -> str:
    """How it ended, in as few words as will do; what supervise had ended it for comes first."""
    if last.failure is not None:
        how = f"cannot start: {last.failure}"
    elif last.signal is not None:
        how = f"killed by {signal_name(last.signal)}" + (", core dumped" if last.core else "")
    else:
        how = "exit status unknown" if last.code is None else f"exit status {last.code}"
    if last.planned:
        how += ", as asked"
    return one_line(f"{last.fault} ({how})" if last.fault else how)


def duration(seconds: float, units: int = 2) -> str:
    """By its largest units, so many of them: `3d 4h`."""
    left = int(seconds)
    words: list[str] = []
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count or (unit == "s" and not words):
            words.append(f"{count}{unit}")
        elif words:
            break  # `3d`, not `3d 5s`
        if len(words) == units:
            break
    return " ".join(words)


def size(count: float) -> str:
    """Bytes as people say them: `11.2 MiB`."""
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def table(rows: list[Row], coloured: bool, width: int | None = None) -> list[str]:
    """The lines: a head and one for each row, none longer than `width` columns."""
    texts = [list(HEAD), *(row.cells() for row in rows)]
    shown = [at for at in range(len(HEAD)) if HEAD[at] not in _IF_ANY or any(cells[at] for cells in texts[1:])]
    if width is not None:
        shown = _fitted(texts, shown, width)
    widths = [max(columns(cells[at]) for cells in texts) for at in shown]
    lines = []
    for number, cells in enumerate(texts):
        parts = [padded(cells[at], widths[place], HEAD[at] in _RIGHT) for place, at in enumerate(shown)]
        text = _GAP.join(parts).rstrip()
        if width is not None:
            text = shortened(text, width)
        if coloured:
            text = _paint(text, rows[number - 1].colour(), widths) if number else f"{_BOLD}{text}{_PLAIN}"
        lines.append(text)
    return lines


def _fitted(texts: list[list[str]], shown: list[int], width: int) -> list[int]:
    """The columns that there is room for, of those that are to be `shown`; shortens names and states if need be."""

    def taken() -> int:
        widths = {at: max(columns(cells[at]) for cells in texts) for at in shown}
        widths[_REASON_AT] = min(widths[_REASON_AT], max(_REASON, width // 3))
        return sum(widths.values()) + len(_GAP) * (len(shown) - 1)

    for name in _DISPENSABLE:
        if taken() > width and name == _NAMES_BEFORE:
            _shorten_names(texts, max(width // 4, _NAME))
            for cells in texts:
                cells[_STATE] = shortened(cells[_STATE], max(width // 4, _STATE_AT_LEAST))
        if taken() > width:
            shown = [at for at in shown if HEAD[at] != name]
    return shown


def _shorten_names(texts: list[list[str]], width: int) -> None:
    """Shorten the names to that width, or as far as they stay different."""
    names = [cells[_SERVICE] for cells in texts]
    longest = max(map(columns, names))
    while width < longest and len({shortened_within(name, width) for name in names}) < len(set(names)):
        width += 1
    for cells in texts:
        cells[_SERVICE] = shortened_within(cells[_SERVICE], width)


def _paint(text: str, colour: str, widths: list[int]) -> str:
    """Colour the second column, which says how the service is."""
    start = index(text, widths[0] + len(_GAP))
    end = index(text, widths[0] + len(_GAP) + widths[1])
    return f"{text[:start]}{colour}{text[start:end]}{_PLAIN}{text[end:]}" if start < end else text
