"""What supervise believes: who can have written it, and who can change where its path leads (trust.py)."""

from __future__ import annotations

import os
import posix
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from conftest import Box, alive, wait_for
from heirs import SLEEP, copies, edit_state, kill_supervise, service_of, started_refused, state
from system import NOBODY, as_nobody, needs_root

from supervise.system.trust import Untrusted, open_directory

USERS_GROUP = 100  # neither root's nor that of the tests
ACL_VERSION = (2).to_bytes(4, "little")


def acl(*entries: tuple[int, int, int]) -> bytes:
    """system.posix_acl_access: tag, permissions, id."""
    return ACL_VERSION + b"".join(
        tag.to_bytes(2, "little") + allowed.to_bytes(2, "little") + (number & 0xFFFFFFFF).to_bytes(4, "little")
        for tag, allowed, number in entries
    )


def opened(path: Path | str) -> bool:
    """Whether a directory is used; nothing stays open."""
    before = sorted(os.listdir("/proc/self/fd"))
    made: list[str] = []
    try:
        os.close(open_directory(str(path), made))
        return True
    except Untrusted:
        return False
    finally:
        assert sorted(os.listdir("/proc/self/fd")) == before


# Directories.


@pytest.mark.parametrize(
    "mode, as_status, as_parent",
    [(0o700, True, True), (0o755, True, True), (0o777, False, False), (0o1777, False, True), (0o702, False, False)],
)
def test_a_directory_that_everybody_may_write_to(tmp_path: Path, mode: int, as_status: bool, as_parent: bool) -> None:
    place = tmp_path / "place"
    (place / "below").mkdir(parents=True)
    place.chmod(mode)
    assert opened(place) == as_status
    assert opened(place / "below") == as_parent
    assert opened(place / "below/missing") == as_parent
    assert (place / "below/missing").exists() == as_parent


@pytest.mark.parametrize("gid, trusted", [(os.getegid(), True), (0, True), (USERS_GROUP, False)])
def test_a_directory_that_a_group_may_write_to(tmp_path: Path, gid: int, trusted: bool) -> None:
    """People have a group of their own, and umask 002."""
    if gid != os.getegid():
        needs_root()
    place = tmp_path / "place"
    (place / "below").mkdir(parents=True)
    os.chown(place, -1, gid)
    place.chmod(0o775)
    assert opened(place) == trusted
    assert opened(place / "below") == trusted


@pytest.mark.parametrize(
    "who, trusted",
    [
        (lambda: (2, 7, NOBODY), False),
        (lambda: (2, 5, NOBODY), True),
        (lambda: (2, 7, os.geteuid()), True),
        (lambda: (8, 7, USERS_GROUP), False),
        (lambda: (8, 7, os.getegid()), True),
    ],
    ids=["user", "user-reads", "oneself", "group", "own-group"],
)
@pytest.mark.parametrize("mask, writes", [(7, True), (5, False)])
def test_a_directory_with_an_access_control_list(
    tmp_path: Path, who: Callable[[], tuple[int, int, int]], trusted: bool, mask: int, writes: bool
) -> None:
    place = tmp_path / "place"
    (place / "below").mkdir(parents=True)
    try:
        os.setxattr(
            place, "system.posix_acl_access", acl(*sorted([(1, 7, -1), who(), (4, 5, -1), (16, mask, -1), (32, 5, -1)]))
        )
    except OSError as why:
        pytest.skip(f"no access control lists here: {why.strerror}")
    assert opened(place) == (trusted or not writes)
    assert opened(place / "below") == (trusted or not writes)


def test_what_is_above_the_current_directory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert opened("c")
    (tmp_path / "a").chmod(0o777)
    assert not opened("c")
    (tmp_path / "a").chmod(0o1777)
    assert opened("c")


def test_where_symlinks_lead_counts_and_where_they_are(tmp_path: Path) -> None:
    for name in ("here", "there/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "here/link").symlink_to("../there/deep")
    (tmp_path / "absolute").symlink_to(tmp_path / "here/link")
    paths = [tmp_path / "here/link", tmp_path / "absolute", tmp_path / "here/link/../deep"]
    assert all(map(opened, paths))
    for name in ("here", "there", "there/deep"):
        (tmp_path / name).chmod(0o777)
        assert not any(map(opened, paths)), name
        (tmp_path / name).chmod(0o755)
    assert all(map(opened, paths))


def test_symlinks_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        opened(tmp_path / "a")


def test_what_a_symlink_names_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("missing")
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "link/app")
    assert os.listdir(tmp_path) == ["link"]


def test_a_symlink_of_another_user_in_a_directory_for_everybody(tmp_path: Path) -> None:
    needs_root()
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    tmp.chmod(0o1777)
    (tmp_path / "status/app").mkdir(parents=True)
    (tmp / "own").symlink_to("../status")
    (tmp / "his").symlink_to("../status")
    os.lchown(tmp / "his", NOBODY, NOBODY)
    assert opened(tmp / "own/app")
    assert not opened(tmp / "his/app")
    tmp.chmod(0o755)
    assert opened(tmp / "his/app"), "root has put it there"


def test_a_directory_that_is_swapped_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused or used, but what is used is what was looked at."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir(mode=0o777)
    (tmp_path / "bad").chmod(0o777)
    looks = []
    fstat = os.fstat

    def swap(fd: int) -> os.stat_result:
        found = fstat(fd)
        if found.st_ino == inode and not looks:
            looks.append(fd)
            (tmp_path / "good").rename(tmp_path / "moved")
            (tmp_path / "bad").rename(tmp_path / "good")
        return found

    inode = (tmp_path / "good").stat().st_ino
    monkeypatch.setattr(posix, "fstat", swap)
    fd = open_directory(str(tmp_path / "good"), [])
    assert looks and fstat(fd).st_ino == inode
    os.close(fd)


# A supervise.


@pytest.mark.parametrize(
    "where, mode, says",
    [
        ("status/app", 0o777, "it can be written to by everybody (mode 0777)"),
        ("status", 0o777, "/status, which it is in, can be written to by everybody (mode 0777)"),
        ("", 0o757, "which it is in, can be written to by everybody (mode 0757)"),
    ],
)
def test_a_directory_for_everybody_is_refused(box: Box, where: str, mode: int, says: str) -> None:
    box.status.mkdir(parents=True)
    (box.folder / where).chmod(mode)
    try:
        assert says in started_refused(box)
        assert os.listdir(box.status) == []
    finally:
        (box.folder / where).chmod(0o700)


def test_an_umask_of_002_will_do(box: Box) -> None:
    box.status.mkdir(parents=True)
    for place in (box.folder, box.status.parent, box.status):
        place.chmod(0o775)
    pid = box.start(*SLEEP)
    kill_supervise(box)
    box.start(*SLEEP)
    assert (box.pid, box.warnings) == (pid, "")


def loosen(path: Path) -> None:
    path.chmod(0o666)


def link(path: Path) -> None:
    os.link(path, path.with_name(f"{path.name}.link"))


def give_away(path: Path) -> None:
    needs_root()
    os.chown(path, NOBODY, -1)


SPOILT = [loosen, link, give_away]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_state_that_others_can_have_written(box: Box, spoil: Callable[[Path], None]) -> None:
    """Refused as long as the process that it names lives; then replaced."""
    pid = box.start(*SLEEP)
    kill_supervise(box)
    spoil(box.status / "state")
    before = (box.status / "state").read_bytes()
    said = started_refused(box)
    assert "cannot believe status/app/state: it " in said and f"pid {pid}" in said
    assert copies(box) == [pid]
    assert (box.status / "state").read_bytes() == before
    os.kill(pid, 9)
    wait_for("its end", lambda: not alive(pid))
    done = box.run("-u", "status/app", *SLEEP)
    assert done.returncode == 0
    assert "cannot believe status/app/state" in done.stderr and "nothing is taken over" in done.stderr
    assert copies(box) == [box.pid] != [pid]
    found = (box.status / "state").stat()
    assert (found.st_uid, found.st_nlink, stat.S_IMODE(found.st_mode) & 0o022) == (os.geteuid(), 1, 0)


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_record_that_others_can_have_written(box: Box, spoil: Callable[[Path], None]) -> None:
    pid = box.start(*SLEEP)
    box.control("s")
    wait_for("alarms off", lambda: not box.record.alarms and not state(box)["alarms"])
    kill_supervise(box)
    edit_state(box, alarms=True)
    spoil(box.status / "status")
    done = box.run("--resume", "-u", "status/app", *SLEEP)
    assert done.returncode == 0
    assert "cannot believe status/app/status" in done.stderr
    assert (box.pid, box.record.alarms) == (pid, True)


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("name", ["control", "ok"])
def test_a_fifo_that_others_can_write_to_is_replaced(box: Box, spoil: Callable[[Path], None], name: str) -> None:
    """Whoever opened it while he could still has it open."""
    box.status.mkdir(parents=True)
    os.mkfifo(box.status / name)
    spoil(box.status / name)
    old = os.open(box.status / name, os.O_RDWR | os.O_NONBLOCK)
    try:
        done = box.run("-u", "status/app", *SLEEP)
        assert done.returncode == 0
        assert f"status/app/{name} " in done.stderr and "replaced" in done.stderr
        found = (box.status / name).stat()
        assert found.st_ino != os.fstat(old).st_ino
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o600)
        os.write(old, b"dx\n")
        box.control("s")
        wait_for("the letter", lambda: not box.record.alarms)
        assert "command d:" not in box.log()
    finally:
        os.close(old)


def test_a_lock_that_others_may_read_is_closed_to_them(box: Box) -> None:
    """Who can open it can hold it, and keep supervise from starting."""
    box.status.mkdir(parents=True)
    (box.status / "lock").write_bytes(b"")
    (box.status / "lock").chmod(0o644)
    inode = (box.status / "lock").stat().st_ino
    done = box.run("-u", "status/app", *SLEEP)
    assert (done.returncode, done.stderr) == (0, "")
    found = (box.status / "lock").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_ino) == (0o600, inode)


@pytest.mark.parametrize("spoil", [link, give_away])
def test_a_lock_of_somebody_else_is_replaced_where_nobody_holds_it(box: Box, spoil: Callable[[Path], None]) -> None:
    pid = box.start(*SLEEP)
    spoil(box.status / "lock")
    holder = box.supervisor
    assert f"held by pid {holder}" in started_refused(box)
    kill_supervise(box)
    mode = stat.S_IMODE((box.status / "lock").stat().st_mode)
    old = os.open(box.status / "lock", os.O_RDONLY)
    done = box.run("-u", "status/app", *SLEEP)
    assert done.returncode == 0
    assert "status/app/lock " in done.stderr and "it is replaced" in done.stderr
    assert (box.pid, copies(box)) == (pid, [pid])
    assert (box.status / "lock").stat().st_ino != os.fstat(old).st_ino
    assert stat.S_IMODE(os.fstat(old).st_mode) == mode, "the file of somebody else is as it was"
    os.close(old)
    assert f"held by pid {box.supervisor}" in started_refused(box)


@pytest.mark.parametrize("name", ["__stdout", "__stderr"])
def test_an_output_with_a_second_name_is_refused(box: Box, name: str) -> None:
    box.status.mkdir(parents=True)
    (box.folder / "precious").write_text("precious\n")
    os.link(box.folder / "precious", box.status / name)
    assert f"status/app/{name}: it has 2 links" in started_refused(box)
    assert (box.folder / "precious").read_text() == "precious\n"


# A directory of another user.


@pytest.fixture
def his(tmp_path: Path) -> Iterator[Box]:
    """A box that another user may enter, with a status directory that is his."""
    needs_root()
    folder = Path(tempfile.mkdtemp(prefix="supervise-"))
    folder.chmod(0o755)
    made = Box(folder)
    made.status.mkdir(parents=True)
    for place in (made.status.parent, made.status):
        os.chown(place, NOBODY, NOBODY)
    yield made
    made.clean()
    shutil.rmtree(folder)


def test_it_is_used(his: Box) -> None:
    done = his.run("-u", "status/app", *SLEEP)
    assert (done.returncode, done.stderr) == (0, "")
    pid = his.pid
    kill_supervise(his)
    his.start(*SLEEP)
    assert copies(his) == [his.pid] == [pid], "what root has written there is believed"


def test_a_state_of_his_making_leads_to_no_process_of_roots(his: Box) -> None:
    """As long as that lives nothing is started; it gets no signal."""
    victim = subprocess.Popen(["sleep", "86397"], start_new_session=True)
    try:
        his.start(*SLEEP)
        his.control("dx")
        his.wait_gone()
        edit_state(his, machine="running", service=service_of(victim.pid))
        os.chown(his.status / "state", NOBODY, NOBODY)
        assert f"belongs to user {NOBODY}, and pid {victim.pid}" in started_refused(his)
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
    his.start(*SLEEP)
    assert copies(his) == [his.pid]


def test_a_state_of_roots_from_another_directory(his: Box) -> None:
    """He has moved it here: it is root's, and about another service."""
    other = Box(his.folder, "other")
    other.status.mkdir()
    os.chown(other.status, NOBODY, NOBODY)
    pid = other.start(*SLEEP)
    kill_supervise(other)
    subprocess.run([*as_nobody(), "mv", str(other.status / "state"), str(his.status / "state")], check=True)
    his.start(*SLEEP)
    assert his.pid != pid and alive(pid)
    assert "from another directory" in his.log()
    os.kill(pid, 9)


def test_root_follows_him(his: Box) -> None:
    """His own supervise was here before: its files are replaced, once it is gone."""
    held = os.open(his.status / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    for name in ("control", "ok"):
        os.mkfifo(his.status / name, 0o600)
    for name in ("__stdout", "__stderr", "supervise.log"):
        (his.status / name).write_text("his\n")
    for path in his.status.iterdir():
        os.chown(path, NOBODY, NOBODY)
    script = f"exec 9<>{his.status}/lock; flock -n 9 && echo held; exec sleep 1000"
    holder = subprocess.Popen([*as_nobody(), "sh", "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    try:
        assert "held by pid" in started_refused(his)
        assert (his.status / "control").stat().st_uid == NOBODY
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        os.close(held)
    wait_for("the lock to be free", lambda: his.supervisor == 0)
    done = his.run("-u", "status/app", *SLEEP)
    assert done.returncode == 0
    for name in ("lock", "control", "ok"):
        assert f"status/app/{name} belongs to user {NOBODY}: it is replaced" in done.stderr
        assert ((his.status / name).stat().st_uid, (his.status / name).stat().st_mode & 0o777) == (0, 0o600)
    assert his.log().startswith("his\n")
    his.control("d")
    his.wait_down()


def test_a_start_that_fails_takes_its_replacements_away(his: Box) -> None:
    os.mkfifo(his.status / "control", 0o600)
    os.chown(his.status / "control", NOBODY, NOBODY)
    done = his.run("-u", "status/app", "no-such-program")
    assert done.returncode == 111 and "not found" in done.stderr
    assert os.listdir(his.status) == []


def test_what_he_links_between_two_starts_is_not_written_to(his: Box) -> None:
    precious = his.folder / "precious"
    precious.write_text("precious\n")
    first = his.start("sh", "-c", "echo printed; exec sleep 1000")
    his.wait_stdout("printed")
    (his.status / "__stdout").unlink()
    os.link(precious, his.status / "__stdout")
    his.control("k")
    his.wait_new_pid(first)
    his.wait_warning("__stdout: it has 2 links")
    assert precious.read_text() == "precious\n"


# The logs.


def symlink(path: Path) -> None:
    path.symlink_to("precious")


@pytest.mark.parametrize("plant", [symlink, os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name, other", [("supervise.log", "supervise.log.wf"), ("supervise.log.wf", "supervise.log")])
def test_what_is_planted_at_a_log_is_said(box: Box, plant: Callable[[Path], None], name: str, other: str) -> None:
    """At the start on stderr, and in the other log; once it is gone, what could not be said is."""
    box.status.mkdir(parents=True)
    (box.status / "precious").write_text("precious\n")
    plant(box.status / name)
    done = box.run("-u", "status/app", *SLEEP)
    assert done.returncode == 0
    assert done.stderr.startswith(f"supervise: warning: cannot use status/app/{name}: is ")
    assert done.stderr.count("\n") == 1
    wait_for("the other log to say so", lambda: f"cannot use status/app/{name}: is " in box.log(other))
    box.control("s")
    box.control("n")
    box.control("Z")
    wait_for("the letters", lambda: box.log(other).count("\n") > 1)
    assert box.log(other).count("cannot use") == 1
    assert (box.status / "precious").read_text() == "precious\n"
    os.rmdir(box.status / name) if (box.status / name).is_dir() else (box.status / name).unlink()
    box.control("s")
    box.control("Z")
    text = "unknown bytes" if name.endswith("wf") else "service started"
    wait_for("what could not be said", lambda: text in box.log(name))


def test_a_log_with_a_second_name_is_not_written_to(box: Box) -> None:
    pid = box.start(*SLEEP)
    (box.status / "supervise.log").unlink()
    (box.status / "precious").write_text("precious\n")
    os.link(box.status / "precious", box.status / "supervise.log")
    box.control("s")
    box.wait_warning("cannot use status/app/supervise.log: it has 2 links; nothing is logged there")
    assert (box.status / "precious").read_text() == "precious\n"
    assert alive(pid)
