"""Memory and CPU of whole process groups, from /proc.

A service has a process group of its own, the number of which is the pid that the record shows, or that of a main
process which has ended and was followed by another.  Where there is no such group (a supervise of the C implementation
starts none, so its own is the service's), the process alone counts.
"""

from __future__ import annotations

import os

from supervise.client.clocks import since_boot

_HERTZ = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """Memory and CPU of some processes: `processes`, their number; `memory` in bytes, resident, pages that several of
    them share counted for each; `cpu` in seconds, user and system, children that have ended included; `percent`, of
    one processor since the oldest of them was started."""

    __slots__ = ("processes", "memory", "cpu", "percent", "_oldest")

    def __init__(self) -> None:
        self.processes = 0
        self.memory = 0
        self.cpu = 0.0
        self.percent = 0.0
        self._oldest = 0.0

    def add(self, pid: int, fields: list[bytes], uptime: float) -> None:
        """Count one process: what follows its name in /proc/PID/stat, and how long the system is up."""
        self.processes += 1
        self.memory += (_pages_of_threads(pid) if fields[0] == b"Z" else int(fields[21])) * _PAGE
        # utime, stime, and the same of children that were waited for
        self.cpu += sum(map(int, fields[11:15])) / _HERTZ
        self._oldest = max(self._oldest, uptime - int(fields[19]) / _HERTZ)
        self.percent = 100 * self.cpu / max(self._oldest, 1 / _HERTZ)


def usage(pids: set[int]) -> dict[int, Usage]:
    """The usage of each process group with one of these numbers, in one pass over /proc; none for one that is gone, or
    without /proc."""
    everybody: dict[int, list[bytes]] = {}
    try:
        processes = os.listdir("/proc") if pids else []
    except OSError:
        return {}
    for name in processes:
        fields = _stat(name) if name.isdigit() else []
        if fields and _lives(fields):
            everybody[int(name)] = fields
    groups: dict[int, int] = {}  # number of a process group -> for whom it counts
    for pid in pids & everybody.keys():
        group = int(everybody[pid][2])
        if group == pid or group not in everybody:
            groups[group] = pid
    found: dict[int, Usage] = {}
    uptime = since_boot()
    for pid, fields in everybody.items():
        whose = groups.get(int(fields[2])) or (pid if pid in pids else 0)
        if whose:
            found.setdefault(whose, Usage()).add(pid, fields, uptime)
    return found


def _lives(fields: list[bytes]) -> bool:
    """The state is that of the first thread, which may have ended (Z) while others run: num_threads counts it, too."""
    return fields[0] not in (b"Z", b"X") or (fields[0] == b"Z" and int(fields[17]) > 1)


def _stat(name: str) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on; none if the process is gone."""
    fields = _read(f"/proc/{name}/stat").rpartition(b")")[2].split()
    return fields if len(fields) > 21 else []


def _pages_of_threads(pid: int) -> int:
    """The resident pages of a process whose first thread has ended: only its other threads know them."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0
    pages = 0
    for thread in threads:
        fields = _read(f"/proc/{pid}/task/{thread}/statm").split()
        pages = max(pages, int(fields[1]) if len(fields) > 1 else 0)
    return pages


def _read(path: str) -> bytes:
    """The first bytes of a file of /proc; none if its process is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError:
        return b""
