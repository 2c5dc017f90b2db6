"""The configuration is followed by itself, however it changes; and an idle supervise does not run at all."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import Box, wait_for
from system import switches
from watched import CONF, move_over, policy, readings, wait_reading, wait_watching


def follow(box: Box, path: str = CONF) -> None:
    """Supervise something with the configuration at `path`, and wait until it is watched."""
    box.start("sleep", "1000", options=() if path == CONF else ("-F", path))
    wait_watching(box)


def switch(link: Path, target: str) -> None:
    """Point a symlink elsewhere at one stroke."""
    other = link.with_name(link.name + ".tmp")
    other.symlink_to(target)
    other.rename(link)


# A file, and what happens to files.


def append(box: Box) -> None:
    with (box.folder / CONF).open("a") as conf:
        conf.write("max_tries : 2\n")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda box: box.conf(policy(2)), id="in place"),
        pytest.param(append, id="appended"),
        pytest.param(lambda box: move_over(box, policy(2)), id="replaced"),
    ],
)
def test_a_file_is_edited(box: Box, change: Callable[[Box], None]) -> None:
    box.conf(policy(1))
    follow(box)
    change(box)
    wait_reading(box, 2)
    assert readings(box) == ["1", "2"]
    if box.warnings:  # the appended line repeats a key
        assert "max_tries again: this one counts" in box.warnings
    # And again, for the watches may have had to be set anew.
    wait_watching(box)
    move_over(box, policy(3))
    wait_reading(box, 3)
    wait_watching(box)
    box.conf(policy(4))
    wait_reading(box, 4)


def test_changes_are_followed_while_the_watches_are_being_set(box: Box) -> None:
    """None of many replacements may be the last one that goes unnoticed."""
    box.conf(policy(1))
    box.start("sleep", "1000")
    for tries in range(2, 40):
        move_over(box, policy(tries))
        # Not a wait for anything: the changes are to fall in all phases of setting the watches.
        time.sleep(0.007)
    wait_reading(box, 39)
    assert readings(box)[-1] == "39"


def test_what_is_read_is_in_force(box: Box) -> None:
    """Not only said in the log: the limit that was set while the service ran ends it."""
    box.conf("[global]\nalarm_interval : 0\n")
    follow(box)
    box.conf(policy(1))
    wait_reading(box, 1)
    pid = box.pid
    os.kill(pid, signal.SIGKILL)
    os.kill(box.wait_new_pid(pid), signal.SIGKILL)
    box.wait_gone()
    box.wait_warning("giving up after 1 restarts")


def test_a_file_is_deleted_and_made_again(box: Box) -> None:
    box.conf(policy(1))
    follow(box)
    (box.folder / CONF).unlink()
    box.wait_warning(f"configuration {CONF} is absent: no policy")
    wait_watching(box)
    box.conf(policy(2))
    wait_reading(box, 2)
    assert readings(box).count("absent") == 1


@pytest.mark.parametrize("how", ["written", "renamed", "linked"])
def test_a_file_is_made_later(box: Box, how: str) -> None:
    follow(box)
    assert box.warnings == ""
    if how == "written":
        box.conf(policy(1))
    elif how == "renamed":
        move_over(box, policy(1))
    else:
        (box.folder / "real").write_text(policy(1))
        (box.folder / CONF).symlink_to("real")
    wait_reading(box, 1)


def test_a_directory_in_its_place(box: Box) -> None:
    box.conf(policy(1))
    follow(box)
    (box.folder / "new").mkdir()
    (box.folder / CONF).rename(box.folder / "old")
    (box.folder / "new").rename(box.folder / CONF)
    box.wait_warning(f"{CONF}: cannot be read: Is a directory")
    wait_watching(box)
    (box.folder / CONF).rmdir()
    (box.folder / "old").rename(box.folder / CONF)
    box.conf(policy(2))
    wait_reading(box, 2)


def test_a_file_is_made_in_a_directory_that_is_made_later(box: Box) -> None:
    path = "etc/app/supervise.conf"
    follow(box, path)
    box.wait_warning("does not exist")
    (box.folder / "etc").mkdir()
    (box.folder / "etc" / "app").mkdir()
    (box.folder / path).write_text(policy(1))
    wait_reading(box, 1, path)
    wait_watching(box)
    shutil.rmtree(box.folder / "etc")
    box.wait_warning("is absent: no policy")
    wait_watching(box)
    (box.folder / "etc" / "app").mkdir(parents=True)
    move_over(box, policy(2), path)
    wait_reading(box, 2, path)


# Paths that lead through other things.


def test_a_symlink_to_a_file(box: Box) -> None:
    folder, link = box.folder, box.folder / CONF
    (folder / "one").write_text(policy(1))
    (folder / "elsewhere").mkdir()
    link.symlink_to("one")
    follow(box)
    (folder / "one").write_text(policy(2))
    wait_reading(box, 2)
    move_over(box, policy(3), "one")
    wait_reading(box, 3)
    wait_watching(box)
    (folder / "elsewhere" / "two").write_text(policy(4))
    switch(link, str(folder / "elsewhere" / "two"))
    wait_reading(box, 4)
    wait_watching(box)
    (folder / "elsewhere" / "two").write_text(policy(5))
    wait_reading(box, 5)
    wait_watching(box)
    switch(link, "elsewhere/missing")
    box.wait_warning("cannot be read: A symlink leads nowhere")
    wait_watching(box)
    (folder / "elsewhere" / "missing").write_text(policy(6))
    wait_reading(box, 6)


def test_a_symlink_to_a_directory(box: Box) -> None:
    """A release is a directory, and `current` the symlink to it."""
    folder, path = box.folder, "current/etc/supervise.conf"
    for release in (1, 2):
        (folder / f"release-{release}" / "etc").mkdir(parents=True)
        (folder / f"release-{release}" / "etc" / CONF).write_text(policy(release))
    (folder / "current").symlink_to("release-1")
    follow(box, path)
    switch(folder / "current", "release-2")
    wait_reading(box, 2, path)
    wait_watching(box)
    (folder / "release-2" / "etc" / CONF).write_text(policy(3))
    wait_reading(box, 3, path)
    shutil.rmtree(folder / "release-1")
    wait_watching(box)
    switch(folder / "current", str(folder / "release-1"))
    box.wait_warning("cannot be read: A symlink leads nowhere")


def test_a_kubernetes_config_map(box: Box) -> None:
    """The file is a symlink through `..data`, which is a symlink to a directory that is replaced and removed."""
    volume, path = box.folder / "volume", f"volume/{CONF}"

    def publish(number: int) -> None:
        (volume / f"..2026_{number}").mkdir()
        (volume / f"..2026_{number}" / CONF).write_text(policy(number))
        (volume / "..data_tmp").symlink_to(f"..2026_{number}")
        (volume / "..data_tmp").rename(volume / "..data")
        if number > 1:
            shutil.rmtree(volume / f"..2026_{number - 1}")

    volume.mkdir()
    publish(1)
    (volume / CONF).symlink_to(f"..data/{CONF}")
    follow(box, path)
    for number in (2, 3):
        publish(number)
        wait_reading(box, number, path)
        wait_watching(box)
    assert readings(box, path) == ["1", "2", "3"]
    assert box.warnings == ""


@pytest.mark.parametrize("replaced", ["a", "a/b", "a/b/c"])
def test_a_directory_on_the_way_is_replaced(box: Box, replaced: str) -> None:
    path = f"a/b/c/{CONF}"
    (box.folder / "a" / "b" / "c").mkdir(parents=True)
    (box.folder / path).write_text(policy(1))
    shutil.copytree(box.folder / "a", box.folder / "copy" / "a")
    (box.folder / "copy" / path).write_text(policy(2))
    follow(box, path)
    (box.folder / replaced).rename(box.folder / "old")
    (box.folder / "copy" / replaced).rename(box.folder / replaced)
    wait_reading(box, 2, path)
    wait_watching(box)
    (box.folder / path).write_text(policy(3))
    wait_reading(box, 3, path)
    # What was moved away is not the configuration any more.
    wait_watching(box)
    (box.folder / "old" / (path[len(replaced) + 1 :])).write_text(policy(9))
    (box.folder / path).write_text(policy(4))
    wait_reading(box, 4, path)
    # Between the two renames it may have been looked for, and that is said in the other log.
    assert [read for read in readings(box, path) if read != "absent"] == ["1", "2", "3", "4"]


def test_a_path_with_dots(box: Box) -> None:
    """What is above a symlink is above what it leads to."""
    (box.folder / "far" / "away").mkdir(parents=True)
    (box.folder / "link").symlink_to("far/away")
    (box.folder / "far" / CONF).write_text(policy(1))
    path = f"./link/../{CONF}"
    follow(box, path)
    move_over(box, policy(2), path)
    wait_reading(box, 2, path)
    assert box.warnings == ""


def test_a_path_that_is_not_utf_8(box: Box) -> None:
    folder = os.fsencode(box.folder) + b"/caf\xe9"
    os.mkdir(folder)
    conf = Path(os.fsdecode(folder)) / CONF
    conf.write_text(policy(1))
    done = box.run(b"-F", b"caf\xe9/supervise.conf", "-u", "status/app", "sleep", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    wait_watching(box)
    conf.write_text(policy(2))
    box.wait_log("max_tries 2,")
    wait_watching(box)
    (box.folder / "new").write_text(policy(3))
    (box.folder / "new").rename(conf)
    box.wait_log("max_tries 3,")
    assert box.warnings == ""


# By hand, and when there is something wrong with the file.


def test_the_letter_r_and_hup(box: Box) -> None:
    box.conf(policy(1))
    follow(box)
    box.control("r")
    wait_for("a second reading", lambda: readings(box) == ["1", "1"])
    os.kill(box.supervisor, signal.SIGHUP)
    wait_for("a third reading", lambda: readings(box) == ["1", "1", "1"])
    assert "command r: " in box.log() and "received HUP" in box.log()
    assert box.pid and box.warnings == ""


def test_r_without_a_file(box: Box) -> None:
    follow(box)
    box.control("r")
    box.wait_log("command r")
    box.control("h")
    box.wait_log("command h")
    assert box.warnings == ""


MAIL = "a@example.org"


@pytest.mark.parametrize(
    ("text", "where", "mail", "tries"),
    [
        pytest.param("[global]\nalarm_interval : 60\nmax_tries : many\n", 3, "(empty)", 7, id="bad value"),
        pytest.param("[global]\nalarm_interval : soon\nmax_tries : 8\n", 2, "(empty)", 8, id="another"),
        pytest.param("[global]\nalarm_interval : 60\nmax_tries\n", 3, "(empty)", 7, id="no colon"),
        # Here it cannot be told what belongs to whom, so everything else stays as well.
        pytest.param("[global\nalarm_interval : 120\nmax_tries : 8\n", 1, MAIL, 7, id="broken header"),
        pytest.param("[global]\nalarm_interval : 60\n\0max_tries : 8\n", 3, MAIL, 7, id="NUL"),
        pytest.param("\0\n\0\0", 1, MAIL, 7, id="NULs"),
    ],
)
def test_a_broken_file_keeps_what_it_fails_to_say(box: Box, text: str, where: int, mail: str, tries: int) -> None:
    box.conf(policy(7) + f"[app]\nalarm_mail : {MAIL}\n")
    follow(box)
    box.conf(text)
    box.wait_warning(f"{CONF}:{where}: ")
    wait_for("a second reading", lambda: readings(box) == ["7", str(tries)])
    meaning = box.log().rpartition(f"configuration {CONF}: ")[2]
    assert meaning.startswith(f"alarm_interval 60, alarm_mail {mail}, ")
    # Mended, it is taken at its word.
    box.conf("[global]\nalarm_interval : 120\n")
    box.wait_log("alarm_interval 120, alarm_mail (empty), alarm_gsm (empty), max_tries 0, ")


# Costs nothing.


def test_an_idle_supervise_does_not_run(box: Box) -> None:
    """No context switch in three seconds with the configuration watched, and none after a reload either."""
    box.conf(policy(1))
    follow(box)
    supervisor = box.supervisor

    def settled() -> bool:
        before = switches(supervisor)
        time.sleep(0.3)  # what is counted is what happens while nothing does
        return switches(supervisor) == before

    for tries in (2, 3):
        wait_watching(box)
        wait_for("supervise to have done all it has to", settled)
        before = switches(supervisor)
        time.sleep(3)  # as above
        assert switches(supervisor) - before == 0
        box.conf(policy(tries))
        wait_reading(box, tries)
