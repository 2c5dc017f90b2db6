"""What must never be taken over or signalled, and what must be although the state does not name it (takeover.py)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import Box, alive, wait_for
from heirs import (
    SLEEP,
    TELL,
    adopted,
    copies,
    edit_state,
    kill_both,
    kill_supervise,
    service_of,
    start,
    started_refused,
    stat,
    state,
    succeed,
)
from system import needs

from supervise.protocol.state import VERSION


class Victim:
    """A living process that is not the service, and tells which signals it gets."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "victim"
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(TELL, stdout=out, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_for("the victim", lambda: self.output.read_bytes() == b"ready\n")
        self.pid = self.process.pid

    def unharmed(self) -> bool:
        return self.output.read_bytes() == b"ready\n" and self.process.poll() is None and stat(self.pid)[0] == "S"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    made = Victim(tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def started_anew(box: Box, *not_pids: int) -> int:
    """A successor runs, with a service of its own that is its child; its pid."""
    pid = box.pid
    assert pid and pid not in not_pids
    assert int(stat(pid)[1]) == box.supervisor
    assert "service taken over" not in box.log()
    return pid


def use_every_signal(box: Box) -> None:
    """What a user would do to the service."""
    for letter in ("p", "c", "h", "1", "+h", "k", "R", "d"):
        box.control(letter)
    box.wait_log("command d:")
    box.wait_down()


# A pid that was given away.


def other_start(pid: int) -> dict[str, Any]:
    service = service_of(pid)
    return {"service": {**service, "start_ticks": service["start_ticks"] - 1}}


def other_inode(pid: int) -> dict[str, Any]:
    service = service_of(pid)
    if service["pidfd_inode"] is None:
        pytest.skip("the inodes of pidfds are not unique here (Linux 6.9)")
    return {"service": {**service, "pidfd_inode": service["pidfd_inode"] + 1}}


def other_boot(pid: int) -> dict[str, Any]:
    return {"service": service_of(pid), "boot_id": "00000000-0000-0000-0000-000000000000"}


def no_boot(pid: int) -> dict[str, Any]:
    return {"service": service_of(pid), "boot_id": ""}


def newer_version(pid: int) -> dict[str, Any]:
    return {"service": service_of(pid), "version": VERSION + 1}


def negative_pid(pid: int) -> dict[str, Any]:
    return {"service": service_of(pid, pid=-pid)}


def pid_of_nobody(pid: int) -> dict[str, Any]:
    return {"service": service_of(pid, pid=0)}


def pid_beyond_all(pid: int) -> dict[str, Any]:
    return {"service": service_of(pid, pid=2**63 - 1)}


def of_init(pid: int) -> dict[str, Any]:
    return {"service": {**service_of(1), "start_ticks": 0 if service_of(1)["start_ticks"] else 1}}


@pytest.mark.parametrize(
    "forge, said",
    [
        (other_start, "has ended while no supervise was here"),
        (other_inode, "has ended while no supervise was here"),
        (other_boot, "before a reboot"),
        (no_boot, "before a reboot"),
        (newer_version, f"version {VERSION + 1}"),
        (negative_pid, "service.pid"),
        (pid_of_nobody, ""),
        (pid_beyond_all, ""),
        (of_init, ""),
    ],
)
def test_a_pid_that_was_given_away(
    box: Box, victim: Victim, forge: Callable[[int], dict[str, Any]], said: str
) -> None:
    pid = start(box, *SLEEP)
    kill_both(box)
    edit_state(box, **forge(victim.pid))
    done = box.run("-u", f"status/{box.name}", *SLEEP)
    assert done.returncode == 0
    started_anew(box, pid, victim.pid)
    assert said in box.log() + box.warnings
    use_every_signal(box)
    assert victim.unharmed()


def test_the_forged_state_would_be_believed_if_it_were_right(box: Box, victim: Victim) -> None:
    """So that the tests above test something: an orphan of a service, named rightly, is taken over."""
    pid = start(box, *SLEEP)
    kill_supervise(box)
    edit_state(box, service=service_of(pid))
    succeed(box, *SLEEP)
    adopted(box, pid)


# A state that cannot be used.


def is_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def is_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def is_a_symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def is_torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(range(256)) * 16),
        lambda path: path.write_bytes(b"{}\n"),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b" " * (2 << 20)),
        is_torn,
        is_a_directory,
        is_a_fifo,
        is_a_symlink,
    ],
    ids=["empty", "binary", "no-fields", "deep", "long", "torn", "directory", "fifo", "symlink"],
)
def test_a_state_that_cannot_be_used(box: Box, spoil: Callable[[Path], object]) -> None:
    pid = start(box)
    kill_supervise(box)
    spoil(box.status / "state")
    done = box.run("-u", f"status/{box.name}", *SLEEP)
    assert done.returncode == 0
    assert "state" in done.stderr
    again = started_anew(box, pid)
    assert "nothing is taken over" in box.warnings
    use_every_signal(box)
    assert not alive(again)
    assert alive(pid)
    assert box.stdout() == "ready\n"


def test_no_state_at_all(box: Box) -> None:
    pid = start(box)
    kill_supervise(box)
    (box.status / "state").unlink()
    said = started_refused(box)
    assert said.endswith(f": pid {pid}, which status/app/status calls the service, runs, and there is no state\n")
    assert (alive(pid), copies(box)) == (True, [])
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not alive(pid))
    succeed(box, *SLEEP)
    started_anew(box, pid)


def test_no_state_and_it_has_thrown_its_environment_away(box: Box) -> None:
    pid = start(box, "env", "-i", "/bin/sleep", "86397")
    wait_for("sleep", lambda: Path(f"/proc/{pid}/environ").read_bytes() == b"")
    kill_supervise(box)
    (box.status / "state").unlink()
    assert f"pid {pid}, which" in started_refused(box)
    os.kill(pid, signal.SIGKILL)  # by its environment it is nobody's, so the box would leave it


def test_no_state_and_another_has_the_number(box: Box, victim: Victim) -> None:
    start(box, *SLEEP)
    kill_both(box)
    (box.status / "state").unlink()
    record = (box.status / "status").read_bytes()
    earlier = (int.from_bytes(record[:8], "big") - 60).to_bytes(8, "big")
    (box.status / "status").write_bytes(earlier + record[8:16] + victim.pid.to_bytes(4, "little"))
    succeed(box, *SLEEP)
    started_anew(box, victim.pid)
    assert victim.unharmed()


def test_a_copied_directory(box: Box) -> None:
    """Its state names a process that is alive, and another supervise's."""
    pid = start(box)
    other = Box(box.folder, "copy")
    other.status.mkdir()
    for name in ("status", "state", "supervise.log"):
        shutil.copy(box.status / name, other.status / name)
    succeed(other, *SLEEP)
    assert other.pid not in (0, pid)
    assert "service taken over" not in other.log()
    use_every_signal(other)
    assert box.stdout() == "ready\n"
    assert (alive(pid), box.pid) == (True, pid)


# What a dead service leaves.


def test_what_is_left_of_a_process_group_is_logged(box: Box) -> None:
    pid = start(box, "sh", "-c", "sleep 86398 & echo $!; exec sleep 86399")
    child = int(box.wait_stdout("\n"))
    kill_both(box)
    done = box.run("-u", f"status/{box.name}", *SLEEP)
    assert done.returncode == 0
    started_anew(box, pid, child)
    warned = box.wait_warning(f"process group {pid}")
    assert f"pids {child}\n" in warned
    assert alive(child)


FORKER = """
import os, sys
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    if "exec" in sys.argv:
        os.execv("/bin/sleep", ["sleep", "86398"])
    sys.stdout.write(f"{os.getpid()}\\n")
    sys.stdout.flush()
import signal
while True:
    signal.pause()
"""


def child_of(parent: int) -> int:
    """The child of a process that leads a process group; 0 if there is none."""
    places = (place for place in Path("/proc").iterdir() if place.name.isdigit())
    for place in places:
        try:
            fields = stat(int(place.name))
        except OSError:
            continue
        if int(fields[1]) == parent and int(fields[2]) == int(place.name):
            return int(place.name)
    return 0


@pytest.mark.parametrize("words", [(), ("exec",)])
@pytest.mark.parametrize("adopt", [True, False])
@pytest.mark.parametrize("env", [True, False])
def test_children_with_process_groups_of_their_own(box: Box, adopt: bool, words: tuple[str, ...], env: bool) -> None:
    if not env:
        box.env = {}
    command = (sys.executable, "-S", "-E", "-c", FORKER, *words)
    pid = start(box, *command)
    child = wait_for("the child with a group of its own", lambda: child_of(pid))
    if adopt:
        kill_supervise(box)
        succeed(box, *command)
        adopted(box, pid)
    # Now the service ends while nobody looks, and the child lives on: it is not the service.
    kill_both(box)
    assert alive(child)
    succeed(box, *command)
    again = box.pid
    assert again not in (0, pid, child)
    assert int(stat(again)[1]) == box.supervisor
    box.control("d")
    box.wait_down()
    assert alive(child)


# The moment between the start of a process and the writing of the state.


def before_a_restart(box: Box, pid: int) -> bytes:
    """Have another process started; the state as it was before that."""
    before = (box.status / "state").read_bytes()
    box.control("k")
    box.wait_new_pid(pid)
    return before


def before_a_first_process(box: Box, pid: int) -> bytes:
    """The same, where the state names no process."""
    box.control("d")
    wait_for("no service in the state", lambda: state(box)["service"] is None)
    before = (box.status / "state").read_bytes()
    box.control("u")
    box.wait_new_pid(0)
    return before


def leave_unnamed(box: Box, prepare: Callable[[Box, int], bytes], first: int) -> int:
    """Kill supervise when it has started a process, and put the state back from before that; the pid."""
    before = prepare(box, first)
    pid = box.pid
    wait_for("the state to name it", lambda: (state(box)["service"] or {}).get("pid") == pid)
    kill_supervise(box)
    (box.status / "state").write_bytes(before)
    return pid


@pytest.mark.parametrize("prepare", [before_a_restart, before_a_first_process])
@pytest.mark.parametrize("foreground", [False, True])
def test_a_process_that_the_state_does_not_name_yet(
    box: Box, prepare: Callable[[Box, int], bytes], foreground: bool
) -> None:
    if foreground:
        box.foreground(*SLEEP)
        wait_for("a record", lambda: (box.status / "status").exists() and (box.status / "state").exists())
        wait_for("a pid in the record", lambda: box.pid)
        wait_for("the state", lambda: state(box)["service"])
        pid = leave_unnamed(box, prepare, box.pid)
        box.foreground(*SLEEP)
    else:
        pid = leave_unnamed(box, prepare, start(box, *SLEEP))
        succeed(box, *SLEEP)
    adopted(box, pid)
    assert copies(box) == [pid]
    wait_for("the state to name it", lambda: (state(box)["service"] or {}).get("pid") == pid)
    box.control("k")
    box.wait_new_pid(pid)


@pytest.mark.parametrize("prepare", [before_a_restart, before_a_first_process])
def test_it_is_recognised_by_the_directory_however_that_is_called(
    box: Box, prepare: Callable[[Box, int], bytes]
) -> None:
    pid = leave_unnamed(box, prepare, start(box, *SLEEP))
    (box.folder / "way").symlink_to(".")
    done = box.run("-u", str(box.folder / "way" / "status" / box.name), *SLEEP)
    assert (done.returncode, done.stderr) == (0, "")
    adopted(box, pid)
    assert copies(box) == [pid]


@pytest.mark.parametrize("prepare", [before_a_restart, before_a_first_process])
def test_it_has_executed_another_program_since(box: Box, prepare: Callable[[Box, int], bytes]) -> None:
    command = ("sh", "-c", "exec sleep 86399")
    pid = leave_unnamed(box, prepare, start(box, *command))
    wait_for("sleep", lambda: copies(box) == [pid])
    succeed(box, *command)
    adopted(box, pid)
    assert copies(box) == [pid]


def test_it_has_a_child_in_a_process_group_of_its_own(box: Box) -> None:
    command = (sys.executable, "-S", "-E", "-c", FORKER)
    first = start(box, *command)
    pid = leave_unnamed(box, before_a_restart, first)
    wait_for("its child", lambda: child_of(pid))
    succeed(box, *command)
    adopted(box, pid)


def test_killed_by_strace_right_after_the_start_of_a_process(box: Box) -> None:
    needs("strace")
    pid = start(box, *SLEEP)
    inject = "--inject=sched_yield:signal=KILL:when=1"
    words = ["strace", "-o", "/dev/null", "-e", "trace=sched_yield", inject, "-p", str(box.supervisor)]
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE)
    assert tracer.stderr
    assert b"attached" in tracer.stderr.readline()
    os.kill(pid, signal.SIGKILL)
    box.wait_gone()
    tracer.wait()
    tracer.stderr.close()
    (again,) = wait_for("a second process", lambda: copies(box))
    assert again != pid
    assert str(again) not in (box.status / "state").read_text()
    succeed(box, *SLEEP)
    adopted(box, again)
    assert copies(box) == [again]
