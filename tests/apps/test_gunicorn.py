"""gunicorn as a service: upgraded under load on USR2, reloaded on HUP, and it says when it is ready."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from heirs import kill_supervise, state
from serving import Load, get, inhabitants, new_address, swept, wait_served, wait_state, wait_totals
from system import children
from tools import run_tool

pytest.importorskip("gunicorn")

# Answered with the pid of the master.
APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getppid()).encode()]
"""
GUNICORN_CONF = """
bind = "{host}:{port}"
workers = 2
pidfile = "gunicorn.pid"
control_socket_disable = True  # of newer versions: in the user's home
worker_tmp_dir = "."

def post_worker_init(worker):
    print("worker ready", flush=True)
"""
CONF = "[global]\nalarm_interval : 60\nmax_tries : 3\npidfile : gunicorn.pid\n"


class Gunicorn:
    """gunicorn as a service.  Its main process is the master; workers answer."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.address = host, port = new_address()
        (box.folder / "app.py").write_text(APP)
        (box.folder / "gunicorn.conf.py").write_text(GUNICORN_CONF.format(host=host, port=port))
        self.command = sys.executable, "-m", "gunicorn", "app:app"

    def start(self) -> int:
        """The pid of the master."""
        pid = self.box.start(*self.command)
        self.box.wait_stdout("worker ready", 2)
        assert wait_served(self.address) == str(pid)
        return pid

    def upgrade(self, load: Load) -> tuple[int, int]:
        """Have it start another master; the old one, and the new one, which is not yet in the record.  Both serve."""
        old = self.box.pid
        self.box.control("2")
        new = wait_for("the pidfile of the new master", self.second)
        load.wait_answer(str(new))
        load.wait_answer(str(old))
        assert self.box.pid == old
        return old, new

    def second(self) -> int:
        """The new master, by its pidfile; 0 for none."""
        try:
            return int((self.box.folder / "gunicorn.pid.2").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def promoted(self, pid: int) -> None:
        """Wait until a master knows that it is the only one: within a second it looks, and renames its pidfile."""
        path = self.box.folder / "gunicorn.pid"
        wait_for("its name in the pidfile", lambda: path.exists() and path.read_text() == f"{pid}\n")

    def stop(self) -> None:
        """Nothing but supervise is left of it, and nothing was restarted, counted or warned of."""
        box, pid = self.box, self.box.pid
        wait_totals(box, starts=1)
        assert state(box)["last_exit"] is None
        assert state(box)["window"]["exits"] == 0
        wait_for("no zombie", lambda: "Z" not in children(box.supervisor).values())
        box.control("d")
        box.wait_down()
        box.wait_log(f"service exited with status 0 (pid {pid}")
        wait_for("its end", lambda: len(inhabitants(box.folder)) == 1)
        assert box.warnings == ""


@pytest.fixture
def gunicorn(box: Box) -> Iterator[Gunicorn]:
    box.conf(CONF)
    with swept(box):
        yield Gunicorn(box)
        print(box.log("__stderr"))  # is shown if the test has failed


def test_upgrades_under_load(gunicorn: Gunicorn) -> None:
    box = gunicorn.box
    gunicorn.start()
    with Load(gunicorn.address) as load:
        for _ in range(2):
            old, new = gunicorn.upgrade(load)
            os.kill(old, signal.SIGTERM)  # it finishes its requests
            assert box.wait_new_pid(old) == new
            box.wait_log(f"main process exited with status 0 (pid {old})")
            assert not Path(f"/proc/{old}").exists()
            gunicorn.promoted(new)
            load.some_more()
            assert box.pid == new
        answers = set(load.answers)
        assert get(gunicorn.address) == str(new)
    assert len(answers) == 3
    gunicorn.stop()


def test_an_upgrade_that_is_taken_back(gunicorn: Gunicorn) -> None:
    box = gunicorn.box
    pid = gunicorn.start()
    with Load(gunicorn.address) as load:
        old, new = gunicorn.upgrade(load)

        def ended() -> bool:
            with suppress(ProcessLookupError):  # gunicorn heeds no signal that comes while it sets its handlers
                os.kill(new, signal.SIGTERM)
            return not Path(f"/proc/{new}").exists()

        wait_for("the new one to end", ended)
        load.some_more()
        assert box.pid == old == pid
        assert get(gunicorn.address) == str(pid)
    gunicorn.stop()


def test_an_upgrade_to_something_broken(gunicorn: Gunicorn) -> None:
    box = gunicorn.box
    pid = gunicorn.start()
    (box.folder / "app.py").write_text("import nothing_of_that_name")
    with Load(gunicorn.address) as load:
        box.control("2")
        new = wait_for("the pidfile of the new master", gunicorn.second)
        wait_for("the new one to be gone", lambda: not Path(f"/proc/{new}").exists())
        load.some_more()
    assert box.pid == pid
    assert set(load.answers) == {str(pid)}
    gunicorn.stop()


def test_stop_in_the_middle_of_an_upgrade(gunicorn: Gunicorn) -> None:
    """Both of them end: `d` is for the service, not for the process that is its main one."""
    box = gunicorn.box
    gunicorn.start()
    with Load(gunicorn.address) as load:
        gunicorn.upgrade(load)
    box.control("d")
    box.wait_down()
    wait_for("their end", lambda: len(inhabitants(box.folder)) == 1)
    wait_totals(box, starts=1, exits=1, planned=1)
    assert box.warnings == ""


def test_a_reload_keeps_the_master(gunicorn: Gunicorn) -> None:
    box = gunicorn.box
    pid = gunicorn.start()
    workers = set(children(pid))
    with Load(gunicorn.address) as load:
        box.control("h")
        wait_for("other workers", lambda: len(children(pid)) == 2 and not workers & set(children(pid)))
        load.some_more()
    assert set(load.answers) == {str(pid)}
    assert box.pid == pid
    gunicorn.stop()


def test_a_crash_is_restarted(gunicorn: Gunicorn) -> None:
    box = gunicorn.box
    gunicorn.start()
    with Load(gunicorn.address) as load:
        old, new = gunicorn.upgrade(load)
        os.kill(old, signal.SIGTERM)
        assert box.wait_new_pid(old) == new
    os.kill(new, signal.SIGKILL)
    again = box.wait_new_pid(new)
    assert again not in (old, new)
    # The workers of the one that was killed notice that within a second.
    wait_for("the new master to answer", lambda: wait_served(gunicorn.address) == str(again))


def test_the_next_supervise_has_the_right_one(gunicorn: Gunicorn) -> None:
    """Supervise is killed before an upgrade, in the middle of it, and after it."""
    box = gunicorn.box
    pid = gunicorn.start()

    def next_supervise(pid: int, count: int) -> None:
        wait_state(box, pid)
        kill_supervise(box)
        load.some_more()
        done = box.run("-u", "status/app", *gunicorn.command)
        assert (done.returncode, done.stderr) == (0, "")
        box.wait_log("taken over (pid", count)
        assert box.pid == pid

    with Load(gunicorn.address) as load:
        next_supervise(pid, 1)
        old, new = gunicorn.upgrade(load)
        next_supervise(pid, 2)
        os.kill(old, signal.SIGTERM)
        assert box.wait_new_pid(old) == new
        gunicorn.promoted(new)
        next_supervise(new, 3)
        load.some_more()
    wait_totals(box, starts=1)


def test_it_says_when_it_is_ready(gunicorn: Gunicorn) -> None:
    box = gunicorn.box
    box.conf(CONF + "notify : yes\n")
    # Slow to start: before it is ready it is starting.
    (box.folder / "gunicorn.conf.py").open("a").write(
        "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n"
    )
    pid = box.start(*gunicorn.command)
    assert "starting" in run_tool(box, "svstat", "app").stdout
    assert run_tool(box, "svwait", "-U", "-t", "0.1", "app").returncode == 99
    (box.folder / "go").touch()
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    said = run_tool(box, "svstat", "app").stdout
    assert f"up (pid {pid})" in said and "ready" in said and "Gunicorn arbiter booted" in said, said
    wait_served(gunicorn.address)
    with Load(gunicorn.address) as load:
        old, new = gunicorn.upgrade(load)
        os.kill(old, signal.SIGTERM)
        assert box.wait_new_pid(old) == new
        assert run_tool(box, "svwait", "-U", "app").returncode == 0
    assert alive(new)
    gunicorn.stop()
