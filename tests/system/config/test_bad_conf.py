"""Configurations that are not as they should be, in front of a real start: a service is not kept down by one.

But where what restricts it cannot be understood: that is in test_restrictions.py.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box, alive

GOOD = b"[global]\nalarm_interval : 60\nmax_tries : 7\n"
MEGABYTE = 1 << 20


def start(box: Box, data: bytes) -> str:
    """Supervise with that in supervise.conf; what was said."""
    (box.folder / "supervise.conf").write_bytes(data)
    done = box.run("-u", "status/app", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert alive(box.pid)
    for line in done.stderr.splitlines():
        assert re.fullmatch(r"supervise: warning: supervise\.conf(:\d+)?: .+", line), line
    return done.stderr


def in_force(box: Box) -> str:
    """What the log says that the configuration means."""
    return box.wait_log("configuration supervise.conf: ").split("configuration supervise.conf: ")[1].split("\n")[0]


def stop(box: Box) -> None:
    """No traceback to nowhere either: it obeys to the end."""
    box.control("rdx")
    box.wait_gone()
    assert "internal error" not in box.warnings


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        GOOD.rstrip(b"\n"),
        GOOD.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b" : ", b"="),
        b"# \xff\xe9 comment\n; another\n\n" + GOOD,
        GOOD + b"[other]\nno such : thing\n",
    ],
    ids=["plain", "no newline at the end", "CRLF", "BOM", "=", "odd comments", "trouble in other sections"],
)
def test_what_is_good_is_in_force_without_a_word(box: Box, data: bytes) -> None:
    assert start(box, data) == ""
    assert "max_tries 7" in in_force(box)
    assert box.warnings == ""


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (GOOD + b"max_tried : 3\n", 4),
        (GOOD + b"max_tries_if_coredumped : many\n", 4),
        (GOOD + b"max_tries_if_coredumped : -1\n", 4),
        (GOOD + b"max_tries_if_coredumped : 99999999999999999999\n", 4),
        (GOOD + b"max_tries_if_coredumped : 1\0\n", 4),
        (GOOD + b"  indented : 1\n", 4),
        (GOOD + b"nothing\n", 4),
        (b"max_tries : 3\n" + GOOD, 1),
        (GOOD + b"max_tries : 7\n", 4),
        (GOOD + b"[global]\nmax_tries : 7\n", 4),
        (GOOD + b"[broken\n", 4),
        (GOOD + b"autorestart : perhaps\n", 4),
        (GOOD + b"stopsignal : 99\n", 4),
        (GOOD + b"environment : A='1\n", 4),
        (GOOD + b"environment : SUPERVISE_SERVICE=other\n", 4),
        (GOOD + b"notification_fd : 2\n", 4),
        (GOOD + b"check_command : sh -c '\n", 4),
        (GOOD + b"pidfile : 100%\n", 4),
        (GOOD + b"alarm_mail : " + b"x" * 3000 + b"\n", 4),
        (b"# " + b"x" * 4000 + b"\n" + GOOD, 1),
        (b"\0" * 100 + b"\n" + GOOD, 1),
    ],
)
def test_what_is_bad_is_named_by_its_line_and_the_rest_applies(box: Box, data: bytes, line: int) -> None:
    said = start(box, data)
    assert f"supervise.conf:{line}: " in said
    box.wait_warning(f"supervise.conf:{line}: ")
    assert "max_tries 7" in in_force(box)


def test_no_log_tells_a_value_of_the_environment(box: Box) -> None:
    """Neither in its place nor out of it."""
    text = GOOD + b"environment : A=hunter2,B='hunter2\n  C=hunter2'\ncheck_command : true hunter2\n"
    start(box, text)
    assert "check_command true ..." in in_force(box)
    box.conf(text.decode() + "environment : A=hunter2\n")
    box.wait_log("environment A, check_command true ...")
    box.wait_warning("environment again")
    stop(box)
    assert "hunter2" not in box.log() + box.warnings


@pytest.mark.parametrize("seed", range(3))
def test_a_binary_configuration(box: Box, seed: int) -> None:
    said = start(box, random.Random(seed).randbytes(100_000))
    assert "supervise.conf:" in said
    # Not a line for every byte that is wrong.
    assert said.count("\n") < 50
    assert all(char.isprintable() for char in box.warnings.replace("\n", ""))
    stop(box)


def test_a_configuration_of_100_megabytes(box: Box) -> None:
    said = start(box, GOOD + b"# a comment that is said many times\n" * (100 * MEGABYTE // 36))
    assert "supervise.conf" in said
    assert "max_tries 7" in in_force(box)
    pss = sum(map(int, re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{box.supervisor}/smaps").read_text(), re.MULTILINE)))
    assert pss < 100 * 1024
    stop(box)


def test_a_sparse_configuration_of_100_megabytes(box: Box) -> None:
    with (box.folder / "large.conf").open("wb") as conf:
        conf.write(GOOD)
        conf.truncate(100 * MEGABYTE)
    done = box.run("-F", "large.conf", "-u", "status/app", "sleep", "1000")
    assert done.returncode == 0
    assert "large.conf" in done.stderr
    assert "max_tries 7" in box.wait_log("configuration large.conf")
    stop(box)


def test_a_line_of_10_megabytes(box: Box) -> None:
    said = start(box, GOOD + b"alarm_mail : " + b"a@b " * (10 * MEGABYTE // 4) + b"\n")
    assert "supervise.conf:4: " in said
    assert "max_tries 7" in in_force(box)
    # What stands before the limit of a line counts.
    assert "alarm_mail a@b" in in_force(box)
    assert len(box.warnings) < 10_000
    stop(box)


@pytest.mark.parametrize("path", [".", "fifo", "loop", "supervise.conf/x"])
def test_a_configuration_that_is_there_and_cannot_be_read(box: Box, path: str) -> None:
    """Nobody knows what it would restrict."""
    box.conf("")
    os.mkfifo(box.folder / "fifo")
    (box.folder / "loop").symlink_to("loop")
    done = box.run("-F", path, "-u", "status/app", "sleep", "1000")
    assert (done.returncode, done.stdout) == (111, "")
    assert re.fullmatch(f"supervise: fatal: cannot start the service: {path}: cannot be read: .+\n", done.stderr)
    assert not box.status.exists()


@pytest.mark.parametrize("path", ["/dev/null", "socket/"])
def test_a_configuration_that_is_no_file(box: Box, path: str) -> None:
    box.conf("")
    done = box.run("-F", path, "-u", "status/app", "sleep", "1000")
    assert done.returncode == 0
    assert alive(box.pid)
    for line in done.stderr.splitlines():
        assert re.fullmatch(r"supervise: warning: .+", line)
    if path == "socket/":
        assert path in done.stderr
        box.wait_warning(path)
    stop(box)


def test_a_configuration_without_read_permission(box: Box) -> None:
    conf = box.folder / "supervise.conf"
    conf.write_bytes(GOOD)
    conf.chmod(0)
    args = [SUPERVISE, "-u", "status/app", "sleep", "1000"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed (Debian: util-linux): root may read everything")
        # Root, but without what lets root ignore the modes of files.
        args = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *args]
    done = subprocess.run(args, cwd=box.folder, env=box.env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 111
    why = "supervise.conf: cannot be read: Permission denied"
    assert done.stderr == f"supervise: fatal: cannot start the service: {why}\n"
    assert not box.status.exists()
