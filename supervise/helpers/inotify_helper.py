"""Run as a script: set inotify watches through pyinotify and send the descriptor back.

    inotify_helper.py KIND:PATH ...        standard input: the socket on which the answer goes
    inotify_helper.py                      standard input: a socket from which requests come, until that is closed

The answer is one message: `ok`, or what went wrong; with the inotify descriptor, where there is one.  A request is one
message as well: KIND:PATH ..., each but the last before a NUL, with the socket on which the answer goes.
"""

from __future__ import annotations

import array
import os
import socket
import sys

# Last: no module of the standard library is to be found there.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from supervise.protocol.text import shown_name
from supervise.system.isolated import reach_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyinotify

_MOVED = "IN_MOVE_SELF", "IN_DELETE_SELF"
_NAMES = (*_MOVED, "IN_CREATE", "IN_MOVED_TO", "IN_MOVED_FROM", "IN_DELETE")
_MASKS = {
    "dir": _MOVED,
    "names": _NAMES,
    "writes": (*_NAMES, "IN_CLOSE_WRITE"),
    # Not IN_MODIFY: a file is read when its writer has closed it, not half written.
    "file": ("IN_CLOSE_WRITE", "IN_ATTRIB", "IN_MOVE_SELF"),
    # A file that is open somewhere is not deleted with its last name; but the number of its names is an attribute.
    "links": ("IN_ATTRIB", "IN_MOVE_SELF"),
}


_REQUEST = 1 << 20  # bytes at most


def main(words: list[str]) -> int:
    """Set the watches and answer, once or for each request.  0 if all of them could be set."""
    given = socket.socket(fileno=0)
    problem = ""
    try:
        reach_others()
        spare_the_search()
        import pyinotify

        pyinotify.log.disabled = True
    except (ImportError, OSError) as why:
        problem = f"cannot import pyinotify: {why}"
    if words:
        return answer(given, words, problem)
    for words, their in requests(given):
        with their:
            answer(their, words, problem)
    return 0


def requests(given: socket.socket) -> Iterator[tuple[list[str], socket.socket]]:
    """Receive requests, each with the socket for its answer."""
    rights = array.array("i", [0])
    while True:
        data, ancillary, _, _ = given.recvmsg(_REQUEST, socket.CMSG_SPACE(rights.itemsize))
        if not data:
            return
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fd = int.from_bytes(content[: rights.itemsize], sys.byteorder)
                yield os.fsdecode(data).split("\0"), socket.socket(fileno=fd)


def answer(their: socket.socket, words: list[str], problem: str) -> int:
    """Set the watches and answer with them, or with the `problem`, if there is one.  0 if all of them could be set."""
    if problem:
        their.sendall(problem.encode())
        return 1
    import pyinotify

    try:
        manager = pyinotify.WatchManager()
    except OSError as why:
        their.sendall(f"no inotify instance is left ({why}); see fs.inotify.max_user_instances".encode())
        return 1
    said = "ok"
    for word in words:
        kind, _, path = word.partition(":")
        mask = pyinotify.IN_MASK_ADD  # two paths may lead to one file
        for name in _MASKS[kind]:
            mask |= getattr(pyinotify, name)
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile: supervise looks again when it has the descriptor
        # pyinotify encodes paths strictly, and so takes no path that is not UTF-8; this one always is.
        link = f"/proc/self/fd/{fd}"
        watched = manager.add_watch(link, mask).get(link, -1) >= 0
        os.close(fd)
        if not watched and kind == "file":
            # inotify watches only what may be read.  That this changes, its directory tells.
            watched = watch_in_directory(manager, path)
        if not watched:
            said = f"cannot watch {shown_name(path)}: no permission, or fs.inotify.max_user_watches is reached"
    rights = array.array("i", [manager.get_fd()])
    try:
        their.sendmsg([said.encode("utf-8", "backslashreplace")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except BrokenPipeError:
        pass  # supervise has ended
    manager.close()
    return 0 if said == "ok" else 1


def spare_the_search() -> None:
    """Have pyinotify take the C library that is loaded, as it does where none is found.

    To find one, ctypes.util runs ldconfig(8), or even a compiler, and imports a quarter of all that is imported here.
    """
    try:
        import ctypes
    except ImportError:
        return  # there is another way for pyinotify
    instead = type(sys)("ctypes.util")
    instead.find_library = lambda name: None  # type: ignore[attr-defined]
    sys.modules["ctypes.util"] = ctypes.util = instead  # type: ignore[attr-defined]


def watch_in_directory(manager: pyinotify.WatchManager, path: str) -> bool:
    """Watch a file through the directory that it is in; whether that could be done."""
    import pyinotify

    mask = 0
    for name in {*_MASKS["names"], *_MASKS["file"]}:
        mask |= getattr(pyinotify, name)
    fd = os.open(os.path.dirname(path), os.O_PATH | os.O_CLOEXEC)
    link = f"/proc/self/fd/{fd}"
    watched = manager.add_watch(link, mask).get(link, -1) >= 0
    os.close(fd)
    return bool(watched)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # what has been imported need not be taken apart, which takes a seventh of the time
