"""Files of the user's own choice that a service prints to (stdout_logfile, stderr_logfile)."""

from __future__ import annotations

import os
import pwd
import signal
import sys
from pathlib import Path

import pytest
from conftest import Box, wait_for
from heirs import upgrade

USER = "nobody"
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root may run a service as another user")
PRINTS = ("/bin/sh", "-c", "echo out; echo err >&2; exec sleep 86399")
REFUSED = "supervise: fatal: cannot start the service: supervise.conf:2: cannot open stdout_logfile "


@pytest.fixture
def logs(box: Box) -> Path:
    made = box.folder / "logs"
    made.mkdir(mode=0o755)
    return made


def state(box: Box) -> str:
    return (box.status / "state").read_text()


def svlog(box: Box, *args: str) -> str:
    done = box.run_words(str(Path(sys.executable).with_name("svlog")), *args)
    return done.stdout + done.stderr


def start(box: Box, keys: str, *command: str) -> int:
    box.conf(f"[app]\n{keys}")
    return box.start(*(command or PRINTS))


def refused(box: Box, keys: str) -> str:
    """Why a start is refused; and nothing is left of it."""
    box.conf(f"[app]\n{keys}")
    done = box.run("-p", "status/app", "-f", "sleep 1000")
    assert done.returncode != 0 and not box.status.exists()
    assert done.stderr.startswith(REFUSED), done.stderr
    return done.stderr[len(REFUSED) :].strip()


def test_a_path_of_ones_own(box: Box, logs: Path) -> None:
    start(box, "stdout_logfile : logs/%(program_name)s.out\nstderr_logfile : %(here)s/logs/app.err\n")
    wait_for("the lines", lambda: (logs / "app.err").exists() and (logs / "app.err").read_text() == "err\n")
    assert (logs / "app.out").read_text() == "out\n"
    assert (logs / "app.out").stat().st_mode & 0o777 == 0o644
    assert not list(box.status.glob("__std*"))
    assert (svlog(box, "app"), svlog(box, "-e", "app")) == ("out\n", "err\n")


def test_both_to_one_file(box: Box, logs: Path) -> None:
    twice = "stdout_logfile : logs/a\nstderr_logfile : logs/a\n"
    for keys in (twice, "redirect_stderr : 1\nstdout_logfile : logs/b\n"):
        start(box, keys)
        file = logs / keys.split()[-1].removeprefix("logs/")
        wait_for("both lines", lambda file=file: file.exists() and file.read_text() == "out\nerr\n")
        opened = [os.readlink(f"/proc/{box.pid}/fd/{fd}") for fd in (1, 2)]
        assert opened == [str(file)] * 2
        box.control("dx")
        box.wait_gone()


def test_nothing_is_kept(box: Box) -> None:
    start(box, "stdout_logfile : NONE\nstderr_logfile : /dev/null\n")
    assert [os.readlink(f"/proc/{box.pid}/fd/{fd}") for fd in (1, 2)] == ["/dev/null"] * 2
    assert not list(box.status.glob("__std*"))
    assert "nothing is kept (stdout_logfile : NONE)" in svlog(box, "app")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/no/such/place/log", "/no/such/place/log: its directory does not exist"),
        ("logs/link", "logs/link: is a symlink, not a regular file"),
        ("logs/fifo", "logs/fifo: is a FIFO, not a regular file"),
        ("logs/folder", "logs/folder: is a directory, not a regular file"),
        ("logs/two", "logs/two: has 2 links"),
    ],
)
def test_what_is_refused(box: Box, logs: Path, path: str, why: str) -> None:
    victim = box.folder / "victim"
    victim.write_text("stays\n")
    (logs / "link").symlink_to(victim)
    (logs / "folder").mkdir()
    os.link(victim, logs / "two")
    os.mkfifo(logs / "fifo")
    assert refused(box, f"stdout_logfile : {path}\n") == why
    assert victim.read_text() == "stays\n"
    done = box.run("--check", "app")
    assert done.returncode == 100
    assert f"supervise.conf:2: cannot open stdout_logfile {why} (the service is not started)\n" in done.stdout


@pytest.mark.parametrize("mode", [0o777, 0o1777], ids=["open", "sticky"])
def test_a_directory_in_which_others_can_write(box: Box, logs: Path, mode: int) -> None:
    logs.chmod(mode)
    assert "can be written to by everybody" in refused(box, "stdout_logfile : logs/x\n")


def test_it_is_looked_at_anew_at_each_start(box: Box, logs: Path) -> None:
    pid = start(box, f"stdout_logfile : {logs}/x\n")
    (logs / "x").unlink()
    (logs / "x").symlink_to("/etc/passwd")
    os.kill(pid, signal.SIGKILL)
    box.wait_warning(f"cannot open stdout_logfile {logs}/x: is a symlink")
    (logs / "x").unlink()
    wait_for("it to be started", lambda: (logs / "x").exists() and (logs / "x").read_text() == "out\n")


@root_only
def test_the_service_opens_it_by_name(open_box: Box) -> None:
    box = open_box
    logs = box.folder / "logs"
    logs.mkdir(mode=0o755)
    (logs / "old").write_text("")
    text = "echo one; exec >>/dev/stdout; echo two; exec 3>>/proc/self/fd/1; echo three >&3; exec sleep 86399"
    for name in ("new", "old"):
        start(box, f"user : {USER}\nstdout_logfile : {logs}/{name}\n", "/bin/sh", "-c", text)
        wait_for("all lines", lambda file=logs / name: file.exists() and file.read_text() == "one\ntwo\nthree\n")
        assert pwd.getpwuid((logs / name).stat().st_uid).pw_name == USER
        box.control("dx")
        box.wait_gone()


@root_only
def test_in_a_directory_of_the_services_what_is_roots_is_not_given(open_box: Box) -> None:
    box = open_box
    logs = box.folder / "logs"
    logs.mkdir(mode=0o755)
    entry = pwd.getpwnam(USER)
    os.chown(logs, entry.pw_uid, entry.pw_gid)
    (logs / "root's").write_text("secret\n")
    (logs / "root's").chmod(0o600)
    start(box, f"user : {USER}\nstdout_logfile : {logs}/root's\nstderr_logfile : {logs}/own\n")
    wait_for("the lines", lambda: (logs / "own").exists() and (logs / "own").read_text() == "err\n")
    assert ((logs / "root's").stat().st_uid, (logs / "own").stat().st_uid) == (0, entry.pw_uid)


@root_only
def test_what_is_somebody_elses(open_box: Box) -> None:
    box = open_box
    logs = box.folder / "logs"
    logs.mkdir(mode=0o755)
    other = pwd.getpwnam("daemon").pw_uid
    (logs / "his").touch()
    os.chown(logs / "his", other, -1)
    assert refused(box, f"stdout_logfile : {logs}/his\nuser : {USER}\n") == f"{logs}/his: belongs to user {other}"
    os.chown(logs, other, -1)
    assert f"belongs to user {other}" in refused(box, f"stdout_logfile : {logs}/x\nuser : {USER}\n")


def test_svlog_does_not_believe_what_somebody_else_can_have_written(box: Box, logs: Path) -> None:
    start(box, f"stdout_logfile : {logs}/x\n")
    wait_for("a line", lambda: (logs / "x").read_text() == "out\n")
    (box.status / "state").chmod(0o666)
    assert "its state, which says where that is, can be written to by everybody" in svlog(box, "app")


WRITER = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); printf '%015d\\n' $i; done; exec sleep 86399"


def test_rotation_adoption_and_upgrade(box: Box, logs: Path) -> None:
    """Beside it another service's file in the same directory, and one of nobody's."""
    (logs / "other.1").write_text("stays\n")
    pid = start(
        box,
        f"stdout_logfile : {logs}/x\nstdout_logfile_maxbytes : 64KB\nstdout_logfile_backups : 99\n",
        *("/bin/sh", "-c", WRITER),
    )
    expected = b"".join(b"%015d\n" % number for number in range(1, 30001))

    def kept() -> bytes:
        parts = sorted(logs.glob("x.[0-9]*"), key=lambda path: -int(path.suffix[1:]))
        return b"".join(path.read_bytes() for path in parts) + (logs / "x").read_bytes().lstrip(b"\0")

    wait_for("all of it", lambda: not list(logs.glob("*.next*")) and kept() == expected)
    wait_for("it to be within its limit", lambda: (logs / "x").stat().st_blocks * 512 <= 64 * 1024 + 4096)
    assert (logs / "other.1").read_text() == "stays\n"
    upgrade(box)
    assert f'"stdout": "{logs}/x"' in state(box)
    supervisor = box.supervisor
    assert supervisor
    os.kill(supervisor, signal.SIGKILL)
    wait_for("it to be gone", lambda: not box.supervisor)
    assert box.run("--resume", "-p", "status/app").returncode == 0
    assert f'"stdout": "{logs}/x"' in state(box) and box.pid == pid
    assert svlog(box, "-n", "1", "app") == "000000000030000\n"


def test_a_path_that_is_configured_later_is_for_the_next_start(box: Box, logs: Path) -> None:
    pid = start(box, "max_tries : 3\n")
    box.conf(f"[app]\nstdout_logfile : {logs}/x\n")
    box.wait_log(f"stdout_logfile {logs}/x")
    assert svlog(box, "app") == "out\n"
    os.kill(pid, signal.SIGKILL)
    wait_for("the other file", lambda: (logs / "x").exists() and (logs / "x").read_text() == "out\n")
    box.conf(f"[app]\nstdout_logfile : {logs}/none/x\n")
    box.wait_warning(f"supervise.conf:2: cannot open stdout_logfile {logs}/none/x: its directory does not exist")
