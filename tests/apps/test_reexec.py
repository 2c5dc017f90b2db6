"""A service that replaces its main process by itself, as the Go frameworks do on HUP (reexec.py), under load."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest
from conftest import ROOT, Box, alive, rounds, wait_for
from heirs import kill_supervise, state
from serving import Load, get, inhabitants, new_address, swept, wait_served, wait_state, wait_totals
from system import children

PROGRAM = str(ROOT / "tests" / "support" / "reexec.py")
# What tells of a new main process: words for the program, and the configuration.
WAYS = {
    "mainpid": (("notify",), "notify : yes\n"),
    "pidfile": (("pidfile",), "pidfile : pid\n"),
    "both": (("notify", "pidfile"), "notify : yes\npidfile : pid\n"),
    "late": (("late",), "pidfile : pid\n"),
    # Its pidfile tells it from the helpers that the old one has left behind.
    "helpers": (("late", "helper"), "pidfile : pid\n"),
}
EARLY = ("mainpid", "pidfile", "both")  # the new one is known before the old one has gone


class Site:
    """The program as a service."""

    def __init__(self, box: Box, *words: str) -> None:
        self.box = box
        self.address = new_address()
        host, port = self.address
        self.command = (sys.executable, "-S", "-E", PROGRAM, host, str(port), *words)

    def start(self) -> int:
        pid = self.box.start(*self.command)
        assert wait_served(self.address) == str(pid)
        return pid

    def upgrade(self, load: Load) -> int:
        """Have it replace itself; the new pid, by the record.  The old process has ended and been reaped."""
        old = self.box.pid
        self.box.control("h")
        new = self.box.wait_new_pid(old)
        wait_for("the old process to be gone", lambda: not Path(f"/proc/{old}").exists())
        load.wait_answer(str(new))
        assert self.box.pid == new
        return new

    def slow_request(self) -> SlowRequest:
        return SlowRequest(self)


class SlowRequest:
    """A request that is answered when it is told to; it has been accepted."""

    def __init__(self, site: Site) -> None:
        self._folder, self._address = site.box.folder, site.address
        self._answer: str | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        wait_for("the request to be accepted", (self._folder / "slow").exists)

    def _ask(self) -> None:
        try:
            self._answer = get(self._address, "/slow")
        except (OSError, HTTPException) as why:
            self._answer = repr(why)

    @property
    def waits(self) -> bool:
        return self._answer is None

    def finish(self) -> str:
        """Let it be answered; by whom it was."""
        (self._folder / "go").touch()
        self._thread.join()
        return self._answer or ""


def notify_address(box: Box) -> str:
    """Where the service tells its state, for connect(2)."""
    address = state(box)["notify_address"]
    assert isinstance(address, str)
    return "\0" + address[1:] if address.startswith("@") else address


def wait_ended(box: Box, pid: int, how: str) -> None:
    """Wait until the log says how a main process has ended."""
    said = re.compile(rf"main process (\(pid {pid}\) {how}|{how}[^(]*(\(KILL\) )?\(pid {pid}\))")
    wait_for(f"the end of pid {pid} in supervise.log", lambda: said.search(box.log()))


def zombies(supervisor: int) -> list[int]:
    return [pid for pid, mode in children(supervisor).items() if mode == "Z"]


class Sampler:
    """Every pid that the record has shown, in their order."""

    def __init__(self, box: Box) -> None:
        self.pids: list[int] = []
        self._box = box
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.is_set():
            pid = self._box.pid
            if self.pids[-1:] != [pid]:
                self.pids.append(pid)
            self._over.wait(0.0005)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture(autouse=True)
def clean(box: Box) -> Iterator[None]:
    with swept(box):
        yield


@pytest.fixture(params=WAYS)
def site(request: pytest.FixtureRequest, box: Box) -> Site:
    words, conf = WAYS[request.param]
    box.conf(f"[global]\nalarm_interval : 60\nmax_tries : 3\n{conf}")
    return Site(box, *words)


def test_upgrades_in_a_row(site: Site) -> None:
    box, number = site.box, rounds(5, 10)
    pids = [site.start()]
    supervisor = box.supervisor
    with Load(site.address) as load:
        with Sampler(box) as sampler:
            for _ in range(number):
                load.some_more()
                pids.append(site.upgrade(load))
                wait_for("no zombies", lambda: not zombies(supervisor))
        found = wait_state(box, pids[-1])
    assert set(load.answers) == set(map(str, pids))
    # The record never goes back, and is never without a pid, unless only the pidfile can tell.
    with_helpers = "helper" in site.command
    seen = [pid for pid in sampler.pids if pid or not with_helpers]
    assert [pid for pid in pids if pid in seen] == seen
    wait_totals(box, starts=1)
    assert found["last_exit"] is None
    for pid in pids[:-1]:
        wait_ended(box, pid, "exited with status 0")
    assert found["window"]["exits"] == 0
    assert box.warnings == ""
    assert box.supervisor == supervisor
    box.control("d")
    box.wait_down()
    wait_for("its end", lambda: not alive(pids[-1]))
    wait_totals(box, starts=1, exits=1, planned=1)
    left = inhabitants(box.folder)
    assert len(left) == 1 + (1 + number) * with_helpers, left


def test_the_old_one_finishes_its_requests(site: Site) -> None:
    box = site.box
    old = site.start()
    slow = site.slow_request()
    with Load(site.address) as load:
        box.control("h")
        if "late" in site.command:
            wait_for("another to answer", lambda: get(site.address) != str(old))
            assert box.pid == old
        else:
            # Meanwhile there is another upgrade.
            second = box.wait_new_pid(old)
            load.wait_answer(str(second))
            box.control("h")
            third = wait_for("a third one", lambda: {box.pid} - {0, old, second}).pop()
            load.wait_answer(str(third))
        load.some_more()
        assert alive(old) and slow.waits
        assert slow.finish() == str(old)
        wait_for("its end", lambda: not alive(old))
        new = box.wait_new_pid(old)
        load.wait_answer(str(new))
    wait_ended(box, old, "exited with status 0")
    wait_totals(box, starts=1)
    assert box.warnings == ""
    assert alive(new)


def test_a_crash_is_restarted_as_usual(site: Site) -> None:
    box = site.box
    site.start()
    with Load(site.address) as load:
        pid = site.upgrade(load)
        pid = site.upgrade(load)
    os.kill(pid, signal.SIGKILL)
    again = box.wait_new_pid(pid)
    assert wait_served(site.address) == str(again)
    box.wait_log(f"service was killed by signal 9 (KILL) (pid {pid}")
    wait_state(box, again)
    wait_totals(box, starts=2, exits=1, crashes=1)
    with Load(site.address) as load:
        site.upgrade(load)


def test_an_upgrade_that_fails_changes_nothing(site: Site) -> None:
    box = site.box
    pid = site.start()
    (box.folder / "broken").touch()
    with Load(site.address) as load:
        for count in range(1, 4):
            box.control("h")
            box.wait_stdout("broken\n", count)
            load.some_more()
        (box.folder / "broken").unlink()
        assert load.answers.keys() == {str(pid)}
        assert box.pid == pid
        site.upgrade(load)
    wait_totals(box, starts=1)
    assert box.warnings == ""


@pytest.mark.parametrize("site", EARLY, indirect=True)
def test_the_new_one_crashes_while_the_old_one_finishes(site: Site) -> None:
    """The old one is the main process again; when it has finished, another is started."""
    box = site.box
    os.kill(site.start(), signal.SIGSEGV)
    box.wait_log("service started", 2)
    old = box.pid
    assert wait_served(site.address) == str(old)
    slow = site.slow_request()
    box.control("h")
    new = box.wait_new_pid(old)
    box.wait_stdout(f"{new} has taken over")  # the old one has been told to end
    os.kill(new, signal.SIGKILL)
    wait_for("the old one in the record", lambda: box.pid == old)
    # It was a child of the old one's, and the kernel tells others how it has ended when that has reaped it, if ever.
    wait_ended(box, new, "(was killed by signal 9|exited, status unknown)")
    assert alive(old)
    box.control("w")
    box.wait_log("command w")
    wait_totals(box, starts=2, exits=1, crashes=1)
    assert state(box)["last_exit"]["signal"] == signal.SIGSEGV
    assert slow.finish() == str(old)
    again = box.wait_new_pid(old)
    assert again != new
    assert wait_served(site.address) == str(again)


def change(site: Site, how: str, pid: int) -> None:
    """Kill supervise and start another, or have it replaced by the letter e; the main process stays this one."""
    box = site.box
    wait_state(box, pid)
    if how == "kill":
        kill_supervise(box)
        done = box.run("-u", "status/app", *site.command)
        assert (done.returncode, done.stderr) == (0, "")
        box.wait_log(f"taken over (pid {pid})")
    else:
        said = "supervise replaced by the installed version"
        count = box.log().count(said)
        box.control("e")
        box.wait_log(said, count + 1)
    assert box.pid == pid


@pytest.mark.parametrize("how", ["kill", "replace"])
def test_the_next_supervise_has_the_right_one(site: Site, how: str) -> None:
    """Supervise is killed, or replaced by the letter e, while the old one finishes and when it has gone."""
    box = site.box
    old = site.start()
    with Load(site.address) as load:
        slow = site.slow_request()
        box.control("h")
        if "late" in site.command:
            wait_for("another to answer", lambda: get(site.address) != str(old))
        else:
            box.wait_stdout(f"{box.wait_new_pid(old)} has taken over")
        change(site, how, box.pid)
        slow.finish()
        wait_for("the old one's end", lambda: not alive(old))
        new = box.wait_new_pid(old)
        load.wait_answer(str(new))
        change(site, how, new)
        new = site.upgrade(load)
        wait_state(box, new)
    wait_totals(box, starts=1)
    os.kill(new, signal.SIGKILL)
    again = box.wait_new_pid(new)
    assert wait_served(site.address) == str(again)
    # All that there is to warn of are the helpers, after the crash.
    warned = [line for line in box.warnings.splitlines() if "left of the service" not in line]
    assert warned == []
    assert "helper" in site.command or box.warnings == ""


@pytest.mark.parametrize("how", ["kill", "replace"])
@pytest.mark.parametrize("site", EARLY, indirect=True)
def test_the_next_supervise_knows_the_former_one(site: Site, how: str) -> None:
    """It is killed, or replaced, while the old one finishes; then the new one crashes."""
    box = site.box
    old = site.start()
    slow = site.slow_request()
    box.control("h")
    new = box.wait_new_pid(old)
    box.wait_stdout(f"{new} has taken over")
    change(site, how, new)
    os.kill(new, signal.SIGKILL)
    wait_for("the old one in the record", lambda: box.pid == old)
    wait_totals(box, starts=1)
    assert slow.finish() == str(old)
    again = box.wait_new_pid(old)
    assert again != new
    assert wait_served(site.address) == str(again)


# Who it may be.


def test_a_foreign_pid_in_the_pidfile_is_ignored(box: Box) -> None:
    box.conf("[global]\npidfile : pid\n")
    site = Site(box, "pidfile")
    pid = site.start()
    for foreign in (os.getpid(), box.supervisor):
        (box.folder / "pid").write_text(f"{foreign}\n")
        box.wait_warning(f"ignored pid {foreign}, named by the pidfile: not a process of this service")
        assert box.pid == pid
    (box.folder / "pid").write_text(f"{pid}\n")
    with Load(site.address) as load:
        new = site.upgrade(load)
    # Nor is it believed where it is asked: when the main process has ended.
    (box.folder / "pid").write_text(f"{os.getpid()}\n")
    box.wait_warning(f"ignored pid {os.getpid()}, named by the pidfile", 2)
    os.kill(new, signal.SIGKILL)
    again = box.wait_new_pid(new)
    assert wait_served(site.address) == str(again)
    wait_state(box, again)
    wait_totals(box, starts=2, exits=1, crashes=1)


def test_a_foreign_process_can_not_name_a_main_process(box: Box) -> None:
    box.conf("[global]\nnotify : yes\n")
    site = Site(box, "notify")
    pid = site.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect(notify_address(box))
        notify.send(f"MAINPID={os.getpid()}\nSTATUS=hello".encode())
    box.wait_warning(f"dropped a notification of pid {os.getpid()} (uid {os.getuid()}): not a process of this service")
    assert box.pid == pid
    wait_for("what the service itself said", lambda: state(box)["status_text"] == "serving")


def test_the_service_can_not_name_a_foreign_process(box: Box) -> None:
    box.conf("[global]\nnotify : yes\n")
    text = "; ".join(
        (
            "import os, socket, time",
            "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
            "s.connect(os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))",
            f"s.send(b'MAINPID={os.getpid()}\\nREADY=1')",
            "time.sleep(1000)",
        )
    )
    pid = box.start(sys.executable, "-S", "-E", "-c", text)
    box.wait_warning(f"ignored pid {os.getpid()}, named by MAINPID= of pid {pid}: not a process of this service")
    assert box.pid == pid
    wait_for("ready", lambda: state(box)["phase"] == "ready")


# Both end at the same time.


def test_a_former_one_that_has_ended_is_not_the_main_process_again(box: Box) -> None:
    """The old one exits well and the new one crashes before supervise gets to see either."""
    box.conf("[global]\nautorestart : unexpected\nnotify : yes\n")
    site = Site(box, "notify")
    old = site.start()
    slow = site.slow_request()
    box.control("h")
    new = box.wait_new_pid(old)
    box.wait_stdout(f"{new} has taken over")
    wait_state(box, new)
    supervisor = box.supervisor
    os.kill(supervisor, signal.SIGSTOP)
    slow.finish()
    wait_for("the old one's end", lambda: not alive(old))
    os.kill(new, signal.SIGKILL)
    wait_for("the new one's end", lambda: not alive(new))
    os.kill(supervisor, signal.SIGCONT)
    again = wait_for("another", lambda: box.pid if box.pid not in (0, old, new) else 0)
    assert wait_served(site.address) == str(again)
    wait_state(box, again)
    wait_totals(box, starts=2, exits=1, crashes=1)
    assert state(box)["last_exit"]["signal"] == signal.SIGKILL
