"""The Python interface: what a Status says, what each exception is raised for, how a name is resolved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, wait_for
from tools import c_supervise

from supervise import client
from supervise.client import Service, services
from supervise.protocol.record import Record

HEAVY = ("dataclasses", "typing", "enum", "json", "re", "subprocess", "pyinotify", "docopt")


@pytest.fixture
def app(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    """The box's folder as the current directory, with a service that runs."""
    monkeypatch.chdir(box.folder)
    monkeypatch.delenv("SUPERVISE_ROOT", raising=False)
    box.start("sleep", "1000")
    return box


def test_importing_it_is_cheap() -> None:
    code = f"import sys, supervise.client; print([name for name in {HEAVY!r} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": os.pathsep.join(sys.path)},
                          capture_output=True, text=True)
    assert said.stdout.strip() == "[]", said.stderr


def test_the_status_of_a_service_that_runs(app: Box) -> None:
    status = Service("status/app").status()
    assert (status.supervised, status.running, status.pid) == (True, True, app.pid)
    assert (status.want, status.paused, status.alarms) == ("up", False, True)
    assert status.supervise_pid == app.supervisor
    assert (status.restarts, status.last_exit, status.gave_up) == (0, None, False)
    assert 0 <= status.seconds < PATIENCE


def test_a_restart_and_the_last_exit(app: Box) -> None:
    service = Service("app")
    first = service.status().pid
    service.command("k")
    now = service.wait(lambda before, now: now.restarts == 1, PATIENCE)
    assert now.pid != first and now.last_exit is not None
    assert str(now.last_exit) == "was killed by signal 9 (KILL)"
    assert (now.last_exit.signal, now.last_exit.code, now.last_exit.planned) == (9, None, False)


def test_waiting_until_down_up_and_unsupervised(app: Box) -> None:
    service = Service("app")
    service.command("d")
    assert service.wait("down", PATIENCE).pid == 0
    service.command("u")
    assert service.wait("up", PATIENCE).pid == app.pid
    service.command("dx")
    assert not service.wait("unsupervised", PATIENCE).supervised
    with pytest.raises(client.CannotComeTrue, match="supervise not running"):
        service.wait("up")
    with pytest.raises(client.NotRunning, match="supervise not running"):
        service.command("u")


def test_a_time_limit(app: Box) -> None:
    with pytest.raises(client.TimeLimit, match=r"not so within 0\.01 seconds") as caught:
        Service("app").wait("down", 0.01)
    assert caught.value.status and caught.value.status.pid == app.pid


def test_words_that_mean_nothing(app: Box) -> None:
    service = Service("app")
    with pytest.raises(ValueError, match="'z'"):
        service.command("dz")
    with pytest.raises(ValueError, match="'sideways'"):
        service.wait("sideways")
    with pytest.raises(ValueError, match="'printout'"):
        service.log("printout")
    assert app.pid


def test_the_log(app: Box) -> None:
    (app.status / "__stdout").write_text("one\ntwo\nthree\n")
    assert Service("app").log(lines=2) == [b"two\n", b"three\n"]
    assert b"service started" in Service("app").log("supervise")[0]


def test_an_unknown_name_tells_those_that_exist(app: Box) -> None:
    with pytest.raises(client.UnknownService, match="'ap'; the services in status are: app") as caught:
        Service("ap")
    assert caught.value.names == ["app"]
    with pytest.raises(client.UnknownService, match="the services in status are: app"):
        Service("status/ap")
    with pytest.raises(client.UnknownService):
        Service("")


def test_where_names_are_looked_for(app: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for place in ("root/status/a", "root/a", "root/b", "c"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setenv("SUPERVISE_ROOT", str(root))
    assert Service("app").path == "status/app"
    assert Service("a").path == f"{root}/status/a"
    assert Service("b").path == f"{root}/b"
    assert Service("c").path == "c"
    assert Service("./c/").path == "c"
    monkeypatch.chdir(app.status)
    assert (Service(".").path, Service(".").name) == (".", "app")


def test_all_services(app: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (app.folder / "status" / "nothing").mkdir()
    assert [service.name for service in services()] == ["app"]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(client.UnknownService):
        services()
    monkeypatch.setenv("SUPERVISE_ROOT", str(app.folder))
    assert [service.path for service in services()] == [f"{app.folder}/status/app"]


def test_a_directory_that_is_no_status_directory(app: Box) -> None:
    (app.folder / "plain").mkdir()
    with pytest.raises(client.NotAStatusDir, match="plain: not a status directory"):
        Service("./plain").status()
    with pytest.raises(client.NotAStatusDir, match="not a status directory"):
        Service("./plain").command("d")
    with pytest.raises(client.NotAStatusDir, match="not a directory"):
        Service("status/app/lock")
    assert os.listdir(app.folder / "plain") == []


@pytest.mark.parametrize("content", [b"", b"x" * 20, b"x" * 21, b"\0" * 20])
def test_a_damaged_record(app: Box, content: bytes) -> None:
    (app.status / "status").write_bytes(content)
    with pytest.raises(client.DamagedRecord, match="cannot read status/app/status: damaged: "):
        Service("app").status()


def test_a_record_that_is_no_file(app: Box) -> None:
    (app.status / "status").unlink()
    (app.status / "status").symlink_to("/etc/passwd")
    with pytest.raises(client.DamagedRecord, match="not a regular file"):
        Service("app").status()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 99}', b"\xff"])
def test_a_damaged_state_leaves_the_record(app: Box, content: bytes) -> None:
    (app.status / "state").write_bytes(content)
    with pytest.raises(client.DamagedState, match="cannot read status/app/state: damaged: ") as caught:
        Service("app").status()
    assert caught.value.status.pid == app.pid
    assert caught.value.status.restarts is None


def test_a_record_newer_than_the_state(app: Box) -> None:
    (app.status / "status").write_bytes(Record(1, False, "up", True, 4711).encode())
    status = Service("app").status()
    assert (status.pid, status.restarts, status.outlived) == (4711, 0, False)


def test_a_service_that_outlives_its_supervise(app: Box) -> None:
    os.kill(app.supervisor, 9)
    status = Service("app").wait("unsupervised", PATIENCE)
    assert (status.supervised, status.running, status.outlived) == (False, True, True)
    os.kill(app.pid, 9)
    wait_for("its end", lambda: not Service("app").status().running)


def test_the_c_implementation(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(box.folder)
    with c_supervise(box):
        service = Service("app")
        status = service.status()
        assert (status.supervised, status.running, status.pid) == (True, True, 1000001)
        assert (status.state, status.restarts, status.last_exit, status.supervise_pid) == (None,) * 4
        service.command("d")
        assert service.wait("down", PATIENCE).want == "down"
        service.command("x")
        service.wait("unsupervised", PATIENCE)


def test_ok_that_is_no_fifo(app: Box) -> None:
    (app.status / "ok").unlink()
    (app.status / "ok").touch()
    with pytest.raises(client.NotAStatusDir, match="not a FIFO"):
        Service("app").supervised()


def test_a_full_fifo_is_not_waited_for(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(box.folder)
    box.status.mkdir(parents=True)
    os.mkfifo(box.status / "control")
    fd = os.open(box.status / "control", os.O_RDWR | os.O_NONBLOCK)
    try:
        with pytest.raises(BlockingIOError):
            while True:
                os.write(fd, b"\n" * 4096)
        with pytest.raises(client.SystemRefused, match="full"):
            Service("app").command("d")
    finally:
        os.close(fd)
