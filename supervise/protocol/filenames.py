"""File names as bytes and text, and joining and splitting paths, without the module os.

The process that stays does with `posix`, which is what os.py makes its functions of: os.py and what it imports would
take 0.2 MB of its memory, and an eighth of the time that it starts in.  So `import posix as os` is written in all that
it loads, and what only os.py has is here.  Each does what os and os.path do on Linux under the same name, but for
`in_file` and `from_file`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import AnyStr

DEVNULL = "/dev/null"
DEFPATH = "/bin:/usr/bin"


def fsencode(name: str) -> bytes:
    """Encode a file name to the kernel's bytes.  Raises UnicodeEncodeError."""
    return name.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def fsdecode(name: bytes) -> str:
    """Decode a file name to text, from which `fsencode` makes the same bytes."""
    return name.decode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())


def in_file(name: str) -> str:
    """A file name as supervise.conf has it, which is decoded as UTF-8 whatever the locale is: the same bytes."""
    return fsencode(name).decode("utf-8", "surrogateescape")


def from_file(text: str) -> str:
    """Text of supervise.conf as a file name, from which `in_file` makes the same text."""
    return fsdecode(text.encode("utf-8", "surrogateescape"))


def join(above: AnyStr, name: AnyStr) -> AnyStr:
    """Join paths; `name` alone where that begins at the root."""
    slash = "/" if isinstance(name, str) else b"/"
    if name.startswith(slash):
        return name
    return above + name if not above or above.endswith(slash) else above + slash + name


def split(path: AnyStr) -> tuple[AnyStr, AnyStr]:
    """Split off the last component of a path: what is before it, without slashes at its end, and it."""
    slash = "/" if isinstance(path, str) else b"/"
    at = path.rfind(slash) + 1
    above = path[:at]
    return above.rstrip(slash) or above, path[at:]


def dirname(path: AnyStr) -> AnyStr:
    """The path before the last component."""
    return split(path)[0]


def basename(path: AnyStr) -> AnyStr:
    """The last component, empty where the path ends in a slash."""
    return split(path)[1]
