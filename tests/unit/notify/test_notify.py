"""supervise.notify, what it tells: datagrams to a real socket, and nothing that could harm the service."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from conftest import PATIENCE

from supervise import notify


class Ear:
    """A socket where the service's datagrams arrive."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(address.replace("@", "\0", 1) if address[0] == "@" else address)

    def hear(self) -> str:
        return self.socket.recv(8192).decode()

    def rest(self) -> list[str]:
        """What has arrived and was not heard yet."""
        self.socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self.hear())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self.socket.close()
        if self.address[0] == "/":
            os.unlink(self.address)


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ear]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}/notify"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    made = Ear(address)
    yield made
    made.close()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set NOTIFY_SOCKET to where nobody listens."""
    return lambda address: monkeypatch.setenv("NOTIFY_SOCKET", address)


# What is sent.


@pytest.mark.parametrize(
    ("call", "datagram"),
    [
        (notify.ready, "READY=1"),
        (notify.stopping, "STOPPING=1"),
        (notify.alive, "WATCHDOG=1"),
        (lambda: notify.status("42 connections"), "STATUS=42 connections"),
        (lambda: notify.status(""), "STATUS="),
        (lambda: notify.status("größer, 大きい"), "STATUS=größer, 大きい"),
        (lambda: notify.main_pid(4711), "MAINPID=4711"),
        (lambda: notify.extend(2.5), "EXTEND_TIMEOUT_USEC=2500000"),
        (lambda: notify.extend(30), "EXTEND_TIMEOUT_USEC=30000000"),
        (lambda: notify.send(READY=1, STATUS="listening"), "READY=1\nSTATUS=listening"),
        (lambda: notify.send(WATCHDOG="trigger"), "WATCHDOG=trigger"),
    ],
)
def test_one_datagram(ear: Ear, call: Callable[[], bool], datagram: str) -> None:
    assert call() is True
    assert ear.hear() == datagram
    assert ear.rest() == []


def test_reloading_says_when(ear: Ear) -> None:
    assert notify.reloading()
    reloading, when = ear.hear().split("\n")
    assert reloading == "RELOADING=1"
    name, _, usec = when.partition("=")
    assert name == "MONOTONIC_USEC"
    assert int(usec) > 0


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("works\nREADY=1", "works READY=1"),
        ("\r\nSTOPPING=1\n", "  STOPPING=1 "),
        ("a\0b\x1b[2Jc\x85d\u2028e\tf", "a b [2Jc d e f"),
        ("file \udcff is bad", "file   is bad"),
        ("READY=1", "READY=1"),
    ],
)
def test_a_status_is_one_field(ear: Ear, text: str, sent: str) -> None:
    assert notify.status(text)
    assert ear.hear() == f"STATUS={sent}"


def test_no_field_can_hold_another(ear: Ear) -> None:
    assert notify.send(**{"STATUS": "x\nMAINPID=1", "X\nREADY": 1})
    assert ear.hear().split("\n") == ["STATUS=x MAINPID=1", "X READY=1"]


@pytest.mark.parametrize("char", ["x", "大", "\U0001f600"])
def test_a_long_status_is_cut_and_sent(ear: Ear, char: str) -> None:
    assert notify.status(char * 100_000)
    heard = ear.hear()
    assert len(heard.encode()) <= 4096
    assert set(heard) == set(f"STATUS={char}")
    assert len(heard) > 900


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_extend_by_no_time(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"extend\(\) takes a number of seconds above 0"):
        notify.extend(seconds)


@pytest.mark.parametrize("seconds", ["3", None, True])
def test_extend_by_no_number(seconds: object) -> None:
    with pytest.raises(TypeError, match=r"extend\(\) takes a number of seconds, not"):
        notify.extend(seconds)  # type: ignore[arg-type]


# Nobody there.


def test_without_supervise_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    for call in (notify.ready, notify.stopping, notify.reloading, notify.alive):
        assert call() is False
    assert notify.status("x") is False
    assert notify.main_pid(1) is False
    assert notify.extend(1) is False


@pytest.mark.parametrize(
    "address", ["", "@", "relative", "/nowhere/notify", "/", "/dev/null", "/" + "x" * 500, "@" + "x" * 500, "vsock:1:2"]
)
def test_an_address_where_nobody_is(deaf: Callable[[str], None], address: str) -> None:
    deaf(address)
    assert notify.ready() is False


def test_a_listener_that_is_gone(tmp_path: Path, deaf: Callable[[str], None]) -> None:
    address = str(tmp_path / "notify")
    ear = Ear(address)
    ear.socket.close()  # as when supervise was killed: the name is there still
    deaf(address)
    assert notify.ready() is False
    os.unlink(address)


def test_a_listener_that_is_replaced(ear: Ear) -> None:
    assert notify.status("one")
    assert ear.hear() == "STATUS=one"
    ear.close()
    assert notify.status("two") is False
    successor = Ear(ear.address)
    assert notify.status("three")
    assert successor.hear() == "STATUS=three"
    ear.socket = successor.socket


def test_a_full_queue_is_not_waited_for(ear: Ear) -> None:
    sent = 0
    while notify.alive():
        sent += 1
        assert sent < 100_000
    assert sent > 0
    assert len(ear.rest()) == sent
    assert notify.alive()


def test_a_stream_socket_is_no_listener(tmp_path: Path, deaf: Callable[[str], None]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.listen()
        deaf(str(tmp_path / "notify"))
        assert notify.ready() is False


def test_no_descriptor_is_left(ear: Ear, deaf: Callable[[str], None]) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        assert notify.ready()
        ear.hear()
    deaf("/nowhere/notify")
    for _ in range(20):
        assert not notify.ready()
    assert os.listdir("/proc/self/fd") == before


# What it costs.


def python(code: str, **env: str) -> str:
    """What a Python without anybody's start-up files prints."""
    start = f"import sys; sys.path.insert(0, {str(Path(notify.__file__).parents[1])!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def modules_after(code: str, **env: str) -> set[str]:
    """Which modules some code has imported that Python itself had not."""
    before = "import json, os\nbefore = set(sys.modules)\n"
    after = "\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    return set(json.loads(python(before + code + after, **env)))


ALONE = {"supervise", "supervise.notify", "__future__"}


def test_it_imports_nothing_else() -> None:
    assert modules_after("import supervise.notify") - ALONE == set()


def test_telling_imports_the_socket_in_c() -> None:
    code = "from supervise.notify import *; ready(), status('x'), stopping()"
    assert modules_after(code, NOTIFY_SOCKET="") - ALONE == set()
    assert modules_after(code, NOTIFY_SOCKET="/nowhere/notify") - ALONE == {"_socket"}


def test_watching_imports_faulthandler() -> None:
    code = "from supervise.notify import *\nwith watchdog(60) as dog:\n dog.kick()"
    assert modules_after(code, NOTIFY_SOCKET="") - ALONE == {"faulthandler"}


def test_it_needs_no_other_file_of_the_package(tmp_path: Path) -> None:
    package = tmp_path / "supervise"
    package.mkdir()
    for name in ("__init__.py", "notify.py"):
        (package / name).write_bytes(Path(notify.__file__).with_name(name).read_bytes())
    code = f"sys.path.insert(0, {str(tmp_path)!r})\nimport supervise.notify as n\nprint(n.__file__, n.ready())"
    assert python(code, NOTIFY_SOCKET="").split() == [str(package / "notify.py"), "False"]
