"""The control letters: bytes read from the FIFO -> events for the state machine.

What lives here: what each byte means.  What does not: reading, obeying.

Rule 1.  Each byte is a command; newlines and blanks are ignored.
Rule 2.  `+` sends what follows in the same write to the service's process group, `=` to the service
         alone, which is the default.  A FIFO does not keep the boundaries of writes, so a newline (which
         `echo` ends each write with) and the end of what could be read end a write here.
Rule 3.  A byte that means nothing is counted, never obeyed.
"""

from __future__ import annotations

# The letters that the state machine takes under their own name.
COMMANDS = frozenset("udoxRpcsnr")

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


class Letter:
    """One letter to obey; `group` says that its signals go to the service's process group."""

    __slots__ = ("name", "group")

    def __init__(self, name: str, group: bool = False) -> None:
        self.name = name
        self.group = group

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Letter) and (self.name, self.group) == (other.name, other.group)

    def __hash__(self) -> int:
        return hash((self.name, self.group))

    def __repr__(self) -> str:
        return f"Letter({self.name!r}, group={self.group})"


class Reader:
    """Turns what was read into letters, remembering `+` over a write longer than one read."""

    __slots__ = ("_group",)

    def __init__(self) -> None:
        self._group = False

    def feed(self, data: bytes, more: bool = False) -> tuple[list[Letter], bytes]:
        """The letters in `data`, in order, and the bytes that mean nothing.

        `more`: the read was full, so the write may go on in the next one.
        """
        letters: list[Letter] = []
        unknown = bytearray()
        for byte in data:
            name = chr(byte)
            if name in COMMANDS or name in SIGNALS:
                letters.append(Letter(name, self._group))
            elif name == "+":
                self._group = True
            elif name == "=" or name == "\n":
                self._group = False
            elif name not in " \t\r":
                unknown.append(byte)
        if not more:
            self._group = False
        return letters, bytes(unknown)
