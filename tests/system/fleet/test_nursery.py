"""A supervise that was forked (nursery.py) behaves as one that was started by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Box, alive, wait_for
from nursed import Nursed, nursed

from supervise.protocol.record import decode

SERVICE = ("sleep", "86399")


@pytest.fixture
def nursery(box: Box) -> Iterator[Nursed]:
    with nursed(box) as made:
        yield made


@pytest.fixture
def by_hand(box: Box) -> Iterator[Box]:
    """Another box beside the first, for a supervise to compare with."""
    folder = box.folder / "by hand"
    folder.mkdir()
    made = Box(folder)
    made.env = dict(box.env)
    yield made
    made.clean()


def stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def leads_to(pid: int, folder: Path) -> list[str]:
    """Where the descriptors of a process lead, without what differs from one to the other."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            text = os.readlink(f"/proc/{pid}/fd/{fd}").replace(str(folder), "FOLDER")
            found.append(re.sub(r"\[\d+\]", "[]", text))
    return sorted(found)


def signals(pid: int) -> list[str]:
    wanted = ("SigBlk", "SigIgn", "SigCgt", "Umask", "SigQ")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith(wanted) and not line.startswith("SigQ")]


def files(box: Box) -> dict[str, object]:
    """The status directory, without what differs from one start to the next: its times, pids and inodes."""
    found: dict[str, object] = {}
    for path in sorted(box.status.iterdir()):
        mode = path.lstat().st_mode
        text = path.read_bytes() if path.is_file() else b""
        if path.name == "status":
            read = decode(text)
            found[path.name] = mode, len(text), (read.paused, read.want, read.alarms)
        elif path.name == "state":
            fields = json.loads(text)
            assert text.endswith(b"\n}\n")
            for name in ("supervise_pid", "session", "started_at", "directory", "service", "changed_boottime"):
                fields.pop(name)
            fields["options"].pop("directory")
            shown = [f"{name}: {value}" for name, value in fields.items()]
            found[path.name] = mode, shown, list(json.loads(text))
        else:
            found[path.name] = mode, re.sub(rb"\d+", b"N", text.replace(os.fsencode(box.folder), b"FOLDER"))
    return found


CONFIGURED = "[app]\nstopwaitsecs : 3\numask : 027\n"


@pytest.mark.parametrize("conf", ["", CONFIGURED], ids=["no configuration", "a configuration"])
def test_it_is_as_one_that_was_started_by_hand(box: Box, by_hand: Box, nursery: Nursed, conf: str) -> None:
    for place in (box, by_hand):
        if conf:
            place.conf(conf)
    assert nursery.ask("rehearse") is None
    forked = nursery.start(*SERVICE)
    by_hand.start(*SERVICE)
    other = by_hand.supervisor
    for place in (box, by_hand):
        place.control("c")  # it is in its loop when that has been obeyed
        place.wait_log("command c")
    assert (box.supervisor, box.lockers()) == (forked, [forked])
    wait_for("the watches of the other", lambda: "anon_inode:inotify" in leads_to(other, by_hand.folder))
    assert leads_to(forked, box.folder) == leads_to(other, by_hand.folder)
    assert signals(forked) == signals(other)
    assert int(stat(forked)[3]) == forked == os.getsid(forked)  # its own session
    assert Path(f"/proc/{forked}/comm").read_text() == "supervise\n"
    assert os.readlink(f"/proc/{forked}/cwd") == str(box.folder)
    for name in ("limits", "oom_score_adj", "cgroup"):
        theirs = Path(f"/proc/{other}/{name}").read_text()
        assert Path(f"/proc/{forked}/{name}").read_text() == theirs, name
    ours, theirs_by_name = files(box), files(by_hand)
    assert list(ours) == list(theirs_by_name)
    for name, content in ours.items():
        assert content == theirs_by_name[name], name


def test_the_service_is_given_the_same(box: Box, by_hand: Box, nursery: Nursed) -> None:
    def given(place: Box) -> tuple[object, ...]:
        pid = place.pid
        fds = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        links = {fd: to.replace(str(place.folder), "FOLDER") for fd, to in fds.items()}
        environment = Path(f"/proc/{pid}/environ").read_bytes().replace(os.fsencode(place.folder), b"FOLDER")
        return links, signals(pid), sorted(environment.split(b"\0")), int(stat(pid)[2]) == pid

    nursery.start(*SERVICE)
    by_hand.start(*SERVICE)
    for ours, theirs in zip(given(box), given(by_hand)):
        assert ours == theirs


def test_it_is_found_by_its_command_line_and_its_command_is_not(box: Box, nursery: Nursed) -> None:
    forked = nursery.start(*SERVICE)
    words = Path(f"/proc/{forked}/cmdline").read_bytes()
    assert words.rstrip(b"\0").split(b"\0")[-4:] == [b"-p", b"status/app", b"-F", b"supervise.conf"]
    assert b"daemon.py" in words
    assert b"86399" not in words
    asked = ["ps", "-ww", "-o", "args=", "-p", str(forked)]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert shown.rstrip().endswith("daemon.py -p status/app -F supervise.conf")


def test_it_is_a_subreaper(box: Box, nursery: Nursed) -> None:
    forked = nursery.start("sh", "-c", "(sleep 86398 & echo $! >orphan); exec sleep 86399")
    said = box.folder / "orphan"
    orphan = int(wait_for("the orphan", lambda: said.exists() and said.read_text()))
    wait_for("it to be its child", lambda: int(stat(orphan)[1]) == forked)
    os.kill(orphan, signal.SIGKILL)
    wait_for("it to be reaped", lambda: not Path(f"/proc/{orphan}").exists())


def test_letters_a_restart_and_the_end(box: Box, nursery: Nursed) -> None:
    forked = nursery.start(*SERVICE)
    pid = box.pid
    box.control("t")
    again = box.wait_new_pid(pid)
    assert (box.supervisor, int(stat(again)[1])) == (forked, forked)
    box.control("d")
    box.wait_down()
    box.control("u")
    box.wait_new_pid(again)
    box.control("dx")
    assert nursery.ask("reap") == forked
    assert box.supervisor == 0
    assert box.warnings == ""


def test_it_is_upgraded_and_its_service_stays(box: Box, nursery: Nursed) -> None:
    forked = nursery.start(*SERVICE)
    pid = box.pid
    for count in (1, 2):
        box.control("e")
        box.wait_log("supervise replaced by the installed version", count)
    assert (box.supervisor, box.pid) == (forked, pid)
    assert box.warnings == ""


def test_its_service_is_taken_over_by_another(box: Box, nursery: Nursed) -> None:
    forked = nursery.start(*SERVICE)
    pid = box.pid
    os.kill(forked, signal.SIGKILL)
    assert nursery.ask("reap") == forked
    other = nursery.start(*SERVICE)
    assert (box.supervisor, box.pid) == (other, pid)
    box.wait_warning("taken over") if "taken over" in box.warnings else None
    os.kill(other, signal.SIGKILL)
    assert nursery.ask("reap") == other
    box.start(*SERVICE)  # by hand
    assert box.pid == pid


def test_it_starts_anew_where_it_has_ended_before(box: Box, nursery: Nursed) -> None:
    nursery.start(*SERVICE)
    starts = json.loads((box.status / "state").read_text())["totals"]["starts"]
    box.control("dx")
    nursery.ask("reap")
    second = nursery.start(*SERVICE)
    state = json.loads((box.status / "state").read_text())
    assert (state["supervise_pid"], state["session"]) == (second, second)
    assert state["totals"]["starts"] == starts + 1
    assert alive(box.pid)
    assert box.warnings == ""


def test_the_configuration_is_followed(box: Box, nursery: Nursed) -> None:
    box.conf("[app]\nstopwaitsecs : 3\n")
    nursery.start(*SERVICE)
    box.conf("[app]\nstopwaitsecs : 4\n")
    box.wait_log("stopwaitsecs 4")
    assert box.warnings == ""


def test_what_changes_between_the_preparation_and_the_fork_counts(box: Box, nursery: Nursed) -> None:
    box.conf("[app]\nstopwaitsecs : 3\n")
    assert nursery.ask("prepare", "status/app", *SERVICE)
    box.conf("[app]\nstopwaitsecs : 4\n")
    nursery.ask("fork", "status/app")
    assert nursery.ask("outcome", "status/app") == [0, ""]
    box.wait_log("stopwaitsecs 4")


# The parent.


def test_everything_goes_on_when_the_parent_is_killed(box: Box, nursery: Nursed) -> None:
    forked = nursery.start(*SERVICE)
    nursery.kill()
    assert (box.supervisor, alive(forked)) == (forked, True)
    box.conf("[app]\nstopwaitsecs : 3\n")
    box.wait_log("stopwaitsecs 3")  # the watches outlive it
    pid = box.pid
    box.control("t")
    box.wait_new_pid(pid)
    assert box.warnings == ""


def test_a_parent_that_is_killed_right_before_the_fork_leaves_the_lock_free(box: Box, nursery: Nursed) -> None:
    assert nursery.ask("prepare", "status/app", *SERVICE)
    assert box.supervisor == nursery.pid
    nursery.kill()
    wait_for("the lock to be free", lambda: box.supervisor == 0)
    box.start(*SERVICE)
    assert box.warnings == ""


def test_a_parent_that_is_killed_right_after_the_fork_leaves_the_supervise(box: Box, nursery: Nursed) -> None:
    assert nursery.ask("prepare", "status/app", *SERVICE)
    (forked,) = nursery.ask("fork", "status/app")
    nursery.kill()
    wait_for("the service to run", lambda: (box.status / "status").exists() and box.pid)
    assert box.supervisor == forked
    box.control("dx")
    box.wait_gone()


def test_the_parent_keeps_nothing_of_a_start(box: Box, nursery: Nursed) -> None:
    before = nursery.ask("inside")
    for _ in range(3):
        nursery.start(*SERVICE)
        box.control("dx")
        nursery.ask("reap")
    assert nursery.ask("inside") == before


# Several.


def test_two_that_are_prepared_before_either_is_forked(box: Box, nursery: Nursed) -> None:
    paths = [f"status/{name}" for name in ("one", "two")]
    for path in paths:
        assert nursery.ask("prepare", path, *SERVICE)
    pids = nursery.ask("fork", *paths)
    assert [nursery.ask("outcome", path) for path in paths] == [[0, ""]] * 2
    places = [Box(box.folder, name) for name in ("one", "two")]
    for place, pid in zip(places, pids):
        assert place.lockers() == [pid] == [place.supervisor]
        assert place.name in " ".join(leads_to(pid, box.folder))
    first, second = (leads_to(pid, box.folder / "status" / place.name) for pid, place in zip(pids, places))
    assert first == second  # nothing of the other
    assert len({os.getsid(pid) for pid in pids}) == 2
    for place, pid in zip(places, pids):
        place.control("e")
        place.wait_log("supervise replaced by the installed version")
        assert place.supervisor == pid
        assert place.warnings == ""


def test_the_watches_of_one_are_no_others(box: Box, nursery: Nursed) -> None:
    paths = [f"status/{name}" for name in ("one", "two")]
    for path in paths:
        assert nursery.ask("prepare", path, *SERVICE)
    nursery.ask("fork", *paths)
    for path in paths:
        nursery.ask("outcome", path)
    box.conf("[one]\nstopwaitsecs : 3\n[two]\nstopwaitsecs : 4\n")
    Box(box.folder, "one").wait_log("stopwaitsecs 3")
    Box(box.folder, "two").wait_log("stopwaitsecs 4")


# Where it fails.


def test_a_directory_that_another_has_is_refused_as_by_hand(box: Box, nursery: Nursed) -> None:
    box.start(*SERVICE)
    holder = box.supervisor
    assert nursery.ask("prepare", "status/app", *SERVICE) is False
    refused = box.run("-u", "status/app", *SERVICE)
    assert refused.returncode == 111
    assert nursery.said == refused.stderr
    assert f"held by pid {holder}" in nursery.said


def test_the_message_names_the_copy_also_while_the_parent_lives(box: Box, nursery: Nursed) -> None:
    forked = nursery.start(*SERVICE)
    assert f"held by pid {forked}" in box.run("-u", "status/app", *SERVICE).stderr
    assert nursery.ask("prepare", "status/app", *SERVICE) is False
    assert f"held by pid {forked}" in nursery.said


def test_a_command_that_does_not_exist_is_said_as_by_hand(box: Box, by_hand: Box, nursery: Nursed) -> None:
    assert nursery.ask("prepare", "status/app", "/no/such/program")
    nursery.ask("fork", "status/app")
    code, said = nursery.ask("outcome", "status/app")
    failed = by_hand.run("-u", "status/app", "/no/such/program")
    assert (code, said) == (failed.returncode, failed.stderr)
    nursery.ask("reap")

    def left(place: Box) -> list[str]:
        return sorted(path.name for path in place.folder.glob("status/**/*"))

    assert left(box) == left(by_hand)


def test_a_configuration_that_blocks_is_said_as_by_hand(box: Box, nursery: Nursed) -> None:
    box.conf("[app]\numask : 9\n")
    before = nursery.ask("inside")
    assert nursery.ask("prepare", "status/app", *SERVICE) is False
    assert nursery.ask("inside") == before
    refused = box.run("-u", "status/app", *SERVICE)
    assert nursery.said == refused.stderr
    assert "cannot start the service" in nursery.said


def test_without_descriptors_nothing_is_held(box: Box, nursery: Nursed) -> None:
    before = nursery.ask("inside")
    highest = max(int(fd) for fd in before[0])
    for more in range(1, 16):
        nursery.ask("limit", "7", str(highest + more))  # RLIMIT_NOFILE
        made = nursery.ask("prepare", "status/app", *SERVICE)
        nursery.ask("limit", "7", "1024")
        if made is True:
            break
        assert made is False
        assert nursery.ask("inside") == before
        assert not (box.status / "lock").exists() or box.supervisor == 0
    else:
        pytest.fail("it never worked")
    assert "Too many open files" in nursery.said or "no descriptor" in nursery.said, nursery.said
    nursery.ask("fork", "status/app")
    assert nursery.ask("outcome", "status/app")[0] == 0
    assert nursery.ask("inside")[0] == before[0]


# The rehearsal.


def test_the_rehearsal_leaves_nothing_behind(box: Box, nursery: Nursed) -> None:
    folder = box.folder / "temporary"
    before = nursery.ask("inside")
    children = Path(f"/proc/{nursery.pid}/task/{nursery.pid}/children").read_text()
    assert nursery.ask("rehearse") is None
    assert nursery.ask("inside") == before
    assert Path(f"/proc/{nursery.pid}/task/{nursery.pid}/children").read_text() == children
    assert not folder.exists()


def test_a_rehearsal_that_fails_costs_nothing_but_memory(box: Box) -> None:
    box.env["TMPDIR"] = str(box.folder / "nowhere")
    with nursed(box) as nursery:
        before = nursery.ask("inside")
        assert isinstance(nursery.ask("rehearse"), str)
        assert nursery.ask("inside") == before
        forked = nursery.start(*SERVICE)
        assert box.supervisor == forked
        assert box.warnings == ""


def test_the_rehearsal_leaves_no_file(box: Box) -> None:
    folder = box.folder / "temporary"
    folder.mkdir()
    box.env["TMPDIR"] = str(folder)
    with nursed(box) as nursery:
        assert nursery.ask("rehearse") is None
        assert list(folder.iterdir()) == []


# The helper that sets the watches for all.


def test_where_that_has_died_each_start_has_its_own(box: Box, nursery: Nursed) -> None:
    os.kill(nursery.ask("server"), signal.SIGKILL)
    nursery.ask("reap")
    nursery.start(*SERVICE)
    box.conf("[app]\nstopwaitsecs : 3\n")
    box.wait_log("stopwaitsecs 3")


def test_where_it_hangs_the_start_goes_on(box: Box, nursery: Nursed) -> None:
    helper = nursery.ask("server")
    os.kill(helper, signal.SIGSTOP)
    try:
        forked = nursery.start(*SERVICE)
        assert box.supervisor == forked
    finally:
        os.kill(helper, signal.SIGCONT)
    box.conf("[app]\nstopwaitsecs : 3\n")
    box.wait_log("stopwaitsecs 3")
