"""supervise as the main process of a systemd unit with Type=notify; the test is systemd."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from heirs import SLEEP
from mailers import record
from speaking import Speaker, speaking

PRINTS = ("sh", "-c", "env; echo ready; exec sleep 86399")
OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


class Systemd:
    """What takes the messages.  `messages`: those that have been received, as pairs of the sender's pid and lines."""

    def __init__(self, box: Box, abstract: bool = False) -> None:
        self.box = box
        self.messages: list[tuple[int, list[str]]] = []
        self.path = box.folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        name = f"supervise-test/{os.getpid()}/{box.folder.name}"
        self._socket.bind(f"\0{name}" if abstract else str(self.path))
        values = f"@{name}" if abstract else str(self.path), "12345", "30000000"
        box.env = {**box.env, **dict(zip(OURS, values))}

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> None:
        """Take what has arrived."""
        while True:
            try:
                data, more, _, _ = self._socket.recvmsg(65536, 1024)
            except BlockingIOError:
                return
            self.messages.append((struct.unpack("iII", more[0][2])[0], data.decode().splitlines()))

    def lines(self) -> list[str]:
        """All lines that have arrived."""
        self.receive()
        return [line for _, lines in self.messages for line in lines]

    def wait(self, line: str, count: int = 1) -> None:
        wait_for(f"{line!r} to be said", lambda: self.lines().count(line) >= count)


@pytest.fixture
def systemd(box: Box) -> Iterator[Systemd]:
    made = Systemd(box)
    yield made
    made.close()


@pytest.fixture
def speaker(box: Box) -> Iterator[Speaker]:
    """A service that says what the test wants, under a supervise in the foreground."""
    with speaking(box) as made:
        yield made


def begin(speaker: Speaker, conf: str = "notify : yes") -> subprocess.Popen[bytes]:
    speaker.configure(conf)
    process = speaker.box.foreground(*speaker.command)
    speaker.box.wait_log("service started")
    return process


def environment(box: Box, count: int = 1) -> list[str]:
    """What the service has for its environment."""
    box.wait_stdout("ready\n", count)
    return box.stdout().split("ready\n")[count - 1].splitlines()


# What it is told.


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_a_service_without_a_protocol_is_ready_when_it_runs(box: Box, abstract: bool) -> None:
    systemd = Systemd(box, abstract)
    try:
        process = box.foreground(*SLEEP)
        systemd.wait("READY=1")
        assert alive(box.pid)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert systemd.lines() == ["READY=1", "STOPPING=1"]
        assert {pid for pid, _ in systemd.messages} == {process.pid}  # NotifyAccess=main
    finally:
        systemd.close()


def test_a_service_is_ready_when_it_says_so(systemd: Systemd, speaker: Speaker) -> None:
    process = begin(speaker)
    speaker.say("STATUS=loads")
    systemd.wait("STATUS=loads")
    assert "READY=1" not in systemd.lines()
    speaker.say("READY=1\nSTATUS=serves")
    systemd.wait("READY=1")
    systemd.wait("STATUS=serves")
    process.terminate()
    assert process.wait(PATIENCE) == 0
    said = systemd.lines()
    assert said.count("READY=1") == said.count("STOPPING=1") == 1
    assert said.index("READY=1") < said.index("STOPPING=1")
    assert {pid for pid, _ in systemd.messages} == {process.pid}


def test_the_other_protocol(systemd: Systemd, box: Box) -> None:
    box.conf("[global]\nnotification_fd : 5\n")
    box.foreground("sh", "-c", "while [ ! -e go ]; do sleep 0.01; done; echo >&5; exec 5>&-; exec sleep 86399")
    box.wait_log("service started")
    box.control("n")
    box.wait_log("command n")
    assert systemd.lines() == []
    (box.folder / "go").touch()
    systemd.wait("READY=1")


def test_a_reload_of_the_service(systemd: Systemd, speaker: Speaker) -> None:
    begin(speaker)
    speaker.say("READY=1")
    speaker.say("RELOADING=1")
    systemd.wait("RELOADING=1")
    systemd.receive()
    _, lines = next(message for message in systemd.messages if "RELOADING=1" in message[1])
    assert any(line.startswith("MONOTONIC_USEC=") and int(line[15:]) > 0 for line in lines)
    assert systemd.lines().count("READY=1") == 1
    speaker.say("READY=1")
    systemd.wait("READY=1", 2)
    assert "STOPPING=1" not in systemd.lines()


def test_a_service_that_dies_while_it_reloads(systemd: Systemd, speaker: Speaker) -> None:
    """systemd waits for the end of a reload; it comes with the next process."""
    begin(speaker)
    speaker.say("READY=1")
    speaker.say("RELOADING=1")
    systemd.wait("RELOADING=1")
    pid = speaker.box.pid
    speaker.box.control("k")
    speaker.box.wait_new_pid(pid)
    speaker.say("READY=1")
    systemd.wait("READY=1", 2)


def test_a_restart_is_no_end(systemd: Systemd, speaker: Speaker) -> None:
    begin(speaker)
    speaker.say("READY=1\nSTATUS=first")
    systemd.wait("STATUS=first")
    for letters in ("k", "R", "du"):
        pid = speaker.box.pid
        speaker.say("STATUS=again", "STOPPING=1")  # that one stops, the unit does not
        speaker.box.control(letters)
        speaker.box.wait_new_pid(pid)
        speaker.say("READY=1")
    systemd.wait("STATUS=")
    assert "STOPPING=1" not in systemd.lines()
    speaker.box.control("dx")
    speaker.box.wait_gone()
    systemd.wait("STOPPING=1")
    assert systemd.lines()[-1] == "STOPPING=1"


def test_the_end_of_a_service_that_is_not_restarted(systemd: Systemd, box: Box) -> None:
    box.conf("[global]\nautorestart : never\n")
    box.foreground("sh", "-c", "exit 3")
    box.wait_log("service is not restarted")
    assert "STOPPING=1" not in systemd.lines()  # supervise goes on
    box.control("x")
    systemd.wait("STOPPING=1")


def test_supervise_gives_up(systemd: Systemd, box: Box) -> None:
    box.conf("[global]\nalarm_interval : 60\nmax_tries : 1\n")
    process = box.foreground("sh", "-c", "exit 3")
    assert process.wait(PATIENCE) == 111
    assert systemd.lines() == ["READY=1", "STOPPING=1"]


def test_alarms_on_their_way_arrive(systemd: Systemd, box: Box) -> None:
    """When the main process of the unit ends, systemd kills all others."""
    record(box, "mail", "sleep 1; :>$RECORDS/$$.sent\n")
    box.conf("[global]\nalarm_interval : 60\nalarm_mail : a@example.org\nmax_tries : 1\n")
    process = box.foreground("false")
    assert process.wait(PATIENCE) == 111
    assert len(list((box.folder / "mail.records").glob("*.sent"))) == 2


def test_it_ends_with_its_service(systemd: Systemd, box: Box) -> None:
    box.conf("[global]\nautorestart : never\n")
    process = box.foreground("sh", "-c", "exit 3", options=("--exit-with-service",))
    assert process.wait(PATIENCE) == 3
    assert systemd.lines() == ["READY=1", "STOPPING=1"]


def test_a_service_that_cannot_be_started(systemd: Systemd, box: Box) -> None:
    process = box.foreground("./no-such-program")
    assert process.wait(PATIENCE) == 111
    assert systemd.lines() == []


def test_supervise_is_told_to_leave_the_service(systemd: Systemd, box: Box) -> None:
    process = box.foreground(*SLEEP)
    systemd.wait("READY=1")
    pid = box.pid
    process.send_signal(signal.SIGQUIT)
    assert process.wait(PATIENCE) == 0
    assert systemd.lines() == ["READY=1"]
    box.foreground(*SLEEP)
    systemd.wait("READY=1", 2)
    assert box.pid == pid


def test_another_version_goes_on_telling(systemd: Systemd, box: Box) -> None:
    process = box.foreground(*PRINTS)
    systemd.wait("READY=1")
    box.control("e")
    box.wait_log("replaced by the installed version")
    pid = box.pid
    box.control("R")
    box.wait_new_pid(pid)
    assert not [line for line in environment(box, 2) if line.startswith(OURS)]
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert systemd.lines()[-1] == "STOPPING=1"


# What the service has of it.


def test_the_service_has_nothing_of_it(systemd: Systemd, box: Box) -> None:
    script = box.folder / "script"
    script.write_text("#!/bin/sh\nenv >script.new; mv script.new script.env\n")
    script.chmod(0o755)
    box.foreground(*PRINTS, options=("-r", "./script"))
    assert not [line for line in environment(box) if line.startswith(OURS)]
    box.control("k")
    assert not [line for line in environment(box, 2) if line.startswith(OURS)]
    assert "NOTIFY_SOCKET" not in (box.folder / "script.env").read_text()


def test_the_service_has_supervises(systemd: Systemd, box: Box) -> None:
    box.conf("[global]\nnotify : yes\n")
    box.foreground(*PRINTS)
    found = dict(line.split("=", 1) for line in environment(box) if line.startswith(OURS))
    assert found.keys() == {"NOTIFY_SOCKET"}
    assert found["NOTIFY_SOCKET"] != str(systemd.path)


def test_what_is_between_the_service_and_supervise_stays_there(systemd: Systemd, speaker: Speaker) -> None:
    begin(speaker)
    speaker.say("READY=1", "MAINPID=1", "WATCHDOG=1", "FDSTORE=1", "EXTEND_TIMEOUT_USEC=1000000", "X=y")
    systemd.wait("READY=1")
    speaker.say("STATUS=that was all")
    systemd.wait("STATUS=that was all")
    assert systemd.lines() == ["READY=1", "STATUS=that was all"]


# Where it does not listen.


NOWHERE = ["{folder}/nowhere", "{folder}/file", "relative", "@", "/" + "x" * 200, "vsock:2:1"]


@pytest.mark.parametrize("address", NOWHERE)
def test_nobody_there(systemd: Systemd, box: Box, address: str) -> None:
    (box.folder / "file").touch()
    box.env["NOTIFY_SOCKET"] = address.format(folder=box.folder)
    process = box.foreground(*PRINTS)
    warned = box.wait_warning("cannot tell systemd at ")
    box.wait_stdout("ready\n")
    pid = box.pid
    box.control("k")
    box.wait_new_pid(pid)
    box.wait_stdout("ready\n", 2)
    assert "NOTIFY_SOCKET" not in box.stdout()
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert box.warnings == warned
    assert warned.count("\n") == 1


def test_it_goes_and_comes_back(systemd: Systemd, speaker: Speaker) -> None:
    begin(speaker)
    speaker.say("READY=1")
    systemd.wait("READY=1")
    systemd.path.rename(systemd.path.with_name("away"))
    speaker.say("STATUS=nobody hears it")
    speaker.box.wait_warning("cannot tell systemd at ")
    speaker.say("STATUS=nor this")
    speaker.box.control("n")  # that is logged when all that was to be told before has been tried
    speaker.box.wait_log("command n")
    systemd.path.with_name("away").rename(systemd.path)
    speaker.say("STATUS=but this")
    systemd.wait("STATUS=but this")
    assert "STATUS=nor this" not in systemd.lines()
    assert speaker.box.warnings.count("cannot tell systemd") == 1


def test_it_is_full(systemd: Systemd, speaker: Speaker) -> None:
    """Nothing is held up by that, and what was said last arrives when there is room."""
    begin(speaker)
    capacity = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 2
    for number in range(2 * capacity):
        speaker.say(f"STATUS={number}")
    speaker.say("READY=1", "STATUS=last")
    pid = speaker.box.pid
    speaker.box.control("R")
    speaker.box.wait_new_pid(pid)
    speaker.say("READY=1", "STATUS=very last")
    speaker.box.control("n")
    speaker.box.wait_log("command n")
    systemd.wait("READY=1")
    systemd.wait("STATUS=very last")
    assert "STATUS=last" not in systemd.lines()
    assert speaker.box.warnings == ""


def test_a_daemon_tells_nobody(systemd: Systemd, box: Box) -> None:
    """What returns when the service runs is Type=forking, or oneshot."""
    box.start(*SLEEP)
    box.control("dx")
    box.wait_gone()
    assert systemd.lines() == []
