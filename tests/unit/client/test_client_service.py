"""A service from outside: whether supervise runs, how it is, what becomes of letters; whatever is in the files."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from box import Box
from pretended import PID, Pretended
from shortage import NO_DESCRIPTORS, few_descriptors

from supervise.client.errors import (
    DamagedRecord,
    NoPermission,
    NotAStatusDir,
    NotRunning,
    SystemRefused,
    UnknownService,
    refused,
)
from supervise.client.named import services
from supervise.client.resolve import names
from supervise.client.service import Service
from supervise.client.status import DamagedState


@pytest.fixture
def service(played: Pretended) -> Service:
    return Service(played.path)


def test_it_is_supervised_as_long_as_somebody_reads_ok(played: Pretended, service: Service) -> None:
    assert service.supervised()
    played.end()
    assert not service.supervised()
    assert not service.status().running


def test_record_and_state_are_one_status(played: Pretended, service: Service) -> None:
    played.write(want="once", machine="stopping")
    status = service.status()
    assert (status.pid, status.want, status.machine) == (PID, "once", "stopping")
    assert "pid=1000001" in repr(status) and "state" not in repr(status)


def test_its_name_is_that_of_its_directory(played: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(played.path)
    assert Service(".").name == "app"
    assert Service(f"{played.path}/").name == "app"
    assert repr(Service(played.path)) == f"Service({str(played.path)!r})"
    monkeypatch.chdir(played.path.parents[1])
    assert Service("app").path == Service(b"app").path == Service(Path("app")).path == "status/app"
    assert [found.name for found in services()] == ["app"]
    (played.path.parent / "no service").mkdir()
    (played.path.parent / "file").touch()
    assert [found.name for found in services()] == ["app"]
    with pytest.raises(UnknownService) as found:
        Service("ap")
    assert found.value.names == ["app"]


# Nothing that looks has an effect, makes a file, or waits.


@pytest.mark.parametrize("name", ["ok", "control"])
@pytest.mark.parametrize("kind", ["file", "symlink", "dangling", "directory"])
def test_what_is_no_fifo_is_neither_opened_nor_made(
    played: Pretended, service: Service, tmp_path: Path, name: str, kind: str
) -> None:
    path, target = played.path / name, tmp_path / "target"
    path.unlink()
    if kind == "file":
        path.write_text("mine")
    elif kind == "directory":
        path.mkdir()
    else:
        if kind == "symlink":
            os.mkfifo(target)
        path.symlink_to(target)
    with pytest.raises(NotAStatusDir, match=f"cannot use {path}: it is not a FIFO"):
        service.supervised() if name == "ok" else service.command("u")
    assert kind != "file" or path.read_text() == "mine"
    assert kind != "dangling" or not target.exists()


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo", "short", "empty"])
def test_a_record_that_is_none_is_damaged(played: Pretended, service: Service, kind: str) -> None:
    path = played.path / "status"
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("state")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"x" * 19 if kind == "short" else b"")
    with pytest.raises(DamagedRecord, match=f"cannot read {path}: damaged: ") as found:
        service.status()
    assert not found.value.missing


def test_one_that_is_not_there_yet_is_missing(played: Pretended, service: Service) -> None:
    (played.path / "status").unlink()
    with pytest.raises(DamagedRecord) as found:
        service.status()
    assert found.value.missing


def test_a_directory_without_anything_is_no_status_directory(tmp_path: Path) -> None:
    for look in (Service(tmp_path).status, lambda: Service(tmp_path).command("u")):
        with pytest.raises(NotAStatusDir, match="not a status directory"):
            look()


@pytest.mark.parametrize("kind", ["nonsense", "directory", "symlink", "fifo"])
def test_where_the_state_is_damaged_there_is_the_record(played: Pretended, service: Service, kind: str) -> None:
    path = played.path / "state"
    path.unlink()
    if kind == "nonsense":
        path.write_text('{"version": 1')
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("status")
    else:
        os.mkfifo(path)
    with pytest.raises(DamagedState) as found:
        service.status()
    assert (found.value.status.pid, found.value.status.state) == (PID, None)
    path.rmdir() if kind == "directory" else path.unlink()
    assert service.status().state is None  # as with the C implementation


def test_without_descriptors_nobody_says_that_nothing_runs(played: Pretended, service: Service) -> None:
    with few_descriptors():
        for look in (service.supervised, service.status, lambda: service.command("u")):
            with pytest.raises(SystemRefused, match=NO_DESCRIPTORS):
                look()


def test_a_state_that_could_not_be_looked_at_is_not_called_damaged(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last descriptor may be gone after the record was read."""
    real = os.open

    def refuse(path: str, flags: int) -> int:
        if path.endswith("/state"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SystemRefused, match="cannot read .*/state: Too many open files"):
        service.status()


def test_a_directory_that_goes_away(played: Pretended, service: Service) -> None:
    shutil.rmtree(played.path)
    with pytest.raises(NotAStatusDir):
        service.status()


def test_what_is_somebody_elses_is_said_to_be() -> None:
    for number, kind in ((errno.EACCES, NoPermission), (errno.EPERM, NoPermission), (errno.EMFILE, SystemRefused)):
        made = refused("read x", OSError(number, "why"))
        assert type(made) is kind and str(made) == "cannot read x: why"


def test_a_folder_of_services_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "status" / "app").mkdir(parents=True)
    with pytest.raises(NotAStatusDir, match=r"not a status directory; .*/status is a directory$"):
        Service(folder).status()
    assert names(str(tmp_path)) == []


@pytest.mark.parametrize("name", ["folder", "back\\slash"])
def test_one_whose_record_is_a_directory_is_damaged(tmp_path: Path, name: str) -> None:
    """However its path is shown: what is looked for is where it is."""
    folder = tmp_path / name
    (folder / "status").mkdir(parents=True)
    os.mkfifo(folder / "ok")
    with pytest.raises(DamagedRecord, match="status: damaged: not a regular file$"):
        Service(folder).status()


# Letters.


def test_letters_are_one_write_and_end_with_a_newline(played: Pretended, service: Service) -> None:
    assert service.send("+t") == 3
    assert service.send("u") == 5
    played.wait_letters("+t\nu\n")
    service.command("d")
    played.wait_letters("d\n")


def test_a_letter_that_means_nothing_is_not_sent(played: Pretended, service: Service) -> None:
    with pytest.raises(ValueError, match="no command has the letter 'z'"):
        service.send("uz")
    assert played.unread() == 0


@pytest.mark.parametrize("letters", [b"h", None, ["h"], 5])
def test_letters_are_a_str(played: Pretended, service: Service, letters: Any) -> None:
    with pytest.raises(TypeError, match=f"^letters are a str, not {type(letters).__name__}$"):
        service.command(letters)
    assert played.unread() == 0


def test_what_is_no_time_limit_is_found_before_anything_is_commanded(played: Pretended, service: Service) -> None:
    wrong: Any
    for wrong, kind in (("5", TypeError), (float("nan"), ValueError)):
        for act in (service.start, service.stop, service.restart, lambda seconds: service.wait("down", seconds)):
            with pytest.raises(kind):
                act(wrong)
    for wrong in (None, b"up", 3):
        with pytest.raises(TypeError, match="^cannot wait for .*, only for up, .*, or a function$"):
            service.wait(wrong)
    assert played.unread() == 0


def test_where_nobody_reads_there_is_nobody_to_command(played: Pretended, service: Service) -> None:
    played.end()
    with pytest.raises(NotRunning, match="supervise not running"):
        service.command("u")


def test_a_full_fifo_is_not_waited_for(played: Pretended, service: Service) -> None:
    fd = service.open_fifo("control")
    assert fd is not None
    try:
        while True:
            os.write(fd, b"\n" * 4096)
    except BlockingIOError:
        pass
    finally:
        os.close(fd)
    with pytest.raises(SystemRefused, match="control is full, supervise does not read it"):
        service.command("u")


# The logs.


def test_the_last_lines_of_a_log(played: Pretended, service: Service) -> None:
    (played.path / "__stdout").write_text("1\n2\n3\n")
    assert service.log(lines=2) == [b"2\n", b"3\n"]
    with pytest.raises(ValueError, match="no log is called 'output'"):
        service.log("output")
    which: Any
    for which in (None, b"stdout", ["stdout"]):
        with pytest.raises(ValueError, match="no log is called "):
            service.log(which)
    assert service.log(lines=0) == []
    with pytest.raises(ValueError, match="^cannot read -1 lines: 0 or more are asked for$"):
        service.log(lines=-1)
    lines: Any
    for lines in ("1", 1.0, None):
        with pytest.raises(TypeError, match="cannot be interpreted as an integer$"):
            service.log(lines=lines)


def test_a_log_that_is_a_symlink_is_not_followed(played: Pretended, service: Service, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (played.path / "__stderr").symlink_to(tmp_path / "secret")
    try:
        assert service.log("stderr") == []
    except SystemRefused:
        pass


def test_no_descriptor_is_left_open(box: Box, played: Pretended, service: Service) -> None:
    before = len(os.listdir("/proc/self/fd"))
    service.status()
    service.command("u")
    service.supervised()
    assert len(os.listdir("/proc/self/fd")) == before
