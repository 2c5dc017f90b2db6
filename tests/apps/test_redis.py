"""Redis as a service: it says when it is ready, and saves its data when it is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from heirs import state
from serving import inhabitants, new_address, swept, wait_totals
from system import needs
from tools import run_tool

CONF = """
bind {host}
port {port}
protected-mode no
dir {folder}
dbfilename dump.rdb
save 3600 1
supervised {supervised}
daemonize {daemonize}
pidfile {folder}/redis.pid
"""
GLOBAL = "[global]\nalarm_interval : 60\nmax_tries : 3\n"


class Redis:
    """A Redis of the test's own."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.address = new_address()
        self.command = "redis-server", "redis.conf"

    def configure(self, conf: str, supervised: str = "no", daemonize: str = "no") -> None:
        """`conf`: what supervise is told."""
        host, port = self.address
        text = CONF.format(host=host, port=port, folder=self.box.folder, supervised=supervised, daemonize=daemonize)
        (self.box.folder / "redis.conf").write_text(text)
        self.box.conf(GLOBAL + conf)

    def ask(self, *words: str) -> str:
        """What it answers to a command."""
        with socket.create_connection(self.address, timeout=30) as connection:
            connection.sendall("".join(f"{word} " for word in words).encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                line = answer.readline().decode().rstrip()
                if line.startswith("$") and line != "$-1":
                    line = answer.readline().decode().rstrip()
        return line


def speaks_systemd() -> bool:
    """Whether this redis-server was built to speak sd_notify: with libsystemd."""
    path = shutil.which("redis-server") or ""
    linked = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return "libsystemd" in linked


@pytest.fixture
def redis(box: Box) -> Iterator[Redis]:
    needs("redis-server")
    with swept(box):
        yield Redis(box)
        print(box.stdout())  # is shown if the test has failed


@pytest.fixture
def speaking(redis: Redis) -> Redis:
    """A Redis that says when it is ready."""
    if not speaks_systemd():
        pytest.skip("this redis-server is built without libsystemd")
    redis.configure("notify : yes\nstopwaitsecs : 60\n", supervised="systemd")
    return redis


def test_up_and_ready(speaking: Redis) -> None:
    box = speaking.box
    pid = box.start(*speaking.command)
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    # Ready means that it answers, at the first try.
    assert speaking.ask("PING") == "+PONG"
    assert state(box)["status_text"] == "Ready to accept connections"
    said = run_tool(box, "svstat", "app").stdout
    assert f"up (pid {pid})" in said and "ready" in said and "Ready to accept connections" in said, said
    box.wait_log(f"service is ready (pid {pid}")
    assert box.warnings == ""


def test_it_is_starting_while_it_loads(speaking: Redis) -> None:
    """Stopped on its way: up, but not ready."""
    box = speaking.box
    # A FIFO in the place of its data, which nobody writes to yet.
    data = box.folder / "dump.rdb"
    os.mkfifo(data)
    box.start(*speaking.command)
    wait_for("its status", lambda: state(box)["status_text"])
    assert (state(box)["phase"], state(box)["status_text"]) == ("starting", "Redis is loading...")
    assert run_tool(box, "svwait", "-u", "app").returncode == 0
    assert run_tool(box, "svwait", "-U", "-t", "0.1", "app").returncode == 99
    assert "starting" in run_tool(box, "svstat", "app").stdout


def test_stop_saves_the_data(speaking: Redis) -> None:
    box = speaking.box
    pid = box.start(*speaking.command)
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    assert speaking.ask("SET", "colour", "green") == "+OK"
    assert not (box.folder / "dump.rdb").exists()
    box.control("d")
    box.wait_down()
    assert not alive(pid)
    box.wait_log(f"service exited with status 0 (pid {pid}")
    assert b"green" in (box.folder / "dump.rdb").read_bytes()
    box.control("u")
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    assert speaking.ask("GET", "colour") == "green"
    wait_totals(box, starts=2, exits=1, planned=1)
    assert box.warnings == ""
    # And so with supervise.
    assert speaking.ask("SET", "colour", "blue") == "+OK"
    box.control("dx")
    box.wait_gone()
    assert b"blue" in (box.folder / "dump.rdb").read_bytes()


def test_a_crash(speaking: Redis) -> None:
    box = speaking.box
    pid = box.start(*speaking.command)
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    os.kill(pid, signal.SIGKILL)
    again = box.wait_new_pid(pid)
    assert run_tool(box, "svwait", "-U", "app").returncode == 0
    assert speaking.ask("PING") == "+PONG"
    assert box.pid == again


def test_in_the_background(redis: Redis) -> None:
    """It daemonizes, and its pidfile tells."""
    box = redis.box
    redis.configure("pidfile : redis.pid\n", daemonize="yes")
    box.start(*redis.command)
    path = Path(box.folder / "redis.pid")
    pid = wait_for("its pidfile", lambda: path.exists() and int(path.read_text() or 0))
    wait_for("its pid in the record", lambda: box.pid == pid)
    wait_totals(box, starts=1)

    def answers() -> bool:
        try:
            return redis.ask("PING") == "+PONG"
        except ConnectionRefusedError:
            return False

    wait_for("an answer", answers)
    box.control("d")
    box.wait_down()
    assert not alive(pid)
    wait_for("nothing but supervise", lambda: len(inhabitants(box.folder)) == 1)
    wait_totals(box, starts=1, exits=1, planned=1)
    assert box.warnings == ""
