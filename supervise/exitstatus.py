"""How a process ended, and how that is said.

What lives here: the reading of a wait status and its wording.  What does not: waiting.
"""

from __future__ import annotations

import os

# Names for the log; only `signal` (which costs 0.8 MB, for its enums) would know them otherwise.
_SIGNAL_NAMES = """
    HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG
    XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
""".split()  # noqa: SIM905


def signal_name(number: int) -> str:
    """`TERM` for 15; the number itself for a real-time signal."""
    return _SIGNAL_NAMES[number - 1] if 0 < number <= len(_SIGNAL_NAMES) else str(number)


class ExitStatus:
    """Either `code` (0-255) or `signal` is set, or `failure`: why the program could not be started at all.

    None of them: it has ended, nobody knows how.
    """

    __slots__ = ("code", "signal", "core", "failure")

    def __init__(
        self, code: int | None = None, signal: int | None = None, core: bool = False, failure: str | None = None
    ) -> None:
        self.code = code
        self.signal = signal
        self.core = core
        self.failure = failure

    @property
    def unknown(self) -> bool:
        """Whether nobody knows how it ended."""
        return self.code is None and self.signal is None and self.failure is None

    def __str__(self) -> str:
        if self.failure is not None:
            return f"could not be started: {self.failure}"
        if self.signal is not None:
            dumped = ", core dumped" if self.core else ""
            return f"was killed by signal {self.signal} ({signal_name(self.signal)}){dumped}"
        return "exited, status unknown" if self.code is None else f"exited with status {self.code}"


def from_wait_status(status: int) -> ExitStatus:
    """Read what waitpid(2) reported."""
    if os.WIFSIGNALED(status):
        return ExitStatus(signal=os.WTERMSIG(status), core=os.WCOREDUMP(status))
    return ExitStatus(code=os.WEXITSTATUS(status))
