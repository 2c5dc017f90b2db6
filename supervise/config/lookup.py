"""Looking for what a configuration names outside of its file: user, group, directory, cgroup, processors, files.

What lives here: what there is of that, and the words about it.  What does not: which process asks, and what follows
(service/lookup.py, programs/check.py).

Theory of operation
-------------------

Rule 1.  It is asked in a process that ends, a helper of supervise's or a child of `--check`: a directory on another
         machine or a name service may not answer, and the process becomes the service's user on the way.
Rule 2.  What is said to be ABSENT is certain.  What could not be looked at (no permission, no memory, a name service
         that is down) is UNKNOWN, and the next start will tell.
Rule 3.  The order and the words are those of a start (service/spawn_as.py, service/limits.py).  So a directory that
         only the service's user may enter is there.
Rule 4.  What a start only tries (to set a limit, to become a user, to write to a cgroup) is not tried.
"""

from __future__ import annotations

import errno
import posix as os

from supervise.config.config import PLACED
from supervise.config.limits import cpus_of
from supervise.config.restrictions import named as named
from supervise.protocol.filenames import from_file
from supervise.system.accounts import exists
from supervise.system.cgroups import open_cgroup
from supervise.system.credentials import Refused, become, ids
from supervise.system.errors import lost_directory
from supervise.system.output_file import check_output
from supervise.system.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Finding = tuple[str, str, str]  # key, ABSENT or UNKNOWN, what about it

ABSENT, UNKNOWN = "absent", "unknown"
_CERTAIN = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_ONLINE = "/sys/devices/system/cpu/online"


def decode(data: bytes) -> dict[str, str]:
    """The same, as service/lookup.py hands it over: keys and values, separated by NULs."""
    texts = [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")]
    return dict(zip(texts[::2], texts[1::2]))


def look(values: Mapping[str, str]) -> list[Finding]:
    """Look for all of it: what is absent, and what cannot be told.  This process may be another user's from then on."""
    found: list[Finding] = []
    if "cgroup" in values:
        _look_for_cgroup(values, found)
    else:
        limits = [key for key in ("memory_max", "cpu_max") if key in values]
        found += [(key, ABSENT, f"cannot set {key}: there is no cgroup to limit") for key in limits]
    if "cpu_affinity" in values:
        _look_for_processors(values["cpu_affinity"], "cgroup" in values, found)
    user, group = values.get("user", ""), values.get("group", "")
    name, _, own_group = user.partition(":")
    known = _look_for_account("user", "user", name, found)
    known &= _look_for_account("group" if group else "user", "group", group or own_group, found)
    for key in PLACED:
        if key in values:
            _look_for_output(key, values[key], user if known else "", group if known else "", found)
    if "directory" in values:
        _look_for_directory(values["directory"], user if known else "", group if known else "", found)
    return found


def _note(found: list[Finding], key: str, why: OSError, text: str) -> None:
    """`text` without the reason."""
    found.append((key, ABSENT if why.errno in _CERTAIN else UNKNOWN, f"{text}: {why.strerror}"))


def _look_for_account(key: str, kind: str, name: str, found: list[Finding]) -> bool:
    """Whether it is there.  A number need not be anybody's."""
    if not name or (name.isascii() and name.isdigit()):
        return True
    try:
        if exists(kind, name):
            return True
        found.append((key, ABSENT, f"{kind} {name} does not exist"))
    except OSError as why:
        found.append((key, UNKNOWN, f"cannot look for {kind} {name}: {why.strerror}"))
    return False


def _look_for_directory(path: str, user: str, group: str, found: list[Finding]) -> None:
    """Enter it as the service would, as far as this process may."""
    text = f"cannot change to directory {path}"
    try:
        if os.geteuid() == 0 and (user or group):
            become(user, group)
    except Refused as why:
        found.append(("directory", UNKNOWN, f"{text}: {why}"))
        return
    try:
        os.chdir(path.encode("utf-8", "surrogateescape"))
    except OSError as why:
        _note(found, "directory", why, text)
        key, kind, said = found.pop()
        found.append((key, kind, said + lost_directory(path)))


def _look_for_output(key: str, path: str, user: str, group: str, found: list[Finding]) -> None:
    """Look at a file that it prints to, as supervise's user, who opens it."""
    text = f"cannot open {key} {path}"
    try:
        check_output(from_file(path), *ids(user, group))
    except (Untrusted, Refused) as why:
        found.append((key, UNKNOWN if user and os.geteuid() != 0 else ABSENT, f"{text}: {why}"))
    except OSError as why:
        _note(found, key, why, text)


def _look_for_cgroup(values: Mapping[str, str], found: list[Finding]) -> None:
    path = values["cgroup"]
    try:
        fd = open_cgroup(path.encode("utf-8", "surrogateescape"))
    except OSError as why:
        _note(found, "cgroup", why, f"cannot join cgroup {path}")
        return
    for key, name in (("memory_max", "memory.max"), ("cpu_max", "cpu.max")):
        if key not in values:
            continue
        text = f"cannot set {key} {values[key]} of cgroup {path}"
        try:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            found.append((key, ABSENT, f"{text}: it has no {name}: its controller is not enabled"))
        except OSError as why:
            _note(found, key, why, text)
    os.close(fd)


def _look_for_processors(text: str, joins: bool, found: list[Finding]) -> None:
    """`joins`: the service joins a cgroup first, which may be allowed others than this process is."""
    wanted = cpus_of(text)
    try:
        with open(_ONLINE, "rb") as file:
            missing = wanted - cpus_of(file.read().decode().strip())
    except (OSError, ValueError):
        missing = set()  # there is no /sys here: then the system call alone tells
    try:
        if not missing and not joins:
            os.sched_setaffinity(0, wanted)
            missing = wanted - os.sched_getaffinity(0)  # of several, the kernel takes those that there are
    except OSError as why:
        if why.errno != errno.EINVAL:
            _note(found, "cpu_affinity", why, f"cannot set cpu_affinity {text}")
            return
        missing = wanted
    if missing:
        said = ", ".join(map(str, sorted(missing)[:8])) + (", ..." if len(missing) > 8 else "")
        reason = f"no processor {said} here, or it may not be used"
        found.append(("cpu_affinity", ABSENT, f"cannot set cpu_affinity {text}: {reason}"))
