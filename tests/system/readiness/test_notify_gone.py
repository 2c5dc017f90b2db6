"""Messages on NOTIFY_SOCKET whose sender has ended by the time they are read: whose are they?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import PATIENCE, Box, wait_for
from heirs import stat
from speaking import Speaker
from system import children

from supervise.service.notify_access import NotifyAccess

# What a helper of a service does: it says something, and ends.
SEND = """
import _socket, os, sys
to = sys.argv[1]
if len(sys.argv) > 3:
    uid = int(sys.argv[3])
    os.setgroups([]), os.setresgid(uid, uid, uid), os.setresuid(uid, uid, uid)
sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
sender.sendto(sys.argv[2].encode(), "\\0" + to[1:] if to.startswith("@") else to)
"""
# In the service: a child that is reaped at once, a grandchild that is nobody's, and a daemon.
WAYS = {
    "child": "import subprocess; subprocess.run({words!r}, check=True)",
    "orphan": "import subprocess; subprocess.run(['sh', '-c', '\"$@\" & exit 0', 'sh', *{words!r}], check=True)",
    "daemon": "import subprocess; subprocess.run(['setsid', '-f', *{words!r}], check=True)",
}


@contextmanager
def stalled(box: Box) -> Iterator[None]:
    """supervise stands still, so that whoever sends something meanwhile has ended when it is read."""
    os.kill(box.supervisor, signal.SIGSTOP)
    wait_for("supervise to stand still", lambda: stat(box.supervisor)[0] == "T")
    try:
        yield
    finally:
        os.kill(box.supervisor, signal.SIGCONT)


def words(speaker: Speaker, message: str, *user: int) -> list[str]:
    """The command that says it."""
    return [sys.executable, "-S", "-E", "-c", SEND, speaker.address(), message, *map(str, user)]


def send_and_end(speaker: Speaker, message: str, *user: int) -> int:
    """Somebody who is not of the service says it, and has been reaped; his pid."""
    process = subprocess.Popen(words(speaker, message, *user))
    assert process.wait(PATIENCE) == 0
    return process.pid


@pytest.mark.parametrize("way", WAYS)
def test_each_message_of_a_helper_that_sends_and_ends_counts(speaker: Speaker, way: str) -> None:
    box = speaker.box
    speaker.start("notify : yes\nstarttimeoutsecs : 600")
    speaker.ask("import subprocess")
    for number in range(20):
        speaker.ask(WAYS[way].format(words=words(speaker, f"STATUS={number}")))
        speaker.wait_state(status_text=str(number))
    speaker.ask(WAYS[way].format(words=words(speaker, "READY=1")))
    speaker.wait_state(phase="ready")
    assert box.warnings == ""


@pytest.mark.parametrize("way", WAYS)
def test_also_when_it_ended_long_ago(speaker: Speaker, way: str) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nstarttimeoutsecs : 600")
    speaker.say("STATUS=begins")
    with stalled(box):
        speaker.ask(WAYS[way].format(words=words(speaker, "READY=1")))
        wait_for("its end", lambda: "S" not in [state for one, state in children(box.supervisor).items() if one != pid])
    speaker.wait_state(phase="ready")
    assert box.warnings == ""


def test_a_service_that_has_become_another_user(speaker: Speaker, stranger: int) -> None:
    """And a process of it that has ended: it is one of its users."""
    box = speaker.box
    speaker.start("notify : yes")
    speaker.ask(f"os.setgroups([]), os.setresgid({stranger}, {stranger}, {stranger})")
    speaker.ask(f"os.setresuid({stranger}, {stranger}, {stranger})")
    with stalled(box):
        speaker.ask("in_child(send, 'READY=1')")
    speaker.wait_state(phase="ready")
    assert box.warnings == ""


def test_what_it_names_is_judged_by_itself(speaker: Speaker) -> None:
    """Of somebody who has ended, and is as good as the service."""
    box = speaker.box
    pid = speaker.start("notify : yes")
    child = speaker.ask("in_child(time.sleep, 86399, wait=False)")
    with stalled(box):
        send_and_end(speaker, f"MAINPID={os.getpid()}")
        send_and_end(speaker, f"MAINPID={child}")
    box.wait_log(f"main process of the service is pid {child} now, was pid {pid}")
    box.wait_warning(f"ignored pid {os.getpid()}, named by MAINPID=")


def test_what_cannot_be_known_is_said_each_kind_apart(speaker: Speaker, stranger: int) -> None:
    box = speaker.box
    speaker.start("notify : yes")
    said = ["STATUS=a", "STATUS=b", "READY=1", "WATCHDOG=trigger\nSTATUS=c", "X=1", "READY=1"]
    with stalled(box):
        pids = [send_and_end(speaker, message, stranger) for message in said]
    speaker.say("STATUS=honest")
    speaker.wait_state(phase="starting", status_text="honest", machine="running")
    box.wait_warning(f"(nothing known) of pid {pids[4]}")
    lines = [line.partition("dropped a notification ")[2] for line in box.warnings.splitlines()]
    why = "its sender is gone or hidden, and nobody can tell whose process it was"
    assert lines == [
        f"(STATUS) of pid {pids[0]} (uid {stranger}): {why}",
        f"(READY) of pid {pids[2]} (uid {stranger}): {why}",
        f"(STATUS, WATCHDOG) of pid {pids[3]} (uid {stranger}): {why} (and 1 more since the last)",
        f"(nothing known) of pid {pids[4]} (uid {stranger}): {why}",
    ]


# Judgements.


def gone() -> int:
    """The number of a process that has been reaped."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_stranger_is_looked_at_once_a_second() -> None:
    looks: list[int] = []

    def belongs(pid: int) -> bool:
        looks.append(pid)
        return False

    access = NotifyAccess()
    for _ in range(100):
        assert access.judge(os.getppid(), os.getuid(), 0, belongs) is False
    assert len(looks) <= 2
    assert access.judge(0, 0, 0, belongs) is False, "one that cannot be seen from here"


def test_where_nobody_can_look_the_user_decides() -> None:
    def refused(pid: int) -> bool:
        raise OSError(24, os.strerror(24))

    for uid, believed in ((os.geteuid(), True), (1 << 29, None)):
        assert NotifyAccess().judge(os.getppid(), uid, 0, refused) is believed


def test_who_is_gone_is_judged_by_the_user() -> None:
    access, pid, other = NotifyAccess(), gone(), 1 << 29

    def judge(uid: int, main: int = 0) -> bool | None:
        return access.judge(pid, uid, main, lambda pid: False)

    assert judge(0) is True and judge(os.geteuid()) is True
    assert judge(other) is None
    assert access.judge(4711, other, 0, lambda pid: True) is True, "one of the service, of a user of its own"
    assert judge(other) is True
    assert judge(other + 1, os.getpid()) is None


def test_pauses_grow_and_end() -> None:
    access = NotifyAccess()
    assert access.pause_after(7) == 0
    pauses = [access.pause_after(8) for _ in range(10)]
    assert pauses == sorted(pauses) and 0 < pauses[0] < pauses[-1] == 0.1
    assert access.pause_after(0) == 0
    assert access.pause_after(8) == pauses[0]
    assert access.pause_after(0) == 0
    assert access.pause_after(0, failed=True) == pauses[0]  # no memory for what is there: it is not asked at once
