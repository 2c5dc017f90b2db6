"""What /proc tells of this system: which boot it is, and which PID namespace this process is in."""

from __future__ import annotations

import os


def pid_namespace() -> dict[str, int] | None:
    """What tells the PID namespace that this process is in; None where that cannot be looked at."""
    try:
        found = os.stat("/proc/self/ns/pid")
    except OSError:
        return None
    return {"device": found.st_dev, "inode": found.st_ino}


def boot_id() -> str:
    """What tells this boot from any other, of this machine or another; empty where there is no such file.

    Raises OSError: nobody could look.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            return (file.read(64) or b"").decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""
