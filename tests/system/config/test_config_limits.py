"""The configuration where it cannot be read, or not be watched: permissions, inotify instances, a broken pyinotify."""

from __future__ import annotations

import os
import subprocess

import pytest
from conftest import PATIENCE, SUPERVISE, Box, wait_for
from installing import own
from system import children
from watched import CONF, move_over, policy, readings, wait_reading, wait_watching


def start(box: Box, prefix: list[str], *options: str) -> None:
    """Supervise something in another security context."""
    command = [*prefix, SUPERVISE, *options, "-u", "status/app", "sleep", "1000"]
    done = subprocess.run(command, cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_permission_is_lost_and_regained(box: Box, unprivileged: list[str]) -> None:
    conf = box.folder / CONF
    box.conf(policy(1))
    start(box, unprivileged)
    wait_watching(box)
    conf.chmod(0)
    box.wait_warning(f"{CONF}: cannot be read: Permission denied")
    wait_for("what was in force to stay in force", lambda: readings(box) == ["1", "1"])
    conf.chmod(0o644)
    wait_for("a third reading", lambda: readings(box) == ["1", "1", "1"])
    box.conf(policy(2))
    wait_reading(box, 2)
    assert len(box.warnings.splitlines()) == 1


def test_an_unreadable_file_is_moved_into_place(box: Box, unprivileged: list[str]) -> None:
    """As an installer does that sets the mode last."""
    box.conf(policy(1))
    start(box, unprivileged)
    wait_watching(box)
    (box.folder / "new").write_text(policy(2))
    (box.folder / "new").chmod(0)
    (box.folder / "new").rename(box.folder / CONF)
    box.wait_warning(f"{CONF}: cannot be read: Permission denied")
    wait_watching(box)
    (box.folder / CONF).chmod(0o644)
    wait_reading(box, 2)
    assert len(box.warnings.splitlines()) == 1, box.warnings


def test_a_directory_on_the_way_loses_its_permissions(box: Box, unprivileged: list[str]) -> None:
    path = f"etc/{CONF}"
    (box.folder / "etc").mkdir()
    (box.folder / path).write_text(policy(1))
    start(box, unprivileged, "-F", path)
    wait_watching(box)
    (box.folder / "etc").chmod(0)
    box.control("r")
    box.wait_warning(f"{path}: cannot be read: Permission denied")
    (box.folder / "etc").chmod(0o755)
    box.control("r")
    wait_for("another reading", lambda: readings(box, path)[-1] == "1")
    (box.folder / path).write_text(policy(2))
    wait_reading(box, 2, path)


def test_a_directory_that_cannot_be_listed(box: Box, unprivileged: list[str]) -> None:
    """Enough to read the file, and so enough to follow it."""
    path = f"etc/{CONF}"
    (box.folder / "etc").mkdir()
    (box.folder / path).write_text(policy(1))
    (box.folder / "etc").chmod(0o311)
    start(box, unprivileged, "-F", path)
    wait_watching(box)
    (box.folder / path).write_text(policy(2))
    wait_reading(box, 2, path)
    move_over(box, policy(3), path)
    wait_reading(box, 3, path)


def test_another_user_is_watched_for(box: Box, nobody_else: tuple[list[str], int]) -> None:
    """What the next test relies on: it is not the other user that keeps inotify from working."""
    words, user = nobody_else
    os.chown(box.folder, user, user)
    box.conf(policy(1))
    start(box, words)
    wait_watching(box)
    box.conf(policy(2))
    wait_reading(box, 2)
    assert box.warnings == ""


def test_no_inotify_instance_is_left(box: Box, exhausted: list[str]) -> None:
    """One warning, however often supervise tries; and `r` still works."""
    box.conf(policy(1))
    start(box, exhausted)
    assert "no inotify instance is left" in box.wait_warning("may go unnoticed")
    for tries in (2, 3, 4):
        move_over(box, policy(tries))
        box.control("r")
        wait_reading(box, tries)
    os.kill(box.supervisor, 1)
    wait_for("one more reading", lambda: readings(box) == ["1", "2", "3", "4", "4"])
    assert len(box.warnings.splitlines()) == 1, box.warnings
    pid = box.pid
    box.control("k")
    box.wait_new_pid(pid)


@pytest.mark.parametrize("statement", ["raise ImportError('broken here')", "0 / 0", "import os; os._exit(1)"])
def test_pyinotify_cannot_be_imported(box: Box, statement: str) -> None:
    """Whatever became of it since supervise was installed: one warning, and `r` still works."""
    (own(box) / "pyinotify.py").write_text(statement + "\n")
    box.conf(policy(1))
    box.start("sleep", "1000")
    box.wait_warning(f"changes of {CONF} may go unnoticed")
    for tries in (2, 3):
        move_over(box, policy(tries))
        box.control("r")
        wait_reading(box, tries)
    wait_for("the helpers to be gone", lambda: [*children(box.supervisor)] == [box.pid])
    assert len(box.warnings.splitlines()) == 1, box.warnings


def test_setting_the_watches_takes_forever(box: Box) -> None:
    """Nothing waits for it: neither letters nor restarts, nor reading the configuration."""
    hanging = box.folder / "hanging"
    (own(box) / "pyinotify.py").write_text(f"import time\nopen({str(hanging)!r}, 'w').close()\ntime.sleep(1000)\n")
    box.conf(policy(1))
    pid = box.start("sleep", "1000")
    wait_for("the helper to hang", hanging.exists)
    box.conf(policy(2))
    box.control("r")
    wait_reading(box, 2)
    box.control("k")
    box.wait_new_pid(pid)
    box.control("dx")
    box.wait_gone()
