"""Letters that were obeyed are counted in the state, and svc knows by that when its own were."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from conftest import Box, wait_for
from heirs import SLEEP, kill_supervise, state, succeed
from pretended import PID, Pretended, pretended
from tools import answer, run_tool, started, watching

from supervise.system.procfs import stat_of

SENT_FIRST = ("-w", "app")  # somebody else's letter, in `control` before those of the verb


def obeyed(box: Box) -> int:
    found = state(box)["control_obeyed"]
    assert type(found) is int
    return found


def wait_obeyed(box: Box, count: int) -> None:
    wait_for(f"{count} bytes to be obeyed", lambda: obeyed(box) >= count)
    assert obeyed(box) == count


# What is counted.


def test_every_byte_that_was_read_is_counted(box: Box) -> None:
    box.start(*SLEEP)
    assert obeyed(box) == 0
    box.write_control(b"w")
    wait_obeyed(box, 1)
    box.write_control(b"+w=w\n\n sn?\n")
    wait_obeyed(box, 12)
    box.write_control(b"w" * 10000)
    wait_obeyed(box, 10012)


def test_it_is_in_the_state_together_with_what_came_of_it(box: Box) -> None:
    box.start(*SLEEP)
    box.control("d")
    wait_for("the letter to be counted", lambda: obeyed(box))
    assert (box.record.want, state(box)["machine"] in ("stopping", "idle")) == ("down", True)


def test_it_goes_on_in_another_supervise(box: Box) -> None:
    box.start(*SLEEP)
    box.control("w")
    wait_obeyed(box, 2)
    kill_supervise(box)
    succeed(box, *SLEEP)
    box.control("w")
    wait_obeyed(box, 4)
    box.control("e")
    wait_for("the upgrade", lambda: state(box)["upgrades"] == 1)
    assert obeyed(box) == 6
    box.control("w")
    wait_obeyed(box, 8)


def test_a_state_of_an_older_release_begins_anew(box: Box) -> None:
    box.start(*SLEEP)
    box.control("w")
    wait_obeyed(box, 2)
    kill_supervise(box)
    lines = (box.status / "state").read_text().splitlines(keepends=True)
    (box.status / "state").write_text("".join(line for line in lines if "control_obeyed" not in line))
    succeed(box, *SLEEP)
    assert obeyed(box) == 0


# Who waits for it.


@pytest.fixture
def halted(box: Box) -> Box:
    """A service whose supervise stands still, so that no letter is read."""
    box.start(*SLEEP)
    pid = box.supervisor
    os.kill(pid, signal.SIGSTOP)
    wait_for("it to stand still", lambda: stat_of(pid).state == "T")
    return box


def test_a_start_straight_after_a_stop_is_not_up_already(halted: Box) -> None:
    box, first = halted, halted.pid
    assert run_tool(box, "svc", "stop", "--no-wait", "app").stdout == "status/app: stop: sent\n"
    with started(box, "svc", "start", "app") as process:
        wait_for("svc to watch", lambda: watching(process.pid) or process.poll() is not None)
        assert process.poll() is None
        os.kill(box.supervisor, signal.SIGCONT)
        code, said, complaint = answer(process)
    assert (code, said, complaint) == (0, f"status/app: up (pid {box.pid})\n", "")
    assert box.pid not in (0, first)


def test_a_stop_straight_after_a_start_is_not_down_already(box: Box) -> None:
    box.start(*SLEEP)
    assert run_tool(box, "svc", "stop", "app").returncode == 0
    os.kill(box.supervisor, signal.SIGSTOP)
    assert run_tool(box, "svc", "start", "--no-wait", "app").returncode == 0
    with started(box, "svc", "stop", "app") as process:
        wait_for("svc to watch", lambda: watching(process.pid) or process.poll() is not None)
        assert process.poll() is None
        os.kill(box.supervisor, signal.SIGCONT)
        assert answer(process)[0] == 0
    assert (box.pid, box.record.want) == (0, "down")
    assert obeyed(box) == len("d\nu\nd\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("reload",), "read the configuration again"),
        (("signal", "WINCH"), "send WINCH to the service (pid {})"),
        (("alarm", "on"), "alarms on"),
    ],
)
def test_what_shows_nowhere_else_is_said_when_it_was_obeyed(halted: Box, args: tuple[str, ...], said: str) -> None:
    box = halted
    assert run_tool(box, "svc", *SENT_FIRST).returncode == 0
    with started(box, "svc", *args, "app") as process:
        wait_for("svc to watch", lambda: watching(process.pid) or process.poll() is not None)
        assert process.poll() is None
        # The log is not asked, and need not even be there.
        (box.status / "supervise.log").unlink()
        (box.status / "supervise.log").mkdir()
        os.kill(box.supervisor, signal.SIGCONT)
        assert answer(process) == (0, f"status/app: {said.format(box.pid)}\n", "")


def waits(supervise: Pretended, process: subprocess.Popen[str], letters: str) -> None:
    """svc has sent its letters, and waits."""
    supervise.wait_letters(letters)
    wait_for("svc to watch", lambda: watching(process.pid))
    assert process.poll() is None


def test_letters_of_others_are_not_taken_for_its_own(box: Box) -> None:
    with pretended(box) as supervise:
        supervise.write(control_obeyed=100)
        assert run_tool(box, "svc", *SENT_FIRST).returncode == 0
        with started(box, "svc", "reload", "app") as process:
            wait_for("its letter beside the other", lambda: supervise.unread() == len("w\nr\n"))
            waits(supervise, process, "w\nr\n")
            (box.status / "supervise.log").write_text("[NOTICE] 2026-01-01 00:00:00 command r: all is well\n")
            supervise.write(control_obeyed=102)
            wait_for("svc to watch again", lambda: watching(process.pid))
            assert process.poll() is None
            supervise.write(control_obeyed=104)
            assert answer(process) == (0, "status/app: read the configuration again\n", "")


@pytest.mark.parametrize(
    ("args", "letter", "said"), [(("reload",), "r", "sent"), (("start",), "u", f"up already (pid {PID})")]
)
@pytest.mark.parametrize("fields", [{}, {"control_obeyed": None}])
def test_of_an_older_release_is_known_what_shows(
    box: Box, args: tuple[str, ...], letter: str, said: str, fields: dict[str, Any]
) -> None:
    with pretended(box) as supervise:
        supervise.write(**fields)
        done = run_tool(box, "svc", *args, "app")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"status/app: {said}\n", "")
        supervise.wait_letters(letter)


def test_another_supervise_need_not_have_the_letters(box: Box) -> None:
    with pretended(box) as supervise:
        supervise.write(0, "down", machine="idle", control_obeyed=100)
        with started(box, "svc", "start", "app") as process:
            waits(supervise, process, "u\n")
            supervise.write(PID + 1, control_obeyed=100, supervise_pid=os.getppid(), totals={"starts": 2})
            assert answer(process) == (0, f"status/app: up (pid {PID + 1})\n", "")


def test_letters_that_are_not_obeyed_in_time(box: Box) -> None:
    with pretended(box) as supervise:
        supervise.write(control_obeyed=100)
        done = run_tool(box, "svc", "reload", "app", "--wait", "0.2")
        assert done.returncode == 99
        assert done.stderr.startswith("svc: fatal: cannot reload status/app within 0.2 seconds: it is up ")
