"""The control letters: bytes read from the FIFO -> events for the state machine.

What lives here: what each byte means.  What does not: reading, obeying.

Rule 1.  Each byte is a command; newlines and blanks are ignored.
Rule 2.  `+` sends what follows in the same write to the service's process group, `=` to the service
         alone, which is the default.  A FIFO does not keep the boundaries of writes, so a newline (which
         `echo` ends each write with) and the end of what could be read end a write here.
Rule 3.  A byte that means nothing is counted, never obeyed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Command = tuple[str, Any]

# The letters that the state machine takes under their own name.
COMMANDS = "udoxRpcsnre"

# The letters that only pass a signal on, with the name of the signal.
SIGNALS = {
    "t": "TERM",
    "k": "KILL",
    "h": "HUP",
    "a": "ALRM",
    "i": "INT",
    "q": "QUIT",
    "1": "USR1",
    "2": "USR2",
    "w": "WINCH",
}

# What somebody who writes one of these words means is not its letters: the verbs of svc and their likes, and signals.
WORDS = (
    "start stop restart once exit pause resume reload upgrade kill signal alarm status reconf up down cont"
    " term hup alrm int quit usr1 usr2 winch"
)

_WORDS = f" {WORDS} "

SIGNAL_LETTER = "signal_letter"  # the event of all of those


def _meanings(group: bool) -> dict[int, Command]:
    """Byte -> event and value; made beforehand, for the way from a byte to a signal is to be short."""
    meanings: dict[int, Command] = {ord(letter): (letter, group) for letter in COMMANDS}
    meanings.update({ord(letter): (SIGNAL_LETTER, (letter, name, group)) for letter, name in SIGNALS.items()})
    return meanings


_TO_SERVICE, _TO_GROUP = _meanings(False), _meanings(True)
# A write that is one signal to the service and nothing else, as `echo` and as `printf` make it.
ONE_SIGNAL: dict[bytes, str] = {letter.encode() + end: name for letter, name in SIGNALS.items() for end in (b"", b"\n")}

_GROUP, _ALONE = ord("+"), b"=\n"
_BLANK = b" \t\r"


def words_in(data: bytes) -> list[str]:
    """Those writes in `data`, each once, that spell one of WORDS, as they were written."""
    found: list[str] = []
    for line in data.split(b"\n"):
        word = line.strip().decode("latin-1")
        if len(word) > 1 and " " not in word and f" {word.lower()} " in _WORDS and word not in found:
            found.append(word)
    return found


class Reader:
    """Parser of the control FIFO: bytes into commands.  It remembers a `+` over a write longer than one read."""

    __slots__ = ("_meanings",)

    def __init__(self) -> None:
        self._meanings = _TO_SERVICE

    @property
    def between_writes(self) -> bool:
        """Whether no `+` is in force for what is read next."""
        return self._meanings is _TO_SERVICE

    def feed(self, data: bytes, more: bool = False) -> tuple[list[Command], bytes]:
        """Parse `data`: the commands in order, and the bytes that mean nothing.

        A command is an event and its value: for a SIGNAL_LETTER the letter, the signal's name and whether it goes
        to the service's process group, for others only the latter.  `more`: the read was full, so the write may go
        on in the next one.
        """
        commands: list[Command] = []
        unknown = bytearray()
        meanings = self._meanings
        for byte in data:
            if byte in meanings:
                commands.append(meanings[byte])
            elif byte == _GROUP:
                meanings = _TO_GROUP
            elif byte in _ALONE:
                meanings = _TO_SERVICE
            elif byte not in _BLANK:
                unknown.append(byte)
        self._meanings = meanings if more else _TO_SERVICE
        return commands, bytes(unknown)
