"""The times before the lines of a log: svlog -t.

Rule 1.  Only what is known is shown; a line of which nothing is known gets blanks of the same width.
Rule 2.  A line that begins with a TAI64N label, as multilog, svlogd and s6-log write it, says when it was written; the
         time is shown in its place.
Rule 3.  The last line of a log was written when its file was last written to (client/written.py).
"""

from __future__ import annotations

import re
import time

_LABEL = re.compile(rb"@([0-9a-f]{16})([0-9a-f]{8})(?: |$)")
_LONGEST_LABEL = 26  # bytes
_EPOCH = 0x400000000000000A  # TAI64 seconds, with the ten leap seconds that those programs count
_FORMAT = "%Y-%m-%d %H:%M:%S "
_BLANK = b" " * 20


def stamped(seconds: float) -> bytes:
    """A time as it is put before a line; blanks where the calendar has no such day."""
    try:
        text = time.strftime(_FORMAT, time.localtime(seconds)).encode()
    except (OverflowError, ValueError, OSError):
        return _BLANK
    return text if len(text) == len(_BLANK) else _BLANK


def _timed(line: bytes) -> bytes:
    """A line, or its beginning, with its time (rule 2)."""
    found = _LABEL.match(line)
    if not found:
        return _BLANK + line
    return stamped(int(found[1], 16) - _EPOCH) + line[found.end() :]


class LineTimes:
    """Puts times before lines that come in pieces.

    `last`: the last line is kept back until `end` says when it was written; else only what may become a label is.
    """

    def __init__(self, last: bool) -> None:
        self._last = last
        self._rest = b""
        self._begun = False  # whether the beginning of the line was shown already

    def add(self, data: bytes) -> bytes:
        """What can be shown now."""
        lines = _split(self._rest + data)
        self._rest = b""
        if self._last:
            self._rest = lines.pop() if lines else b""
            return b"".join(map(_timed, lines))
        shown = []
        for line in lines:
            whole = line.endswith(b"\n")
            if not whole and not self._begun and line[:1] == b"@" and len(line) < _LONGEST_LABEL:
                self._rest = line
                break
            shown.append(line if self._begun else _timed(line))
            self._begun = not whole
        return b"".join(shown)

    def end(self, written: float | None = None) -> bytes:
        """What was kept back, with this time if it has none of its own."""
        line, self._rest = self._rest, b""
        if not line or self._begun:
            return line
        if written is not None and not _LABEL.match(line):
            return stamped(written) + line
        return _timed(line)


def _split(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
