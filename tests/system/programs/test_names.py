"""Services whose names are not UTF-8, hold a backslash, or begin with a dot: seen, told apart, and found again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess

import pytest
from conftest import Box
from tools import BIN, run_tool

from supervise.client import Service, services

BYTE, TEXT = os.fsdecode(b"caf\xe9"), "caf\\xe9"
SHOWN = {BYTE: "caf\\xe9", TEXT: "caf\\\\xe9"}


@pytest.fixture
def both(box: Box) -> Box:
    """Two services that run, whose names would be shown alike if a backslash were not, too."""
    for name in SHOWN:
        Box(box.folder, name).start("sleep", "1000")
    return box


def test_every_program_shows_them_in_the_same_way(both: Box) -> None:
    for name, shown in SHOWN.items():
        lock = f"status/{shown}/lock"
        done = both.run("-u", f"status/{name}", "sleep", "1000")
        assert done.returncode == 111 and done.stderr.startswith(f"supervise: fatal: cannot lock {lock}: held by pid ")
        assert run_tool(both, "svstat", name).stdout.startswith(f"status/{shown}: up (pid ")
        assert run_tool(both, "svok", name).returncode == 0
        waited = run_tool(both, "svwait", "-d", "-t", "0.01", name).stderr
        assert waited == f"svwait: fatal: cannot wait longer for status/{shown}: not so within 0.01 seconds\n"
        assert run_tool(both, "svc", "-c", name).returncode == 0
        assert run_tool(both, "svc", "stop", name).stdout == f"status/{shown}: down\n"
    table = run_tool(both, "svstat", "--long").stdout
    assert {line.split()[0] for line in table.splitlines()[1:]} == {*SHOWN.values()}
    logs = run_tool(both, "svlog", "-s", "-n", "1", *SHOWN).stdout
    assert {line.partition(" | ")[0].rstrip() for line in logs.splitlines()} == {*SHOWN.values()}
    unknown = run_tool(both, "svstat", "nope" + BYTE).stderr
    assert unknown.startswith("svstat: fatal: cannot find a service named 'nopecaf\\xe9'; ")
    assert unknown.endswith(f": {SHOWN[TEXT]}, {SHOWN[BYTE]}\n")


def test_supervise_and_its_log_show_them_so_as_well(box: Box) -> None:
    (box.folder / BYTE).mkdir()
    other = Box(box.folder / BYTE)
    box.conf("")
    done = box.run("-F", f"{BYTE}/supervise.conf", "-u", f"{BYTE}/status/app", "sleep", "1000")
    warning = "caf\\xe9/supervise.conf does not exist: no policy"
    assert (done.returncode, done.stderr) == (0, f"supervise: warning: {warning}\n")
    assert warning in other.log("supervise.log.wf")
    run_tool(box, "svc", "exit", f"{BYTE}/status/app")
    done = run_tool(box, "supervise", "--check", "-F", f"{TEXT}.conf")
    assert done.stdout.startswith("caf\\\\xe9.conf: cannot be read: ")
    done = run_tool(box, "supervise", "-u", f"status/x/{BYTE}", "true")
    assert done.stderr == (
        "supervise: fatal: cannot use status/x/caf\\xe9 as a status directory: "
        "what follows status/ is not a name: 'x/caf\\xe9'\n"
    )


def test_another_command_for_it_is_told_what_to_type(both: Box) -> None:
    done = both.run("-u", f"status/{BYTE}", "sleep", "2000")
    assert done.stderr.endswith("; to run another command, end that first: svc exit $'status/caf\\xe9'\n")


def test_the_document_leads_back_to_each(both: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    said = run_tool(both, "svstat", "--json").stdout
    assert "\\ud" not in said  # a lone surrogate, which other readers of JSON than Python's refuse
    found = {one["path_hex"]: one for one in json.loads(said)["services"]}
    assert [found[os.fsencode(f"status/{name}").hex()]["name"] for name in SHOWN] == [SHOWN[BYTE], TEXT]
    monkeypatch.chdir(both.folder)
    monkeypatch.delenv("SUPERVISE_ROOT", raising=False)
    for service in services():
        fields = service.to_dict()
        again = Service(os.fsdecode(bytes.fromhex(fields["path_hex"])))
        assert (again.path, again.name) == (service.path, service.name)
        assert fields["pid"] == again.status().pid > 0
        assert (fields["path"] == service.path) == (service.name == TEXT)


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_what_is_shown_can_be_typed(both: Box) -> None:
    for shown in SHOWN.values():
        line = f"{shlex.quote(str(BIN / 'svstat'))} $'{shown}'"
        done = subprocess.run(["bash", "-c", line], cwd=both.folder, env=both.env, capture_output=True, text=True)
        assert done.stdout.startswith(f"status/{shown}: up (pid ")


def test_one_that_begins_with_a_dot_is_not_hidden(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from svstat --failed, then."""
    hidden = Box(box.folder, ".app")
    hidden.start("sleep", "1000")
    (box.folder / "status" / ".git").mkdir()
    assert run_tool(box, "svstat").stdout.startswith("status/.app: up (pid ")
    assert "; the services in status are: .app" in run_tool(box, "svc", "stop", "app").stderr
    monkeypatch.chdir(box.folder)
    monkeypatch.delenv("SUPERVISE_ROOT", raising=False)
    assert [service.name for service in services()] == [".app"]
    hidden.control("d")
    hidden.wait_down()
    assert run_tool(box, "svstat", "--failed").stdout == ""
