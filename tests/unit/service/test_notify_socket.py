"""The socket of sd_notify(3): where it is, who can reach it, and what comes out of it."""

from __future__ import annotations

import array
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, wait_for

from supervise.protocol.names import NOTIFY
from supervise.protocol.sdnotify import LIMIT
from supervise.service.notify_socket import LONGEST_ADDRESS, NotifySocket
from supervise.system.statusdir import StatusDir, StatusDirError

# Sends its arguments, one datagram each, without waiting for anything.
SEND = """
import os, socket, sys
address = os.environ["NOTIFY_SOCKET"]
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect("\\0" + address[1:] if address[0] == "@" else address)
for word in sys.argv[1:]:
    sender.send(word.encode())
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[StatusDir]:
    """A status directory that is locked, as it is where a listener is made."""
    made = StatusDir(str(tmp_path / "status" / "app"))
    lock = made.lock()
    yield made
    os.close(lock)
    os.close(made.fd)
    shutil.rmtree(tmp_path)


def listen(directory: StatusDir, other_user: bool = False, address: str | None = None) -> NotifySocket:
    return NotifySocket(directory, os.fsencode(os.path.abspath(directory.path)), other_user, address)


@pytest.fixture(params=["path", "abstract"])
def notify_socket(request: pytest.FixtureRequest, directory: StatusDir) -> Iterator[NotifySocket]:
    made = listen(directory, request.param == "abstract")
    assert made.abstract == (request.param == "abstract")
    yield made
    if made.fd >= 0:
        made.close(remove=True)


def connected(notify_socket: NotifySocket) -> socket.socket:
    """A sender in this process."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.settimeout(PATIENCE)
    try:
        sender.connect("\0" + notify_socket.address[1:] if notify_socket.abstract else notify_socket.address)
    except OSError:
        sender.close()
        raise
    return sender


def environment(address: str) -> dict[str, str]:
    return {**os.environ, "NOTIFY_SOCKET": address}


def run(address: str, *said: str) -> None:
    subprocess.run([sys.executable, "-c", SEND, *said], env=environment(address), check=True, timeout=PATIENCE)


def descriptors() -> set[str]:
    names = os.listdir("/proc/self/fd")
    return {name for name in names if os.path.lexists(f"/proc/self/fd/{name}")}  # without the one that listdir had


def test_in_the_status_directory(directory: StatusDir) -> None:
    notify_socket = listen(directory)
    try:
        found = os.lstat(notify_socket.address)
        assert notify_socket.address == os.path.abspath(directory.path) + "/notify"
        assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
        assert not os.get_inheritable(notify_socket.fd) and not os.get_blocking(notify_socket.fd)
        assert notify_socket.suits(other_user=False) and not notify_socket.suits(other_user=True)
    finally:
        notify_socket.close(remove=True)
    assert not directory.has(NOTIFY)


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_the_umask_does_not_matter_and_is_not_changed(directory: StatusDir, umask: int) -> None:
    before = os.umask(umask)
    try:
        listen(directory).close(remove=False)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.lstat(f"{directory.path}/notify").st_mode) == 0o600


def test_for_another_user_the_address_is_abstract_and_nobody_can_foresee_it(directory: StatusDir) -> None:
    first, second = listen(directory, other_user=True), listen(directory, other_user=True)
    try:
        assert first.abstract and len(first.address) > 32 and first.address != second.address
        assert first.suits(other_user=True) and first.suits(other_user=False)
        assert not directory.has(NOTIFY)
    finally:
        first.close(remove=True)
        second.close(remove=True)


def test_the_longest_path_that_an_address_holds(tmp_path: Path) -> None:
    room = LONGEST_ADDRESS - len("/notify")
    for size, abstract in ((room, False), (room + 1, True)):
        folder = str(tmp_path / "status")
        path = folder + "/" + "x" * (size - len(folder) - 1)
        directory = StatusDir(path)
        notify_socket = listen(directory)
        try:
            assert notify_socket.abstract == abstract
            run(notify_socket.address, "READY=1")
            assert [data for _, _, data in notify_socket.receive()] == [b"READY=1"]
        finally:
            notify_socket.close(remove=True)
            os.close(directory.fd)
    shutil.rmtree(tmp_path)


def test_a_path_that_is_no_text(tmp_path: Path) -> None:
    directory = StatusDir(os.fsdecode(os.fsencode(tmp_path) + b"/status/\xff"))
    notify_socket = listen(directory)
    try:
        run(notify_socket.address, "READY=1")
        assert [data for _, _, data in notify_socket.receive()] == [b"READY=1"]
    finally:
        notify_socket.close(remove=True)
        os.close(directory.fd)
    shutil.rmtree(tmp_path)


def test_where_the_directory_cannot_be_named_by_its_descriptor(
    directory: StatusDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without /proc."""
    monkeypatch.setattr(StatusDir, "is_at", lambda directory, path: False)
    notify_socket = listen(directory)
    assert notify_socket.abstract
    notify_socket.close(remove=True)


# What stands in the way.


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("file", "a regular file"),
        ("directory", "a directory"),
        ("symlink", "a symlink"),
        ("dangling", "a symlink"),
        ("fifo", "a FIFO"),
    ],
)
def test_something_else_is_in_its_place(directory: StatusDir, tmp_path: Path, kind: str, words: str) -> None:
    path = f"{directory.path}/notify"
    target = tmp_path / "target"
    if kind == "file":
        Path(path).write_text("mine")
    elif kind == "directory":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.symlink(target, path)
        if kind == "symlink":
            target.write_text("mine")
    before, had = descriptors(), os.lstat(path)
    with pytest.raises(StatusDirError, match=f"cannot use {directory.path}/notify: is {words}, not a socket"):
        listen(directory)
    assert descriptors() == before
    assert os.lstat(path).st_ino == had.st_ino
    assert target.exists() == (kind == "symlink")


def test_the_socket_of_a_killed_supervise_is_replaced(directory: StatusDir) -> None:
    first = listen(directory)
    first.close(remove=False)
    with pytest.raises(ConnectionRefusedError):
        connected(first)
    second = listen(directory, address=first.address)
    try:
        assert second.address == first.address
        run(first.address, "READY=1")
        assert [data for _, _, data in second.receive()] == [b"READY=1"]
    finally:
        second.close(remove=True)


def test_what_appears_between_looking_and_binding_is_not_followed(directory: StatusDir, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"

    def plant(path: str) -> None:
        os.symlink(target, f"{directory.path}/notify")
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sender.bind(path)
        finally:
            sender.close()

    with pytest.raises(StatusDirError, match="cannot make .*/notify: Address already in use"):
        directory.bind_notify(plant)
    assert not target.exists()


def test_no_descriptor_is_left(directory: StatusDir) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        with pytest.raises(OSError, match="cannot make a notify socket: Too many open files"):
            listen(directory)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_failed_start_leaves_no_socket(tmp_path: Path) -> None:
    (tmp_path / "status" / "app").mkdir(parents=True)
    directory = StatusDir(str(tmp_path / "status" / "app"))
    lock = directory.lock()
    notify_socket = listen(directory)
    notify_socket.close(remove=False)
    directory.undo()
    assert not os.listdir(directory.path)
    os.close(lock)
    os.close(directory.fd)

    made = StatusDir(str(tmp_path / "status" / "made"))
    lock = made.lock()
    listen(made).close(remove=False)
    made.undo()
    assert not os.path.exists(made.path)
    os.close(lock)
    os.close(made.fd)
    shutil.rmtree(tmp_path)


# The address that an earlier supervise had.


def test_an_abstract_address_is_kept(directory: StatusDir) -> None:
    first = listen(directory, other_user=True)
    with pytest.raises(OSError, match=f"cannot bind the notify socket to {first.address}: Address already in use"):
        listen(directory, other_user=True, address=first.address)
    first.close(remove=True)
    second = listen(directory, other_user=False, address=first.address)
    assert second.address == first.address
    second.close(remove=True)


def test_a_path_is_kept_as_the_service_knows_it(directory: StatusDir, tmp_path: Path) -> None:
    """The directory is called by another name now, and the service has the old one in its environment."""
    (tmp_path / "link").symlink_to(directory.path)
    notify_socket = listen(directory, address=f"{tmp_path}/link/notify")
    try:
        assert notify_socket.address == f"{tmp_path}/link/notify"
        run(notify_socket.address, "READY=1")
        assert [data for _, _, data in notify_socket.receive()] == [b"READY=1"]
    finally:
        notify_socket.close(remove=True)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "@other/name",
        "@supervise/" + "x" * 100,
        "@supervise/\udcff",
        "/nowhere/notify",
        "/tmp/notify",
        "notify",
        "/\0/notify",
        "/\ud800/notify",
    ],
)
def test_an_address_that_does_not_lead_here_is_not_kept(directory: StatusDir, address: str) -> None:
    notify_socket = listen(directory, address=address)
    assert notify_socket.address == os.path.abspath(directory.path) + "/notify"
    notify_socket.close(remove=True)


def test_it_carries_on_with_a_kept_descriptor(notify_socket: NotifySocket, directory: StatusDir) -> None:
    """As after an exec: the queue goes on, the kernel still tells who sent what."""
    run(notify_socket.address, "STATUS=before")
    kept = os.dup(notify_socket.fd)
    os.set_inheritable(kept, True)
    os.set_blocking(kept, True)
    notify_socket.close(remove=False)
    again = NotifySocket.attach(kept, notify_socket.address)
    assert again.fd == kept and again.abstract == notify_socket.abstract
    assert not os.get_inheritable(kept) and not os.get_blocking(kept)
    run(again.address, "STATUS=after")
    got = list(again.receive())
    assert [data for _, _, data in got] == [b"STATUS=before", b"STATUS=after"]
    assert all(pid > 0 and uid == os.getuid() for pid, uid, _ in got)
    again.close(remove=True)
    assert not directory.has(NOTIFY)


# What comes out of it.


def test_who_has_sent_what(notify_socket: NotifySocket) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SEND, "READY=1", "STATUS=a\nWATCHDOG=1"], env=environment(notify_socket.address)
    )
    assert process.wait(PATIENCE) == 0
    assert list(notify_socket.receive()) == [
        (process.pid, os.getuid(), b"READY=1"),
        (process.pid, os.getuid(), b"STATUS=a\nWATCHDOG=1"),
    ]
    assert list(notify_socket.receive()) == []


def test_another_user(notify_socket: NotifySocket) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    script = "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n" + SEND  # socket.py may be root's
    done = subprocess.run(
        [sys.executable, "-c", script, "READY=1"],
        env=environment(notify_socket.address),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if notify_socket.abstract:
        assert done.returncode == 0, done.stderr
        assert [(uid, data) for _, uid, data in notify_socket.receive()] == [(65534, b"READY=1")]
    else:
        assert "PermissionError" in done.stderr


def test_at_most_so_many_at_a_time(notify_socket: NotifySocket) -> None:
    sender = connected(notify_socket)
    for number in range(8):  # fewer than fit into the queue
        sender.send(b"X=%d" % number)
    assert [data for _, _, data in notify_socket.receive(limit=3)] == [b"X=0", b"X=1", b"X=2"]
    assert [data for _, _, data in notify_socket.receive()] == [b"X=%d" % number for number in range(3, 8)]
    sender.close()


def test_a_datagram_that_is_too_long_can_be_told(notify_socket: NotifySocket) -> None:
    sender = connected(notify_socket)
    for size in (0, LIMIT, LIMIT + 1, 60000):
        sender.send(b"x" * size)
    assert [len(data) for _, _, data in notify_socket.receive()] == [0, LIMIT, LIMIT + 1, LIMIT + 1]
    sender.close()


@pytest.mark.parametrize("count", [1, 200])
def test_descriptors_that_come_along_are_closed_at_once(notify_socket: NotifySocket, count: int) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    sender = connected(notify_socket)
    before = descriptors()
    rights = array.array("i", [writing] * count)
    sender.sendmsg([b"FDSTORE=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    os.close(writing)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)  # they are on their way
    assert list(notify_socket.receive()) == [(os.getpid(), os.getuid(), b"FDSTORE=1")]
    assert os.read(reading, 1) == b""
    assert descriptors() == before - {str(writing)}
    os.close(reading)
    sender.close()


def test_a_barrier_is_only_passed_when_what_was_before_it_has_been_dealt_with(notify_socket: NotifySocket) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    sender = connected(notify_socket)
    sender.send(b"READY=1")
    sender.sendmsg([b"BARRIER=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writing]))])
    os.close(writing)
    received = notify_socket.receive()
    assert next(received)[2] == b"READY=1"
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)  # while this is dealt with, its sender waits
    assert next(received)[2] == b"BARRIER=1"
    assert os.read(reading, 1) == b""
    os.close(reading)
    sender.close()


def test_a_sender_that_waits_for_room_gets_on(notify_socket: NotifySocket) -> None:
    """More than fits into the queue: nothing is lost, and the order is kept."""
    said = [f"X={number}" for number in range(2000)]
    process = subprocess.Popen([sys.executable, "-c", SEND, *said], env=environment(notify_socket.address))
    got: list[str] = []
    while len(got) < len(said):
        assert select.select([notify_socket.fd], [], [], PATIENCE)[0], f"waited in vain for message {len(got)}"
        got.extend(data.decode() for _, _, data in notify_socket.receive())
    assert process.wait(PATIENCE) == 0
    assert got == said


def test_systemd_notify(notify_socket: NotifySocket) -> None:
    """The real program; it waits until its message has been received (BARRIER=1)."""
    if not shutil.which("systemd-notify"):
        pytest.skip("systemd-notify is not installed (Debian package systemd)")
    process = subprocess.Popen(
        ["systemd-notify", "--ready", "--status=it works"],
        env=environment(notify_socket.address),
        stderr=subprocess.PIPE,
    )
    got: list[bytes] = []

    def ended() -> bool:
        for _, uid, data in notify_socket.receive():
            assert uid == os.getuid()
            got.append(data)
        return process.poll() is not None

    wait_for("systemd-notify to end", ended)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    lines = b"\n".join(got).split(b"\n")
    assert b"READY=1" in lines and b"STATUS=it works" in lines
