"""Every program tells in one line which word was wrong; with docopt, with docopt-ng, and with both."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PATIENCE, Box
from installing import PROGRAMS, own
from pretended import pretended
from tools import run_tool


@pytest.fixture(scope="module")
def docopt_ng(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with docopt-ng and nothing else; where there is no package index there is none."""
    folder = tmp_path_factory.mktemp("docopt_ng")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
    try:
        done = subprocess.run(
            [*pip, "--retries", "1", "--timeout", "10", "--target", str(folder), "docopt-ng"], capture_output=True,
            text=True, timeout=PATIENCE * 2,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        pytest.skip("docopt-ng cannot be installed: the package index does not answer")
    if done.returncode:
        pytest.skip(f"docopt-ng cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def _docopt(modules: Path, folder: Path) -> None:
    pass


def _both(modules: Path, folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.copytree(path, modules / path.name, dirs_exist_ok=True)
        else:
            shutil.copy(path, modules)


def _docopt_ng(modules: Path, folder: Path) -> None:
    (modules / "docopt.py").unlink()
    _both(modules, folder)


Install = Callable[[Path, Path], None]


@pytest.fixture
def every(request: pytest.FixtureRequest) -> int:
    """All is tried with docopt, which is installed with it, and of it one in so many with what may be there as well."""
    return 1 if request.node.callspec.params["tool"] is _docopt else 5


@pytest.fixture(params=[_docopt, _docopt_ng, _both], ids=["docopt", "docopt-ng", "both"])
def tool(box: Box, request: pytest.FixtureRequest) -> Callable[..., tuple[int, str, str]]:
    """Runs one of the programs of an installation of its own, with one of them or both."""
    install: Install = request.param
    install(own(box), Path() if install is _docopt else request.getfixturevalue("docopt_ng"))

    def run(name: str, *args: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [str(box.folder / "own" / "bin" / name), *args], cwd=box.folder, env=box.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def test_they_work(box: Box, tool: Callable[..., tuple[int, str, str]]) -> None:
    assert tool("supervise", "-pstatus/app", "-f", "sleep 1000", "-t5") == (0, "", "")
    pid = box.pid
    assert tool("supervise", "--check", "app")[0] == 100
    assert tool("svok", "./status/app") == (0, "", "")
    assert tool("svwait", "-ut5", "app") == (0, "", "")
    assert tool("svc", "pause", "--wait", "20", "app") == (0, f"status/app: paused (pid {pid})\n", "")
    assert tool("svc", "--no-w", "resume", "app") == (0, "status/app: resume: sent\n", "")
    assert tool("svstat", "--js", "app")[1].startswith("{")
    assert tool("svlog", "-sn1", "--", "app")[1].count("\n") == 1
    assert tool("svc", "exit", "app")[0] == 0


def test_a_service_whose_name_begins_with_a_dash(box: Box, tool: Callable[..., tuple[int, str, str]]) -> None:
    assert tool("supervise", "-p", "status/-x", "-f", "sleep 1000")[0] == 0
    try:
        for words in (("restart", "--", "-x"), ("--", "restart", "-x"), ("--no-wait", "--", "-x", "restart")):
            code, out, err = tool("svc", *words)
            assert (code, err) == (0, "") and out.startswith("status/-x: restart"), words
        assert tool("svc", "-u", "--", "-x") == (0, "", "")
        assert tool("svstat", "--", "-x")[1].startswith("status/-x: up ")
        assert tool("svwait", "-u", "--", "-x") == tool("svok", "--", "-x") == (0, "", "")
        assert tool("svlog", "-sn1", "--", "-x")[1].count("\n") == 1
        assert tool("svc", "stop", "--", "--")[2].startswith("svc: fatal: cannot find a service named '--'; ")
    finally:
        assert tool("svc", "exit", "--", "-x") == (0, "status/-x: supervise has ended\n", "")


WRONG = {
    ("supervise", "--foregroud", "-p", "x"): "there is no option --foregroud, the nearest is --foreground",
    ("supervise", "-p", "status/app", "-f", "sleep", "9"): (
        "'9' is one word too many: quote the whole command of -f, or use -u"
    ),
    ("supervise", "-p", "status/app"): "-f COMMAND is missing",
    ("supervise", "-f", "x"): "-p STATUS_DIR is missing",
    ("supervise",): "-p or -u STATUS_DIR is missing",
    ("supervise", "-u", "status/app"): "the command after -u STATUS_DIR is missing",
    ("supervise", "-p", "x", "-u", "y", "z"): "-u and -p exclude each other",
    ("supervise", "--check", "a", "b"): "--check takes one NAME, 'b' is one word too many",
    ("supervise", "--check", "--resume"): "--resume means nothing to --check",
    ("svall",): "no verb: up, down, restart, update, status, diff, order or run",
    ("svall", "pu"): "there is no verb 'pu', the nearest is 'up'",
    ("svall", "start", "web"): "there is no verb 'start', the nearest is 'up'",
    ("svall", "frob"): "there is no verb 'frob', only up, down, restart, update, status, diff, order or run",
    ("svall", "web", "up"): "the verb comes first: svall up web",
    ("svall", "--hlep"): "there is no option --hlep, the nearest is --help",
    ("svall", "up", "-F"): "-F takes a value, CONF",
    ("svall", "-p", "status", "-p", "status", "up"): "-p is there twice",
    ("svc", "sotp", "web"): "there is no verb 'sotp', the nearest is 'stop'",
    ("svc", "--hlep"): "there is no option --hlep, the nearest is --help",
    ("svc", "-stop", "web"): "-stop is the letters s, t, o, p; the verb is: svc stop web",
    ("svc", "stop", "web", "--wait"): "--wait takes a value, SECONDS",
    ("svc",): "no verb and no service",
    ("svc", "-u", "--no-wait", "web"): "--no-wait does not go with letters, which are never waited for",
    ("svc", "-u", "--wait=3", "web"): "--wait does not go with letters, which are never waited for",
    ("svc", "-u", "--nowait", "web"): "there is no option --nowait, the nearest is --no-wait",
    ("svc", "-u", "--help", "web"): "--help does not go with letters",
    ("svc", "-stop", "--", "-x"): "-stop is the letters s, t, o, p; the verb is: svc stop -- -x",
    ("svok", "--"): "no service is named",
    ("svok", "--", "a", "b"): "'b' is one word too many",
    ("svstat", "--jsno"): "there is no option --jsno, the nearest is --json",
    ("svstat", "--json", "--long"): "--long and --json exclude each other",
    ("svok", "--hepl"): "there is no option --hepl, the nearest is --help",
    ("svok",): "no service is named",
    ("svwait", "-u"): "no service is named",
    ("svwait", "--up", "web"): "there is no option --up, the nearest is -u",
    ("svlog", "-e", "-s"): "-e and -s exclude each other",
    ("svlog", "--lines", "5"): "there is no option --lines",
}


def test_the_word_that_is_wrong_is_named(tool: Callable[..., tuple[int, str, str]], every: int) -> None:
    for (name, *args), said in list(WRONG.items())[::every]:
        assert tool(name, *args) == (100, "", f"{name}: fatal: wrong usage: {said}; see {name} --help\n")


def test_help_wherever_it_is_asked_for(tool: Callable[..., tuple[int, str, str]], every: int) -> None:
    for name in list(PROGRAMS)[::every]:
        expected = tool(name, "--help")
        assert expected[0] == 0 and "Usage:" in expected[1] and not expected[2]
        also = ("--no-wait", "--help") if name == "svc" else ("-h", "app")
        for args in (("-h",), ("app", "--help"), ("--hel",), also):
            if name != "supervise" or args[0] != "app":  # whose options come first
                assert tool(name, *args) == expected, (name, args)
        assert tool(name, "--version")[1].startswith(f"{name} ")


def test_h_with_a_service_is_a_letter(box: Box) -> None:
    with pretended(box) as supervise:
        done = run_tool(box, "svc", "-h", "app")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        supervise.wait_letters("h\n")


def test_letters_that_contradict_each_other(box: Box) -> None:
    with pretended(box) as supervise:
        for args in (("-du", "app"), ("-d", "-u", "app", "app")):
            done = run_tool(box, "svc", *args)
            assert done.returncode == 100
            assert done.stderr == "svc: fatal: cannot send 'du': u and d contradict each other; R is a restart\n"
        assert supervise.unread() == 0
