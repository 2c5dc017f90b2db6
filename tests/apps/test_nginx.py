"""nginx as a service: it replaces its main process by another binary on USR2, and forks into the background."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from heirs import kill_supervise, state
from serving import Load, get, inhabitants, new_address, swept, wait_served, wait_state, wait_totals
from system import children, needs

CONF = """
daemon {daemon};
worker_processes 2;
pid nginx.pid;
error_log error.log notice;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{
        listen {host}:{port};
        location / {{ return 200 "$pid"; }}
        location /slow {{ root .; limit_rate 1k; }}
        location /stuck {{ root .; limit_rate 1; }}
    }}
}}
"""
SUPERVISE_CONF = "[global]\nalarm_interval : 60\nmax_tries : 3\npidfile : nginx.pid\nstopsignal : QUIT\n"


class Nginx:
    """nginx as a service.  Its main process is the master; workers answer."""

    def __init__(self, box: Box, daemon: str) -> None:
        self.box = box
        self.address = host, port = new_address()
        user = "user root;" if os.getuid() == 0 else ""  # the folder is not for others
        (box.folder / "nginx.conf").write_text(user + CONF.format(daemon=daemon, host=host, port=port))
        box.env["PATH"] = f"{box.env.get('PATH', '')}:/usr/sbin"
        path = shutil.which("nginx", path=box.env["PATH"])
        assert path
        self.command = path, "-e", "error.log", "-p", str(box.folder), "-c", "nginx.conf"
        self.daemon = daemon == "on"

    def start(self) -> int:
        """The pid of the master."""
        self.box.start(*self.command)
        wait_served(self.address)
        pid = wait_for("its pidfile", self.named)  # Debian's is written by the process that ends thereupon
        wait_state(self.box, pid)
        assert self.box.pid == pid
        return pid

    def named(self) -> int:
        """The pid in the pidfile, 0 while there is none."""
        try:
            return int((self.box.folder / "nginx.pid").read_text() or 0)
        except FileNotFoundError:
            return 0

    def upgrade(self) -> tuple[int, int]:
        """Have it start the other binary; the old master and the new one, by the record.  Both serve."""
        old = self.box.pid
        self.box.control("2")
        new = self.box.wait_new_pid(old)
        assert self.named() == new
        wait_for("workers of the new master", lambda: self.master() == new)
        return old, new

    def master(self) -> int:
        """Whose worker answers, of those that do; 0 when that has just gone."""
        try:
            return parent(int(get(self.address)))
        except FileNotFoundError:
            return 0


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def served(box: Box, daemon: str) -> Iterator[Nginx]:
    needs("nginx")
    box.conf(SUPERVISE_CONF)
    with swept(box):
        yield Nginx(box, daemon)
        print((box.folder / "error.log").read_text())  # is shown if the test has failed


@pytest.fixture(params=["off", "on"], ids=["foreground", "background"])
def nginx(request: pytest.FixtureRequest, box: Box) -> Iterator[Nginx]:
    """It stays in the foreground, or forks into the background."""
    yield from served(box, request.param)


@pytest.fixture
def background(box: Box) -> Iterator[Nginx]:
    """It forks into the background.  Only then is USR2 obeyed: nginx ignores it while its first parent lives."""
    yield from served(box, "on")


def stop(nginx: Nginx) -> None:
    """Nothing but supervise is left of it, and nothing was restarted, counted or warned of."""
    box = nginx.box
    wait_totals(box, starts=1)
    assert state(box)["window"]["exits"] == 0
    wait_for("no zombie", lambda: "Z" not in children(box.supervisor).values())
    box.control("d")
    box.wait_down()
    wait_for("its end", lambda: len(inhabitants(box.folder)) == 1)
    assert box.warnings == ""


def test_start_and_stop(nginx: Nginx) -> None:
    pid = nginx.start()
    assert nginx.master() == pid
    if nginx.daemon:
        nginx.box.wait_log("main process exited with status 0")  # the one that was started
    stop(nginx)
    nginx.box.wait_log(f"service exited with status 0 (pid {pid}")


def test_another_binary(background: Nginx) -> None:
    box = background.box
    background.start()
    with Load(background.address) as load:
        for _ in range(3):
            load.some_more()
            old, new = background.upgrade()
            load.some_more()
            assert alive(old)
            os.kill(old, signal.SIGQUIT)
            box.wait_log(f"former main process exited with status 0 (pid {old})")
            assert not Path(f"/proc/{old}").exists()
            assert box.pid == new
            load.some_more()
            assert background.master() == new
    stop(background)


@pytest.mark.parametrize("way", ["QUIT", "TERM"])
def test_back_to_the_old_binary(background: Nginx, way: str) -> None:
    box = background.box
    background.start()
    with Load(background.address) as load:
        old, new = background.upgrade()
        os.kill(old, signal.SIGWINCH)
        wait_for("the old workers to end", lambda: set(children(old)) == {new})
        load.some_more()
        if way == "QUIT":
            os.kill(new, signal.SIGQUIT)
            wait_for("the old one in the record", lambda: box.pid == old)
            wait_for("its name in the pidfile", lambda: background.named() == old)
            wait_for("workers of the old master", lambda: background.master() == old)
            load.some_more()
    if way == "TERM":  # not under load: it drops the requests that it has
        os.kill(new, signal.SIGTERM)
        wait_for("the old one in the record", lambda: box.pid == old)
        wait_served(background.address)
    wait_for("the new one to be gone", lambda: not Path(f"/proc/{new}").exists())
    # And now it works.
    with Load(background.address) as load:
        again, newer = background.upgrade()
        assert again == old
        os.kill(old, signal.SIGQUIT)
        box.wait_log(f"former main process exited with status 0 (pid {old})")
        load.some_more()
        assert box.pid == newer
    stop(background)


def test_a_crash_of_the_new_one(background: Nginx) -> None:
    """The old one, which has not been told to end, is the main process again."""
    box = background.box
    background.start()
    old, new = background.upgrade()
    os.kill(new, signal.SIGKILL)
    wait_for("the old one in the record", lambda: box.pid == old)
    wait_for("the new one to be gone", lambda: not Path(f"/proc/{new}").exists())
    wait_totals(box, starts=1)
    assert background.box.warnings == ""


def test_a_crash(nginx: Nginx) -> None:
    box = nginx.box
    box.conf(SUPERVISE_CONF + "killasgroup : yes\n")  # else the workers keep the address
    pid = nginx.start()
    os.kill(pid, signal.SIGKILL)
    box.wait_new_pid(pid)
    wait_served(nginx.address)
    wait_for("the new master", lambda: nginx.master() == box.pid)
    wait_totals(box, starts=2, exits=1, crashes=1)


def test_the_next_supervise_has_the_right_one(background: Nginx) -> None:
    box = background.box
    background.start()
    with Load(background.address) as load:
        old, new = background.upgrade()
        wait_state(box, new)
        kill_supervise(box)
        load.some_more()
        done = box.run("-u", "status/app", *background.command)
        assert (done.returncode, done.stderr) == (0, "")
        box.wait_log(f"taken over (pid {new})")
        os.kill(old, signal.SIGQUIT)
        wait_for("the old one's end", lambda: not alive(old))
        load.some_more()
        assert box.pid == new
        old, new = background.upgrade()
        os.kill(old, signal.SIGQUIT)
        wait_for("the old one's end", lambda: not alive(old))
        load.some_more()
        assert (box.pid, background.master()) == (new, new)
    stop(background)


@pytest.mark.parametrize("way", ["QUIT", "KILL"])
def test_the_next_supervise_goes_back_to_the_old_binary(background: Nginx, way: str) -> None:
    """Supervise is killed in the middle of an upgrade that is taken back, or fails, thereafter."""
    box = background.box
    background.start()
    with Load(background.address) as load:
        old, new = background.upgrade()
        wait_state(box, new)
        kill_supervise(box)
        done = box.run("-u", "status/app", *background.command)
        assert (done.returncode, done.stderr) == (0, "")
        box.wait_log(f"taken over (pid {new})")
        load.some_more()
        if way == "QUIT":
            os.kill(new, signal.SIGQUIT)
            wait_for("the old one in the record", lambda: box.pid == old)
            load.some_more()
    if way == "KILL":  # not under load: its workers are left, and end when they notice
        os.kill(new, signal.SIGKILL)
        wait_for("the old one in the record", lambda: box.pid == old)
    wait_for("the new one to be gone", lambda: not Path(f"/proc/{new}").exists())
    wait_for("its name in the pidfile", lambda: background.named() == old)
    wait_state(box, old)
    wait_totals(box, starts=1)
    assert box.warnings == ""


# Stops.


def ask(nginx: Nginx, path: str, size: int) -> socket.socket:
    """Ask for a file that comes slowly; the first of it has come."""
    (nginx.box.folder / path[1:]).write_bytes(b"x" * size)
    connection = socket.create_connection(nginx.address)
    connection.settimeout(30)
    connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert connection.recv(1) == b"H"
    return connection


def test_quit_lets_it_finish_its_requests(nginx: Nginx) -> None:
    box = nginx.box
    pid = nginx.start()
    with ask(nginx, "/slow", 2048) as connection:
        box.control("d")
        box.wait_log("command d")
        assert alive(pid) and box.pid == pid
        rest = b""
        while True:
            data = connection.recv(4096)
            if not data:
                break
            rest += data
    assert rest.endswith(b"x" * 2048)
    box.wait_down()
    box.wait_log(f"service exited with status 0 (pid {pid}")
    assert box.warnings == ""


def test_after_stopwaitsecs_it_is_killed(nginx: Nginx) -> None:
    box = nginx.box
    box.conf(SUPERVISE_CONF + "stopwaitsecs : 1\nkillasgroup : yes\n")
    pid = nginx.start()
    with ask(nginx, "/stuck", 2048):
        box.control("d")
        box.wait_down()
    box.wait_warning(f"service (pid {pid}) did not end in time after it was told to: sending KILL")
    box.wait_log("service was killed by signal 9 (KILL), ended by supervise")
    wait_for("its workers to end", lambda: len(inhabitants(box.folder)) == 1)
