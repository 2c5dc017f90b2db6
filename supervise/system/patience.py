"""Looking again for a while, before anything is started, where the system does not let one look.

"Could not look" is not "is not there".  What is over in a moment (no descriptors, no memory, a disk or a server that
does not answer) is worth some seconds; what is not, or lasts longer, is a reason not to start.
"""

from __future__ import annotations

import time

from supervise.system.refusals import StatusDirError, is_passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

PATIENCE = 5.0  # seconds
_FIRST, _LONGEST = 0.02, 0.5  # seconds between two looks


def patiently(look: Callable[..., Any], *args: object) -> Any:
    """What `look` returns, tried again for a while where that may help.  Raises what it raised last."""
    end = time.monotonic() + PATIENCE
    pause = _FIRST
    while True:
        try:
            return look(*args)
        except StatusDirError as why:
            if not why.passing or time.monotonic() >= end:
                raise
        except OSError as why:
            if not is_passing(why) or time.monotonic() >= end:
                raise
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST)
