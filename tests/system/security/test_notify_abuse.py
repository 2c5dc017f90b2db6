"""NOTIFY_SOCKET misused: by strangers, by floods, by what is no message, and by descriptors that nobody wants."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box, alive, rounds, wait_for
from heirs import kill_supervise
from speaking import Speaker, at_rest, descriptors, memory, speaking, wait_until
from system import cpu, needs

# Sends a message again and again, or as often as it is told, says how far it is, and in the end who it is; as somebody
# else if it is told so, which it becomes only now: this Python may be where nobody but root gets to.
FLOOD = """
import _socket, os, sys
address, uid, message, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4])
if uid:
    os.setgroups([]), os.setresgid(uid, uid, uid), os.setresuid(uid, uid, uid)
sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
try:
    sender.connect("\\0" + address[1:] if address[0] == "@" else address)
except OSError as why:
    sys.exit(why.strerror)
while rounds:
    for _ in range(1000):
        sender.send(message)
    rounds -= 1
    os.write(1, b".")
"""
GARBAGE = [
    b"",
    b"\0",
    b"\n\r\n=\n==",
    b"READY",
    b"READY=",
    b"READY=2",
    b" READY=1",
    b"ready=1",
    b"READY=1\0\0",
    b"READY=1\0STATUS=hidden",
    b"READY=1\nSTATUS=" + b"x" * 5000,
    b"STOPPING=yes\nRELOADING=true",
    b"\xff\xfe" * 1000,
    bytes(range(256)),
    os.urandom(4000),
    b"=" * 4096,
    b"\n" * 4096,
    b"A=B\n" * 1024,
    b"x" * 100000,
    b"MAINPID=",
    b"MAINPID=0",
    b"MAINPID=-1",
    b"MAINPID=1",
    b"MAINPID=99999999999999999999999",
    b"MAINPID=\xd9\xa1",
    b"WATCHDOG=2",
    b"WATCHDOG_USEC=",
    b"WATCHDOG_USEC=-1",
    b"WATCHDOG_USEC=1e9",
    b"WATCHDOG_USEC=" + b"9" * 4000,
    b"EXTEND_TIMEOUT_USEC=soon",
    b"EXTEND_TIMEOUT_USEC=0",
    b"FDSTORE=1\nFDNAME=../../etc/passwd",
    b"ERRNO=2\nBUSERROR=x\nX_FOO=%s%n\nMONOTONIC_USEC=-5",
    b"BARRIER=1\nREADY=1x",
]


@contextmanager
def flood(speaker: Speaker, message: str, uid: int = 0, rounds: int = -1) -> Iterator[subprocess.Popen[str]]:
    """A process that sends a message a thousand times each round, and says when it has; for ever, if not told else."""
    words = [sys.executable, "-S", "-E", "-c", FLOOD, speaker.address(), str(uid), message, str(rounds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# Strangers.


def test_a_stranger_is_not_believed(speaker: Speaker) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 60")
    speaker.say("STATUS=honest")
    speaker.foreign(b"READY=1\nSTATUS=forged", b"WATCHDOG=trigger", b"MAINPID=%d" % os.getpid(), b"WATCHDOG_USEC=1")
    box.wait_warning(f"dropped a notification of pid {os.getpid()} (uid {os.getuid()}): not a process of this service")
    speaker.say("STATUS=honest still")
    speaker.wait_state(status_text="honest still")
    assert speaker.state("phase", "machine", "watchdog") == ("starting", "running", 60)
    assert box.pid == pid
    assert box.warnings.count("\n") == 1


def test_another_user_is_not_believed(speaker: Speaker, stranger: int) -> None:
    box = speaker.box
    pid = speaker.start("notify : yes\nuser : root")
    with flood(speaker, "READY=1", stranger, 1) as process:
        assert process.wait(PATIENCE) == 0
    dropped = f"dropped a notification of pid {process.pid} (uid {stranger}): not a process of this service"
    box.wait_warning(dropped)
    speaker.say("STATUS=honest")
    speaker.wait_state(status_text="honest")
    assert speaker.state("phase") == "starting"
    assert box.pid == pid


def test_what_was_left_of_another_service_is_a_stranger(box: Box) -> None:
    """Two services: one does not speak for the other, though both know the address."""
    other = Box(box.folder, "other")
    with speaking(box) as first, speaking(other) as second:
        first.start("notify : yes")
        pid = second.start("notify : yes")
        assert first.address() != second.address()
        second.ask(f"os.environ.update(NOTIFY_SOCKET={first.address()!r})")
        second.ask("send('READY=1')")
        box.wait_warning(f"dropped a notification of pid {pid} (uid {os.getuid()})")
        assert (first.state("phase"), second.state("phase")) == ("starting", "starting")


# The socket of a supervise that is not root's.


def supervise_as(user: int, box: Box, *command: str) -> None:
    """Supervise a command as another user, but one who may read everything: this Python may be where only root gets."""
    needs("setpriv")
    may = "-all,+dac_override,+dac_read_search"
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"--inh-caps={may}"]
    words += [f"--ambient-caps={may}", SUPERVISE, "-u", f"status/{box.name}", *command]
    for path in (box.folder, *box.folder.iterdir()):
        os.chown(path, user, user)
    done = subprocess.run(words, cwd=box.folder, capture_output=True, text=True, timeout=PATIENCE)
    if "setpriv" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stderr) == (0, "")


def test_a_socket_that_nobody_else_reaches(speaker: Speaker, stranger: int) -> None:
    """It is in the status directory, survives a kill of supervise there, and goes with the last supervise."""
    box = speaker.box
    speaker.configure("notify : yes\nwatchdog_secs : 60")
    supervise_as(stranger, box, *speaker.command)
    assert speaker.address() == str(box.status / "notify")
    found = (box.status / "notify").stat()
    assert (found.st_mode & 0o7777, found.st_uid) == (0o600, stranger)
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")
    with flood(speaker, "STATUS=x", stranger + 1) as process:
        assert process.communicate(timeout=PATIENCE) == ("", "Permission denied\n")
    speaker.foreign(b"STATUS=from root")
    box.wait_warning(f"dropped a notification of pid {os.getpid()} (uid 0)")
    kill_supervise(box)
    assert (box.status / "notify").is_socket()
    supervise_as(stranger, box, *speaker.command)
    speaker.say("STATUS=again")
    speaker.wait_state(status_text="again", phase="ready")
    box.control("dx")
    box.wait_gone()
    assert not (box.status / "notify").exists()


def test_a_path_that_is_too_long_for_a_socket(box: Box, stranger: int) -> None:
    with speaking(Box(box.folder, "long" * 50)) as speaker:
        speaker.configure("notify : yes")
        supervise_as(stranger, speaker.box, *speaker.command)
        assert speaker.address().startswith("@supervise/")
        speaker.say("READY=1")
        speaker.wait_state(phase="ready")


# Floods.


@pytest.mark.timeout(600)
def test_a_flood_of_a_stranger(speaker: Speaker, stranger: int) -> None:
    """Letters are obeyed meanwhile, the service is heard, and neither memory nor the log grows with the flood."""
    box = speaker.box
    pid = speaker.start("notify : yes")
    before, began = memory(box.supervisor), time.monotonic()
    with flood(speaker, "STATUS=forged", stranger) as process:
        assert process.stdout
        assert process.stdout.read(1) == "."
        speaker.say("READY=1\nSTATUS=honest")
        speaker.wait_state(phase="ready", status_text="honest")
        box.control("R")
        pid = box.wait_new_pid(pid)
        ticks, began_here = cpu(box.supervisor), time.monotonic()
        wait_until("a few seconds", began_here + 3)
        # Left to itself, it took three quarters of a processor.
        assert cpu(box.supervisor) - ticks < 0.25 * (time.monotonic() - began_here)
        speaker.say("READY=1")
        speaker.wait_state(phase="ready")
        box.control("d")
        box.wait_down()
        assert process.poll() is None
        assert memory(box.supervisor) < before + (1 << 20)
    warned = box.warnings.splitlines()
    assert 1 <= len(warned) <= 2 + (time.monotonic() - began) // 10
    assert all(f"pid {process.pid} (uid {stranger})" in line for line in warned)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("message", ["STATUS=%d", "STATUS=%d\nWATCHDOG=1", "WATCHDOG_USEC=%d000000000", "X=%d"])
def test_a_flood_of_its_own(speaker: Speaker, message: str) -> None:
    box = speaker.box
    speaker.start("notify : yes\nkillasgroup : yes\nwatchdog_secs : 60")
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")
    before = memory(box.supervisor)
    speaker.ask(
        "def flood():\n"
        "    sender, count = socket(), 0\n"
        "    while True:\n"
        "        for _ in range(1000):\n"
        "            count += 1\n"
        f"            sender.send(({message!r} % count).encode())\n"
        "        open('count', 'w').write(str(count))\n"
    )
    child = speaker.ask("in_child(flood, wait=False)")
    count = box.folder / "count"

    def counted(least: int) -> bool:
        return count.exists() and int(count.read_text() or 0) >= least

    wait_for("a flood", lambda: counted(1000))
    box.control("w")
    box.wait_log("command w")
    number = rounds(15_000, 100_000)
    wait_for(f"{number} messages", lambda: counted(number), 10 * PATIENCE)
    assert memory(box.supervisor) < before + (1 << 20)
    assert len(box.log().splitlines()) < 10
    assert box.warnings == ""
    box.control("d")
    box.wait_down()
    wait_for("the rest of the service to be ended", lambda: not alive(child))


@pytest.mark.timeout(600)
def test_a_flood_of_many_strangers(speaker: Speaker, stranger: int) -> None:
    """Each message is of another process."""
    box = speaker.box
    speaker.start("notify : yes\nwatchdog_secs : 5")
    speaker.say("READY=1")
    speaker.ask("keep_sending('WATCHDOG=1', 0.5)")
    code = (
        "import os, _socket\n"
        f"os.setgroups([]), os.setresgid(*[{stranger}] * 3), os.setresuid(*[{stranger}] * 3)\n"
        "sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)\n"
        f"sender.connect({chr(0) + speaker.address()[1:]!r})\n"
        "while True:\n"
        "    pid = os.fork()\n"
        "    if not pid: sender.send(b'WATCHDOG=trigger'), os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    with subprocess.Popen([sys.executable, "-SEc", code], stderr=subprocess.PIPE) as process:
        try:
            ticks, began = cpu(box.supervisor), time.monotonic()
            wait_until("some seconds", began + 6)
            assert cpu(box.supervisor) - ticks < 0.25 * (time.monotonic() - began)
            assert process.poll() is None, process.stderr and process.stderr.read()
        finally:
            process.kill()
    (box.folder / "enough").touch()
    assert speaker.state("machine", "phase") == ("running", "ready")
    assert f"(uid {stranger})" in box.warnings
    assert len(box.warnings.splitlines()) <= 4 * (1 + (time.monotonic() - began) // 10)


def test_complaints_do_not_fill_the_log(speaker: Speaker) -> None:
    box = speaker.box
    speaker.start("notify : yes")
    began = time.monotonic()
    speaker.ask("sender = socket()\nfor i in range(20000): sender.send(b'WATCHDOG_USEC=wrong %d' % i)")
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")
    assert 1 <= box.warnings.count("\n") <= 2 + (time.monotonic() - began) // 10
    first = r"notification of pid \d+: WATCHDOG_USEC=wrong 0: not a number of microseconds$"
    assert re.search(first, box.warnings, re.MULTILINE)


# What is no message.


def fuzz() -> list[bytes]:
    """Garbage with bytes changed and cut off, but nothing that means anything by chance."""
    chance = random.Random(4711)
    found = []
    for _ in range(300):
        message = bytearray(chance.choice(GARBAGE)[:512] or b"=")
        for _ in range(chance.randrange(4)):
            message[chance.randrange(len(message))] = chance.randrange(256)
        found.append(bytes(message[: chance.randrange(len(message) + 1)]))
    return [message for message in found if not re.search(b"(READY|STOPPING|RELOADING)=1", message)]


def test_garbage(speaker: Speaker) -> None:
    """It changes nothing, and does nobody harm."""
    box = speaker.box
    pid = speaker.start("notify : yes\nwatchdog_secs : 60\nstarttimeoutsecs : 600")
    before = memory(box.supervisor)
    for message in GARBAGE + fuzz():
        size, first = len(message), message[:512]
        speaker.ask(f"send(({first!r} * {size})[:{size}])")
    speaker.say("STATUS=still here")
    speaker.wait_state(status_text="still here", phase="starting", watchdog=60)
    assert (box.pid, speaker.state("machine")) == (pid, "running")
    assert "internal error" not in box.warnings
    assert memory(box.supervisor) < before + (1 << 20)
    speaker.say("READY=1")
    speaker.wait_state(phase="ready")


def test_descriptors_are_not_kept(speaker: Speaker) -> None:
    box = speaker.box
    speaker.start("notify : yes")
    speaker.say("READY=1")
    before = at_rest(box)
    speaker.ask("fds = [os.open('/dev/null', os.O_RDONLY) for _ in range(200)] and None")
    speaker.ask("fds = list(range(10, 200))")
    for message in ("b'FDSTORE=1\\nFDNAME=x'", "b'READY=1'", "b'BARRIER=1'", "b''", "b'x' * 5000"):
        for number in (1, 2, 100):
            speaker.ask(f"[pass_on({message}, *fds[:{number}]) for _ in range(20)] and None")
    # Whose other end is closed when supervise has none of it.
    speaker.ask("reading, writing = os.pipe()")
    speaker.ask("pass_on(b'FDSTORE=1', writing), os.close(writing)")
    assert speaker.ask("os.read(reading, 1)") == b""
    assert speaker.ask("barrier()")
    wait_for("the same descriptors", lambda: descriptors(box.supervisor) == before)
    status = Path(f"/proc/{box.supervisor}/status").read_text()
    assert "FDSize:\t64\n" in status
