"""The manual pages: they render without warnings, and say what the programs do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from supervise.config.config import FLEET_KEYS, KEYS, Config
from supervise.config.definition import KEYS as DEFINITION_KEYS
from supervise.config.misspellings import elsewhere
from supervise.programs.svall.main import VERBS
from supervise.protocol.letters import COMMANDS, SIGNALS

MAN = ROOT / "docs" / "man"
PROGRAMS = ("supervise", "svall", "svc", "svlog", "svok", "svstat", "svwait")
PAGES = [MAN / f"{name}.8" for name in PROGRAMS] + [MAN / "supervise.conf.5"]
SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO")

needs_man = pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
needs_mandoc = pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not installed")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
each_program = pytest.mark.parametrize("name", PROGRAMS)


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"}
    return subprocess.run([*words], capture_output=True, text=True, env=env, timeout=60)


def text_of(page: Path) -> str:
    """The page as it is read, without hyphenation, emphasis and line breaks."""
    shown = run("mandoc", "-T", "utf8", "-O", "width=900", page)
    assert shown.returncode == 0, shown.stderr
    return re.sub(r"\s+", " ", re.sub(r".\x08", "", shown.stdout))


def help_of(name: str) -> str:
    done = run(Path(sys.executable).with_name(name), "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


def options_of(text: str) -> set[str]:
    """The options in the usage and the list of options of a --help."""
    return set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text))


@needs_man
@each_page
def test_man_shows_it_without_warnings(page: Path) -> None:
    done = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@needs_mandoc
@each_page
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    done = run("mandoc", "-T", "lint", "-W", "warning", page)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@each_program
def test_it_has_the_sections_of_a_system_tool(name: str) -> None:
    found = re.findall(r"^\.Sh (.+)$", (MAN / f"{name}.8").read_text(), re.M)
    assert [section for section in found if section in SECTIONS] == list(SECTIONS)


def test_every_other_page_is_referred_to() -> None:
    for name in PROGRAMS:
        source = (MAN / f"{name}.8").read_text()
        assert {other for other in PROGRAMS if f".Xr {other} 8" in source} >= set(PROGRAMS) - {name}


@needs_mandoc
@each_program
def test_every_option_of_the_help_is_in_the_page_and_the_other_way_round(name: str) -> None:
    page = text_of(MAN / f"{name}.8")
    options = options_of(help_of(name)) - {"-d", "-dx"} if name == "svc" else options_of(help_of(name))
    synopsis = page[page.index(" SYNOPSIS ") : page.index(" DESCRIPTION ")]
    described = page[page.index(" OPTIONS ") : page.index(" ENVIRONMENT ")]
    for option in options:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", synopsis), f"{option} is not in the synopsis of {name}"
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", described), f"{option} is not described in {name}"
    invented = options_of(synopsis) - options - {"-LETTERS"}
    assert not invented, f"{name} has no option {invented}"


@needs_mandoc
def test_every_verb_of_svc_is_in_the_page() -> None:
    page = text_of(MAN / "svc.8")
    for line in help_of("svc").splitlines():
        for verb in re.findall(r"\(([a-z|]+)\)", line) if line.startswith("  svc") else []:
            for word in verb.split("|"):
                assert re.search(rf"\b{word}\b", page), word


@pytest.mark.parametrize("page", ["supervise.8", "svc.8"])
def test_every_letter_is_described(page: str) -> None:
    source = (MAN / page).read_text()
    letters = source[source.index(".Sh LETTERS") :]
    letters = letters[: letters.index("\n.Sh ", 1)]
    named = {letter for line in letters.splitlines() if line.startswith(".It ") for letter in line.split()[2:]}
    assert named - {","} == set(COMMANDS) | set(SIGNALS) | {"+", "="}


def test_every_key_of_the_configuration_is_described() -> None:
    source = (MAN / "supervise.conf.5").read_text().partition(".Ss For several services")[0]
    described = re.findall(r"^\.It Ic (\w+)$", source, re.M)
    assert described == list(Config.__slots__)


def test_every_key_of_a_definition_is_described() -> None:
    part = (MAN / "supervise.conf.5").read_text().partition(".Ss Keys of a service")[2].partition("\n.Ss ")[0]
    described = re.findall(r"^\.It Ic (\w+)$", part, re.M)
    assert sorted(described) == sorted(DEFINITION_KEYS)
    assert set(described) == FLEET_KEYS


@needs_mandoc
def test_every_verb_of_svall_is_in_the_page() -> None:
    page = text_of(MAN / "svall.8")
    synopsis = page[page.index(" SYNOPSIS ") : page.index(" DESCRIPTION ")]
    source = (MAN / "svall.8").read_text().partition(".Sh VERBS")[2].partition("\n.Sh ")[0]
    described = re.findall(r"^\.It Cm (\w+)$", source, re.M)
    assert sorted(described) == sorted(VERBS)
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", synopsis), verb


# [program:x] of supervisor 4.
OF_SUPERVISOR = """
    command process_name numprocs numprocs_start priority autostart autorestart startsecs startretries exitcodes
    stopsignal stopwaitsecs stopasgroup killasgroup user redirect_stderr stdout_logfile stdout_logfile_maxbytes
    stdout_logfile_backups stdout_capture_maxbytes stdout_events_enabled stdout_syslog stderr_logfile
    stderr_logfile_maxbytes stderr_logfile_backups stderr_capture_maxbytes stderr_events_enabled stderr_syslog
    environment directory umask serverurl
"""


def test_every_key_of_supervisor_is_compared_and_none_is_taken_for_a_typo() -> None:
    part = (MAN / "supervise.conf.5").read_text().partition(".Ss For users of supervisor")[2].partition("\n.Sh ")[0]
    named = {word for line in part.splitlines() if line.startswith(".It Ic ") for word in line.split()[2:]} - {","}
    keys = OF_SUPERVISOR.split()
    assert sorted(named) == sorted(keys)
    for key in keys:
        assert (key in KEYS) + (key in FLEET_KEYS) + bool(elsewhere(key)) == 1, key


def test_what_is_passed_over_is_said() -> None:
    part = (MAN / "supervise.conf.5").read_text().partition(".Ss For several services")[2].partition("\n.Ss ")[0]
    assert set(part.replace(",", " ").split()) >= FLEET_KEYS


def test_every_file_of_a_status_directory_is_described() -> None:
    from supervise.protocol import names

    source = (MAN / "supervise.8").read_text()
    files = source[source.index(".Sh FILES") :]
    for each in ("LOCK", "CONTROL", "OK", "STATUS", "STATE", "STDOUT", "STDERR", "LOG", "LOG_WF"):
        assert getattr(names, each) in files


def test_exit_codes_of_the_help_are_in_the_page() -> None:
    for name in PROGRAMS:
        said = help_of(name).partition("Exit codes:")[2].partition("\n\n")[0]
        source = (MAN / f"{name}.8").read_text()
        part = source[source.index(".Sh EXIT STATUS") :]
        for code in re.findall(r"\b(?:0|99|100|111|130)\b", said):
            assert f".It {code}\n" in part, f"{name}: {code}"


def test_they_are_installed_with_the_package() -> None:
    share = Path(sys.prefix) / "share" / "man"
    for page in PAGES:
        installed = share / f"man{page.suffix[1:]}" / page.name
        assert installed.is_file(), f"{installed} is not installed"
