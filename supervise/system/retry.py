"""Retrying system calls that fail for a transient reason, before anything is started.

"Could not look" is not "is not there".  What is over in a moment (no descriptors, no memory, a disk or a server that
does not answer) is worth some seconds; what is not, or lasts longer, is a reason not to start.
"""

from __future__ import annotations

import time

from supervise.system.errors import StatusDirError, is_transient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

SECONDS = 5.0  # for which it is tried
_FIRST, _LONGEST = 0.02, 0.5  # seconds between two looks


def retried(look: Callable[..., Any], *args: object) -> Any:
    """Call `look(*args)`, again while it fails for a transient reason, for SECONDS.  Raises what it raised last."""
    end = time.monotonic() + SECONDS
    pause = _FIRST
    while True:
        try:
            return look(*args)
        except StatusDirError as why:
            if not why.transient or time.monotonic() >= end:
                raise
        except OSError as why:
            if not is_transient(why) or time.monotonic() >= end:
                raise
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST)
