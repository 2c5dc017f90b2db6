"""What several services print, as lines that each begin with a name."""

from __future__ import annotations

import os

from supervise.programs.width import columns, padded
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST = 1 << 16  # bytes of a line that are waited for before its beginning is shown
_COLOURS = (36, 33, 32, 35, 34, 31, 96, 93, 92, 95, 94, 91)  # SGR; the first services get those easiest to tell apart


def coloured() -> bool:
    """Whether colours help: on a terminal that has them, for people who did not decline (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and os.isatty(1)


def labels(names: Sequence[str], colour: bool) -> list[bytes]:
    """What comes before the lines of services of these names."""
    shown = [shown_name(name) for name in names]
    width = max(map(columns, shown), default=0)
    made = []
    for number, name in enumerate(shown):
        text = f"{padded(name, width)} | "
        if colour:
            text = f"\033[0;{_COLOURS[number % len(_COLOURS)]}m{text}\033[0m"
        made.append(text.encode("utf-8", "backslashreplace"))
    return made


class Lines:
    """Puts whole lines together from pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, each with its newline; a very long one is cut."""
        parts = (self._rest + data).split(b"\n")
        self._rest = parts.pop()
        if len(self._rest) > _LONGEST:
            parts.append(self._rest)
            self._rest = b""
        return [part + b"\n" for part in parts]

    @property
    def held(self) -> bool:
        """Whether a line has begun, and is not complete."""
        return bool(self._rest)

    def end(self) -> list[bytes]:
        """The incomplete last line, as a line."""
        rest, self._rest = self._rest, b""
        return [rest + b"\n"] if rest else []
