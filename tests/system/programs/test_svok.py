"""svok: the exit code, and nothing else."""

from __future__ import annotations

import os

from conftest import Box
from tools import c_supervise, closed, run_tool


def test_it_tells_whether_a_supervise_runs(box: Box) -> None:
    box.start("sleep", "1000")
    for directory in ("app", "status/app", f"{box.status}/"):
        done = run_tool(box, "svok", directory)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    box.control("dx")
    box.wait_gone()
    done = run_tool(box, "svok", "app")
    assert (done.returncode, done.stdout, done.stderr) == (100, "", "")


def test_a_service_that_is_down_has_a_supervise(box: Box) -> None:
    box.start("sleep", "1000")
    box.control("d")
    box.wait_down()
    assert run_tool(box, "svok", "app").returncode == 0


def test_nothing_there_is_nothing_made(box: Box) -> None:
    box.status.mkdir(parents=True)
    for directory in ("app", "nope", "status/nope", "/etc/passwd", ""):
        done = run_tool(box, "svok", directory)
        assert (done.returncode, done.stdout, done.stderr) == (100, "", "")
    assert os.listdir(box.status) == []


def test_the_c_implementation(box: Box) -> None:
    with c_supervise(box):
        assert run_tool(box, "svok", "app").returncode == 0
    assert run_tool(box, "svok", "app").returncode == 100


def test_no_permission_is_no(box: Box) -> None:
    box.start("sleep", "1000")
    for path, code in ((box.status, 100), (box.status / "ok", 0)):  # the lock tells as well
        with closed(path):
            done = run_tool(box, "svok", "app", plain=True)
            assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_wrong_usage_and_help(box: Box) -> None:
    wrong = {(): "no service is named", ("a", "b"): "'b' is one word too many", ("-z",): "there is no option -z"}
    for args, said in wrong.items():
        done = run_tool(box, "svok", *args)
        assert done.returncode == 100 and done.stderr == f"svok: fatal: wrong usage: {said}; see svok --help\n"
    assert "Usage:" in run_tool(box, "svok", "--help").stdout
    assert run_tool(box, "svok", "--version").stdout.startswith("svok ")
