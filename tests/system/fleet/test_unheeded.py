"""A supervise that does not read what svall commands."""

from __future__ import annotations

import os
import signal
import time

import pytest
from box import wait_for
from conftest import Box

from supervise.fleet.lookout import Lookout
from supervise.system.procfs import stat_of


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "at work"])
def test_it_is_told_once_and_only_of_one_that_does_not_obey(box: Box, stopped: bool) -> None:
    box.start("sleep", "86399")
    lookout = Lookout(str(box.status.parent))
    supervisor = box.supervisor
    try:
        lookout.add(box.name, str(box.status))
        if stopped:
            os.kill(supervisor, signal.SIGSTOP)
            wait_for("it to stand still", lambda: stat_of(supervisor).state == "T")
        lookout.commanded(box.name)
        lookout.send(box.name, "u")
        if not stopped:
            wait_for("it to obey", lambda: [*lookout.events(box.name)] and lookout.due is None)
        assert not lookout.unheeded(time.monotonic() + 29)
        reason = f"its supervise does not obey: pid {supervisor} is stopped by a signal"
        assert lookout.unheeded(time.monotonic() + 31) == [(box.name, reason)] * stopped
        assert not lookout.unheeded(time.monotonic() + 31)
    finally:
        os.kill(supervisor, signal.SIGCONT)
        lookout.close()
