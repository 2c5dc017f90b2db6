"""The table of services for people: svstat --long and --watch.

What lives here: rows, columns, colours, widths.  What does not: reading, terminals.
"""

from __future__ import annotations

import math
import time
import unicodedata

from supervise.programs.svstat.line import PHASES, ending, stamp
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.text import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client import Status
    from supervise.client.usage import Usage

HEAD = ("SERVICE", "STATE", "PID", "UPTIME", "MEMORY", "CPU", "RESTARTS", "SAYS", "LAST EXIT")
_SAYS = HEAD.index("SAYS")  # is left out where no service says anything
_SAYS_AT_MOST = 32  # columns of a terminal
_RIGHT = {"PID", "MEMORY", "CPU", "RESTARTS"}
_GAP = "  "

_BOLD, _RED, _GREEN, _YELLOW, _PLAIN = "\033[1m", "\033[31m", "\033[32m", "\033[33m", "\033[0m"
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


class Row:
    """A row of the table: a service's `name`, and its status at `read_at` (monotonic), or a `problem` with that."""

    __slots__ = ("name", "status", "usage", "problem", "read_at")

    def __init__(self, name: str, status: Status | None = None, usage: Usage | None = None, problem: str = "") -> None:
        self.name = name
        self.status = status
        self.usage = usage
        self.problem = problem
        self.read_at = time.monotonic()

    def cells(self) -> tuple[str, ...]:
        """The texts of its columns; the time since it was read counts as uptime."""
        status = self.status
        if status is None:
            return (one_line(self.name), "unreadable", "", "", "", "", "", "", one_line(self.problem))
        last, use, restarts = status.last_exit, self.usage, status.restarts
        return (
            one_line(self.name),
            state_of(status),
            str(status.pid) if status.running else "",
            duration(status.seconds + time.monotonic() - self.read_at),
            size(use.memory) if use else "",
            f"{use.percent:.1f}%" if use else "",
            "" if restarts is None else str(restarts),
            says(status.status_text or ""),
            one_line(self.problem or (f"{stamp(last.time)} {last}" if last else "")),
        )

    def colour(self) -> str:
        """Green where all is as wanted, red where a service is missing that should run, else yellow."""
        status = self.status
        if status is None or self.problem or not status.supervised or status.machine == "aborting":
            return _RED
        if status.pid:
            wanted = status.want == UP and not status.paused and status.alarms
            works = status.phase in (None, "ready") and status.machine in (None, "running")
            return _GREEN if wanted and works else _YELLOW
        if status.finished:
            return _RED if ending(status) == "failed" else _YELLOW
        return _RED if status.want == UP and status.machine != "succession" else _YELLOW


def state_of(status: Status) -> str:
    """The state of a service, in words."""
    if not status.supervised:
        text = "gave up" if status.gave_up else "no supervise"
        text += ", runs on" if status.outlived else ""
    elif status.pid:
        text = "paused" if status.paused else "up"
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
    return f"{once}, {status.phase}" if status.phase in PHASES else once


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
    return "restarting" if status.want == UP else "down"


def says(text: str) -> str:
    """The service's STATUS= text, cut to its column."""
    text = one_line(text[: _SAYS_AT_MOST * 2])
    return text if columns(text) <= _SAYS_AT_MOST else f"{cut(text, _SAYS_AT_MOST - 3)}..."


def duration(seconds: float) -> str:
    """In words, by its two largest units: `3 days 4 hours`."""
    left = int(seconds)
    words: list[str] = []
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count or (unit == "second" and not words):
            words.append(f"{count} {unit}{'' if count == 1 else 's'}")
        elif words:
            break  # `3 days`, not `3 days 5 seconds`
        if len(words) == 2:
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
    """The lines: a head and one for each row, cut at `width` columns."""
    texts = [HEAD, *(row.cells() for row in rows)]
    if not any(cells[_SAYS] for cells in texts[1:]):
        texts = [cells[:_SAYS] + cells[_SAYS + 1 :] for cells in texts]
    head = texts[0]
    widths = [max(map(columns, column)) for column in zip(*texts)]
    lines = []
    for number, cells in enumerate(texts):
        padded = [_pad(cell, widths[at], head[at] in _RIGHT) for at, cell in enumerate(cells)]
        text = _GAP.join(padded).rstrip()
        if width is not None:
            text = cut(text, width)
        if coloured:
            text = _paint(text, rows[number - 1].colour(), widths) if number else f"{_BOLD}{text}{_PLAIN}"
        lines.append(text)
    return lines


def _paint(text: str, colour: str, widths: list[int]) -> str:
    """Colour the second column, which says how the service is."""
    start = _index(text, widths[0] + len(_GAP))
    end = _index(text, widths[0] + len(_GAP) + widths[1])
    return f"{text[:start]}{colour}{text[start:end]}{_PLAIN}{text[end:]}" if start < end else text


def _pad(text: str, width: int, right: bool) -> str:
    blanks = " " * (width - columns(text))
    return blanks + text if right else text + blanks


def columns(text: str) -> int:
    """The width of a text in columns of a terminal."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _index(text: str, width: int) -> int:
    """How many characters fit in so many columns."""
    if text.isascii():
        return min(width, len(text))
    for at, char in enumerate(text):
        width -= _width(char)
        if width < 0:
            return at
    return len(text)


def cut(text: str, width: int) -> str:
    """As much of a text as fits in so many columns."""
    return text[: _index(text, width)]
