"""What time it is on the clocks of the state: since boot, and monotonic, whatever is done to the wall clock.

A stamp of a process of this boot is compared with what the kernel says in /proc/uptime, and not with the clocks that a
library may have changed for this program alone: under faketime(1) clock_gettime(2) answers as it was told, while the
service lives by the real time.  How far the two are apart is asked once, for they go on together from there.
"""

from __future__ import annotations

import os
import time

from supervise.system.procfs import boot_id, stat_of

_TICKS = os.sysconf("SC_CLK_TCK")
_COARSE = 0.1  # seconds: more than /proc/uptime, in hundredths, and the time to read it can be apart
_boot_ids: list[str] = []  # this boot's, once somebody has asked
_ahead: list[float] = []  # how far the clocks of this program are ahead of the kernel's, once somebody has asked


def same_boot(name: str) -> bool:
    """Whether that is the id of this boot.  Never raises: where nobody can know, it is not."""
    if not _boot_ids:
        try:
            _boot_ids.append(boot_id())
        except OSError:
            return False
    return bool(name) and name == _boot_ids[0]


def since_boot() -> float:
    """Seconds since boot, time in which the system slept included: CLOCK_BOOTTIME.  Never raises."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - _lead()


def monotonic() -> float:
    """Seconds of CLOCK_MONOTONIC, as supervise has them.  Never raises."""
    return time.monotonic() - _lead()


def started(ticks: int) -> float:
    """When a process was started, in seconds since boot; `ticks` is what /proc/PID/stat has."""
    return ticks / _TICKS


def _lead() -> float:
    if not _ahead:
        _ahead.append(_look())
    return _ahead[0]


def _look() -> float:
    try:
        with open("/proc/uptime", "rb", buffering=0) as file:
            found = float((file.read(64) or b"").split()[0])
        ahead = time.clock_gettime(time.CLOCK_BOOTTIME) - found
        # In some containers it is that of the container (lxcfs), which this process began before by that reckoning.
        if abs(ahead) > _COARSE and found + 1 >= started(stat_of(os.getpid()).start_ticks):
            return ahead
    except (OSError, ValueError, IndexError):
        pass
    return 0.0
