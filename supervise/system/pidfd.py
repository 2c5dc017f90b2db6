"""Processes by pidfd: the main process of a service, which is a child, or after a takeover is not.

A child is reaped, and its exit status is waitpid's.  One that was taken over, or started by another process of the
service, is not ours to reap, or only since its parent has ended (supervise is a subreaper): its end is seen through its
pidfd, and where waitpid knows nothing its exit status is what the kernel tells through that (PIDFD_GET_INFO with
PIDFD_INFO_EXIT, Linux 6.15 and later, once its parent has reaped it), or unknown.
"""

from __future__ import annotations

import errno
import fcntl
import posix as os
import select

from supervise.protocol.exitstatus import ExitStatus, from_wait_status
from supervise.system.descriptors import close
from supervise.system.procfs import proc_is_ours, stat_of
from supervise.system.spawn import NUMBERS, reap, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # see spawn.py

_PATIENCE = 5.0  # seconds

# struct pidfd_info of linux/pidfd.h: mask at 0, exit_code (as waitpid reports it) at 60.
_INFO_SIZE = 64
_GET_INFO = (3 << 30) | (_INFO_SIZE << 16) | (0xFF << 8) | 11  # _IOWR(0xFF, 11, struct pidfd_info)
_INFO_EXIT = 1 << 3


class Process:
    """A process of the service.  `fd` is its pidfd, -1 where the kernel has none (then it is a child).

    `group` and `session` are the numbers of its process group and session.
    """

    __slots__ = ("pid", "child", "fd", "group", "session", "_how")

    def __init__(self, pid: int, child: bool = True, fd: int = -1) -> None:
        self.pid = pid
        self.child = child
        self.fd = fd
        self._how: ExitStatus | None = None
        if fd < 0:
            try:
                self.fd = os.pidfd_open(pid)
            except OSError:
                pass  # an old kernel, or no descriptor left: SIGCHLD will tell
        # A child of ours leads a group of its own from before its program is executed.
        self.group, self.session = pid, 0
        try:
            self.session = os.getsid(pid)
        except OSError:
            pass  # its end is about to be seen
        self.look_again()

    def hold(self) -> bool:
        """Open the pidfd if it is not open; whether that was done.  Raises OSError: no descriptor is left."""
        if self.fd >= 0:
            return False
        try:
            self.fd = os.pidfd_open(self.pid)
        except OSError as why:
            if why.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            return False  # an old kernel
        return True

    def disown(self, paused: bool) -> bool:
        """Treat it as no child any more, for its parent has ended; whether its end can still be seen."""
        self.child = False
        if paused and self.fd >= 0:
            # The kernel lets go on what is stopped and has nobody any more in its session who could do so.
            self.send("STOP", False)
        return self.fd >= 0

    def look_again(self) -> None:
        """Update its process group and session; a daemon makes its own when it has been forked."""
        if self.child:
            return
        try:
            group, session = os.getpgid(self.pid), os.getsid(self.pid)
        except OSError:
            return
        if not self.reaped():  # else these may be another's
            self.group, self.session = group, session

    def send(self, name: str, group: bool) -> str | None:
        """Send a signal to it or to its process group; the problem, or None."""
        if self.child:
            return send(self.pid, name, group)
        if group:
            self.look_again()
            # The group has its number as long as this process is in it, which the pidfd shows alive.
            return send(self.group, name, True) if self.alive() else None
        try:
            _signal.pidfd_send_signal(self.fd, NUMBERS[name])
        except OSError as why:
            if why.errno != errno.ESRCH or self.alive():  # else its end is about to be seen
                return f"cannot send {name} to pid {self.pid}: {why.strerror}"
        return None

    def alive(self) -> bool:
        """Whether it has not ended, by its pidfd; a zombie has ended."""
        if self.fd < 0:
            return False
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        try:
            return not poll.poll(0)
        except OSError:  # no memory: nobody knows, and so nothing follows from it
            return not self.reaped()

    def gone(self) -> bool:
        """Whether it has certainly ended; a child is not reaped."""
        if not self.child:
            return self.fd >= 0 and not self.alive()
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True  # it has been reaped
        except OSError:
            return False

    def reaped(self) -> bool:
        """Whether it has been reaped, so that the kernel tells its exit status no more."""
        try:
            _signal.pidfd_send_signal(self.fd, 0)
        except OSError as why:
            return why.errno == errno.ESRCH
        return False

    def exit_status(self) -> ExitStatus:
        """Its exit status, as far as that is known; call it only when the pidfd is readable."""
        if self._how is None:
            done = reap(self.pid)
            # Kept: who asked may fail before he has told anybody, and ask again.
            self._how = done[1] if done else None
        if self._how:
            return self._how
        # Of a child, a tracer may keep the status to itself for as long as it likes; the process is gone all the same.
        return ExitStatus() if self.child else exit_info(self.fd) or ExitStatus()

    def take_back(self) -> None:
        """Kill a child that was just started, with its process group, and reap it."""
        for group in (True, False):
            send(self.pid, "KILL", group)
        if self.fd >= 0:
            poll = select.poll()
            poll.register(self.fd, select.POLLIN)
            try:
                poll.poll(_PATIENCE * 1000)
            except OSError:
                pass
        self.exit_status()
        self.close()

    def identity(self) -> dict[str, Any]:
        """Its identity for the state, unique among all processes that have had its pid.

        `start_ticks`: clock ticks from boot to its start, 0 where /proc does not tell; `pidfd_inode`: unique since
        Linux 6.9, else None.  Raises OSError where nobody could look: what is written down must be true.
        """
        ticks = stat_of(self.pid).start_ticks if proc_is_ours() else 0
        inode = unique_inode(self.fd)
        return {**self.unknown_identity(), "start_ticks": ticks, "pidfd_inode": inode}

    def unknown_identity(self) -> dict[str, Any]:
        """An identity of which nothing but the pid is known."""
        where = {"group": self.group, "session": self.session}
        return {"pid": self.pid, "start_ticks": 0, "pidfd_inode": None, **where}

    def close(self) -> None:
        """Close the pidfd."""
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1


def exit_info(fd: int) -> ExitStatus | None:
    """The exit status by PIDFD_GET_INFO; None: not yet, or never on this kernel, or no pidfd (-1)."""
    if fd < 0:
        return None
    info = bytearray(_INFO_SIZE)
    info[0:8] = _INFO_EXIT.to_bytes(8, "little")
    try:
        fcntl.ioctl(fd, _GET_INFO, info)
    except OSError:
        return None
    if not int.from_bytes(info[0:8], "little") & _INFO_EXIT:
        return None
    return from_wait_status(int.from_bytes(info[60:64], "little"))


_unique: bool | None = None


def unique_inode(fd: int) -> int | None:
    """The inode of a pidfd, which is unique to the process; None before Linux 6.9, where all pidfds share one.

    Raises OSError: nobody could look.
    """
    global _unique
    if fd < 0:
        return None
    inode = os.fstat(fd).st_ino
    if _unique is None:
        own = os.pidfd_open(os.getpid())
        try:
            _unique = os.fstat(own).st_ino != inode
        finally:
            close(own)
    return inode if _unique else None
