"""Limits of a process (`rlimit_nofile`, `nice`, `cgroup`...): setting them in the child that is to be the service.

What lives here: the system calls, between fork and exec (spawn_as.py).  What does not: the kinds of values
(config/limits.py), whose text is understood here.

Theory of operation
-------------------

Rule 1.  What can need privileges is set while the child still has supervise's, before it becomes another user: its
         cgroup, its priorities, and hard limits that are raised.  What is lowered comes last, directly before the
         exec: between them the child opens files and asks name services, as supervise and not as the service.
Rule 2.  A limit that cannot be set, or not as it was said, refuses the start.
Rule 3.  Only what is a file of a cgroup v2 file system is written to: what is behind the path in the configuration
         can be anything, and the child may be root.
Rule 4.  This runs in the child alone, so what it imports (ctypes, for one) is in memory until the exec.
"""

from __future__ import annotations

import errno
import posix as os
import stat

from supervise.config.config import LIMITS
from supervise.config.limits import CLASSES, UNLIMITED, bytes_of, cpus_of
from supervise.protocol.text import shown_name
from supervise.system.cgroups import open_cgroup
from supervise.system.credentials import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.config import Config

_RLIMITS = tuple(key for key in LIMITS if key.startswith("rlimit_"))
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13  # linux/ioprio.h
# The number of ioprio_set(2), for which the C library has no function; machines that came later have all the last one.
_IOPRIO_SET = {
    **{"x86_64": 251, "i386": 289, "i486": 289, "i586": 289, "i686": 289, "s390x": 282, "ppc64": 273, "ppc64le": 273},
    **{"armv6l": 314, "armv7l": 314, "armv8l": 314, "aarch64": 30, "riscv64": 30, "loongarch64": 30},
}


def set_privileged(config: Config) -> None:
    """Set what this process may have to be privileged for, and raise hard limits.  Raises Refused."""
    if config.cgroup:
        _join(config)
    elif config.memory_max or config.cpu_max:
        raise Refused(f"cannot set {'memory_max' if config.memory_max else 'cpu_max'}: there is no cgroup to limit")
    if config.oom_score_adj:
        _write("/proc/self/oom_score_adj", config.oom_score_adj, f"set oom_score_adj {config.oom_score_adj}")
    if config.nice:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, int(config.nice))
        except OSError as why:
            raise Refused(f"cannot set nice {config.nice}: {why.strerror}") from None
    if config.ionice:
        _set_ionice(config.ionice)
    if config.cpu_affinity:
        _set_affinity(config.cpu_affinity)
    for key in _RLIMITS:
        if getattr(config, key):
            _raise_hard_limit(key, getattr(config, key))


def set_rlimits(config: Config) -> None:
    """Set the resource limits, as the last thing before the exec.  Raises Refused."""
    for key in _RLIMITS:
        if getattr(config, key):
            _set_rlimit(key, getattr(config, key), *_numbers(getattr(config, key)))


# setrlimit(2).


def _numbers(text: str) -> tuple[float, float]:
    soft, colon, hard = text.partition(":")
    first, second = (float("inf") if one == UNLIMITED else bytes_of(one) for one in (soft, hard if colon else soft))
    return first, second


def _raise_hard_limit(key: str, text: str) -> None:
    import resource

    soft, hard = resource.getrlimit(getattr(resource, key.upper()))
    wanted = _numbers(text)[1]
    if hard != resource.RLIM_INFINITY and wanted > hard:
        _set_rlimit(key, text, float("inf") if soft == resource.RLIM_INFINITY else soft, wanted)


def _set_rlimit(key: str, text: str, soft: float, hard: float) -> None:
    import resource

    number = getattr(resource, key.upper())
    first, second = (resource.RLIM_INFINITY if one == float("inf") else int(one) for one in (soft, hard))
    try:
        resource.setrlimit(number, (first, second))
    except (OSError, ValueError, OverflowError) as why:  # ValueError: EPERM and EINVAL
        now = resource.getrlimit(number)[1]
        above = "unlimited" if now == resource.RLIM_INFINITY else str(now)
        reason = f"the hard limit is {above}, and it cannot be raised to that" if hard > now >= 0 else str(why)
        raise Refused(f"cannot set {key} {text}: {reason}") from None


# Priorities and processors.


def _set_ionice(text: str) -> None:
    what = f"cannot set ionice {text}"
    name, _, level = text.partition(":")
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is None:
        raise Refused(f"{what}: not known how on a machine of the kind {os.uname().machine}")
    try:
        import ctypes

        syscall = ctypes.CDLL(None, use_errno=True).syscall
        value = CLASSES[name] << _IOPRIO_CLASS_SHIFT | int(level or 0)
        refused = syscall(ctypes.c_long(number), _IOPRIO_WHO_PROCESS, 0, value)
    except Exception as why:  # a Python without ctypes, or one that may not use it
        raise Refused(f"{what}: {why}") from None
    if refused:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")


def _set_affinity(text: str) -> None:
    wanted = cpus_of(text)
    try:
        os.sched_setaffinity(0, wanted)
        missing = wanted - os.sched_getaffinity(0)  # of several, the kernel takes those that there are
    except OSError as why:
        if why.errno != errno.EINVAL:
            raise Refused(f"cannot set cpu_affinity {text}: {why.strerror}") from None
        missing = wanted
    if missing:
        said = ", ".join(map(str, sorted(missing)[:8])) + (", ..." if len(missing) > 8 else "")
        raise Refused(f"cannot set cpu_affinity {text}: no processor {said} here, or it may not be used")


# The cgroup.


def _join(config: Config) -> None:
    path = config.cgroup
    try:
        directory = open_cgroup(path.encode("utf-8", "surrogateescape"))
    except OSError as why:
        raise Refused(f"cannot join cgroup {shown_name(path)}: {why.strerror}") from None
    for key, name in (("memory_max", "memory.max"), ("cpu_max", "cpu.max")):
        text = getattr(config, key)
        if text:
            number = text if key == "cpu_max" or text == "max" else str(bytes_of(text))
            _write(name, number, f"set {key} {text} of cgroup {shown_name(path)}", directory)
    _write("cgroup.procs", "0", f"join cgroup {shown_name(path)}", directory)
    os.close(directory)


def _write(name: str, text: str, what: str, directory: int | None = None) -> None:
    """Write one value to a file of the kernel's.  Raises Refused."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a file of the kernel's")
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as why:
        reason = why.strerror
        if directory is not None and why.errno == errno.ENOENT:
            reason = f"it has no {name}" + ("" if name == "cgroup.procs" else ": its controller is not enabled")
        elif name == "cgroup.procs" and why.errno == errno.EBUSY:
            reason = "it has enabled controllers for cgroups below it"
        raise Refused(f"cannot {what}: {reason}") from None
