"""The examples of services in README.md, containers.md, supervise.conf(5) and conf/supervise.conf are what they say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from conftest import PATIENCE, ROOT, Box
from tools import run_tool

from supervise.config.definition import KEYS, Definition
from supervise.config.definitions import read
from supervise.programs.program import parse
from supervise.programs.svall import main as svall


def defined(path: Path, text: str) -> dict[str, Definition]:
    path.write_text(text)
    fleet = read(str(path))
    assert (fleet.errors, fleet.warnings) == ([], [])
    return fleet.services


def blocks(text: str) -> list[str]:
    """The indented blocks, without the indentation."""
    found = re.findall(r"^(?:    .*\n|\n)+", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") + "\n" for block in found if block.strip()]


def test_the_readme(box: Box) -> None:
    part = (ROOT / "README.md").read_text().partition("### All services from one file\n")[2].partition("\n### ")[0]
    conf, session, _ = blocks(part)
    services = defined(box.folder / "supervise.conf", conf)
    assert run_tool(box, "svall", "order").stdout == session.partition("$ svall order\n")[2].partition("$")[0]
    table = session.partition("SERVICE ")[2].partition("$")[0].splitlines()[1:]
    assert [line.split()[0] for line in table] == [*services]
    assert services["worker_1"].depends_on == ["db"]


def test_the_container(tmp_path: Path) -> None:
    part = (ROOT / "docs" / "containers.md").read_text().partition("## Several services\n")[2].partition("\n## ")[0]
    dockerfile, conf, _ = blocks(part)
    services = defined(tmp_path / "supervise.conf", conf)
    assert [*services] == ["app", "cron"] and services["cron"].depends_on == ["app"]
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)
    name, *words = json.loads(entrypoint)
    args = parse(name, str(svall.__doc__), words, lambda words: "wrong")
    assert name == "svall" and args and args["run"]
    assert (args["-F"], args["-p"]) == ("/etc/supervise/supervise.conf", "/run/supervise/status")


def test_the_manual_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "man" / "supervise.conf.5").read_text().partition(".Sh EXAMPLES")[2]
    (conf,) = (text for text in re.findall(r"\.Bd -literal.*?\n(.*?)\.Ed", page, re.DOTALL) if "[include]" in text)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "more.conf").write_text("[more]\ncommand : true\n")
    services = defined(tmp_path / "supervise.conf", conf)
    assert [*services] == ["db", "worker_00", "worker_01", "worker_02", "web", "more"]
    assert services["worker_02"].command[-1] == "2" and services["worker_02"].group == "site"


def test_the_configuration_with_every_key(tmp_path: Path) -> None:
    shipped = (ROOT / "conf" / "supervise.conf").read_text()
    assert defined(tmp_path / "supervise.conf", shipped) == {}, "what it shows of services is a comment"
    part = shipped.partition("# [web]\n")[2].partition("#\n")[0]
    assert re.findall(r"^# (\w+) :", part, re.MULTILINE) == sorted(KEYS, key=part.index)
    services = defined(tmp_path / "supervise.conf", "[web]\n" + part.replace("# ", ""))
    plain = defined(tmp_path / "supervise.conf", "[web]\ncommand : python3 app.py --port 8000\n")
    for key in KEYS:
        assert getattr(services["web"], key, None) == getattr(plain["web"], key, None), key


def test_the_script_for_openrc(tmp_path: Path) -> None:
    """What it has svall do, without OpenRC: its functions are those of a test."""
    script = ROOT / "conf" / "supervise.openrc"
    said = tmp_path / "svall"
    said.write_text('#!/bin/sh\necho "$@"\n')
    said.chmod(0o755)
    text = (
        f'svall={said}\nfor name in ebegin eend checkpath need use after; do eval "$name() {{ :; }}"; done\n'
        f". {script}\ndepend && start && reload && stop\n"
    )
    done = subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, timeout=PATIENCE)
    options = "-F /etc/supervise/supervise.conf -p /var/lib/supervise/status"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{options} {verb}" for verb in ("up", "update", "down")]
