"""Readiness as s6 has it: one line on a descriptor."""

from __future__ import annotations

import os
import resource
import sys
import time

import pytest
from conftest import PATIENCE, Box, rounds, wait_for
from speaking import Speaker, at_rest, descriptors, environment, wait_until
from tools import run_tool, started, watching

CANNOT = "cannot give it descriptor 1023: Bad file descriptor"


def descriptor(pid: int, number: int) -> str:
    """What a process has there, "" if nothing."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}")
    except FileNotFoundError:
        return ""


def test_a_line_means_ready(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notification_fd : 3")
    assert "NOTIFY_SOCKET" not in environment(pid)
    speaker.wait_state(phase="starting")
    assert ", starting, 0 restarts" in speaker.svstat()
    with started(box, "svwait", "-U", "app") as process:
        wait_for("svwait to watch", lambda: watching(process.pid))
        assert process.poll() is None
        speaker.ask("os.write(3, b'\\n')")
        assert process.wait(PATIENCE) == 0
    speaker.wait_state(phase="ready")
    box.wait_log(f"service is ready (pid {pid}, after ")
    assert box.warnings == ""


def test_nothing_but_the_end_of_a_line_means_ready(speaker: Speaker) -> None:
    """In however many pieces it comes, and however much was before it."""
    box = speaker.box
    speaker.start("notification_fd : 4")
    before = at_rest(box)
    for piece in ("b'almost'", "b'x' * 100000", "bytes(256).replace(b'\\n', b'')", "b'now'"):
        speaker.ask(f"os.write(4, {piece})")
    speaker.ask("in_child(os.write, 4, b'and a child')")
    box.control("w")
    box.wait_log("command w")
    assert speaker.state("phase") == "starting"
    assert before.count("pipe") == descriptors(box.supervisor).count("pipe")
    speaker.ask("os.write(4, b'\\nand more\\nthan one line\\n')")
    speaker.wait_state(phase="ready")
    wait_for("the pipe to be closed", lambda: descriptors(box.supervisor).count("pipe") == before.count("pipe") - 1)
    assert box.warnings == ""


def test_closed_without_a_line_is_not_ready(speaker: Speaker) -> None:
    """So it is stopped when its time is over."""
    box = speaker.box
    pid = speaker.start("notification_fd : 5\nstarttimeoutsecs : 2\nautorestart : never")
    before = at_rest(box).count("pipe")
    speaker.tell("os.write(5, b'no end'), os.close(5)")
    wait_for("the pipe to be closed", lambda: descriptors(box.supervisor).count("pipe") == before - 1 or box.pid == 0)
    box.wait_log(f"service was killed by signal 15 (TERM), ended by supervise: not ready within 2 seconds (pid {pid}, ")
    speaker.wait_state(machine="idle", phase=None)
    assert "service is ready" not in box.log()


def test_ready_is_ready_after_the_time_too(speaker: Speaker) -> None:
    box = speaker.box
    speaker.command = ("sh", "-c", 'echo >&7; exec 7>&-; exec "$@"', "sh", *speaker.command)
    pid = speaker.start("notification_fd : 7\nstarttimeoutsecs : 1")
    wait_until("the time to be over", time.monotonic() + 1.5)
    assert (box.pid, speaker.state("phase", "machine")) == (pid, ("ready", "running"))


def test_a_line_counts_that_came_in_time_and_is_read_late(speaker: Speaker) -> None:
    """supervise was stopped meanwhile, as it may be on a machine that is suspended or short of memory."""
    box = speaker.box
    pid = speaker.start("notification_fd : 7\nstarttimeoutsecs : 3")
    os.kill(box.supervisor, 19)
    speaker.ask("os.write(7, b'in time\\n')")
    wait_until("the time to be over", time.monotonic() + 3.5)
    os.kill(box.supervisor, 18)
    speaker.wait_state(phase="ready")
    assert box.pid == pid
    assert box.warnings == ""


def test_each_start_has_a_descriptor_of_its_own_and_none_too_many(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notification_fd : 9")
    first = speaker.ask("os.readlink('/proc/self/fd/9')")
    assert first.startswith("pipe:")
    assert speaker.ask("descriptors()") == [3, 9]  # 3: where the test tells it what to do
    child = speaker.ask("in_child(signal.pause, wait=False)")  # it holds the first pipe open, and says nothing
    before = at_rest(box)
    for _ in range(3):
        box.control("R")
        pid = box.wait_new_pid(pid)
        again = speaker.ask("os.readlink('/proc/self/fd/9')")
        assert again.startswith("pipe:") and again != first
        speaker.ask("os.write(9, b'\\n')")
        speaker.wait_state(phase="ready")
        first = again
    # Without the key there is none.
    speaker.configure("")
    box.wait_log("configuration supervise.conf", 2)
    box.control("R")
    pid = box.wait_new_pid(pid)
    assert speaker.ask("descriptors()") == [3]
    speaker.wait_state(phase=None)
    before.remove("pipe")
    wait_for("one pipe less", lambda: descriptors(box.supervisor) == before)
    os.kill(child, 9)


def test_what_a_former_process_writes_late_is_not_said_of_this_one(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notification_fd : 9")
    speaker.ask(
        "def late():\n"
        "    while not os.path.exists('now'): time.sleep(0.01)\n"
        "    signal.signal(signal.SIGPIPE, signal.SIG_IGN)\n"
        "    try: os.write(9, b'\\n')\n"
        "    except BrokenPipeError: open('broken', 'w').close()\n"
    )
    speaker.ask("in_child(late, wait=False)")
    box.control("R")
    box.wait_new_pid(pid)
    (box.folder / "now").touch()
    wait_for("the former to have written", (box.folder / "broken").exists)
    speaker.ask("os.getpid()")
    assert speaker.state("phase") == "starting"


@pytest.mark.parametrize("extra", ["", "umask : 22"])
def test_any_number(box: Box, extra: str) -> None:
    """Those that supervise uses itself on the way, too; by both ways of starting a process."""
    numbers = [*range(3, rounds(12, 30)), 255, 1000]
    boxes = [Box(box.folder, f"app{number}") for number in numbers]
    sections = "".join(f"[app{number}]\nnotification_fd : {number}\n{extra}\n" for number in numbers)
    box.conf(sections)
    code = (
        "import os, sys; found = os.listdir('/proc/self/fd'); fd = int(sys.argv[1]);"
        "print(sorted(int(n) for n in found if os.path.exists('/proc/self/fd/' + n)), flush=True);"
        "os.write(fd, b'ready\\n'); os.close(fd); os.read(os.pipe()[0], 1)"
    )
    for number, one in zip(numbers, boxes):
        one.start(sys.executable, "-S", "-E", "-c", code, str(number))
    for number, one in zip(numbers, boxes):
        assert run_tool(one, "svwait", "-U", one.name).returncode == 0
        assert one.wait_stdout("]\n") == f"[0, 1, 2, {number}]\n"
        assert one.warnings == ""


def test_a_number_beyond_the_limit_of_open_files(box: Box) -> None:
    """An error when supervise starts, a warned retry later; nothing is left open by it."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    box.conf("[global]\nnotification_fd : 1023\n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
    try:
        done = box.run("-u", "status/app", "sleep", "1000")
        assert done.returncode == 111
        assert done.stderr == f"supervise: fatal: cannot start the service: {CANNOT}\n"
        box.conf("")
        pid = box.start("sleep", "1000")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    before = at_rest(box)
    box.conf("[global]\nnotification_fd : 1023\n")
    box.wait_log("configuration supervise.conf", 2)
    box.control("R")
    box.wait_warning(f"service could not be started: {CANNOT}", 3)
    box.conf("[global]\n")
    box.wait_new_pid(pid)
    wait_for("the same descriptors", lambda: descriptors(box.supervisor) == before)
