"""Whether there is a user or a group of a name, where "no" must be certain; for processes that end.

Theory of operation
-------------------

Rule 1.  What finds one is what a start asks (credentials.py): the modules pwd and grp.
Rule 2.  What does not may have been kept from it: by a name service that does not answer, for want of descriptors, of
         memory, of a permission.  Python does not say, nor does the C library where a later service in nsswitch.conf
         knows of nothing.  So each of them is then asked alone, and is to say itself that it has none of that name.
Rule 3.  To ask them alone changes for good what this process finds.  And ctypes is large.
"""

from __future__ import annotations

import errno
import posix as os

_KINDS = {"user": ("passwd", b"getpwnam_r"), "group": ("group", b"getgrnam_r")}
_ANSWERS = (0, errno.ENOENT, errno.ESRCH)  # getpwnam_r(3): not found
_NSSWITCH = "/etc/nsswitch.conf"
_RECORD = 512  # bytes: more than a struct passwd or group takes
_SIZES = (1 << 12, 1 << 16, 1 << 20)  # bytes of the strings in it


def exists(kind: str, name: str) -> bool:
    """Whether there is a `user` or a `group` of this name.  Raises OSError: that cannot be told."""
    import grp
    import pwd

    try:
        if kind == "user":
            pwd.getpwnam(name)
        else:
            grp.getgrnam(name)
    except (KeyError, ValueError):
        return _exists_for_certain(kind, name)
    except MemoryError:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
    return True


def _exists_for_certain(kind: str, name: str) -> bool:
    """Ask each service alone (rule 2).  Raises OSError."""
    try:
        import ctypes

        library = ctypes.CDLL(None)
        database, function = _KINDS[kind]
        ask = getattr(library, function.decode())
        choose = getattr(library, "__nss_configure_lookup", None)  # the GNU C library's
    except Exception as why:  # a Python without ctypes, or one that may not use it
        raise OSError(errno.ENOSYS, f"it was not found, and why cannot be asked: {why}") from None
    text = name.encode("utf-8", "surrogateescape")
    services = _services(database) if choose else [b""]
    for service in services:
        if choose and choose(database.encode(), service):
            raise OSError(errno.EINVAL, f"{service.decode()} in {_NSSWITCH} cannot be asked")
        for size in _SIZES:
            result = ctypes.c_void_p()
            place = ctypes.create_string_buffer(_RECORD), ctypes.create_string_buffer(size)
            number = ask(text, *place, ctypes.c_size_t(size), ctypes.byref(result))
            if number != errno.ERANGE:
                break
        if result.value:
            return True
        if number not in _ANSWERS:
            raise OSError(number, os.strerror(number))
    return False


def _services(database: str) -> list[bytes]:
    """The services that nsswitch.conf(5) names for a database.  Raises OSError."""
    try:
        with open(_NSSWITCH, "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return [b"files"]
    for line in lines:
        name, colon, rest = line.partition(b"#")[0].partition(b":")
        if colon and name.strip() == database.encode():
            found, inside = [], False
            for word in rest.replace(b"[", b" [ ").replace(b"]", b" ] ").split():
                if word in b"[]":
                    inside = word == b"["
                elif not inside:
                    found.append(word)
            return found
    return [b"files"]
