"""Control: reading and obeying letters in the control FIFO, and signals to supervise.

Rule 1.  Letters are obeyed in the order in which they were written, none is left out, and what was read is kept until
         it has been obeyed.
Rule 2.  However many there are, exits and deadlines are looked at after each portion of them.
"""

from __future__ import annotations

import posix as os
import time

from supervise.protocol.letters import ONE_SIGNAL, Reader, words_in
from supervise.protocol.severities import NOTICE, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.machine.machine import Machine
    from supervise.protocol.letters import Command
    from supervise.runtime.event_log import Log
    from supervise.runtime.wakeup import Wakeup
    from supervise.service.service import Service
    from supervise.supervisor.actions import Actions
    from supervise.system.pidfd import Process

_READ = 4096  # bytes
_PORTION = 0.02  # seconds
_LETTERS_OF_SIGNALS = {"TERM": "dx", "INT": "dx", "HUP": "r"}


class Control:
    """Reader of the FIFO at the descriptor `control`.  `quit`: QUIT came, the service is left to the next supervise."""

    def __init__(
        self, control: int, wakeup: Wakeup, machine: Machine, service: Service, actions: Actions, log: Log
    ) -> None:
        self.control = control
        self._wakeup = wakeup
        self._machine = machine
        self._service = service
        self._actions = actions
        self._log = log
        self._reader = Reader()
        self._commands: Iterator[Command] | None = None
        self._length = 0  # bytes that those were read from
        self._later = b""  # letters that come before what is in the FIFO
        self.quit = False

    @property
    def waiting(self) -> bool:
        """Whether letters were read that are not obeyed yet."""
        return self._commands is not None or bool(self._later)

    @property
    def direct(self) -> Process | None:
        """The process that a signal letter can be sent to before the machine is asked; None: ask first."""
        if self._machine.passes_signals and self._reader.between_writes and not self.waiting:
            return self._service.process
        return None

    def read(self, direct: Process | None = None) -> bool:
        """Read the FIFO and obey the letters; whether there were any.

        `direct`: nothing but that has happened since this process was there to signal.
        """
        if self._commands:
            self.obey(self._commands)
            return True
        if self._later:
            letters, self._later = self._later, b""
            self.take(letters)
            return True
        try:
            data = os.read(self.control, _READ)
        except BlockingIOError:
            return False  # somebody else has read it
        # As with the next process of a service: the machine's answer is certain, so it need not be awaited.
        name = ONE_SIGNAL.get(data) if direct else None
        if direct and name:
            self._actions.sent = name
            self._actions.send(direct, name, False)
        self.take(data, len(data) == _READ)
        return True

    def take(self, data: bytes, more: bool = False) -> None:
        """Obey letters that were read; `more` of the same write may follow.  Not while others are `waiting`."""
        commands, unknown = self._reader.feed(data, more)
        if unknown:
            shown = unknown[:16].decode("latin-1")
            rest = "..." if len(unknown) > 16 else ""
            self._log.add(WARNING, "ignored %d unknown bytes in control: %r%s", len(unknown), shown, rest)
        for word in words_in(data) if len(data) > 2 else ():
            text = "%r in control is obeyed letter by letter (%s): svc is what takes words"
            self._log.add(WARNING, text, word, ", ".join(word))
        self._commands, self._length = iter(commands), len(data)
        self.obey(self._commands)

    def keep(self, letters: bytes) -> None:
        """Keep letters that are to be obeyed before those that are in the FIFO."""
        self._later += letters

    def finish(self) -> None:
        """Obey all letters that were read, and the rest of the same write, whose `+` is known only here."""
        while True:
            while self.waiting:
                self.read()
            if self._reader.between_writes or not self.read():
                return

    def obey(self, commands: Iterator[Command]) -> None:
        """Obey a portion of commands; what an error leaves of it comes with the next."""
        actions = self._actions
        until = time.monotonic() + _PORTION
        for event, value in commands:
            if actions.signal_retry.signals and event in ("u", "o"):
                actions.spare()
            actions.event(event, value)
            if time.monotonic() > until:
                return
        self._commands = None
        actions.obeyed(self._length)

    def by_signal(self) -> None:
        """Obey the signals that have come, as the letters that they stand for."""
        names = self._wakeup.names
        while names:
            name = names.pop(0)
            self._log.add(NOTICE, "received %s", name)
            if name == "QUIT":
                self._leave()
            for letter in _LETTERS_OF_SIGNALS.get(name, ""):
                self._actions.event(letter, False)

    def _leave(self) -> None:
        self.quit = True
        if self._machine.paused and self._service.process:
            # The kernel ends a stopped process group that is left behind with HUP; the next supervise stops one that
            # runs again.
            self._service.process.send("CONT", True)
        if self._machine.pid:
            self._log.add(NOTICE, "leaving the service (pid %d) to the next supervise", self._machine.pid)
