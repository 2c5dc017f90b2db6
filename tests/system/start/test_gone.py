"""What is wrong is named: a working directory that was removed, a script with lines that end in CR LF."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import SUPERVISE, Box, alive
from tools import BIN

ENTER = 'cd here && rmdir "$PWD" && exec "$@"'


def removed(folder: Path) -> str:
    return f"(the working directory {folder.resolve() / 'here'} was removed)"


def start_in_removed(box: Box, *words: str) -> str:
    """Start a supervise in a directory that is removed; what it says, but for what sh says of its own."""
    (box.folder / "here").mkdir()
    done = box.run_words("/bin/sh", "-c", ENTER, "sh", SUPERVISE, *words)
    assert done.returncode == 111 or done.returncode == 0
    return "".join(line for line in done.stderr.splitlines(True) if "getcwd" not in line)


def test_a_relative_status_directory(box: Box) -> None:
    said = start_in_removed(box, "-u", "status/app", "sleep", "1000")
    text = "supervise: fatal: cannot open status/app: No such file or directory"
    assert said == f"{text} {removed(box.folder)}\n"


@pytest.mark.parametrize("conf", ["", "[global]\numask : 022\n"], ids=["spawned", "forked"])
def test_a_relative_program(box: Box, conf: str) -> None:
    path = box.folder / "its.conf"
    path.write_text(conf)
    said = start_in_removed(box, "-F", str(path), "-u", str(box.status), "./prog")
    text = "supervise: fatal: cannot start the service: ./prog: No such file or directory"
    assert said == f"{text} {removed(box.folder)}\n"


def test_a_relative_configuration(box: Box) -> None:
    said = start_in_removed(box, "-F", "its.conf", "-u", str(box.status), "sleep", "1000")
    assert said == f"supervise: warning: its.conf does not exist: no policy {removed(box.folder)}\n"


def test_a_relative_directory(box: Box) -> None:
    path = box.folder / "its.conf"
    path.write_text("[app]\ndirectory : there\n")
    said = start_in_removed(box, "-F", str(path), "-u", str(box.status), "sleep", "1000")
    assert "cannot change to directory there: No such file or directory " + removed(box.folder) in said


PROGRAMS = [
    (("svstat",), "cannot list services: there is no directory status", 100),
    (("svlog",), "cannot list services: there is no directory status", 100),
    (("svstat", "app"), "cannot find a service named 'app': there are no services in status", 100),
    (("svc", "stop", "app"), "cannot find a service named 'app': there are no services in status", 100),
    (("svc", "-d", "./app"), "cannot find app: no such directory", 100),
    (("svwait", "-u", "app"), "cannot find a service named 'app': there are no services in status", 100),
    (("svlog", "app"), "cannot find a service named 'app': there are no services in status", 100),
    (("svok", "app"), "", 100),
    (("svall", "status"), "cannot use status: No such file or directory", 111),
    (("svall", "up"), "cannot use status: No such file or directory", 111),
]


@pytest.mark.parametrize(("words", "said", "code"), PROGRAMS)
def test_the_programs_say_so(box: Box, words: tuple[str, ...], said: str, code: int) -> None:
    (box.folder / "here").mkdir()
    done = box.run_words("/bin/sh", "-c", ENTER, "sh", str(BIN / words[0]), *words[1:])
    text = f"{words[0]}: fatal: {said} {removed(box.folder)}\n" if said else ""
    assert (done.returncode, done.stdout) == (code, "")
    assert "".join(line for line in done.stderr.splitlines(True) if "getcwd" not in line) == text


def test_svc_start_from_there(box: Box) -> None:
    box.start("sleep", "1000")
    box.control("dx")
    box.wait_gone()
    (box.folder / "here").mkdir()
    for code, conf in ((111, ("-F", "its.conf")), (0, ())):
        words = (SUPERVISE, "-p", str(box.status), "--resume", *conf)
        done = box.run_words("/bin/sh", "-c", ENTER, "sh", *words)
        assert done.returncode == code
        assert not code or done.stderr.endswith(f" its.conf: No such file or directory {removed(box.folder)}\n")
        (box.folder / "here").mkdir()
    done = box.run_words("/bin/sh", "-c", ENTER, "sh", str(BIN / "svc"), "start", str(box.status))
    assert done.returncode == 0 and alive(box.pid)


def test_restarts(box: Box) -> None:
    here = box.folder / "here"
    here.mkdir()
    (here / "prog").write_text("#!/bin/sh\nexec sleep 1000\n")
    (here / "prog").chmod(0o755)
    words = "/bin/sh", "-c", 'cd here && exec "$@"', "sh", SUPERVISE, "-u", str(box.status), "./prog"
    assert box.run_words(*words).returncode == 0
    shutil.rmtree(here)
    box.control("k")
    box.wait_warning(f"./prog: No such file or directory {removed(box.folder)}")


def test_a_service_that_fails_by_itself(box: Box) -> None:
    (box.folder / "here").mkdir()
    (box.folder / "here" / "data").touch()
    words = "/bin/sh", "-c", 'cd here && exec "$@"', "sh", SUPERVISE, "-u", str(box.status)
    assert box.run_words(*words, "sh", "-c", "test -e data && exec sleep 1000").returncode == 0
    shutil.rmtree(box.folder / "here")
    box.control("k")
    box.wait_log("exited with status 1", 2)
    text = f"{removed(box.folder)[1:-1]}: the service, which fails, is started there"
    box.wait_warning(text)
    box.wait_log("exited with status 1", 3)
    assert box.warnings.count(text) == 1


@pytest.mark.parametrize("umask", ["", "umask : 022"], ids=["spawned", "forked"])
def test_a_script_with_cr_lf(box: Box, umask: str) -> None:
    box.conf(f"[app]\n{umask}\n")
    script = box.folder / "script"
    script.write_bytes(b"#!/bin/sh\r\nsleep 1000\r\n")
    script.chmod(0o755)
    done = box.run("-u", "status/app", str(script))
    interpreter = r"'/bin/sh\r' (its lines end in CR LF)"
    text = f"supervise: fatal: cannot start the service: {script}: its interpreter does not exist: {interpreter}\n"
    assert (done.returncode, done.stderr) == (111, text)


def test_the_log_of_warnings_is_there_from_the_start(box: Box) -> None:
    box.start("sleep", "1000")
    assert (box.status / "supervise.log.wf").read_bytes() == b""


def test_but_not_where_nothing_is_started(box: Box) -> None:
    box.status.mkdir(parents=True)
    assert box.run("-u", "status/app", "./none").returncode == 111
    assert list(box.status.iterdir()) == []
