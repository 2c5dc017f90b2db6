"""Completion in a real bash, zsh and fish: verbs, options, letters, names of services."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from supervise.client import LETTERS

COMPLETION = ROOT / "docs" / "completion"
BASH, ZSH, FISH = COMPLETION / "bash", COMPLETION / "zsh" / "_supervise", COMPLETION / "fish"
PROGRAMS = ("supervise", "svall", "svc", "svlog", "svok", "svstat", "svwait")
VERBS = {
    *("start", "stop", "restart", "once", "exit", "pause", "resume", "reload", "upgrade", "kill", "reopen"),
    *("signal", "alarm"),
}
ALL_VERBS = {"up", "down", "restart", "update", "status", "diff", "order", "run"}
C_VERBS = {"start", "stop", "restart", "status", "exit", "reconf", "alarm"}
SIGNALS = {"TERM", "KILL", "HUP", "ALRM", "INT", "QUIT", "USR1", "USR2", "WINCH"}
NAMES = {"app", "my app", "web"}
PATIENCE = 60

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
needs_zsh = pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
needs_fish = pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with services, and something that is none."""
    for name in NAMES:
        (tmp_path / "status" / name).mkdir(parents=True)
        (tmp_path / "status" / name / "status").touch()
    (tmp_path / "status" / "none").mkdir()
    root = tmp_path / "root"
    (root / "status" / "far").mkdir(parents=True)
    (root / "status" / "far" / "status").touch()
    (root / "near").mkdir()
    os.mkfifo(root / "near" / "ok")
    return tmp_path


def run(folder: Path, *words: str, **env: str) -> list[str]:
    # fish completes only commands that there are.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8", "TERM": "dumb", **env}
    done = subprocess.run([*words], cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""
    return done.stdout.splitlines()


def in_bash(folder: Path, *words: str, **env: str) -> set[str]:
    """What bash offers for the last word, which may be empty."""
    script = (
        f". {shlex.quote(str(BASH / words[0]))}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
        f'_supervise {words[0]} "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    return set(run(folder, "bash", "--norc", "--noprofile", "-c", script, **env)) - {""}


def in_fish(folder: Path, *words: str, **env: str) -> set[str]:
    line = " ".join(map(shlex.quote, words[:-1])) + " " + words[-1]
    script = f"set -p fish_complete_path {shlex.quote(str(FISH))}; complete -C {shlex.quote(line)}"
    lines = run(folder, "fish", "--no-config", "-c", script, **env)
    return {line.partition("\t")[0] for line in lines}


both = pytest.mark.parametrize(
    "complete", [pytest.param(in_bash, marks=needs_bash, id="bash"), pytest.param(in_fish, marks=needs_fish, id="fish")]
)


def offered(found: set[str]) -> set[str]:
    """Without directories, which are offered as well where a service is."""
    return {re.sub(r"\\(.)", r"\1", word) for word in found if word.rstrip("/") not in ("status", "root")}


@both
def test_a_service_whose_name_begins_with_a_dot(complete, folder: Path) -> None:
    (folder / "status" / ".dot").mkdir()
    (folder / "status" / ".dot" / "status").touch()
    assert ".dot" in complete(folder, "svc", "start", ".d")
    assert ".dot" not in complete(folder, "svc", "start", "w")


@both
@pytest.mark.parametrize(
    "program", ["svc -d", "svc start", "svc signal TERM", "svlog", "svlog -n 5", "svok", "svstat", "svwait -u"]
)
def test_names_of_services(complete, folder: Path, program: str) -> None:
    assert offered(complete(folder, *program.split(), "")) == NAMES
    assert offered(complete(folder, *program.split(), "w")) == {"web"}


@both
def test_names_below_supervise_root(complete, folder: Path) -> None:
    found = offered(complete(folder, "svlog", "", SUPERVISE_ROOT=str(folder / "root")))
    assert found == NAMES | {"far", "near"}


def grouped(folder: Path) -> None:
    for number, name in enumerate(("app", "web")):
        groups = f'{{"site": [{number}, 0], "{name}": [0, 0]}}'
        said = r'"status_text": "\"groups\": {"'
        (folder / "status" / name / "state").write_text(f'{{\n  {said},\n  "groups": {groups}\n}}\n')


@both
def test_groups(complete, folder: Path) -> None:
    grouped(folder)
    assert offered(complete(folder, "svstat", "")) == NAMES | {"site:*", "app:*", "web:*"}
    assert offered(complete(folder, "svc", "restart", "si")) == {"site:*"}
    # bash replaces only what is behind the colon; fish offers directories there as well.
    behind = {word.removeprefix("site:") for word in complete(folder, "svlog", "site:")}
    assert offered(behind) == {"*", "app", "web"}
    (folder / "supervise.conf").write_text("[one]\ncommand : x\n[group:site]\nprograms : one")
    assert offered(complete(folder, "svall", "up", "")) == {"one", "site:*"}


@both
def test_verbs(complete, folder: Path) -> None:
    assert offered(complete(folder, "svc", "")) == VERBS | NAMES
    assert offered(complete(folder, "svc", "--no-wait", "")) == VERBS | NAMES
    assert offered(complete(folder, "svc", "--wait", "5", "st")) == {"start", "stop"}
    assert complete(folder, "svc", "app", "") == C_VERBS
    assert offered(complete(folder, "svc", "app", "alarm", "")) == {"on", "off"}
    assert offered(complete(folder, "svc", "alarm", "")) == {"on", "off"}
    assert offered(complete(folder, "svc", "alarm", "on", "")) == NAMES
    assert offered(complete(folder, "svc", "signal", "")) == SIGNALS


@both
def test_verbs_and_services_of_svall(complete, folder: Path) -> None:
    assert complete(folder, "svall", "") == ALL_VERBS
    assert complete(folder, "svall", "-F", "x", "-p", "status", "d") == {"down", "diff"}
    assert offered(complete(folder, "svall", "up", "")) == NAMES
    (folder / "many.conf").write_text("[db]\ncommand : x\n[wide]\ncommand : y\ndepends_on : db\n")
    assert complete(folder, "svall", "-F", "many.conf", "up", "") == {"db", "wide"}
    assert complete(folder, "svall", "-F", "many.conf", "restart", "db", "w") == {"wide"}
    (folder / "supervise.conf").write_text("[one]\ncommand : x\n")
    assert complete(folder, "svall", "status", "") == {"one"}
    assert "--logs" in complete(folder, "svall", "run", "--l")
    assert "many.conf" in complete(folder, "svall", "-F", "man")


def help_of(program: str) -> str:
    words = [Path(sys.executable).with_name(program), "--help"]
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def options_of(program: str) -> set[str]:
    """The options of its --help."""
    lines = [line for line in help_of(program).splitlines() if line.startswith("  ")]
    named = [line.strip().partition("  ")[0] if line.startswith("  -") else line for line in lines]
    return {word for text in named for word in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text)}


@needs_bash
@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_offers_every_option(folder: Path, program: str) -> None:
    letters = {f"-{letter}" for letter in LETTERS} | {"-dx"} if program == "svc" else set()
    assert in_bash(folder, program, "-") == options_of(program) | letters


@needs_fish
@pytest.mark.parametrize("program", PROGRAMS)
def test_fish_offers_every_option(folder: Path, program: str) -> None:
    letters = {f"-{letter}" for letter in LETTERS} if program == "svc" else set()
    assert in_fish(folder, program, "-") == options_of(program) | letters
    assert in_fish(folder, program, "--") == {option for option in options_of(program) if option.startswith("--")}


@pytest.mark.parametrize("program", PROGRAMS)
def test_zsh_knows_every_option(program: str) -> None:
    source = ZSH.read_text()
    for option in options_of(program):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", source), f"{option} of {program}"


@both
def test_the_status_directory_of_supervise(complete, folder: Path) -> None:
    for option in ("-p", "-u"):
        found = {re.sub(r"\\(.)", r"\1", word).rstrip("/") for word in complete(folder, "supervise", option, "")}
        assert found >= {f"status/{name}" for name in NAMES}


@needs_bash
def test_the_command_of_supervise_is_its_own_affair(folder: Path) -> None:
    assert "bash" in in_bash(folder, "supervise", "-u", "status/new", "bas")
    assert in_bash(folder, "supervise", "-u", "status/new", "cat", "roo") == {"root"}
    assert in_bash(folder, "supervise", "-u", "status/new", "cat", "-") == set()


@needs_bash
def test_a_real_interactive_bash(folder: Path) -> None:
    grouped(folder)
    pexpect = pytest.importorskip("pexpect", reason="pexpect is not installed: no real terminal to test with")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8", "INPUTRC": "/dev/null"}
    words = ["--norc", "--noprofile", "-i"]
    bash = pexpect.spawn("bash", words, cwd=str(folder), env=env, timeout=PATIENCE, encoding="utf-8", echo=False)
    try:
        # The prompt is told from the line that sets it by a character that is made from its code.
        bash.sendline(f". {shlex.quote(str(BASH / 'supervise'))}; bind 'set enable-bracketed-paste off'")
        bash.sendline("PS1=$'\\x3e'ready")
        bash.expect_exact(">ready")
        bash.sendline("svlog() { printf 'svlog<%s>\\n' \"$@\"; }; svc() { printf 'svc<%s>\\n' \"$@\"; }")
        bash.expect_exact(">ready")
        bash.send("svc resta\tw\t\n")
        bash.expect_exact("svc<restart>\r\nsvc<web>")
        bash.expect_exact(">ready")
        bash.send("svc restart si\t\n")
        bash.expect_exact("svc<restart>\r\nsvc<site:*>")
        bash.expect_exact(">ready")
        bash.send("svlog -f site:w\t\n")
        bash.expect_exact("svlog<-f>\r\nsvlog<site:web>")
        bash.expect_exact(">ready")
        bash.send("svlog -f my\t\n")
        bash.expect_exact("svlog<-f>\r\nsvlog<my app>")
        bash.expect_exact(">ready")
        bash.sendline("exit")
        bash.expect(pexpect.EOF)
    finally:
        bash.close(force=True)


@needs_bash
@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_can_read_each_file_alone(folder: Path, program: str) -> None:
    path = shlex.quote(str(BASH / program))
    (line,) = run(folder, "bash", "--norc", "--noprofile", "-c", f". {path}; complete -p {program}")
    assert line == f"complete -F _supervise {program}"


@needs_zsh
def test_zsh_syntax(folder: Path) -> None:
    assert run(folder, "zsh", "-n", str(ZSH)) == []


@needs_fish
@pytest.mark.parametrize("program", PROGRAMS)
def test_fish_syntax(folder: Path, program: str) -> None:
    assert run(folder, "fish", "--no-execute", str(FISH / f"{program}.fish")) == []


@needs_zsh
def test_a_real_interactive_zsh(folder: Path) -> None:
    grouped(folder)
    pexpect = pytest.importorskip("pexpect", reason="pexpect is not installed: no real terminal to test with")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    zsh = pexpect.spawn("zsh", ["-f", "-i"], cwd=str(folder), env=env, timeout=PATIENCE, encoding="utf-8", echo=False)
    try:
        zsh.sendline(f"unsetopt zle prompt_sp; fpath=({shlex.quote(str(ZSH.parent))} $fpath)")
        zsh.sendline("autoload -Uz compinit; compinit -D -u; setopt zle; PS1=$'\\x3e'ready")
        zsh.sendline("svc() { printf 'svc<%s>\\n' \"$@\" }; svlog() { printf 'svlog<%s>\\n' \"$@\" }")
        zsh.expect_exact(">ready")
        zsh.sendline("svall() { printf 'svall<%s>\\n' \"$@\" }")
        zsh.expect_exact(">ready")
        zsh.expect_exact(">ready")
        zsh.send("svc resta\tw\t\n")
        zsh.expect_exact("svc<restart>\r\nsvc<web>")
        zsh.expect_exact(">ready")
        zsh.send("svc restart site:w\t\n")
        zsh.expect_exact("svc<restart>\r\nsvc<site:web>")
        zsh.expect_exact(">ready")
        zsh.send("svlog -f my\t\n")
        zsh.expect_exact("svlog<-f>\r\nsvlog<my app>")
        zsh.expect_exact(">ready")
        (folder / "many.conf").write_text("[database]\ncommand : x\n")
        zsh.send("svall -F many.conf resta\tdat\t\n")
        zsh.expect_exact("svall<-F>\r\nsvall<many.conf>\r\nsvall<restart>\r\nsvall<database>")
        zsh.expect_exact(">ready")
        zsh.sendline("exit")
        zsh.expect(pexpect.EOF)
    finally:
        zsh.close(force=True)


def test_they_are_installed_with_the_package() -> None:
    share = Path(sys.prefix) / "share"
    for program in PROGRAMS:
        assert (share / "bash-completion" / "completions" / program).is_file()
        assert (share / "fish" / "vendor_completions.d" / f"{program}.fish").is_file()
    assert (share / "zsh" / "site-functions" / "_supervise").is_file()
