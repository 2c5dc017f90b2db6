"""Preloaded modules: the code of those that an upgrade needs, as they were installed when supervise started.

By the day that they are needed, the files of this package may be another version's.  To have them imported from the
start takes three times the memory.  For what else modules take that stay for months, see `strip`.
"""

from __future__ import annotations

import marshal
import posix as os
import sys
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader, cache_from_source

from supervise.protocol.filenames import dirname, join
from supervise.system.installed import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

UPGRADE = (  # in this order
    "supervise.system.subreaper",
    *(f"supervise.supervisor.{name}" for name in ("handoff", "guardian", "upgrade", "replaceable")),
)
STATE_READER = "supervise.protocol.state_reader"
NAMES = (*UPGRADE, STATE_READER)
_codes: dict[str, bytes] = {}


def strip() -> None:
    """Drop the docstrings of modules and classes, for their readers have the files: 40 KB, for what comes next."""
    for name, module in sys.modules.items():
        if name.startswith("supervise."):
            module.__doc__ = None
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == name:
                    value.__doc__ = None


def preload() -> None:
    """Read the code of all of them into memory.  Raises ImportError and OSError."""
    if not done():
        _codes.update({name: _compiled(_path(name)) for name in NAMES})


def done() -> bool:
    """Whether that has been done: by whom this process is a copy of, it may be."""
    return bool(_codes)


def _compiled(path: str) -> bytes:
    """The code of a module, marshalled; from its .pyc, if there is one: to compile it takes memory."""
    found = os.stat(path)
    numbers = 0, int(found.st_mtime), found.st_size  # of the file that it was made from
    head = MAGIC_NUMBER + b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in numbers)
    try:
        with open(cache_from_source(path), "rb", buffering=0) as file:
            data = file.readall() or b""
        if data.startswith(head):
            return data[len(head) :]
    except OSError:
        pass
    return marshal.dumps(SourceFileLoader("", path).get_code(""))


def _path(name: str) -> str:
    return join(dirname(PACKAGE), name.replace(".", "/") + ".py")


def module(name: str) -> ModuleType:
    """Load a preloaded module; those that it imports must be loaded first."""
    if name not in sys.modules:
        made = type(sys)(name)
        made.__file__ = _path(name)
        made.__package__ = name.rpartition(".")[0]
        exec(marshal.loads(_codes[name]), made.__dict__)
        sys.modules[name] = made
    return sys.modules[name]
