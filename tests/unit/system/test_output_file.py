"""Files of the user's choice: which are opened, and to whom they are given."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from supervise.system.output_file import check_output, open_output, open_parent
from supervise.system.trust import Untrusted

ME, MINE = os.geteuid(), os.getegid()
SERVICE, OTHER = 70_001, 70_002
as_root = pytest.mark.skipif(ME != 0, reason="only root can give files away")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    made = tmp_path / "logs"
    made.mkdir()
    made.chmod(0o755)
    return made


def owner(path: Path, uid: int = ME) -> int:
    """Open it for a user's service; whose it is then."""
    check_output(str(path), uid, uid)
    os.close(open_output(str(path), uid, uid))
    return path.stat().st_uid


def refused(path: Path, uid: int = ME) -> str:
    found = []
    acts: list[Callable[[str, int, int], object]] = [check_output, open_output]
    for act in acts:
        with pytest.raises((Untrusted, OSError)) as why:
            act(str(path), uid, uid)
        found.append(why.value.strerror if isinstance(why.value, OSError) else str(why.value))
    assert found[0] == found[1]
    return found[0]


def test_it_is_made_and_appended_to(logs: Path) -> None:
    for text in (b"one\n", b"two\n"):
        fd = open_output(str(logs / "x"), ME, MINE)
        assert os.get_blocking(fd) and not os.get_inheritable(fd)
        os.write(fd, text)
        os.close(fd)
    assert (logs / "x").read_bytes() == b"one\ntwo\n"


def test_looking_makes_nothing(logs: Path) -> None:
    check_output(str(logs / "x"), ME, MINE)
    assert list(logs.iterdir()) == []


def test_through_a_symlink_of_ones_own_but_not_at_the_end(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("logs")
    assert owner(tmp_path / "link" / "x") == ME
    (logs / "y").symlink_to("x")
    assert refused(logs / "y") == "is a symlink, not a regular file"


def test_no_name(logs: Path) -> None:
    for path in (f"{logs}/", f"{logs}/..", "/"):
        with pytest.raises(IsADirectoryError):
            open_parent(path)


def test_a_socket_and_a_file_above(logs: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(logs / "s"))
        assert refused(logs / "s") == "is a socket, not a regular file"
    (logs / "x").touch()
    assert refused(logs / "x" / "y") == "Not a directory"


def test_a_device_of_roots_in_a_directory_of_roots() -> None:
    fd = open_output("/dev/zero", ME, MINE)
    assert stat.S_ISCHR(os.fstat(fd).st_mode) and os.write(fd, b"x") == 1
    os.close(fd)


@as_root
def test_the_services_group_may_write_there_and_no_other_of_people(logs: Path) -> None:
    logs.chmod(0o775)
    os.chown(logs, 0, SERVICE)
    assert owner(logs / "x", SERVICE) == SERVICE
    os.chown(logs, 0, OTHER)
    assert f"can be written to by group {OTHER}" in refused(logs / "x", SERVICE)


@as_root
def test_where_a_systems_group_may_write_what_is_there_is_not_given(logs: Path) -> None:
    logs.chmod(0o775)
    os.chown(logs, 0, 104)
    (logs / "old").touch()
    assert owner(logs / "old", SERVICE) == 0
    assert owner(logs / "new", SERVICE) == SERVICE
    os.chown(logs, SERVICE, 104)
    assert "can be written to by group 104" in refused(logs / "x", SERVICE)


@as_root
def test_the_symlink_of_the_services_user_leads_nowhere(logs: Path) -> None:
    (logs / "etc").symlink_to("/etc")
    os.lchown(logs / "etc", SERVICE, SERVICE)
    assert "has put a symlink on the way" in refused(logs / "etc" / "x", SERVICE)


@as_root
def test_who_owns_what(logs: Path) -> None:
    for uid in (0, SERVICE):
        (logs / f"{uid}").touch()
        os.chown(logs / f"{uid}", uid, -1)
        assert owner(logs / f"{uid}", SERVICE) == SERVICE
    (logs / "other").touch()
    os.chown(logs / "other", OTHER, -1)
    assert refused(logs / "other", SERVICE) == f"belongs to user {OTHER}"
