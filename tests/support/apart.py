"""A test in a process of its own, as supervise is one: the first of a session, and the parent of orphans."""

from __future__ import annotations

import os
import signal
import traceback
from functools import wraps
from typing import Any, Callable

import pytest

from supervise.system import subreaper
from supervise.system.members import own_children
from supervise.system.spawn import HELPERS

_SKIPPED = "skip: "


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """A decorator.  Whatever the test has started has ended when it is over."""

    @wraps(test)
    def run(*args: Any, **values: Any) -> None:
        in_child(lambda: test(*args, **values))

    return run


def in_child(act: Callable[[], object]) -> None:
    """Do it in such a process; what it raises fails the test, or skips it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        said = ""
        try:
            os.close(reading)
            os.setsid()
            HELPERS.clear()
            why = subreaper.become()
            assert why is None, why
            act()
        except pytest.skip.Exception as why_not:
            said = f"{_SKIPPED}{why_not}"
        except BaseException:
            said = traceback.format_exc()
        finally:
            try:
                end_children()
                os.write(writing, said.encode(errors="replace")[-60_000:])
            finally:
                os._exit(0)
    os.close(writing)
    with open(reading, errors="replace") as file:
        text = file.read()
    how = os.waitpid(pid, 0)[1]
    if text.startswith(_SKIPPED):
        pytest.skip(text[len(_SKIPPED) :])
    assert not text, text
    assert how == 0, f"wait status {how}"


def end_children() -> None:
    """End and reap the children, and the orphans that become children by that."""
    while found := own_children():
        for stat in found:
            try:
                os.kill(stat.pid, signal.SIGKILL)
                os.waitpid(stat.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
