"""The status directory goes away under a running supervise: it is made anew, and the service never notices."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Callable

import pytest
from conftest import SUPERVISE, Box, alive, wait_for
from heirs import state
from moving import App, remove, words_of
from speaking import descriptors
from system import needs, switches
from tools import run_tool

WAYS: dict[str, Callable[[App], object]] = {
    "removed": lambda app: remove(app.status),
    "moved": lambda app: app.status.rename(app.folder / "status" / "app.old"),
    "parent removed": lambda app: remove(app.folder / "status"),
    "parent moved": lambda app: (app.folder / "status").rename(app.folder / "status.old"),
    "grandparent removed": lambda app: remove(app.folder),
    "grandparent moved": lambda app: app.folder.rename(app.folder.with_name("old")),
}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    folder = tmp_path / "box"
    folder.mkdir()
    made = App(folder)
    yield made
    made.clean()
    made.kill_all()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_it_is_made_anew_whole(app: App) -> None:
    """However often it goes away, and in whatever way: the same supervise, the same process of the service."""
    app.begin(path=str(app.status))
    for count, (way, do) in enumerate(WAYS.items()):
        do(app)
        app.wait_here()
        app.assert_whole()
        where = "was removed" if way.endswith("removed") else "is "
        assert f"{app.status} made anew: the directory before it {where}" in app.warnings
        assert len(app.warnings.splitlines()) == 1
        assert f"the service (pid {app.service}) goes on" in app.log()
        if count == 1:
            app.restart()
    # From here on as ever: the next supervise takes over, and obeys.
    app.succeed()
    app.wait_log("service taken over")
    app.control("dx")
    app.wait_ended()


def test_by_a_relative_path(app: App) -> None:
    app.begin()
    for way in ("removed", "parent moved"):
        WAYS[way](app)
        app.wait_here()
        app.assert_whole()
    environ = Path(f"/proc/{app.service}/environ").read_bytes().split(b"\0")
    assert b"SUPERVISE_STATUS_DIR=" + os.fsencode(app.status) in environ
    app.restart()
    app.succeed()


def test_a_relative_path_whose_current_directory_moves_leads_where_it_led(app: App) -> None:
    app.begin()
    old = app.folder
    app.folder = app.folder.rename(app.folder.with_name("elsewhere"))
    app.status = app.folder / "status" / "app"
    os.kill(app.supervisor_pid, signal.SIGHUP)
    app.wait_log("command r")
    app.assert_whole()
    assert app.warnings == ""
    assert not old.exists()
    # The path that it began with is taken all the same.
    second = Box(old)
    old.mkdir()
    done = second.run("-u", "status/app", "sleep", "1000")
    assert done.returncode == 111
    assert f"pid {app.supervisor_pid} supervises it, whose directory was moved to {app.status}\n" in done.stderr
    assert list(old.iterdir()) == []
    # The service bears the name that the folder had, so the box would leave it.
    for pid in (app.supervisor_pid, app.service):
        os.kill(pid, signal.SIGKILL)


def test_a_relative_path_whose_current_directory_is_removed(app: App) -> None:
    """It leads nowhere then: the service's own name for the directory is what is left of it."""
    app.begin()
    remove(app.folder)
    app.wait_here()
    app.assert_whole()
    app.restart()


def test_what_was_moved_away_says_so_and_is_nobodys(app: App) -> None:
    app.begin()
    app.status.rename(app.folder / "status" / "old")
    app.wait_here()
    old = Box(app.folder, "old")
    assert old.warnings.count("status/app does not lead here any more: supervise goes on in another directory\n") == 1
    assert f"the directory before it is {old.status} now\n" in app.warnings
    assert old.supervisor == 0 and old.pid == 0
    assert (state(old)["machine"], state(old)["service"]) == ("ended", None)
    # The running service prints there, and the next one here.
    app.control("h")
    old.wait_stdout("got HUP\n")
    app.restart()
    assert "ready" not in old.stdout().replace("ready\n", "", 1)
    # A supervise for that name is one for another service.
    assert old.start("sleep", "1000") != app.service
    assert app.is_here()


def test_letters_that_were_written_before_are_obeyed(app: App) -> None:
    app.begin()
    with app.stopped():
        app.control("1")
        app.status.rename(app.folder / "status" / "old")
    app.wait_here()
    Box(app.folder, "old").wait_stdout("got USR1\n")


def test_moved_away_and_back(app: App) -> None:
    """At once, as scripts do, nothing happens; nor is there a second supervise in between."""
    app.begin()
    inode = app.status.stat().st_ino
    for _ in range(20):
        app.status.rename(app.folder / "status" / "old")
        (app.folder / "status" / "old").rename(app.status)
    app.assert_whole()
    os.kill(app.supervisor_pid, signal.SIGHUP)
    app.wait_log("command r")
    assert app.status.stat().st_ino == inode and app.warnings == ""


def test_moved_back_later(app: App) -> None:
    """The directory that it was is known again, and it returns."""
    app.begin()
    old = app.folder / "status" / "old"
    app.status.rename(old)
    app.wait_here()
    inode = old.stat().st_ino
    with app.stopped():
        remove(app.status)
        old.rename(app.status)
    wait_for("supervise to return", lambda: app.is_here())
    app.wait_watched()
    assert app.status.stat().st_ino == inode
    app.wait_warning("status/app back: the directory before it was removed\n")
    app.assert_whole()
    app.restart()
    app.succeed()


# The files alone.


@pytest.mark.parametrize("name", ["lock", "control", "ok"])
def test_a_file_alone(app: App, name: str) -> None:
    app.begin()
    file, other = app.status / name, app.folder / "other"

    def replace() -> None:
        """What becomes of a letter that is written where no FIFO is."""
        with app.stopped():
            file.unlink()
            file.write_text("d\n")

    def overwrite() -> None:
        os.mkfifo(other, 0o600) if name != "lock" else other.touch()
        other.rename(file)

    for count, do in enumerate((file.unlink, lambda: file.rename(app.folder / "away"), replace, overwrite), 1):
        do()
        app.wait_warning(f"status/app/{name} had been removed or replaced: made anew", count)
        app.wait_here()
        app.assert_whole()
        assert len(app.warnings.splitlines()) == count
    app.restart()
    app.succeed()


# Symlinks.


def test_a_symlink_that_comes_to_lead_elsewhere(app: App) -> None:
    for name in ("one", "two"):
        (app.folder / name).mkdir()
    (app.folder / "status").symlink_to("one")
    app.begin()
    (app.folder / "new").symlink_to("two")
    (app.folder / "new").rename(app.folder / "status")
    app.wait_here()
    app.assert_whole()
    assert (app.folder / "two" / "app" / "lock").is_file()
    assert f"the directory before it is {app.folder}/one/app now\n" in app.warnings
    remove(app.folder / "two")
    # Not a wait for anything: of a link that leads nowhere nothing can be made.
    time.sleep(0.5)
    (app.folder / "two").mkdir()
    app.wait_here()
    app.assert_whole()


# Somebody else's directory.


def empty(app: App) -> None:
    app.status.rename(app.folder / "old")
    app.status.mkdir()


def copy(app: App) -> None:
    app.status.rename(app.folder / "old")
    needs("cp")
    subprocess.run(["cp", "-a", app.folder / "old", app.status], check=True)


def strangers(app: App) -> None:
    empty(app)
    if os.geteuid() == 0:
        os.chown(app.status, 12345, 12345)


def behind_a_link(app: App) -> None:
    copy(app)
    app.status.rename(app.folder / "copy")
    app.status.symlink_to(app.folder / "copy")


def lock(app: App) -> None:
    (app.status / "lock").unlink()
    app.holder = (app.status / "lock").open("w")  # type: ignore[attr-defined]
    fcntl.flock(app.holder, fcntl.LOCK_EX)  # type: ignore[attr-defined]


def test_what_somebody_else_has_made_ends_it_in_order(tmp_path: Path) -> None:
    """Several at once, for each takes the time that one must wait for a start which is refused."""
    apps: dict[str, App] = {}
    ways = (empty, copy, strangers, behind_a_link, lock)
    try:
        for way in ways:
            app = apps[way.__name__] = App(tmp_path / way.__name__)
            app.folder.mkdir()
            app.begin()
            with app.stopped():
                way(app)
        # And two that are exchanged: each finds the other's directory, locked, in place of its own.
        pair = [App(apps["empty"].folder, "one"), App(apps["empty"].folder, "two")]
        apps.update((app.name, app.begin()) for app in pair)
        with pair[0].stopped(), pair[1].stopped():
            middle = pair[0].status.rename(tmp_path / "middle")
            pair[1].status.rename(pair[0].status)
            middle.rename(pair[1].status)
        for app in apps.values():
            app.wait_ended()
        said = "status/app is another directory now, which somebody else has made: stopping the service"
        for name in ("empty", "copy", "strangers", "behind_a_link"):
            assert said in (apps[name].folder / "old" / "supervise.log.wf").read_text()
        there = "this directory has taken the place of another, whose service is being stopped"
        for name in ("empty", "copy", "behind_a_link"):
            assert there in apps[name].warnings
        # Nothing is written into what a stranger may have prepared.
        assert [path.name for path in apps["empty"].status.iterdir()] == ["supervise.log.wf"]
        assert os.geteuid() != 0 or list(apps["strangers"].status.iterdir()) == []
        held = f"another supervise has locked (cannot lock status/app/lock: held by pid {os.getpid()})"
        assert held in apps["lock"].warnings
        # What is there now can be used, and takes over nothing.
        for name in ("empty", "copy"):
            assert alive(apps[name].start("sleep", "1000"))
            assert "service taken over" not in apps[name].log()
    finally:
        apps["lock"].holder.close()  # type: ignore[attr-defined]
        for app in apps.values():
            app.clean()
            app.kill_all()


# What cannot be done is done later.


def test_a_parent_that_cannot_be_written_for_a_while(app: App, unprivileged: list[str]) -> None:
    app.begin(prefix=tuple(unprivileged))
    parent = app.folder / "status"
    with app.stopped():
        app.status.rename(app.folder / "old")
        parent.chmod(0o500)
    old = App(app.folder / "x", "app")
    old.status = app.folder / "old"
    # The old directory is still there, and says so; its service is still supervised.
    old.wait_warning("the status directory is not in its place, trying again: cannot open status/app: Permission")
    old.control("k")
    app.service = old.wait_new_pid(app.service)
    assert app.second_start().returncode == 111
    parent.chmod(0o700)
    app.wait_here()
    app.assert_whole()
    assert old.warnings.count("trying again") == 1
    app.wait_log("the status directory is in its place again")


def test_a_file_in_the_way(app: App) -> None:
    app.begin()
    parent = app.folder / "status"
    with app.stopped():
        shutil.rmtree(parent)
        parent.write_text("in the way")
    os.kill(app.service, signal.SIGKILL)
    app.wait_another()
    # Not a wait for anything: it tries in vain meanwhile.
    time.sleep(1)
    parent.unlink()
    app.wait_here()
    app.assert_whole()
    assert parent.is_dir()


def test_without_descriptors_for_a_while(app: App) -> None:
    app.begin()
    limits = resource.prlimit(app.supervisor_pid, resource.RLIMIT_NOFILE)
    resource.prlimit(app.supervisor_pid, resource.RLIMIT_NOFILE, (8, limits[1]))
    remove(app.status)
    # Not a wait for anything: it tries in vain meanwhile.
    time.sleep(1)
    assert alive(app.supervisor_pid) and not (app.status / "lock").exists()
    resource.prlimit(app.supervisor_pid, resource.RLIMIT_NOFILE, limits)
    app.wait_here()
    app.assert_whole()
    app.restart()


def test_descriptors_do_not_become_more(app: App) -> None:
    app.begin()

    def numbers() -> list[str]:
        return sorted(os.listdir(f"/proc/{app.supervisor_pid}/fd"))

    before = numbers()
    for name in ("a", "b", "c"):
        app.status.rename(app.folder / "status" / name)
        app.wait_here()
        (app.status / "control").unlink()
        app.wait_warning("control had been removed or replaced")
        app.wait_here()
    wait_for("the same descriptors", lambda: numbers() == before)


# Where nothing can be watched.


def test_without_inotify_it_is_noticed_at_other_occasions(
    app: App, nobody_else: tuple[list[str], int], exhausted: list[str]
) -> None:
    os.chown(app.folder, nobody_else[1], nobody_else[1])
    app.begin(prefix=tuple(exhausted))
    app.wait_warning("no inotify instance is left")
    app.status.rename(app.folder / "status" / "old")
    os.kill(app.supervisor_pid, signal.SIGHUP)
    app.wait_here()
    app.assert_whole()
    remove(app.status)
    os.kill(app.service, signal.SIGKILL)
    app.wait_another()
    app.wait_here()
    app.assert_whole()


def test_what_is_mounted_there_is_unmounted(app: App) -> None:
    """That makes no event; it is seen after the next restart."""
    needs("unshare", "mount", "nsenter")
    (app.folder / "status").mkdir()
    words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    script = 'mount -t tmpfs tmpfs status && "$@" && od -An -j16 -N4 -tu4 status/app/status'
    done = subprocess.run(
        [*words, script, "mounted", SUPERVISE, "-u", "status/app", "sleep", "1000"],
        cwd=app.folder,
        env=app.env,
        capture_output=True,
        text=True,
    )
    if done.returncode == 1 and "supervise" not in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    app.service = int(done.stdout)
    app.supervisor_pid = int(Path(f"/proc/{app.service}/stat").read_text().rpartition(")")[2].split()[1])
    app.words = words_of(app.service)
    app.wait_watched()
    enter = ["nsenter", "--mount", f"--target={app.supervisor_pid}"]
    if os.geteuid() != 0:
        enter[1:1] = ["--user", "--preserve-credentials"]
    subprocess.run([*enter, "umount", "-l", str(app.folder / "status")], check=True)
    os.kill(app.service, signal.SIGKILL)
    app.wait_another()
    app.wait_here()
    app.assert_whole()


# At bad moments.


def test_while_the_service_is_being_restarted(app: App) -> None:
    """It always ends with one process, one supervise, and a record that is true."""
    app.begin()
    for stopped in (True, False, False):
        with app.stopped() if stopped else nullcontext():
            os.kill(app.service, signal.SIGKILL)
            remove(app.status)
        app.wait_another()
        app.wait_here()
        assert app.processes_of_service() == {app.service}
        app.assert_whole()
        if stopped:  # there was no directory when it was to be started, so it was made for that
            app.wait_stdout("ready\n")


def test_while_it_is_paused(app: App) -> None:
    app.begin()
    app.control("p")
    wait_for("a pause", lambda: app.record.paused)
    remove(app.status)
    app.wait_here()
    assert app.record.paused
    app.control("c")
    wait_for("the end of the pause", lambda: not app.record.paused)


def test_while_a_restart_script_runs(app: App) -> None:
    app.begin("-r", "sh -c 'sleep 1'")
    app.control("k")
    app.wait_log("restart script started")
    app.status.rename(app.folder / "status" / "old")
    app.wait_another()
    app.wait_here()
    app.assert_whole()
    app.wait_stdout("ready\n")


def test_while_it_is_down(app: App) -> None:
    app.begin()
    app.control("d")
    app.wait_down()
    remove(app.status)
    wait_for("the directory to be there again", lambda: (app.status / "lock").exists() and app.supervisor)
    wait_for("a record", lambda: (app.status / "status").exists() and app.record.want == "down")
    app.control("u")
    app.service = wait_for("a process", lambda: app.pid)
    app.wait_here()
    app.assert_whole()


def test_at_the_end_it_is_not_made_anew(app: App) -> None:
    """Who removes the directory once supervise is on its way out does not get it back."""
    app.begin()
    app.control("dx")
    app.wait_log("command x")
    remove(app.status)
    app.wait_ended()
    assert not app.status.exists()


def test_across_an_upgrade(app: App) -> None:
    """All that it holds then are descriptors that have changed hands."""
    app.begin()
    app.status.rename(app.folder / "status" / "old")
    app.wait_here()
    app.control("e")
    app.wait_log("supervise replaced by the installed version")
    app.wait_here()
    app.assert_whole()
    app.restart()
    remove(app.folder / "status")
    app.wait_here()
    app.assert_whole()


def test_two_at_once(app: App) -> None:
    app.begin()
    other = App(app.folder, "other")
    try:
        other.begin()
        (app.folder / "status").rename(app.folder / "old")
        for each in (app, other):
            each.wait_here()
            each.assert_whole()
    finally:
        other.clean()


# What it costs.


def test_other_services_in_the_same_folder_do_not_wake_it(app: App) -> None:
    app.begin()

    def at_rest() -> bool:
        before = switches(app.supervisor_pid)
        time.sleep(1.2)  # what is counted is what happens while nothing does
        return switches(app.supervisor_pid) == before

    wait_for("supervise to have done all it has to", at_rest)
    before = switches(app.supervisor_pid)
    other = Box(app.folder, "other")
    other.start("sleep", "1000")
    other.control("dx")
    other.wait_gone()
    shutil.rmtree(other.status)
    assert run_tool(app, "svstat", "status/app").returncode == 0
    assert switches(app.supervisor_pid) == before


# The socket that the service speaks to.

SPEAK = """
import os, socket, time
kept = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
kept.connect(os.environ["NOTIFY_SOCKET"])
number = 0
while True:
    number += 1
    try:
        if number // 10 % 2:
            kept.send(f"READY=1\\nSTATUS=kept {number}".encode())
        else:
            new = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            new.connect(os.environ["NOTIFY_SOCKET"])
            new.send(f"STATUS=new {number}".encode())
            new.close()
    except OSError as why:
        print(why, flush=True)
    time.sleep(0.02)
"""


def test_the_service_is_still_heard(app: App, nobody_else: tuple[list[str], int]) -> None:
    """By those who are connected already as well as by those who come by name.  (Root's has no name.)"""
    os.chown(app.folder, nobody_else[1], nobody_else[1])
    app.conf("[global]\nnotify : yes\n")
    app.begin(prefix=tuple(nobody_else[0]), command=(sys.executable, "-S", "-E", "-c", SPEAK))
    assert state(app)["notify_address"] == str(app.status / "notify")

    def text() -> str:
        return state(app)["status_text"] or "" if (app.status / "state").exists() else ""

    def wait_heard() -> None:
        before = int(wait_for("a text", text).split()[1])
        for word in ("kept", "new"):
            wait_for(
                f"what is said on a {word} socket",
                lambda word=word: text().startswith(word) and int(text().split()[1]) > before,  # type: ignore[misc]
            )

    wait_heard()
    for way in ("socket removed", "moved", "removed"):
        if way == "socket removed":
            (app.status / "notify").unlink()
            app.wait_warning("notify had been removed: made anew")
        else:
            WAYS[way](app)
        app.wait_here()
        wait_heard()
    app.control("e")
    app.wait_log("supervise replaced by the installed version")
    wait_heard()
    # The sockets that only the one before may know are let go.
    wait_for("three sockets", lambda: descriptors(app.supervisor_pid).count("socket") == 3)
    app.control("k")
    app.service = app.wait_new_pid(app.service)
    wait_for("one socket", lambda: descriptors(app.supervisor_pid).count("socket") == 1)
    wait_heard()
    app.control("dx")
    app.wait_ended()
    assert not (app.status / "notify").exists()
