"""A start where another supervise has the path, though its directory was moved away or removed: it is refused."""

from __future__ import annotations

import errno
import importlib
import io
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Box, alive, rounds
from moving import App, remove

from supervise.protocol.lockfile import path_of
from supervise.system.statusdir import StatusDir, StatusDirError


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    made = App(tmp_path / "box")
    made.folder.mkdir()
    yield made
    made.clean()
    made.kill_all()
    shutil.rmtree(tmp_path, ignore_errors=True)


def refused(done: subprocess.CompletedProcess[str], app: App, what: str) -> None:
    text = f"supervise: fatal: cannot supervise status/app: pid {app.supervisor_pid} supervises it, whose {what}\n"
    assert (done.returncode, done.stderr) == (111, text)


def test_the_lock_says_which_path_it_is_held_for(app: App) -> None:
    app.begin()
    found = (app.status / "lock").stat()
    assert (app.status / "lock").read_text() == f"{found.st_dev}:{found.st_ino} {app.status}\n"


def test_it_finds_the_other_and_leaves_nothing(app: App) -> None:
    """The one that is running stands still meanwhile, and so can do nothing about it."""
    app.begin()
    folder, status = app.folder, app.folder / "status"
    with app.stopped():
        old = app.status.rename(folder / "old")
        refused(app.second_start(), app, f"directory was moved to {old}")
        assert list(status.iterdir()) == []
        # However the path is spelled.
        (folder / "link").symlink_to(".")
        done = app.run("-u", f"{folder}/link/status/app", "sleep", "1000")
        assert done.returncode == 111 and f"whose directory was moved to {old}\n" in done.stderr
        # Also into a directory that is there already, with a lock or without.
        app.status.mkdir()
        refused(app.second_start(), app, f"directory was moved to {old}")
        (app.status / "lock").write_text("earlier")
        refused(app.second_start(), app, f"directory was moved to {old}")
        assert [(path.name, path.read_text()) for path in app.status.iterdir()] == [("lock", "earlier")]
        shutil.rmtree(status)
        refused(app.second_start(), app, f"directory was moved to {old}")
        assert not status.exists()
        shutil.rmtree(old)
        refused(app.second_start(), app, "directory was removed")
        assert not status.exists()
    app.wait_here()
    app.assert_whole()
    with app.stopped():
        (app.status / "lock").unlink()
        refused(app.second_start(), app, "lock was removed or replaced")
        assert not (app.status / "lock").exists()
    app.wait_here()
    app.assert_whole()


def test_it_does_not_take_another_for_it(app: App) -> None:
    """A service of that name elsewhere, one of another name, a directory that only was at that path, a dead one."""
    app.begin()
    elsewhere = App(app.folder.with_name("elsewhere"))
    elsewhere.folder.mkdir()
    other = App(app.folder, "other")
    try:
        with app.stopped():
            app.status.rename(app.folder / "status" / "old")
            assert alive(elsewhere.begin().service)
            assert alive(other.begin().service)
        app.wait_here()
        with app.stopped():
            # It left this one, and its lock.
            assert alive(Box(app.folder, "old").start("sleep", "1000"))
        app.control("dx")
        app.wait_ended()
        remove(app.status)
        assert alive(app.begin().service)
    finally:
        for each in (elsewhere, other):
            each.clean()
            each.kill_all()


def test_after_a_start_that_failed(app: App) -> None:
    """Its process may live for a moment: it has given the path up before."""
    for _ in range(5):
        assert app.run("-u", "status/app", "no-such-program").returncode == 111
        assert not app.status.exists()
        app.begin()
        app.control("dx")
        app.wait_ended()
        remove(app.folder / "status")


def test_a_race_of_both(tmp_path: Path) -> None:
    """Starts at any time after the directory has gone: in the end there is one supervise, and the same process."""
    apps = [App(tmp_path / str(number)) for number in range(5)]
    problems: list[str] = []

    def race(app: App) -> None:
        chance = random.Random(app.folder.name)
        for _ in range(rounds(4, 10)):
            app.status.rename(app.folder / "old") if chance.random() < 0.5 else remove(app.status)
            time.sleep(chance.random() * 0.4)  # not a wait for anything: any moment is to be tried
            done = app.second_start()
            if done.returncode != 111 or not any(
                text in done.stderr for text in (f"pid {app.supervisor_pid} supervises it", "held by pid")
            ):
                problems.append(f"{done.returncode} {done.stderr}")
            app.wait_here()
            if app.processes_of_service() != {app.service}:
                problems.append(f"{app.processes_of_service()}")
            shutil.rmtree(app.folder / "old", ignore_errors=True)

    try:
        for app in apps:
            app.folder.mkdir()
            app.begin()
        with ThreadPoolExecutor(len(apps)) as pool:
            list(pool.map(race, apps))
        assert problems == []
        for app in apps:
            app.assert_whole()
    finally:
        for app in apps:
            app.clean()
            app.kill_all()


def test_a_directory_that_has_two_names(app: App) -> None:
    """It is found by what it has open, whatever it calls that."""
    (app.folder / "one").mkdir()
    (app.folder / "status").mkdir()
    app.status.symlink_to("../one")
    (app.folder / "status" / "other").symlink_to("../one")
    app.begin()
    with app.stopped():
        (app.status / "lock").unlink()
        done = app.run("-u", "status/other", "sleep", "1000")
        what = f"pid {app.supervisor_pid} supervises it, whose lock was removed or replaced"
        assert (done.returncode, done.stderr) == (111, f"supervise: fatal: cannot supervise status/other: {what}\n")
        assert not (app.status / "lock").exists()
        assert app.processes_of_service() == {app.service}
    app.wait_here()


def test_a_directory_that_is_mounted_a_second_time(app: App) -> None:
    app.begin()
    other = app.folder / "status" / "other"
    other.mkdir()
    if subprocess.run(["mount", "--bind", app.status, other], capture_output=True).returncode:
        pytest.skip("it takes the right to mount")
    try:
        with app.stopped():
            (app.status / "lock").unlink()
            done = app.run("-u", "status/other", "sleep", "1000")
            assert done.returncode == 111
            assert f"pid {app.supervisor_pid} supervises it" in done.stderr
        app.wait_here()
    finally:
        subprocess.run(["umount", "-l", other], check=True)


# Where it cannot look.


@pytest.fixture
def homeless(app: App) -> Iterator[App]:
    """A supervise that stands still, and whose directory is removed."""
    app.begin()
    with app.stopped():
        remove(app.status)
        yield app


@pytest.fixture
def path_conflict() -> ModuleType:
    """The module, which a start in this process may have forgotten."""
    return importlib.import_module("supervise.supervisor.path_conflict")


def look(path_conflict: ModuleType, app: App) -> str | None:
    """As a start does."""
    directory = StatusDir(str(app.status))
    lock = directory.lock()
    try:
        found: str | None = path_conflict.look(directory, lock, os.fsencode(app.status))
        return found
    finally:
        directory.undo()
        os.close(lock)
        os.close(directory.fd)


def test_among_many_processes_those_that_hold_a_lock_are_looked_at(
    path_conflict: ModuleType, homeless: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path_conflict, "_FEW", 0)
    looked: list[int] = []
    command_line = path_conflict._command_line
    monkeypatch.setattr(path_conflict, "_command_line", lambda pid: looked.append(pid) or command_line(pid))
    with pytest.raises(StatusDirError, match=f"pid {homeless.supervisor_pid} supervises it"):
        look(path_conflict, homeless)
    assert homeless.supervisor_pid in looked
    everybody = path_conflict._processes()
    assert len(looked) < len(everybody) or path_conflict._holders(everybody) == everybody


@pytest.mark.parametrize("holds", ["nothing", "a process that is gone"])
def test_where_the_list_of_locks_does_not_tell(
    path_conflict: ModuleType, homeless: App, monkeypatch: pytest.MonkeyPatch, holds: str
) -> None:
    monkeypatch.setattr(path_conflict, "_FEW", 0)
    real = open

    def opened(path: str, mode: str) -> object:
        if holds == "nothing":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if path == "/proc/locks":
            return io.BytesIO(b"1: FLOCK  ADVISORY  WRITE 4194999 08:01:77 0 EOF\n")
        return real(path, mode)

    monkeypatch.setattr(path_conflict, "open", opened, raising=False)
    with pytest.raises(StatusDirError, match=f"pid {homeless.supervisor_pid} supervises it"):
        look(path_conflict, homeless)


@pytest.mark.parametrize("which", ["_processes", "_holders"])
@pytest.mark.parametrize("lasts", [True, False])
def test_not_knowing_is_not_nobody(
    path_conflict: ModuleType, homeless: App, monkeypatch: pytest.MonkeyPatch, lasts: bool, which: str
) -> None:
    tries = []
    works = getattr(path_conflict, which)

    def fails(*args: list[int]) -> list[int]:
        tries.append(1)
        if lasts or len(tries) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        found: list[int] = works(*args)
        return found

    monkeypatch.setattr(path_conflict, which, fails)
    monkeypatch.setattr(path_conflict, "_FEW", 0)
    monkeypatch.setattr(path_conflict, "_PATIENCE", 0.5)
    monkeypatch.setattr(path_conflict, "_PAUSE", 0.01)
    text = "cannot tell whether another supervise does: Too many open files" if lasts else "supervises it, whose"
    with pytest.raises(StatusDirError, match=text):
        look(path_conflict, homeless)
    assert len(tries) > 2


def test_looking_for_many_at_once_finds_which_it_is(path_conflict: ModuleType, homeless: App, tmp_path: Path) -> None:
    paths = [str(tmp_path / "box/status/one"), str(homeless.status), str(tmp_path / "box/status/two")]
    directories = [StatusDir(path) for path in paths]
    held = [(directory, directory.lock(), os.fsencode(directory.path)) for directory in directories]
    try:
        one, its, two = path_conflict.look_for(held)
        assert one is None and two is None
        assert str(its) == (
            f"cannot supervise {homeless.status}: pid {homeless.supervisor_pid} supervises it,"
            " whose directory was removed"
        )
    finally:
        for directory, lock, _ in held:
            directory.undo()
            os.close(lock)
            os.close(directory.fd)


def test_who_starts_many_may_try_a_directory_that_we_have(path_conflict: ModuleType, tmp_path: Path) -> None:
    """It has it open for a moment, and the locks of others, which are in their place."""
    directory = StatusDir(str(tmp_path / "status" / "app"))
    lock = directory.lock()
    try:
        start = path_conflict._Start(directory, lock, b"/there/app")
        start.parent = os.stat(tmp_path)
        here = os.fstat(directory.fd)
        for link, answer in (("/there/b/lock", None), ("/there/b/lock (deleted)", "lock was removed or replaced")):
            opened = {(here.st_dev, here.st_ino)}, [((1, 2), link, b"/there/b")]
            assert path_conflict._claims(os.getppid(), opened, start) == answer
    finally:
        directory.undo()
        os.close(lock)
        os.close(directory.fd)


def test_the_room_behind_a_title_is_not_gone_through(path_conflict: ModuleType) -> None:
    """With a few hundred supervises of svall, each start would take seconds."""
    split: list[bytes] = []

    class Shown(bytes):
        def rstrip(self, chars: object = None) -> Shown:
            return Shown(bytes.rstrip(self, b"\0"))

        def split(self, *args: object) -> list[bytes]:  # type: ignore[override]
            split.extend(bytes.split(self, b"\0"))
            return [*split]

    assert path_conflict._names(Shown(b"/x/daemon.py\0status/app/" + bytes(8000))) == {b"daemon.py", b"app"}
    assert len(split) == 2


def test_a_claim_that_was_copied_is_none(tmp_path: Path) -> None:
    directory = StatusDir(str(tmp_path / "status" / "app"))
    lock = directory.lock()
    directory.claim(lock, b"/there")
    assert path_of(lock) == b"/there"
    shutil.copy(tmp_path / "status/app/lock", tmp_path / "copy")
    with (tmp_path / "copy").open("rb") as copy:
        assert path_of(copy.fileno()) == b""
    os.close(lock)
    os.close(directory.fd)
