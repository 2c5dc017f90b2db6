"""Becoming a subreaper (prctl(2)): the orphans of the service become supervise's children.

A subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) is given every process below it whose parent has ended: a main process
that its predecessor has started, a daemon that forks into the background.  It sees their ends and reaps them.  The
kernel keeps this over an exec, and does not hand it down to children.

Python has no prctl, and even the part of ctypes that is in C would cost each supervise 0.4 MB.  So it is called before
the exec that makes the process that stays.  The names in _ctypes are CPython's own affair, and some builds lack it:
whatever goes wrong is told, and supervise goes on without.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


_found: Any = None  # _ctypes.call_function and the address of prctl


def become() -> str | None:
    """Make this process a subreaper; the problem, or None."""
    try:
        load()
        call, prctl = _found
        refused = call(prctl, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    except Exception as why:  # no such module, or not as it is known today
        return f"prctl cannot be called: {why}"
    return "prctl is refused" if refused else None


def resign() -> None:
    """Undo that, for a process that has only tried it.  Never raises."""
    try:
        call, prctl = _found
        call(prctl, (_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0))
    except Exception:
        pass  # it was none


def load() -> None:
    """Have ready what `become` needs, for copies of this process.  Raises whatever an import or dlopen may raise."""
    global _found
    if _found is None:
        import _ctypes

        loaded = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # as dlopen(3): this program, with its C library
        _found = _ctypes.call_function, _ctypes.dlsym(loaded, "prctl")
