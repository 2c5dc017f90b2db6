"""Run as a script: bring a log within its limit (rotation.py), and compress its older parts.

    rotate_helper.py LIMIT BACKUPS COMPRESS NAME      0: a pipe for the answer; 3: the directory of the log

The answer is lines: `way WORD`, `start OFFSET`, `removed PARTS`, `no space`, `failed WHY`.  It is complete where the
exit code is 0.  Two that are started for one log come one after the other: each locks a byte of it, far behind its
end, where no writer's own lock is in the way; the log and not the directory, where other services may have theirs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import time

# Last: no module of the standard library is to be found there.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from supervise.helpers.background import Background
from supervise.helpers.rotation import COLLAPSE, NoSpace, Rotation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_DIRECTORY = 3
_EVERY, _SOON = 1.0, 0.5  # seconds
_IDLE = 3  # looks that found nothing to do
# struct flock of fcntl(2).  Not a lock of the process: it would lose that as soon as it closes any descriptor of the
# log, and mapping it into memory takes and closes one.
_LOCK = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1 << 62, 1, 0)
_PATIENCE = 60.0  # seconds
_PAUSE = 0.05


def main(words: list[str]) -> int:
    """Rotate, and answer."""
    limit, backups, compressed, name = int(words[0]), int(words[1]), words[2], words[3]
    lines = []
    try:
        directory = _DIRECTORY
        rotation = _locked(directory, name, limit, backups)
        try:
            try:
                _keep_within(rotation, lambda: not compressed or _compress(directory, name, rotation))
            except NoSpace:
                lines.append("no space")
        finally:
            lines += [f"way {rotation.way}", f"start {rotation.start}"]
            if rotation.removed:
                lines.append(f"removed {rotation.removed}")
    except OSError as why:
        lines.append(f"failed {why.strerror}")
    os.write(0, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    return 0


def _keep_within(rotation: Rotation, compressed: Callable[[], bool]) -> None:
    """Rotate, and stay as long as there is much to rotate: to start takes more than all else.

    Supervise is the parent, and not looked for when it has gone: whoever comes next starts another.
    """
    parent, idle = os.getppid(), 0
    while idle < _IDLE and os.getppid() == parent:
        begun = time.monotonic()
        if rotation.unfinished:
            idle = 0
            rotation.run()
        else:
            idle += 1
            if not compressed():
                continue
        if rotation.way != COLLAPSE and not rotation.behind:
            return  # the next start begins a new file, unless a helper is at it
        # From one to the next, so that no more than what is printed in between is there too much.
        next_one = begun + (_SOON if rotation.behind else _EVERY)
        time.sleep(max(next_one - time.monotonic(), _PAUSE))


def _locked(directory: int, name: str, limit: int, backups: int) -> Rotation:
    """The rotation of a log that this process has locked.  Raises OSError."""
    end = time.monotonic() + _PATIENCE
    while True:
        rotation = Rotation(directory, name, limit, backups)
        try:
            fcntl.fcntl(rotation.fd, fcntl.F_OFD_SETLK, _LOCK)
        except OSError as why:
            if why.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if time.monotonic() > end:
                raise OSError(errno.EBUSY, "somebody holds a lock of it") from None
        else:
            if rotation.is_current():
                return rotation
        rotation.close()
        time.sleep(_PAUSE)


def _compress(directory: int, name: str, rotation: Rotation) -> bool:
    """Compress all parts but the newest; False: the log has grown, and needs rotating first."""
    from supervise.helpers.compression import compress

    # In a thread of its own, which alone gets the least of priorities.
    beside = Background(lambda: compress(directory, name, lambda: rotation.exceeded))
    beside.wait()
    return beside.result is True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
