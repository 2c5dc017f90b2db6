"""One more watch on an inotify descriptor that there is (inotify(7)).

Through _ctypes, which is a tenth of what ctypes takes in memory; and only for what needs it.
"""

from __future__ import annotations

import _ctypes

MODIFY, ONESHOT = 0x2, 0x80000000  # linux/inotify.h

_add = _ctypes.dlsym(_ctypes.dlopen(None, 0), "inotify_add_watch")  # type: ignore[arg-type]


def add(fd: int, opened: int, mask: int) -> int:
    """Watch what the descriptor `opened` is open for; the watch's number, -1 if it cannot be watched."""
    return int(_ctypes.call_function(_add, (fd, b"/proc/self/fd/%d" % opened, mask)))
