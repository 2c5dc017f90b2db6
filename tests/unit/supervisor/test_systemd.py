"""What a systemd above supervise is told, and the unit under which it is."""

from __future__ import annotations

import configparser
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT

from supervise.programs.command_line import parse, read_options
from supervise.programs.program import parse as command_line
from supervise.programs.svall import main as svall
from supervise.protocol.sdnotify import READY, RELOADING, STOPPING, TEXT
from supervise.protocol.sdnotify import parse as understand
from supervise.service.notify_socket import NotifySocket
from supervise.supervisor import systemd as upstream
from supervise.supervisor.systemd import Systemd
from supervise.system.statusdir import StatusDir

UNIT = ROOT / "conf" / "supervise@.service"
UNIT_OF_ALL = ROOT / "conf" / "supervise.service"
UNITS = pytest.mark.parametrize("path", [UNIT, UNIT_OF_ALL], ids=lambda path: path.name)


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that takes messages as systemd's does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        made.bind(str(tmp_path / "notify") if request.param == "path" else f"\0supervise-test/{os.getpid()}")
        yield made
    shutil.rmtree(tmp_path)


def above(systemd: socket.socket) -> Systemd:
    bound = systemd.getsockname()
    address = os.fsencode(bound) if isinstance(bound, str) else b"@" + bound[1:]
    return Systemd({b"NOTIFY_SOCKET": address})


def received(systemd: socket.socket) -> list[bytes]:
    got = []
    while True:
        try:
            got.append(systemd.recv(65536))
        except BlockingIOError:
            return got


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_what_is_meant_for_supervise_does_not_reach_the_service() -> None:
    env = {b"NOTIFY_SOCKET": b"/run/systemd/notify", b"WATCHDOG_USEC": b"1", b"WATCHDOG_PID": b"2", b"PATH": b"/bin"}
    assert Systemd(env)
    assert env == {b"PATH": b"/bin"}


@pytest.mark.parametrize("env", [{}, {b"NOTIFY_SOCKET": b""}, {b"WATCHDOG_USEC": b"1"}])
def test_where_nobody_is_above_nothing_is_sent(env: dict[bytes, bytes]) -> None:
    nobody = Systemd(env)
    assert not nobody and not env
    assert nobody.send(upstream.READY) is None
    assert not nobody.unsent


def test_what_is_sent(systemd: socket.socket) -> None:
    before = descriptors()
    way = above(systemd)
    assert way.send(upstream.READY) is None
    assert way.send(upstream.READY + "\n" + upstream.status("grüße\nREADY=0")) is None
    earliest = time.monotonic_ns() // 1000
    assert way.send(upstream.reloading()) is None
    latest = time.monotonic_ns() // 1000
    assert way.send(upstream.STOPPING) is None
    first, second, third, fourth = received(systemd)
    assert understand(first) == ([(READY, None)], [])
    assert understand(second) == ([(READY, None), (TEXT, "grüße READY=0")], [])
    assert understand(third) == ([(RELOADING, None)], [])
    assert earliest <= int(third.partition(b"MONOTONIC_USEC=")[2]) <= latest
    assert understand(fourth) == ([(STOPPING, None)], [])
    assert way.send("") is None and way.send("nonsense") is None
    assert received(systemd) == [] and descriptors() == before


def test_it_comes_from_supervise_itself(systemd: socket.socket) -> None:
    """systemd believes the unit's main process only (NotifyAccess=main)."""
    assert above(systemd).send(upstream.READY) is None
    _, ancillary, _, _ = systemd.recvmsg(4096, socket.CMSG_SPACE(12))
    assert struct.unpack("iII", ancillary[0][2])[0] == os.getpid()


def test_what_there_is_no_room_for_goes_with_the_next(systemd: socket.socket) -> None:
    way = above(systemd)
    sent = 0
    while not way.unsent:
        assert way.send(f"X={sent}") is None, "no room is no failure"
        sent += 1
        assert sent < 100_000, "the queue has no end"
    for text in (upstream.READY, upstream.status("one"), upstream.status("two")):
        assert way.send(text) is None
    assert received(systemd) == [b"X=%d" % number for number in range(sent - 1)]
    assert way.send() is None
    assert received(systemd) == [b"X=%d\nREADY=1\nSTATUS=two" % (sent - 1)]
    assert not way.unsent and way.send() is None
    assert received(systemd) == []


def test_a_failure_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    way = Systemd({b"NOTIFY_SOCKET": os.fsencode(path)})
    assert way.send(upstream.READY) == f"cannot tell systemd at {str(path)!r}: No such file or directory"
    assert way.send(upstream.STOPPING) is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        assert way.send(upstream.status("hello")) is None
        assert systemd.recv(4096) == b"STATUS=hello", "what was lost does not come later"
    assert way.send(upstream.READY) == f"cannot tell systemd at {str(path)!r}: Connection refused"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (b"vsock:2:1234", "neither a path nor an abstract address"),
        (b"relative", "neither a path nor an abstract address"),
        (b"/" + b"x" * 200, "AF_UNIX path too long"),
        (b"@" + b"x" * 200, "AF_UNIX path too long"),
        (b"/\xff\x1b[31m", "No such file or directory"),
    ],
)
def test_an_address_that_cannot_be_used(address: bytes, why: str) -> None:
    before = descriptors()
    said = Systemd({b"NOTIFY_SOCKET": address}).send(upstream.READY)
    assert said is not None and said.endswith(why) and said.isprintable()
    assert descriptors() == before


def test_two_supervises_one_above_the_other(tmp_path: Path) -> None:
    directory = StatusDir(str(tmp_path / "status" / "outer"))
    listener = NotifySocket(directory, os.fsencode(directory.path), other_user=False)
    way = Systemd({b"NOTIFY_SOCKET": os.fsencode(listener.address)})
    assert way.send(upstream.READY) is None
    assert [(pid, data) for pid, _, data in listener.receive()] == [(os.getpid(), b"READY=1")]
    listener.close(remove=True)
    os.close(directory.fd)
    shutil.rmtree(tmp_path)


# The unit.


def unit(path: Path = UNIT) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None, strict=True)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read(path)
    return found


@UNITS
def test_systemd_understands_the_unit(tmp_path: Path, path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    copy = shutil.copy(path, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, timeout=PATIENCE
    )
    shutil.rmtree(tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_supervise_understands_the_command_of_the_unit() -> None:
    env, name, *words = unit()["Service"]["ExecStart"].split()
    assert (env, name) == ("/usr/bin/env", "supervise")
    values = {"%i": "app", "${COMMAND}": "python3 app.py --title 'a b'"}
    for key, value in values.items():
        words = [word.replace(key, value) for word in words]
    options = read_options(parse(words))
    assert options.foreground and options.path == "/var/lib/supervise/status/app"
    assert options.command == ["python3", "app.py", "--title", "a b"]


def test_svall_understands_the_command_of_the_unit_of_all() -> None:
    env, name, *words = unit(UNIT_OF_ALL)["Service"]["ExecStart"].split()
    assert (env, name) == ("/usr/bin/env", "svall")
    args = command_line("svall", str(svall.__doc__), words, lambda words: "wrong")
    assert args and args["run"] and not args["NAME"]
    assert (args["-F"], args["-p"]) == ("/etc/supervise/supervise.conf", "/var/lib/supervise/status")


@UNITS
def test_the_unit_leaves_to_supervise_what_is_its_own(path: Path) -> None:
    service = unit(path)["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["TimeoutStartSec"] == service["TimeoutStopSec"] == "infinity"
    assert "WatchdogSec" not in service, "nobody would answer it"
