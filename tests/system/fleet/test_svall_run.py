"""svall run: it stays, follows what becomes of its services, and takes all down when it is told to."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from all_services import SLEEP, SVALL, SVC, Services, logs
from box import PATIENCE, alive, processes, wait_for
from system import children

PAIR = f"[global]\nstartsecs : 0\n[db]\ncommand : {SLEEP}\n[web]\ncommand : {SLEEP}\ndepends_on : db\n"


def ended(process: subprocess.Popen[str]) -> int:
    """The exit code of `svall run`."""
    return process.wait(PATIENCE)


def quiet(process: subprocess.Popen[str]) -> tuple[int, int]:
    """How often a process has gone to sleep and been interrupted."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    found = dict(line.split(":\t", 1) for line in text.splitlines())
    return int(found["voluntary_ctxt_switches"]), int(found["nonvoluntary_ctxt_switches"])


def supervise(services: Services, name: str) -> int:
    """The pid of the supervise of a service; 0 while there is none, and its lock is held by what it is forked from."""
    pid = services[name].supervisor
    try:
        return pid if pid and Path(f"/proc/{pid}/comm").read_text() == "supervise\n" else 0
    except FileNotFoundError:
        return 0


def another(services: Services, name: str, killed: int) -> int:
    """Wait until a service has another supervise than the one that was killed; its pid."""
    return wait_for(f"another supervise of {name}", lambda: {supervise(services, name)} - {0, killed}).pop()


def supervises(services: Services) -> list[int]:
    """All supervises in the folder."""
    found = [pid for pid in processes() if services.outer.owns(pid)]
    return [pid for pid in found if Path(f"/proc/{pid}/comm").read_text() == "supervise\n"]


def kill_supervise(services: Services, name: str) -> int:
    """Kill the supervise of a service; its pid."""
    pid = wait_for(f"the supervise of {name}", lambda: supervise(services, name))
    os.kill(pid, signal.SIGKILL)
    return pid


class TestStays:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_takes_all_down_in_order(self, services: Services, number: int) -> None:
        services.conf(
            f"[global]\nstartsecs : 0\n[db]\ncommand : {logs('db')}\n[web]\ncommand : {logs('web')}\ndepends_on : db\n"
        )
        process = services.run()
        wait_for("both to be up", lambda: services.log == ["db up", "web up"])
        process.send_signal(number)
        assert ended(process) == 0
        assert services.log == ["db up", "web up", "web down", "db down"]
        assert not services["db"].supervisor and not services["web"].supervisor
        assert services.said == ""

    def test_a_signal_while_it_starts(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        time.sleep(0.02)
        process.terminate()
        assert ended(process) in (0, -signal.SIGTERM)
        wait_for("nothing to run", lambda: not services.pids())

    def test_a_signal_while_something_does_not_get_ready(self, services: Services) -> None:
        services.conf(f"{PAIR.replace('[web]', 'notify : yes[web]').replace('yes[web]', 'yes' + chr(10) + '[web]')}")
        process = services.run()
        services.wait_up("db")
        process.terminate()
        assert ended(process) == 0
        assert not services["db"].supervisor
        assert "web" not in services.names

    def test_a_signal_while_a_supervise_is_being_started(self, services: Services) -> None:
        """Whatever it is at: each service that was begun with is told to end."""
        services.conf(f"{PAIR}[more]\ncommand : {SLEEP}\ndepends_on : web\n")
        for name in ("db", "web", "more"):
            process = services.run()
            wait_for(f"{name} to be begun with", (services[name].status / "lock").exists)
            process.terminate()
            assert ended(process) == 0
            assert not services.pids()
            shutil.rmtree(services.folder / "status")

    def test_no_wakeups(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        services.wait_up("db", "web")
        seen = [quiet(process)]

        def rests() -> bool:
            time.sleep(1.5)
            seen.append(quiet(process))
            return seen[-1] == seen[-2]

        wait_for("a second without a wakeup", rests)

    def test_what_is_named(self, services: Services) -> None:
        services.conf(f"{PAIR}[other]\ncommand : {SLEEP}\n")
        process = services.run("web")
        services.wait_up("db", "web")
        process.terminate()
        assert ended(process) == 0
        assert services.names == ["db", "web"]


    def test_what_somebody_else_has_started_is_spared(self, services: Services) -> None:
        """By hand before and after it came; with names, also what was neither named nor is depended on."""
        services.conf(f"{PAIR}[other]\ncommand : {SLEEP}\nautostart : no\n[late]\ncommand : {SLEEP}\nautostart : no\n")
        services["other"].start("sleep", "1000")
        process = services.run()
        services.wait_up("db", "web")
        services["late"].start("sleep", "1000")
        process.terminate()
        assert ended(process) == 0, services.said
        assert services.pids().keys() == {"other", "late"}
        assert "status/other is left alone" in services.said
        services.conf(f"{PAIR}[more]\ncommand : {SLEEP}\n")
        process = services.run("web")
        before = services.wait_up("db", "web")
        services.done("up", "more")
        services.conf(f"{PAIR}umask : 027\n[more]\ncommand : sleep 1\n")
        process.send_signal(signal.SIGHUP)
        wait_for("web to be restarted", lambda: services.pid("web") not in (0, before["web"]))
        process.terminate()
        assert ended(process) == 0
        assert services.pids().keys() == {"other", "late", "more"}

    def test_it_is_seen(self, services: Services) -> None:
        """By its name and by what was typed."""
        services.conf(PAIR)
        process = services.run("db", "web")
        services.wait_up("db", "web")
        place = Path(f"/proc/{process.pid}")
        assert (place / "comm").read_text() == "svall\n"
        words = (place / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert words == [b"svall", b"-F", b"supervise.conf", b"run", b"db", b"web"]

    def test_what_it_forks_from_is_killed(self, services: Services) -> None:
        """It begins anew, as the same process."""
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        titles = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(process.pid)}
        forks = [pid for pid, title in titles.items() if b"fleet/daemon.py" in title]
        assert len(forks) == 1
        killed = supervise(services, "db")
        os.kill(forks[0], signal.SIGKILL)
        os.kill(killed, signal.SIGKILL)
        another(services, "db", killed)
        assert "begin anew" in services.said
        assert services.wait_up("db", "web") == before
        process.terminate()
        assert ended(process) == 0
        assert not services.pids()


class TestDied:
    def test_a_supervise_that_is_killed_is_started_again(self, services: Services) -> None:
        services.conf(PAIR)
        services.run()
        before = services.wait_up("db", "web")
        for _ in range(2):
            killed = kill_supervise(services, "db")
            another(services, "db", killed)
            wait_for("its service to be adopted", lambda: services.pid("db"))
            assert services.pids("db", "web") == before
        wait_for("the word of it", lambda: services.said.count("the supervise of db has died: another is started") == 2)

    def test_both_are_killed(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        killed = kill_supervise(services, "db")
        os.kill(before["db"], signal.SIGKILL)
        another(services, "db", killed)
        wait_for("another process", lambda: services.pid("db") not in (0, before["db"]))
        process.terminate()
        assert ended(process) == 0

    def test_all_at_once(self, services: Services) -> None:
        names = [f"s{number}" for number in range(10)]
        services.conf("[global]\nstartsecs : 0\n" + "".join(f"[{name}]\ncommand : {SLEEP}\n" for name in names))
        process = services.run()
        before = services.wait_up(*names)
        killed = {name: kill_supervise(services, name) for name in names}
        for name in names:
            another(services, name, killed[name])
        assert services.wait_up(*names) == before
        process.terminate()
        assert ended(process) == 0
        assert not services.pids()

    def test_svc_exit_is_not_undone(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        assert services.words(SVC, "exit", "web").returncode == 0
        services["web"].wait_gone()
        kill_supervise(services, "db")
        wait_for("db's", lambda: services.pid("db") == before["db"] and services["db"].supervisor)
        assert not services["web"].supervisor
        process.terminate()
        assert ended(process) == 0

    def test_giving_up_is_not_undone(self, services: Services) -> None:
        services.conf(
            "[bad]\ncommand : sh -c 'echo x >> log; exit 3'\nstartretries : 1\n"
            f"[good]\ncommand : {SLEEP}\nstartsecs : 0\n"
        )
        process = services.run()
        services["bad"].wait_warning("giving up")
        services["bad"].wait_gone()
        services.wait_up("good")
        kill_supervise(services, "good")
        wait_for("good's", lambda: services.pid("good") and services["good"].supervisor)
        assert not services["bad"].supervisor
        assert services.log == ["x", "x"]
        process.terminate()
        assert ended(process) == 0

    def test_what_waited_for_one_that_comes_up_after_all(self, services: Services) -> None:
        services.conf(
            f"[db]\ncommand : sh -c 'test -e good || exit 3; exec {SLEEP}'\n"
            f"[web]\ncommand : {SLEEP}\ndepends_on : db\n[more]\ncommand : {SLEEP}\ndepends_on : web\n"
        )
        process = services.run()
        wait_for("its failure", lambda: "db did not come up: " in services.said)
        wait_for("the other", lambda: "web not started: it waits for db" in services.said)
        (services.folder / "good").touch()
        services.wait_up("db", "web", "more")
        process.terminate()
        assert ended(process) == 0

    def test_down_after_a_supervise_has_died(self, services: Services) -> None:
        """What runs without one is not forgotten."""
        services.up(PAIR)
        pid = services.pids("db")["db"]
        kill_supervise(services, "db")
        services["db"].wait_gone()
        services.done("down")
        assert not alive(pid)
        assert not services["db"].supervisor

    def test_a_directory_that_is_removed(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        (services.folder / "status/db").rename(services.folder / "moved")
        wait_for("another directory", lambda: services.pid("db") == before["db"] or services.pid("db"))
        process.terminate()
        assert ended(process) == 0
        assert not alive(before["db"])

    def test_run_is_killed(self, services: Services) -> None:
        """Everything goes on, and the next takes over."""
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        process.kill()
        process.wait()
        assert services.pids("db", "web") == before
        process = services.run()
        wait_for("it to follow", lambda: Path(f"/proc/{process.pid}/comm").read_text() == "svall\n")
        killed = services["db"].supervisor
        wait_for("it to watch", lambda: len(os.listdir(f"/proc/{process.pid}/fd")) > 5)
        os.kill(killed, signal.SIGKILL)
        another(services, "db", killed)
        assert services.wait_up("db", "web") == before
        process.terminate()
        assert ended(process) == 0
        assert not services.pids()

    def test_up_after_run_was_killed(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        process.kill()
        process.wait()
        services.up()
        assert services.pids("db", "web") == before
        services.done("down")


class TestUpdate:
    def test_hup(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        services.conf(PAIR.replace(SLEEP, "sleep 86398", 1) + f"[more]\ncommand : {SLEEP}\n")
        process.send_signal(signal.SIGHUP)
        services.wait_up("more")
        wait_for("db to be replaced", lambda: services.pid("db") not in (0, before["db"]))
        assert services.pid("web") == before["web"]
        services.conf(PAIR.replace("[web]", "[site]"))
        process.send_signal(signal.SIGHUP)
        services.wait_up("site")
        wait_for("the others to be gone", lambda: services.pids().keys() == {"db", "site"})
        process.terminate()
        assert ended(process) == 0
        assert not services.pids()

    def test_a_broken_file(self, services: Services) -> None:
        services.conf(PAIR)
        process = services.run()
        before = services.wait_up("db", "web")
        services.conf(PAIR.replace(SLEEP, "sleep '"))
        process.send_signal(signal.SIGHUP)
        wait_for("a warning", lambda: "supervise.conf is not used as long as it is so" in services.said)
        assert "svall: warning: supervise.conf:4: command: " in services.said
        services.conf("")
        process.send_signal(signal.SIGHUP)
        refused = "svall: warning: cannot update: db, web would be stopped, for supervise.conf defines no service"
        wait_for("another", lambda: refused in services.said)
        assert services.pids("db", "web") == before
        services.conf(f"{PAIR}[more]\ncommand : {SLEEP}\n")
        process.send_signal(signal.SIGHUP)
        services.wait_up("more")
        process.terminate()
        assert ended(process) == 0


class Systemd:
    """What is told on a notification socket."""

    def __init__(self, listening: socket.socket, services: Services, watchdog: str = "") -> None:
        address = services.folder / "notify"
        listening.bind(str(address))
        listening.settimeout(PATIENCE)
        services.env["NOTIFY_SOCKET"] = str(address)
        if watchdog:
            services.env["WATCHDOG_USEC"] = watchdog
        self.listening = listening
        self.heard: list[str] = []

    def hear(self, line: str) -> None:
        """Hear what is told until this line."""
        begun = len(self.heard)
        while line not in self.heard[begun:]:
            self.heard += self.listening.recv(4096).decode().splitlines()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        yield made


class TestSystemd:
    def test_it_is_told(self, services: Services, listening: socket.socket) -> None:
        """How far it is, at the start, at HUP and at the end; what it has set for that is not for services."""
        services.conf(PAIR)
        systemd = Systemd(listening, services)
        process = services.run()
        systemd.hear("READY=1")
        assert systemd.heard.count("READY=1") == 1
        assert "STATUS=0 of 2 up, waiting for db" in systemd.heard
        assert systemd.heard[-2:] == ["STATUS=2 of 2 up", "READY=1"]
        environ = Path(f"/proc/{services.pids('db')['db']}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environ
        assert not [line for line in systemd.heard if line.startswith("WATCHDOG")]
        services.conf(f"{PAIR}[more]\ncommand : {SLEEP}\n")
        process.send_signal(signal.SIGHUP)
        systemd.hear("RELOADING=1")
        systemd.hear("READY=1")
        assert systemd.heard[-2:] == ["STATUS=3 of 3 up", "READY=1"]
        said = next(line for line in systemd.heard if line.startswith("MONOTONIC_USEC="))
        assert 0 <= time.monotonic() - int(said.partition("=")[2]) / 1e6 < PATIENCE
        services.conf("[broken")
        process.send_signal(signal.SIGHUP)
        systemd.hear("RELOADING=1")
        systemd.hear("READY=1")
        process.terminate()
        systemd.hear("STATUS=stopping")
        assert systemd.heard[-2:] == ["STOPPING=1", "STATUS=stopping"]
        assert ended(process) == 0

    def test_its_watchdog(self, services: Services, listening: socket.socket) -> None:
        """A loop that hangs is noticed."""
        services.conf(PAIR)
        systemd = Systemd(listening, services, watchdog="400000")
        process = services.run()
        services.wait_up("db", "web")
        for _ in range(3):
            systemd.hear("WATCHDOG=1")
        environ = Path(f"/proc/{services.pids('db')['db']}/environ").read_bytes()
        assert b"WATCHDOG_USEC" not in environ
        process.send_signal(signal.SIGSTOP)
        listening.settimeout(2)
        with pytest.raises(socket.timeout):
            systemd.hear("never")
        listening.settimeout(PATIENCE)
        process.send_signal(signal.SIGCONT)
        systemd.hear("WATCHDOG=1")
        process.terminate()
        assert ended(process) == 0


def test_a_second_one_for_the_same_file_is_said(services: Services) -> None:
    services.conf(PAIR)
    first = services.run("db")
    services.wait_up("db")
    second = services.run("web")
    services.wait_up("web")
    line = f"svall: warning: svall run looks after services of supervise.conf already (pid {first.pid}): "
    wait_for("the second to say it", lambda: line in services.said)
    second.terminate()
    assert ended(second) == 0
    services.file.write_text(f"{PAIR}\n")
    third = services.run("db")
    wait_for("the third to say it", lambda: services.said.count("already (pid ") == 2)
    for process in (third, first):
        process.terminate()
        assert ended(process) == 0


ORPHANS = """
import os, subprocess, sys, time
pid = os.fork()
if not pid:
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(float(sys.argv[1]))
    os._exit(0)
os.waitpid(pid, 0)
time.sleep(86399)
"""


class TestProcess1:
    @pytest.fixture
    def words(self) -> tuple[str, ...]:
        """Words before a command that is to be process 1."""
        mine = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        words = ("unshare", *mine, "--pid", "--fork", "--mount-proc", "--kill-child")
        try:
            done = subprocess.run([*words, "true"], capture_output=True)
        except FileNotFoundError:
            pytest.skip("unshare is not installed (Debian package util-linux)")
        if done.returncode:
            pytest.skip(f"no PID namespace can be had: {done.stderr.decode().strip()}")
        return words

    def one(self, process: subprocess.Popen[str]) -> int:
        """The pid, seen from here, of process 1."""
        return wait_for("process 1", lambda: next(iter(children(process.pid)), 0))

    def test_it_ends_cleanly(self, services: Services, words: tuple[str, ...]) -> None:
        services.conf(
            f"[global]\nstartsecs : 0\n[db]\ncommand : {logs('db')}\n[web]\ncommand : {logs('web')}\ndepends_on : db\n"
        )
        process = services.run(words=words)
        wait_for("both to be up", lambda: services.log == ["db up", "web up"])
        os.kill(self.one(process), signal.SIGTERM)
        assert ended(process) == 0
        assert services.log == ["db up", "web up", "web down", "db down"]

    def test_it_is_killed_and_started_again(self, services: Services, words: tuple[str, ...]) -> None:
        """All in the container is killed with it; the next has the same pids for others, and believes none."""
        services.conf(
            f"[global]\nstartsecs : 0\n[db]\ncommand : {logs('db')}\n[web]\ncommand : {logs('web')}\ndepends_on : db\n"
        )
        ups = []
        for _ in range(2):
            ups += ["db up", "web up"]
            process = services.run("--logs", words=words)
            wait_for("both to be up", lambda ups=ups: services.log == ups)
            one = self.one(process)
            assert Path(f"/proc/{one}/comm").read_text() == "svall\n"
            assert [len(list(children(pid))) for pid in supervises(services)] == [1, 1]
            os.kill(one, signal.SIGKILL)
            process.wait(PATIENCE)
            wait_for("nothing of it to live", lambda: not [pid for pid in processes() if services.outer.owns(pid)])
        process = services.run(words=words)
        wait_for("both to be up", lambda: services.log == [*ups, "db up", "web up"])
        assert len(supervises(services)) == 2
        os.kill(self.one(process), signal.SIGTERM)
        assert ended(process) == 0
        assert services.log[-2:] == ["web down", "db down"]
        assert "fatal" not in services.said

    def test_it_reaps(self, services: Services, words: tuple[str, ...]) -> None:
        """An orphan is supervise's as long as that lives, and then process 1's."""
        (services.folder / "orphans.py").write_text(ORPHANS)
        services.conf(f"[app]\ncommand : {sys.executable} orphans.py 86399\nstartsecs : 0\n")
        process = services.run(words=words)
        one = self.one(process)
        wait_for("its status", (services["app"].status / "status").exists)
        supervise = wait_for("supervise", lambda: services["app"].supervisor)
        wait_for("an orphan", lambda: len(children(supervise)) == 2)
        orphans = list(children(supervise))
        os.kill(supervise, signal.SIGKILL)
        wait_for("process 1 to have them", lambda: set(orphans) <= set(children(one)))
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        wait_for("no zombie", lambda: not set(orphans) & set(children(one)) and "Z" not in children(one).values())
        os.kill(one, signal.SIGTERM)
        assert ended(process) == 0


class TestDialects:
    def test_supervisord(self, services: Services) -> None:
        services.file = services.folder / "supervisord.conf"
        services.conf(
            "[unix_http_server]\nfile=/tmp/supervisor.sock ; the path to the socket file\n"
            "[supervisord]\nlogfile=/tmp/supervisord.log\n"
            f"[program:web]\ncommand={SLEEP} ; a comment\nprocess_name=%(program_name)s_%(process_num)02d\nnumprocs=2\n"
            f"startsecs=0\n[program:db]\ncommand={SLEEP}\npriority=1\nstartsecs=0\n"
            f"[program:spare]\ncommand={SLEEP}\nautostart=false\n[group:site]\nprograms=web,db\n"
        )
        done = services.svall("up")
        assert done.returncode == 0, done.stderr
        assert all(line.startswith("svall: warning: supervisord.conf:") for line in done.stderr.splitlines())
        assert services.pids().keys() == {"web_00", "web_01", "db"}
        assert services.svall("diff").stdout == ""
        assert services.svall("restart", "site:web_*").returncode == 0
        assert services.svall("down").returncode == 0
        assert not services.pids()

    def test_procfile(self, services: Services) -> None:
        services.file = services.folder / "Procfile"
        (services.folder / ".env").write_text("COLOUR=blue\n")
        services.conf(f"# all\nweb: exec {SLEEP}\nworker: {SLEEP}\n")
        process = services.run()
        found = services.wait_up("web", "worker")
        wait_for("the program", lambda: b"sleep" in Path(f"/proc/{found['web']}/cmdline").read_bytes())
        assert b"COLOUR=blue" in Path(f"/proc/{found['web']}/environ").read_bytes()
        process.terminate()
        assert ended(process) == 0, services.said
        assert not services.pids()


class TestMany:
    def test_a_hundred(self, services: Services) -> None:
        """With no more descriptors than most systems allow."""
        names = [f"s{number:02}" for number in range(100)]
        services.conf("[global]\nstartsecs : 0\n" + "".join(f"[{name}]\ncommand : {SLEEP}\n" for name in names))
        services.file = services.folder / "supervise.conf"
        done = services.words("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh", SVALL, "up", timeout=100)
        assert (done.returncode, done.stderr) == (0, "")
        found = services.pids(*names)
        assert len({*found.values()}) == len(names)
        limits = Path(f"/proc/{found['s50']}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3] == "256"
        services.up()
        assert services.pids(*names) == found
        services.done("down")
        assert not services.pids()
