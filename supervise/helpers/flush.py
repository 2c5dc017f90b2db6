"""A file written back to the disk, which may take seconds, while its helper looks after other things."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Flush:
    """One fsync(2) or fdatasync(2), in a thread of its own."""

    def __init__(self, call: Callable[[int], None], fd: int) -> None:
        """Begin; the descriptor may be closed meanwhile.  Raises OSError."""
        self._call = call
        self._fd = os.dup(fd)
        self._error: BaseException | None = None
        # A daemon: the process may end before it, and whoever waits for the process waits for the disk then.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call(self._fd)
        except BaseException as why:  # whatever it is: raised where it is waited for
            self._error = why
        finally:
            os.close(self._fd)

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether all is on the disk.  Raises OSError where the disk has failed."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error:
            raise self._error
        return True
