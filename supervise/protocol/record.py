"""The 20-byte status record in the file `status`, which svstat, `od` and scripts read.

What lives here: the bytes and their meaning.  What does not: files, clocks.

The layout is that of D. J. Bernstein's daemontools (18 bytes: a TAI64N label, the pid, two flags) as
the C `supervise` rearranged it:

    0-7    TAI64 label, big-endian: 2^62 + 10 + Unix seconds of the last change of pid
    8-11   nanoseconds, big-endian
    12     1 while paused, else 0
    13     what is wanted: u, d, or 0 (run once)
    14     o alarms on, x alarms off
    15     0
    16-19  pid of the service, little-endian; 0 when it is not running
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Want = Literal["up", "down", "once"]
    UP: Want
    DOWN: Want
    ONCE: Want
    _WANT_BYTE: dict[Want, int]

SIZE = 20
TAI_EPOCH = 2**62 + 10  # the label of 1970-01-01 00:00:00 UTC, by daemontools' reckoning
_NANOSECONDS = 1_000_000_000

UP, DOWN, ONCE = "up", "down", "once"
_WANT_BYTE = {UP: ord("u"), DOWN: ord("d"), ONCE: 0}
_WANT_NAME = {byte: name for name, byte in _WANT_BYTE.items()}


class RecordError(ValueError):
    """The bytes are not a status record; the message says which of them is wrong."""


class Record:
    """A status record: `changed_ns` (Unix time in nanoseconds), `paused`, `want`, `alarms`, `pid` (0: none)."""

    __slots__ = ("changed_ns", "paused", "want", "alarms", "pid")

    def __init__(self, changed_ns: int, paused: bool, want: Want, alarms: bool, pid: int) -> None:
        self.changed_ns = changed_ns
        self.paused = paused
        self.want = want
        self.alarms = alarms
        self.pid = pid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(self.encode())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Record({fields})"

    def encode(self) -> bytes:
        """Serialise to 20 bytes.  A wall clock set before 1970 is written as 1970: the label has no sign."""
        seconds, nanoseconds = divmod(max(self.changed_ns, 0), _NANOSECONDS)
        flags = bytes((self.paused, _WANT_BYTE[self.want], ord("o" if self.alarms else "x"), 0))
        label = (TAI_EPOCH + seconds).to_bytes(8, "big") + nanoseconds.to_bytes(4, "big")
        return label + flags + self.pid.to_bytes(4, "little")


def decode(data: bytes) -> Record:
    """Parse a record.  Raises RecordError for anything that no supervise can have written."""
    if len(data) != SIZE:
        raise RecordError(f"{len(data)} bytes long, not {SIZE}")
    seconds = int.from_bytes(data[:8], "big") - TAI_EPOCH
    nanoseconds = int.from_bytes(data[8:12], "big")
    if not 0 <= seconds < 2**62 - 10 or nanoseconds >= _NANOSECONDS:
        raise RecordError("bytes 0-11 are not a TAI64N label")
    if data[12] > 1:
        raise RecordError(f"byte 12 (paused) is {data[12]}, not 0 or 1")
    if data[13] not in _WANT_NAME:
        raise RecordError(f"byte 13 (wanted) is {data[13]}, not u, d or 0")
    if data[14] not in b"ox":
        raise RecordError(f"byte 14 (alarms) is {data[14]}, not o or x")
    if data[15] != 0:
        raise RecordError(f"byte 15 is {data[15]}, not 0")
    return Record(
        seconds * _NANOSECONDS + nanoseconds,
        data[12] == 1,
        _WANT_NAME[data[13]],
        data[14] == ord("o"),
        int.from_bytes(data[16:], "little"),
    )
