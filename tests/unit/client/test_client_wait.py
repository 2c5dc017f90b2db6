"""Waiting for a service that the test plays: each change comes while it is watched, and none is looked for in time."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from box import PATIENCE, Box, wait_for
from pretended import PID, Pretended, pretended
from shortage import NO_DESCRIPTORS, few_descriptors

from supervise.client import inotify, wait, watcher
from supervise.client.conditions import CONDITIONS, unsupervised
from supervise.client.errors import (
    CannotComeTrue,
    ClientError,
    DamagedRecord,
    NotAStatusDir,
    SystemRefused,
)
from supervise.client.service import Service
from supervise.client.status import DamagedState, Status, TimeLimit


@pytest.fixture
def service(played: Pretended) -> Service:
    return Service(played.path)


def outcome(
    service: Service, word: str, *acts: Callable[[], object], seconds: float = PATIENCE
) -> Status | ClientError:
    """What comes of waiting, if these things happen one after the other while it waits."""
    left = list(acts)

    def progress(_: Any, __: Any) -> None:
        if left:
            left.pop(0)()

    condition = CONDITIONS[word]
    before = wait.look(service, condition)
    ((found, result),) = wait.outcomes({service: (before, condition)}, seconds, progress)
    assert found is service and not left
    return result


def test_what_is_so_already_is_not_watched_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "Watcher", None)
    assert service.wait("up", 0).pid == PID


def test_a_word_that_means_nothing_is_the_callers_fault(service: Service) -> None:
    with pytest.raises(ValueError, match="cannot wait for 'over', only for up, ready, down, restarted, unsupervised"):
        service.wait("over")


def test_a_time_limit_says_how_it_is_instead(service: Service) -> None:
    with pytest.raises(TimeLimit, match="not so within 0 seconds") as found:
        service.wait("down", 0)
    assert found.value.status and found.value.status.pid == PID


def test_a_condition_may_be_any_function(service: Service) -> None:
    assert service.wait(lambda before, now: now.pid == before.pid, 0).pid == PID


def test_each_change_is_looked_at(service: Service, played: Pretended) -> None:
    found = outcome(
        service,
        "restarted",
        lambda: played.write(phase="ready"),
        lambda: played.write(0, machine="delay"),
        lambda: played.write(PID + 1, totals={"starts": 2}),
    )
    assert isinstance(found, Status) and found.pid == PID + 1


def test_the_end_of_a_supervise_is_seen_however_it_came(service: Service, played: Pretended) -> None:
    """Nothing is written then."""
    assert isinstance(outcome(service, "unsupervised", played.end), Status)


def test_what_needs_a_supervise_cannot_come_true_without(service: Service, played: Pretended) -> None:
    found = outcome(service, "restarted", played.end)
    assert isinstance(found, CannotComeTrue)
    assert str(found) == f"cannot wait for {service.path}: supervise not running"


def test_one_that_has_given_up_is_said_to_have(service: Service, played: Pretended) -> None:
    found = outcome(service, "restarted", lambda: played.write(0, machine="ended", gave_up=True), played.end)
    assert isinstance(found, CannotComeTrue) and found.why == "supervise has given up"


def test_a_directory_that_is_removed_is_no_status_directory(service: Service, played: Pretended) -> None:
    found = outcome(service, "down", lambda: shutil.rmtree(played.path))
    assert isinstance(found, NotAStatusDir)


def test_for_one_who_waits_for_its_end_that_was_it(service: Service, played: Pretended) -> None:
    def remove() -> None:
        played.end()
        shutil.rmtree(played.path)

    assert isinstance(outcome(service, "unsupervised", remove), Status)


def test_one_that_is_not_there_does_not_keep_the_others(service: Service, played: Pretended, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Service(tmp_path / "other")
    condition = CONDITIONS["down"]
    pending = {service: (service.status(), condition), other: (service.status(), condition)}
    results = wait.outcomes(pending, PATIENCE)
    first, why = next(results)
    assert first is other and isinstance(why, NotAStatusDir)
    played.write(0)
    assert [found for found, _ in results] == [service]


# What cannot be read.


@pytest.fixture
def no_inotify(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("pyinotify.WatchManager", refuse)


@pytest.mark.parametrize("what", ["instance", "watch", "pyinotify"])
def test_without_inotify_each_change_is_seen_a_moment_later(
    service: Service, played: Pretended, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, what: str
) -> None:
    if what == "instance":
        request.getfixturevalue("no_inotify")
    elif what == "watch":
        monkeypatch.setattr("pyinotify.WatchManager.add_watch", lambda self, path, mask: {path: -1})
    else:
        monkeypatch.setitem(sys.modules, "pyinotify", None)
    acts = (lambda: played.write(0, machine="delay"), lambda: played.write(PID + 1, totals={"starts": 2}))
    found = outcome(service, "restarted", *acts)
    assert isinstance(found, Status) and found.pid == PID + 1
    assert isinstance(outcome(service, "unsupervised", played.end), Status)


@pytest.mark.usefixtures("no_inotify")
def test_without_inotify_it_sleeps_between_two_looks(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(wait, "look", lambda *args: looks.append(1) or service.status())
    with pytest.raises(TimeLimit):
        service.wait("down", 1.0)
    assert 3 <= len(looks) <= 12


@pytest.mark.usefixtures("no_inotify")
def test_without_inotify_a_directory_that_is_none_is_said_to_be(service: Service, tmp_path: Path) -> None:
    with wait.Watcher() as watcher:
        assert watcher.watch(str(tmp_path)) == str(tmp_path)
        for path, said in ((service.path + "/status", "Not a directory"), (f"{tmp_path}/nope", "No such file")):
            with pytest.raises(SystemRefused, match=said):
                watcher.watch(path)
        assert watcher.wait(PATIENCE)[1] == {str(tmp_path)}


def test_a_damaged_state_is_enough_for_what_the_record_tells(service: Service, played: Pretended) -> None:
    (played.path / "state").write_text("nonsense")
    assert service.wait("up", 0).pid == PID
    with pytest.raises(DamagedState):
        service.wait("ready", 0)


def test_a_damaged_record_is_not_waited_with(service: Service, played: Pretended) -> None:
    (played.path / "status").write_text("nonsense")
    with pytest.raises(DamagedRecord):
        service.wait("up")
    assert wait.look(service, unsupervised).supervised


def test_a_record_that_is_not_there_yet_may_come(service: Service, played: Pretended) -> None:
    (played.path / "status").unlink()

    def come() -> None:
        played._record = b""
        played.write(PID)

    found = outcome(service, "up", come)
    assert isinstance(found, Status) and found.pid == PID


def test_without_descriptors_nothing_can_be_looked_at_and_that_is_said(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait.Watcher().close()  # what it takes is loaded
    monkeypatch.setattr(watcher, "_more_descriptors", lambda: False)
    before = wait.look(service, CONDITIONS["down"])
    with few_descriptors():
        ((_, found),) = wait.outcomes({service: (before, CONDITIONS["down"])}, PATIENCE)
    assert isinstance(found, SystemRefused) and NO_DESCRIPTORS in str(found)


# Python 3.9 loses one to a Popen of its own that fails: ctypes.util looks for the C library so, for pyinotify.
ENOUGH = 2 if sys.version_info < (3, 10) else 1


@pytest.mark.parametrize("number", [ENOUGH, 2, 3])
def test_with_few_descriptors_it_is_looked_at(
    service: Service, played: Pretended, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One is enough; from two on inotify has one of them."""
    wait.Watcher().close()
    monkeypatch.setattr(watcher, "_more_descriptors", lambda: False)
    monkeypatch.setattr(wait, "_TICK", 0.02)
    acts = [lambda: None, lambda: None, lambda: played.write(0)]

    def act() -> None:
        if acts:
            acts.pop(0)()

    with few_descriptors(number):
        before = wait.look(service, CONDITIONS["down"])
        ((_, found),) = wait.outcomes({service: (before, CONDITIONS["down"])}, PATIENCE, lambda _, __: act())
    assert isinstance(found, Status) and not found.pid


def test_the_limit_of_descriptors_is_raised_for_many_services(tmp_path: Path) -> None:
    """Each takes one, for `ok`."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    boxes = [Box(tmp_path, f"app{number}") for number in range(30)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wait, "_TICK", 60.0)
        made = [pretended(box) for box in boxes]
        played = [one.__enter__() for one in made]
        try:
            with few_descriptors(25):
                found = [Service(box.status) for box in boxes]
                condition = CONDITIONS["down"]
                pending = {one: (one.status(), condition) for one in found}

                def progress(_: Any, __: Any) -> None:
                    for one in played:
                        one.write(0)

                results = dict(wait.outcomes(pending, PATIENCE, progress))
        finally:
            for one in made:
                one.__exit__(None, None, None)
    assert all(isinstance(result, Status) for result in results.values()) and len(results) == 30
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


# The watcher.


def test_it_tells_which_services_other_paths_and_descriptors(
    service: Service, played: Pretended, tmp_path: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "folder").mkdir()
    reading, writing = os.pipe()
    with wait.Watcher() as watcher:
        watcher.add(service)
        watcher.watch(str(tmp_path / "folder"))
        watcher.also(reading)
        assert watcher.wait(0) == (set(), set(), set())
        played.write(0)
        assert watcher.wait(PATIENCE)[0] == {service}
        (tmp_path / "folder" / "new").touch()
        assert watcher.wait(PATIENCE)[1] == {str(tmp_path / "folder")}
        os.write(writing, b"x")
        assert watcher.wait(PATIENCE)[2] == {reading}
    for fd in (reading, writing):
        os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before


def test_two_names_of_one_directory_are_one_watch(service: Service, played: Pretended, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(played.path)
    other = Service(tmp_path / "link")
    with wait.Watcher() as watcher:
        watcher.add(service)
        watcher.add(other)
        played.write(0)
        assert watcher.wait(PATIENCE)[0] == {service, other}
        watcher.remove(other)
        played.write(PID)
        assert watcher.wait(PATIENCE)[0] == {service}


def test_looking_is_no_change(service: Service) -> None:
    """Else whoever looks at each change would wake himself."""
    with wait.Watcher() as watcher:
        watcher.add(service)
        service.status()
        service.command("u")
        assert not watcher.wait(0)[0]


def test_by_looking_only_what_has_changed_is_told(
    service: Service, played: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "INTERVAL", 0.02)
    folder = tmp_path / "folder"
    folder.mkdir()
    with wait.Watcher() as watched:
        watched.do_without()
        watched.add(service)
        watched.watch(str(folder))

        def settled() -> bool:
            """A few looks tell of nothing; before that, of what has changed by the one before."""
            return watched.wait(inotify.INTERVAL * 3) == (set(), set(), set())

        wait_for("nothing to be new", settled)
        for act in (lambda: played.write(0), lambda: played.write(PID, phase="ready"), played.end):
            act()
            assert watched.wait(PATIENCE) == ({service}, set(), set())
            wait_for("nothing to be new", settled)
        (folder / "new").touch()
        assert watched.wait(PATIENCE) == (set(), {str(folder)}, set())
        wait_for("nothing to be new", settled)
        shutil.rmtree(played.path)
        assert watched.wait(PATIENCE)[0] == {service}


def test_a_path_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with wait.Watcher() as watcher, pytest.raises(SystemRefused, match="No such file or directory"):
        watcher.watch(str(tmp_path / "nowhere"))
