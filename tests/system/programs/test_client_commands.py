"""start, stop, restart and to_dict of the Python interface: they wait as svc does, and raise what is the matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, wait_for

from supervise import client
from supervise.client import Service

ONCE = "[app]\nautorestart : unexpected\nexitcodes : 0\n"


@pytest.fixture
def app(box: Box, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.chdir(box.folder)
    monkeypatch.delenv("SUPERVISE_ROOT", raising=False)
    return box


def test_stop_start_restart(app: Box) -> None:
    app.start("sleep", "1000")
    service = Service("app")
    first = app.pid
    assert service.start(PATIENCE).pid == first, "it was up already"
    down = service.stop(PATIENCE)
    assert (down.pid, down.want, down.running) == (0, "down", False)
    assert service.stop(PATIENCE).pid == 0
    up = service.start(PATIENCE)
    assert up.running and up.pid == app.pid != first
    again = service.restart(PATIENCE)
    assert again.running and again.pid == app.pid != up.pid
    assert again.last_exit and again.last_exit.planned


def test_start_waits_until_it_is_ready(app: Box) -> None:
    app.conf("[app]\nnotification_fd : 3\n")
    app.start("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; echo >&3; exec sleep 1000")
    service = Service("app")
    with pytest.raises(client.TimeLimit, match=r"^cannot start status/app within 0\.1 seconds$") as caught:
        service.start(0.1)
    assert caught.value.status and caught.value.status.phase == "starting"
    (app.folder / "go").touch()
    assert service.start(PATIENCE).phase == "ready"


def test_one_that_ends_and_is_not_restarted(app: Box) -> None:
    app.conf(ONCE.replace("unexpected", "never"))
    app.start("sh", "-c", "sleep 0.1; exit $(cat code)")
    service = Service("app")
    (app.folder / "code").write_text("0")
    wait_for("its end", lambda: service.status().finished)
    for code in (0, 3):
        (app.folder / "code").write_text(str(code))
        for act in (service.start, service.restart):
            try:
                found = act(PATIENCE)
                found = found if not found.pid else service.wait(lambda _, now: now.finished, PATIENCE)
            except client.DidNotStayUp as why:
                assert code and str(why).startswith(f"cannot {act.__name__} status/app: it exited with status 3 after ")
                assert str(why).endswith(" seconds, and is not restarted")
                found = why.status
            assert found.finished and found.last_exit and found.last_exit.code == code


def test_without_a_supervise(app: Box) -> None:
    app.start("sleep", "1000")
    service = Service("app")
    service.command("dx")
    service.wait("unsupervised", PATIENCE)
    for act in (service.stop, service.restart):
        with pytest.raises(client.NotRunning) as caught:
            act(PATIENCE)
        gone = f"cannot {act.__name__} status/app: supervise not running"
        assert str(caught.value) == f"{gone}; to start one: svc start status/app"
    with pytest.raises(client.NotRunning, match="^cannot command status/app: supervise not running; to start one: "):
        service.command("u")
    assert app.supervisor == 0


def test_start_starts_a_supervise(app: Box) -> None:
    app.start("sleep", "1000")
    service = Service("app")
    first = app.supervisor
    service.command("dx")
    service.wait("unsupervised", PATIENCE)
    status = service.start(PATIENCE)
    assert status.running and status.pid == app.pid and status.supervise_pid == app.supervisor != first
    os.kill(app.supervisor, signal.SIGKILL)
    app.wait_gone()
    assert service.start(PATIENCE).pid == status.pid, "it was taken over"


def test_start_by_a_program_that_has_python_built_in(app: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    app.start("sleep", "1000")
    service = Service("app")
    service.command("dx")
    service.wait("unsupervised", PATIENCE)
    monkeypatch.setattr(sys, "executable", "/no/such/server")
    assert service.start(PATIENCE).running
    service.command("dx")
    service.wait("unsupervised", PATIENCE)
    monkeypatch.setattr(sys, "executable", "/no/such/python3")
    with pytest.raises(client.SystemRefused, match="cannot execute /no/such/python3: No such file or directory$"):
        service.start(PATIENCE)


def test_start_leaves_a_foreground_to_whoever_started_it(app: Box) -> None:
    process = app.foreground("sleep", "1000")
    app.wait_log("service started")
    app.control("dx")
    process.wait(PATIENCE)
    for act in (Service("app").start, Service("app").restart):
        with pytest.raises(client.NotRunning, match="; it was started with --foreground: start it again as that was "):
            act(PATIENCE)


def test_a_supervise_that_gives_up_meanwhile(app: Box) -> None:
    app.conf("[app]\nalarm_interval : 60\nmax_tries : 1\nnotify : yes\n")
    app.start("sh", "-c", "[ -e fail ] && exit 1; exec sleep 1000")
    service = Service("app")
    (app.folder / "fail").touch()
    # Whichever is seen first: its end, or that supervise has given up for it.
    with pytest.raises((client.DidNotStayUp, client.CannotComeTrue), match="^cannot restart status/app: "):
        service.restart(PATIENCE)


def test_as_plain_values(app: Box) -> None:
    app.start("sleep", "1000")
    found = Service("app").to_dict()
    assert (found["name"], found["path"], found["error"]) == ("app", "status/app", None)
    assert (found["up"], found["pid"], found["command"]) == (True, app.pid, ["sleep", "1000"])
    assert found["processes"] == 1 and found["memory"] > 0
    svstat = str(Path(app.program).with_name("svstat"))
    (shown,) = json.loads(app.run_words(svstat, "--json", "app").stdout)["services"]
    assert shown.keys() == found.keys()
    changing = ("seconds", "cpu", "cpu_percent", "memory")
    assert {name: value for name, value in shown.items() if name not in changing} == {
        name: value for name, value in found.items() if name not in changing
    }
    assert json.loads(json.dumps(found)) == found


def test_as_plain_values_what_cannot_be_read(app: Box) -> None:
    app.start("sleep", "1000")
    service = Service("app")
    for name, known in (("state", True), ("status", False)):
        (app.status / name).write_bytes(b"no such thing")
        found = service.to_dict()
        assert "damaged" in found["error"]
        assert (found["pid"] is not None, found["restarts"]) == (known, None)


def test_letting_go_of_the_program_that_waits_changes_nothing(app: Box) -> None:
    """What was commanded is obeyed by supervise, whoever waits for it."""
    app.conf("[app]\nnotification_fd : 3\n")
    app.start("sleep", "1000")
    code = "from supervise.client import Service; Service('app').restart(None)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=app.folder) as waiting:
        first = app.pid
        app.wait_new_pid(first)
        waiting.kill()
    assert app.pid != first
