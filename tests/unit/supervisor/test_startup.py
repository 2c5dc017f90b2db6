"""A start, up to where the service runs: what it inherits and lets go of, and what a refusal says and leaves."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apart import apart
from samples import SAMPLE
from shortage import few_descriptors

from supervise.config.file import ConfFile
from supervise.protocol import record, state
from supervise.protocol.lockfile import path_of
from supervise.protocol.options import Options
from supervise.supervisor import startup
from supervise.system import retry
from supervise.system.procfs import boot_id
from supervise.system.statusdir import StatusDir, StatusDirError


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[StatusDir]:
    made = StatusDir(str(tmp_path / "status" / "app"))
    yield made
    os.close(made.fd)


# Descriptors.


def settled(folder: Path, reporting: bool, closed: tuple[int, ...] = ()) -> tuple[int, dict[int, str]]:
    """In a child in which some were closed: where it reports to, and where all that is open then leads."""
    said = folder / "said"
    pid = os.fork()
    if not pid:
        try:
            for fd in closed:
                os.close(fd)
            report = startup.settle_descriptors(reporting)
            found = {}
            for name in os.listdir("/proc/self/fd"):
                if os.path.lexists(f"/proc/self/fd/{name}"):
                    found[name] = os.readlink(f"/proc/self/fd/{name}")
            said.write_text(json.dumps([report, found]))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    report, found = json.loads(said.read_text())
    return report, {int(name): leads for name, leads in found.items()}


@pytest.mark.parametrize("closed", [(), (0,), (0, 2)])
def test_only_the_three_and_the_report_are_left(tmp_path: Path, closed: tuple[int, ...]) -> None:
    caller = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)}
    report, found = settled(tmp_path, True, closed)
    assert report > 2
    assert found == {
        **{0: os.devnull, 1: os.devnull, 2: os.devnull if 2 in closed else caller[2]},
        report: caller[1],
    }


def test_in_the_foreground_it_keeps_standard_output(tmp_path: Path) -> None:
    caller = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)}
    assert settled(tmp_path, False) == (-1, {0: os.devnull, **caller})


def test_all_that_it_is_told_is_read(tmp_path: Path) -> None:
    (tmp_path / "told").write_bytes(b"x" * 200_000)
    fd = os.open(tmp_path / "told", os.O_RDONLY)
    assert len(startup.read_to_end(fd)) == 200_000
    os.close(fd)
    assert startup.read_to_end(fd) == b""  # no such descriptor
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        startup.read_to_end(fd)
    os.close(fd)


@pytest.mark.parametrize(("error", "tries"), [(errno.ENOSPC, 4), (errno.EPIPE, 1)])
def test_the_caller_is_told_unless_he_does_not_wait(error: int, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "pause", lambda seconds: None)
    done = []

    def act() -> None:
        done.append(1)
        if len(done) < 4:
            raise OSError(error, os.strerror(error))

    startup.insist(act)
    assert len(done) == tries


def test_what_never_works_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(startup, "pause", pauses.append)

    def act() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    startup.insist(act)
    assert sum(pauses) == pytest.approx(1)


# What was left.


def test_without_anything_there_is_nothing_to_take_over(directory: StatusDir) -> None:
    found = startup.left_behind(directory, boot_id(), "")
    assert found.fields is None and "supervise.supervisor.takeover" != None


def test_what_a_state_says_is_looked_at(directory: StatusDir) -> None:
    fields = {**SAMPLE, "boot_id": boot_id(), "service": None, "machine": "ended"}
    directory.replace("state", state.encode(fields))
    found = startup.left_behind(directory, boot_id(), "")
    assert found.fields and found.fields["machine"] == "ended"


def test_a_record_without_a_state_is_looked_at_too(directory: StatusDir) -> None:
    import time

    directory.replace("status", record.Record(time.time_ns(), False, "up", True, os.getppid()).encode())
    try:
        startup.left_behind(directory, boot_id(), "")
    except StatusDirError as why:
        assert "and there is no state" in str(why)  # the parent has just been started, too


def test_what_looks_may_not_be_to_be_had(directory: StatusDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is left to import it: nothing is started."""
    monkeypatch.setattr(retry, "SECONDS", 0.0)
    directory.replace("state", state.encode(SAMPLE))
    monkeypatch.setitem(sys.modules, "supervise.supervisor.takeover", None)
    monkeypatch.delattr("supervise.supervisor.takeover", raising=False)
    with pytest.raises(StatusDirError, match="cannot tell what is left of another supervise"):
        startup.left_behind(directory, boot_id(), "")


def test_without_a_boot_id_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert startup.known_boot() == boot_id()

    def refuse() -> str:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(startup, "boot_id", refuse)
    with pytest.raises(StatusDirError, match="cannot read this system's boot id: Permission denied"):
        startup.known_boot()


def test_the_lock_says_which_path_it_is_held_for(directory: StatusDir) -> None:
    lock = directory.lock()
    assert startup.claim(directory, lock) == []
    assert path_of(lock) == os.fsencode(directory.path)
    assert startup.claim(directory, lock) == []
    assert "supervise.supervisor.rivals" not in sys.modules  # it is not needed again
    os.close(lock)


def test_why_nothing_is_started_without_what_restricted_it(tmp_path: Path) -> None:
    path = tmp_path / "supervise.conf"
    for text, words in ((None, "does not exist"), ("", "is empty")):
        if text is not None:
            path.write_text(text)
        conf = ConfFile(str(path), "app", False)
        conf.read()
        said = startup.gone(conf, {"user": "nobody", "umask": "077"})
        assert said.startswith(f"{path} {words}, and the last supervise here had in force: user nobody, umask 077 (")


# The whole of it.


def refused(folder: Path, options: Options) -> str:
    """A start that is refused: what it says."""
    said = folder / "said"
    stderr = os.dup(2)
    fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(fd, 2)
    os.close(fd)
    try:
        assert startup.launch(options, dict(os.environb), []) is None
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    return said.read_text()


def options(folder: Path, *command: str, **more: Any) -> Options:
    return Options(str(folder / "status" / "app"), list(command), conf=str(folder / "supervise.conf"), **more)


@apart
def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    said = refused(tmp_path, options(tmp_path, "/no/such/program"))
    assert said.startswith("supervise: fatal: ") and said.count("\n") == 1
    assert "No such file or directory" in said
    assert os.listdir(tmp_path) == ["said"]


@apart
def test_nor_does_one_that_finds_a_lock_but_what_was_there_stays(tmp_path: Path) -> None:
    other = StatusDir(str(tmp_path / "status" / "app"))
    other.lock()
    before = os.listdir(other.path)
    said = refused(tmp_path, options(tmp_path, "sleep", "1"))
    assert said == f"supervise: fatal: cannot lock {other.path}/lock: held by pid {os.getpid()}\n"
    assert os.listdir(other.path) == before


@apart
def test_what_the_configuration_blocks_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "supervise.conf").write_text("[app]\nuser : no such user at all\n")
    said = refused(tmp_path, options(tmp_path, "sleep", "1"))
    assert "supervise: fatal: cannot start the service: " in said
    assert not (tmp_path / "status").exists()


@apart
def test_where_there_is_a_log_it_says_so_as_well(tmp_path: Path) -> None:
    status = tmp_path / "status" / "app"
    status.mkdir(parents=True)
    (status / "supervise.log.wf").touch()
    said = refused(tmp_path, options(tmp_path, "/no/such/program"))
    assert said.removeprefix("supervise: fatal: ") in (status / "supervise.log.wf").read_text()
    assert os.listdir(status) == ["supervise.log.wf"]


@apart
def test_a_planted_symlink_is_refused(tmp_path: Path) -> None:
    status = tmp_path / "status" / "app"
    status.mkdir(parents=True)
    (status / "lock").symlink_to(tmp_path / "target")
    said = refused(tmp_path, options(tmp_path, "sleep", "1"))
    assert said == f"supervise: fatal: cannot use {status}/lock: is a symlink, not a regular file\n"
    assert not (tmp_path / "target").exists() and os.listdir(status) == ["lock"]


@apart
def test_with_any_number_of_descriptors_it_is_one_line_or_a_start(tmp_path: Path) -> None:
    startup.launch(options(tmp_path, "/no/such/program"), dict(os.environb), [])  # what it takes is loaded
    for left in range(6):
        with few_descriptors(left), pytest.MonkeyPatch.context() as patch:
            patch.setattr(retry, "SECONDS", 0.0)
            said: list[str] = []
            patch.setattr(startup, "say", lambda *words, said=said: said.append(words[-1]))
            assert startup.launch(options(tmp_path, "sleep", "86399"), dict(os.environb), []) is None
        assert len(said) == 1
        assert not (tmp_path / "status" / "app" / "state").exists()
