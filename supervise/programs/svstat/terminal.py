"""The terminal while svstat --watch has it: its modes, its signals, the keys that are pressed.

What lives here: nothing about services.  curses would keep handlers and a screen of its own beside the one poll of the
loop, is not there in every Python, and is one more module to load; what of it is needed is this.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_ENTER = "\033[?1049h\033[?25l\033[?7l"  # the alternate screen, no cursor, lines do not go on in the next
_LEAVE = "\033[?7h\033[?25h\033[?1049l"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REST = 0.05  # seconds in which the rest of what one key sends comes

# Keys that are not characters, by what they send: as xterm, with and without its application mode, and as the console.
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = "<up>", "<down>", "<page up>", "<page down>", "<home>", "<end>"
ESCAPE, ENTER, BACKSPACE, CLEAR, REDRAW = "<escape>", "<enter>", "<backspace>", "<clear>", "<redraw>"
_SEQUENCES = {
    **{b"[A": UP, b"OA": UP, b"[B": DOWN, b"OB": DOWN, b"[5~": PAGE_UP, b"[6~": PAGE_DOWN},
    **dict.fromkeys((b"[H", b"OH", b"[1~", b"[7~"), HOME),
    **dict.fromkeys((b"[F", b"OF", b"[4~", b"[8~"), END),
}
_CONTROLS = {
    **dict.fromkeys("\r\n", ENTER),
    **dict.fromkeys("\x7f\b", BACKSPACE),
    **{"\x15": CLEAR, "\f": REDRAW, "\x06": PAGE_DOWN, "\x02": PAGE_UP, "\x03": "q"},
}


class Terminal:
    """The terminal while it is ours: no echo, no line editing, the alternate screen.

    `wake` becomes readable when a signal came, and `signals` holds which; `keys` is where keys are read, or None
    where standard input is not a terminal.
    """

    def __init__(self) -> None:
        self.keys = 0 if os.isatty(0) else None
        self.wake, self._waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.signals: list[int] = []
        self._modes: list[Any] = []
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Terminal:
        # First the handlers: a signal from here on is a reason to leave, not to die with the terminal changed.
        for number in (*ENDING, signal.SIGWINCH, signal.SIGTSTP):
            self._handlers[number] = signal.signal(number, self._note)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self.wake)
        os.close(self._waking)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signals.append(number)

    def _take(self) -> None:
        if self.keys is not None:
            self._modes = termios.tcgetattr(self.keys)
            tty.setcbreak(self.keys, termios.TCSANOW)
        self.write(_ENTER)

    def _give_back(self) -> None:
        try:
            self.write(_LEAVE)
            if self.keys is not None:
                termios.tcsetattr(self.keys, termios.TCSANOW, self._modes)
        except (OSError, termios.error):
            pass  # it is gone

    def suspend(self) -> None:
        """What Ctrl-Z means to a program that has changed the terminal."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def size(self) -> tuple[int, int]:
        """Its columns and lines; what is usual where it does not know.  Raises OSError."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        return width or 80, height or 24

    def write(self, text: str) -> None:
        """Raises OSError."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def pressed(self) -> list[str]:
        """The keys that were pressed, characters or names; `q` as well if the terminal is gone."""
        try:
            data = os.read(0, 1024)
            while data and _unfinished(data) and select.select([0], [], [], _REST)[0]:
                more = os.read(0, 1024)
                if not more:
                    break
                data += more
        except OSError:
            data = b""
        return keys(data) if data else ["q"]

    def caught(self) -> list[int]:
        """The signals that came since the last call."""
        try:
            os.read(self.wake, 1024)
        except BlockingIOError:
            pass
        numbers, self.signals[:] = self.signals[:], []
        return numbers


def _unfinished(data: bytes) -> bool:
    """Whether more is to come of the last key: of a sequence, or of a character."""
    _, escape, rest = data.rpartition(b"\033")
    begun = escape and (rest in (b"", b"O") or (rest[:1] == b"[" and not _sequence(rest)))
    return bool(begun) or len(data.decode("utf-8", "ignore").encode()) < len(data)


def _sequence(data: bytes) -> int:
    """How long the sequence is that this begins with, what precedes it (ESC) left out; 0: none, or not all of it."""
    if data[:1] == b"O" and len(data) > 1:
        return 2
    if data[:1] == b"[":
        for at in range(1, len(data)):
            if 0x40 <= data[at] <= 0x7E:
                return at + 1
    return 0


def keys(data: bytes) -> list[str]:
    """What was pressed, by what the terminal sent; what has no meaning here is left out."""
    found: list[str] = []
    while data:
        if data[:1] == b"\033":
            length = _sequence(data[1:])
            found.append(_SEQUENCES.get(data[1 : 1 + length], "") if length else ESCAPE)
            data = data[1 + length :]
            continue
        text, _, _ = data.partition(b"\033")
        data = data[len(text) :]
        chars = text.decode("utf-8", "ignore")
        found += [_CONTROLS.get(char, char if char.isprintable() else "") for char in chars]
    return [key for key in found if key]
