"""The exit status of a process, and its text in messages.

What lives here: the reading of a wait status and its wording.  What does not: waiting.
"""

from __future__ import annotations

import posix as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Names for the log; only `signal` (which costs 0.8 MB, for its enums) would know them otherwise.
SIGNAL_NAMES = """
    HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG
    XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
""".split()  # noqa: SIM905


def signal_name(number: int) -> str:
    """The name of a signal without SIG: `TERM` for 15; the number itself for a real-time signal."""
    return SIGNAL_NAMES[number - 1] if 0 < number <= len(SIGNAL_NAMES) else str(number)


class Fault(str):
    """The reason for which supervise ends a service, as a text.  Code goes by its `kind` (states.py)."""

    __slots__ = ("kind",)

    kind: str | None

    def __new__(cls, kind: str | None, words: str) -> Fault:
        made = super().__new__(cls, words)
        made.kind = kind
        return made

    def __getnewargs__(self) -> tuple[str | None, str]:  # type: ignore[override]
        """For a copy."""
        return self.kind, str(self)


def fault_in(fields: dict[str, Any]) -> Fault | None:
    """The fault that a state has recorded, or None; its kind is None where an older release did not write that."""
    return None if fields["fault"] is None else Fault(fields.get("fault_kind"), fields["fault"])


def kind_of(fault: str | None) -> str | None:
    """The kind of a fault; None for none, or for a text without a kind."""
    return getattr(fault, "kind", None)


class ExitStatus:
    """The exit status of a process: `code` (0-255) or `signal`, or `failure`: why it could not be started at all.

    None of them: it has ended, nobody knows how.  `fault`: why supervise had ended it, if so; a Fault, or its words.
    """

    __slots__ = ("code", "signal", "core", "failure", "fault")

    def __init__(
        self,
        code: int | None = None,
        signal: int | None = None,
        core: bool = False,
        failure: str | None = None,
        fault: str | None = None,
    ) -> None:
        self.code = code
        self.signal = signal
        self.core = core
        self.failure = failure
        self.fault = fault

    @property
    def unknown(self) -> bool:
        """Whether the process has ended, and nobody knows how."""
        return self.code is None and self.signal is None and self.failure is None

    @property
    def exit_code(self) -> int:
        """The exit code as a shell has it: the code, or 128 plus the signal; 111 if not started or unknown."""
        if self.signal is not None:
            return 128 + self.signal
        return 111 if self.code is None else self.code

    def __str__(self) -> str:
        how = self._how()
        return f"{how}, ended by supervise: {self.fault}" if self.fault else how

    def _how(self) -> str:
        if self.failure is not None:
            return f"could not be started: {self.failure}"
        if self.signal is not None:
            dumped = ", core dumped" if self.core else ""
            return f"was killed by signal {self.signal} ({signal_name(self.signal)}){dumped}"
        return "exited, status unknown" if self.code is None else f"exited with status {self.code}"


def from_wait_status(status: int) -> ExitStatus:
    """The ExitStatus for a status that waitpid(2) reported."""
    if os.WIFSIGNALED(status):
        return ExitStatus(signal=os.WTERMSIG(status), core=os.WCOREDUMP(status))
    return ExitStatus(code=os.WEXITSTATUS(status))
