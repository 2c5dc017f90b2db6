"""A call that takes long, in a thread of its own, while its helper looks after other things."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class Background:
    """One call, and what it has returned, or raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self.result: Any = None
        # A daemon: the process may end before it, and whoever waits for the process waits for the disk then.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as why:  # whatever it is: raised where it is waited for
            self._error = why

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long at most, or as long as it takes; whether it has ended.  Raises what the call has raised."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error:
            raise self._error
        return True


def flush(call: Callable[[int], None], fd: int) -> Background:
    """Begin an fsync(2) or fdatasync(2); the descriptor may be closed meanwhile.  Raises OSError."""
    own = os.dup(fd)

    def run() -> None:
        try:
            call(own)
        finally:
            os.close(own)

    return Background(run)
