"""What a configuration names outside of its file: absent for certain, or not known; in the words of a start."""

from __future__ import annotations

import errno
import os
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from apart import in_child
from shortage import NO_DESCRIPTORS, few_descriptors
from starting import Stage, set_stage
from system import needs_root

from supervise.config import lookup
from supervise.config.config import Config
from supervise.config.lookup import ABSENT, UNKNOWN, decode, look, named
from supervise.service import lookup as asking
from supervise.system import accounts

stage = pytest.fixture(set_stage)


Finding = tuple[str, str, str]


def elsewhere(act: Callable[[], list[Finding]]) -> list[Finding]:
    """What comes of it in a process of its own, which may become another user's."""
    with tempfile.TemporaryFile() as file:

        def answer() -> None:
            data = pickle.dumps(act())
            assert os.pwrite(file.fileno(), data, 0) == len(data)

        in_child(answer)
        result: list[Finding] = pickle.loads(os.pread(file.fileno(), 1 << 20, 0))
        return result


def found(**values: str) -> list[Finding]:
    """What there is to say, by a process of its own."""
    return elsewhere(lambda: look(values))


@pytest.fixture
def nsswitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another nsswitch.conf(5)."""
    path = tmp_path / "nsswitch.conf"
    monkeypatch.setattr(accounts, "_NSSWITCH", str(path))
    yield path


# Users and groups.


@pytest.mark.parametrize(
    ("values", "key", "text"),
    [
        ({"user": "nobody2"}, "user", "user nobody2 does not exist"),
        ({"user": "nobody2:root"}, "user", "user nobody2 does not exist"),
        ({"user": "root:nobody2"}, "user", "group nobody2 does not exist"),
        ({"user": "0:nobody2"}, "user", "group nobody2 does not exist"),
        ({"group": "nobody2"}, "group", "group nobody2 does not exist"),
        ({"user": "root:nobody2", "group": "nobody2"}, "group", "group nobody2 does not exist"),
        ({"user": "b\udcffb"}, "user", "user b\udcffb does not exist"),
    ],
)
def test_nobody_of_that_name(values: dict[str, str], key: str, text: str) -> None:
    assert found(**values) == [(key, ABSENT, text)]


@pytest.mark.parametrize("user", ["root", "root:root", "0", "4711", "4711:4712", "nobody"])
def test_who_is_known_and_numbers_that_need_not_be(user: str) -> None:
    assert found(user=user) == []


def test_what_could_not_be_asked_is_not_absent() -> None:
    """Python says of both that the name was not found."""

    def ask() -> list[Finding]:
        import ctypes  # noqa: F401
        import grp  # noqa: F401

        with few_descriptors():
            return look({"user": "nobody2", "group": "nobody3", "directory": "/no/such"})

    assert elsewhere(ask) == [
        ("user", UNKNOWN, f"cannot look for user nobody2: {NO_DESCRIPTORS}"),
        ("group", UNKNOWN, f"cannot look for group nobody3: {NO_DESCRIPTORS}"),
        ("directory", ABSENT, "cannot change to directory /no/such: No such file or directory"),
    ]


@pytest.mark.parametrize(
    "text",
    ["passwd: files\n", "passwd: files [NOTFOUND=return] systemd # nis\n", "passwd: none files\n", "hosts: x\n", None],
)
def test_the_services_of_nsswitch_conf(nsswitch: Path, text: str | None) -> None:
    if text is not None:
        nsswitch.write_text(text)
    assert found(user="nobody2") == [("user", ABSENT, "user nobody2 does not exist")]


def test_the_services_that_are_asked(nsswitch: Path) -> None:
    nsswitch.write_text("# passwd: x\npasswd:  files[NOTFOUND=return !UNAVAIL = return]sss # ldap\ngroup: db\n")
    assert accounts._services("passwd") == [b"files", b"sss"]
    assert accounts._services("group") == [b"db"]


def test_a_service_that_cannot_answer_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a directory service that is down; here the file that says which there are cannot be read."""
    monkeypatch.setattr(accounts, "_NSSWITCH", "/")
    assert found(user="nobody2") == [("user", UNKNOWN, "cannot look for user nobody2: Is a directory")]


def test_without_ctypes_nothing_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ctypes", None)
    ((key, kind, text),) = found(user="nobody2")
    assert (key, kind) == ("user", UNKNOWN) and "it was not found, and why cannot be asked" in text


# The directory.


def test_directories(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to("none")
    assert found(directory=str(tmp_path)) == []
    for name, why in (
        ("none", "No such file or directory"),
        ("gone", "No such file or directory"),
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("x" * 300, "File name too long"),
    ):
        path = f"{tmp_path}/{name}"
        assert found(directory=path) == [("directory", ABSENT, f"cannot change to directory {path}: {why}")]


def test_a_directory_that_only_the_service_may_enter(stage: Stage) -> None:
    needs_root()
    private = stage.folder / "private"
    private.mkdir(0o700)
    os.chown(private, 4711, 4711)
    assert found(directory=str(private), user="4711") == []
    ((key, kind, text),) = found(directory=str(private), user="4712")
    assert (key, kind, text) == ("directory", UNKNOWN, f"cannot change to directory {private}: Permission denied")
    ((key, kind, text),) = found(directory=f"{private}/below", user="4712")
    assert kind == UNKNOWN  # it may be there
    ((key, kind, text),) = found(directory=f"{private}/below", user="4711")
    assert kind == ABSENT


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOMEM, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT])
def test_what_cannot_be_looked_at_is_not_absent(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lookup.os, "chdir", refused)
    monkeypatch.setattr(lookup, "open_cgroup", refused)
    monkeypatch.setattr(lookup.os, "sched_setaffinity", refused)
    kinds = {key: kind for key, kind, _ in found(directory="/", cgroup="/x")}
    assert kinds == {"directory": UNKNOWN, "cgroup": UNKNOWN}
    assert [kind for _, kind, _ in found(cpu_affinity="0")] == [UNKNOWN]


# What limits it.


def test_a_cgroup_that_is_none(tmp_path: Path) -> None:
    path = f"{tmp_path}/none"
    assert found(cgroup=path) == [("cgroup", ABSENT, f"cannot join cgroup {path}: No such file or directory")]
    why = "not a directory of cgroup v2"
    assert found(cgroup=str(tmp_path)) == [("cgroup", ABSENT, f"cannot join cgroup {tmp_path}: {why}")]
    why = "there is no cgroup to limit"
    assert found(memory_max="1G") == [("memory_max", ABSENT, f"cannot set memory_max: {why}")]


def test_a_controller_that_is_not_enabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "open_cgroup", lambda path: os.open(path, os.O_RDONLY))
    (tmp_path / "cpu.max").touch()
    text = f"cannot set memory_max 1G of cgroup {tmp_path}: it has no memory.max: its controller is not enabled"
    assert found(cgroup=str(tmp_path), memory_max="1G", cpu_max="max 100000") == [("memory_max", ABSENT, text)]


def test_processors() -> None:
    here = sorted(os.sched_getaffinity(0))
    assert found(cpu_affinity=str(here[0])) == []
    why = "no processor 8000 here, or it may not be used"
    for text in ("8000", f"{here[0]},8000"):
        assert found(cpu_affinity=text) == [("cpu_affinity", ABSENT, f"cannot set cpu_affinity {text}: {why}")]


def test_processors_without_sys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_ONLINE", "/no/such")
    assert [kind for _, kind, _ in found(cpu_affinity="8000")] == [ABSENT]
    assert found(cpu_affinity=str(min(os.sched_getaffinity(0)))) == []


def test_processors_that_only_its_cgroup_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process may use does not matter then; what the machine has does."""

    def refused(*_: Any) -> Any:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(lookup, "open_cgroup", lambda path: os.open(path, os.O_RDONLY))
    monkeypatch.setattr(lookup.os, "sched_setaffinity", refused)
    assert found(cgroup="/", cpu_affinity="0") == []
    assert [key for key, _, _ in found(cgroup="/", cpu_affinity="8000")] == ["cpu_affinity"]


# Beside a start.


@pytest.mark.parametrize(
    "values",
    [
        {"user": "nobody2"},
        {"user": f"{os.getuid()}:nobody2"},
        {"group": "nobody2"},
        {"directory": "/no/such"},
        {"directory": "/dev/null"},
        {"cgroup": "/no/such"},
        {"cgroup": "/"},
        {"memory_max": "1G"},
        {"cpu_max": "max 100000"},
        {"cpu_affinity": "8000"},
        {"cpu_affinity": "0,8000"},
    ],
)
def test_it_says_what_a_start_would(stage: Stage, values: dict[str, str]) -> None:
    ((_, kind, text),) = found(**values)
    assert (kind, text) == (ABSENT, stage.failure("/bin/true", **values))


def test_what_is_handed_over() -> None:
    config = Config()
    config.user, config.directory, config.nice = "b\udcffb", "/x y", "5"
    assert named(config) == decode(asking.question(config)) == {"user": "b\udcffb", "directory": "/x y"}
