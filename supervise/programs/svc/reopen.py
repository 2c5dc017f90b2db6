"""svc reopen: whether the log files of a service are in place, after something else has renamed or deleted one.

The service writes into its files itself, and holds them open: nobody else can give it others while it runs.
"""

from __future__ import annotations

import os
import stat

from supervise.client import ClientError, Service, SystemRefused
from supervise.client.errors import NoPermission
from supervise.client.logfiles import LogError
from supervise.client.named import named
from supervise.programs.program import complain, warning
from supervise.protocol.exitcodes import FAILED
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client.service import LogName

    Place = tuple[int, str, str]  # descriptor, directory, name

_STREAMS: tuple[tuple[int, LogName], ...] = ((1, "stdout"), (2, "stderr"))
_DELETED = " (deleted)"


def reopen(words: list[str]) -> int:
    """Say how it is with the logs of each service; the exit code."""
    code = 0
    for _, service in named(words, warning("svc")):
        try:
            if isinstance(service, ClientError):
                raise service
            held = _held(service)
        except ClientError as why:
            complain("svc", why)
            code = max(code, why.exit_code)
            continue
        if held:
            complain("svc", held)
            code = max(code, FAILED)
    return code


def _held(service: Service) -> str:
    """What the service holds that is no log of its any more; else says that all is well.  Raises ClientError."""
    pid = service.status().pid
    places = _places(service)
    if not pid:
        missing = [name for _, folder, name in places if not os.path.lexists(os.path.join(folder, name))]
        shown = " and ".join(dict.fromkeys(map(shown_name, missing)))
        # Whether it prints there, or both streams to one, or to a logger, its file may say otherwise by then.
        said = f"no {shown}; the next start makes what the service prints to" if missing else "the logs are in place"
        print(f"{service.shown_path}: down; {said}", flush=True)
        return ""
    mine = [found for _, folder, name in places if (found := _found(service, folder, name))]
    lost = [lost for place in places if (lost := _lost(service, pid, place, mine))]
    if lost:
        what = f"the service (pid {pid}) holds {' and '.join(lost)}"
        return f"cannot reopen the logs of {service.shown_path} without a restart: {what}"
    print(f"{service.shown_path}: the logs are in place", flush=True)
    return ""


def _places(service: Service) -> list[Place]:
    """Where the service prints to files, if it does."""
    places: list[Place] = []
    for number, stream in _STREAMS:
        try:
            places.append((number, *service.log_place(stream)))
        except LogError:
            pass  # to what supervise prints to, or to nothing
    return places


def _found(service: Service, folder: str, name: str) -> os.stat_result | None:
    try:
        return os.stat(os.path.join(folder, name), follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as why:
        raise SystemRefused(f"cannot look at the logs of {service.shown_path}: {why.strerror}") from None


def _lost(service: Service, pid: int, place: Place, mine: list[os.stat_result]) -> str:
    """The file that its descriptor leads to, where that was a log and is not any more; else nothing."""
    number, folder, name = place
    link = f"/proc/{pid}/fd/{number}"
    try:
        held = os.stat(link)
        where = os.readlink(link)
    except FileNotFoundError:
        return ""  # closed, or the service has ended
    except PermissionError:
        raise NoPermission(f"cannot look at the logs of {service.shown_path}: pid {pid} is another user's") from None
    except OSError as why:
        raise SystemRefused(f"cannot look at the logs of {service.shown_path}: {why.strerror}") from None
    if not stat.S_ISREG(held.st_mode) or any(os.path.samestat(held, log) for log in mine):
        return ""  # a pipe or a terminal is the service's own choice
    deleted = held.st_nlink == 0
    inside = os.path.realpath(os.path.dirname(where)) == os.path.realpath(folder)
    named_so = os.path.basename(where).startswith(name)
    if not (deleted or inside or named_so):
        return ""  # a file of the service's own choice
    where = where[: -len(_DELETED)] if deleted and where.endswith(_DELETED) else where
    return f"{shown_name(name)} as {shown_name(where)}{', which is deleted' if deleted else ''}"
