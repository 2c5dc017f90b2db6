"""Alarms that come up while supervise starts: before it has loaded what sends them."""

from __future__ import annotations

import pytest
from conftest import PATIENCE, Box, wait_for
from heirs import kill_both
from installing import own
from mailers import POLICY, record, recorded
from system import children, needs

LEAVES = ("sh", "-c", "sleep 86398 & exec sleep 86399")


def quick_leftover(box: Box) -> None:
    """What a service has left ends by the time that it was told to: so the next start comes at once, and fails."""
    needs("strace")
    box.start(*LEAVES)
    wait_for("its child", lambda: children(box.pid))
    kill_both(box)
    wrapper = box.folder / "slow"
    words = f"strace -f -o {box.folder}/trace -e trace=kill --inject=kill:delay_exit=300000"
    wrapper.write_text(f'#!/bin/sh\nexec {words} {box.program} "$@"\n')
    wrapper.chmod(0o755)
    box.program = str(wrapper)


def arrived(box: Box) -> str:
    """The one alarm that the failed start has led to, by what its recorder says."""
    found = wait_for("the alarm", lambda: recorded(box, "mail"))
    assert len(found) == 1
    return found[0][-1]


def test_an_alarm_of_the_start_is_sent_as_any_other(box: Box) -> None:
    record(box, "mail")
    box.conf(POLICY + "killasgroup : yes\nrestart_delay : 60\n")
    quick_leftover(box)
    box.foreground("./no-such-program")
    assert "could not be started" in arrived(box)
    assert "internal error" not in box.warnings


@pytest.mark.parametrize("policy", ["autorestart : never", "max_tries : 1"])
def test_an_alarm_of_the_start_is_sent_by_a_supervise_that_ends_there_and_then(box: Box, policy: str) -> None:
    record(box, "mail")
    box.conf(POLICY + "killasgroup : yes\n" + policy + "\n")
    quick_leftover(box)
    process = box.foreground("./no-such-program", options=("--exit-with-service",))
    assert "could not be started" in arrived(box)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 111
    assert "internal error" not in box.warnings


# What it takes cannot be loaded.

FAILS_TWICE = """
import os
tries = os.open(os.environ["TRIES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(tries, b"!")
if os.fstat(tries).st_size < 3:
    raise ImportError("not now")
"""


def fails(box: Box, text: str) -> None:
    """Have the module that sends alarms fail when it is imported, with a policy that ends supervise at once."""
    record(box, "mail")
    alarm = own(box) / "supervise" / "alarms" / "alarm.py"
    box.conf(POLICY + "killasgroup : yes\nautorestart : never\n")
    quick_leftover(box)
    future = "from __future__ import annotations\n"
    alarm.write_text(alarm.read_text().replace(future, future + text, 1))
    box.env["TRIES"] = str(box.folder / "tries")


def test_an_alarm_waits_for_what_cannot_be_loaded_yet(box: Box) -> None:
    fails(box, FAILS_TWICE)
    process = box.foreground("./no-such-program", options=("--exit-with-service",))
    assert "could not be started" in arrived(box)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 111


def test_what_can_never_be_loaded_keeps_supervise_from_no_end(box: Box) -> None:
    fails(box, "raise ImportError('never')\n")
    process = box.foreground("./no-such-program", options=("--exit-with-service",))
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 111
    assert "internal error, going on: ImportError: never" in box.warnings
