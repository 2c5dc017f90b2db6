"""docs/python.md: its files are written, its commands are typed into a real shell, and print what it says."""

from __future__ import annotations

import doctest
import os
import re
import subprocess

import pytest
from conftest import PATIENCE, ROOT, SUPERVISE, Box

DOC = ROOT / "docs" / "python.md"
MARK = "@@@ next command"


def sections() -> dict[str, str]:
    """Title -> text."""
    titles = re.split(r"^## (.+)\n", DOC.read_text(), flags=re.MULTILINE)
    return dict(zip(titles[1::2], titles[2::2]))


def blocks(text: str) -> list[tuple[str, str]]:
    """The indented blocks, each with the file's name that ends the paragraph before it; commands have none."""
    found: list[tuple[str, str]] = []
    name = ""
    for part in re.split(r"((?:^(?:    .*)?\n)+)", text, flags=re.MULTILINE):
        block = "".join(line[4:] or "\n" for line in part.splitlines(keepends=True)).strip("\n")
        if not part.strip():
            continue
        if not part.lstrip("\n").startswith("    "):
            ending = re.search(r"`(\w+\.(?:py|conf))`:\s*$", part)
            name = ending[1] if ending else ""
            continue
        # A file and the commands that use it may stand one after the other.
        file, _, session = ("\n" + block).partition("\n$ ")
        if name:
            found.append((name, file.strip("\n") + "\n"))
        if session:
            found.append(("", "$ " + session + "\n"))
        name = ""
    return found


EXAMPLES = {title: found for title, text in sections().items() if (found := blocks(text))}


def test_the_examples_are_found() -> None:
    assert [[name or "$" for name, _ in found] for found in EXAMPLES.values()] == [
        ["app.py", "supervise.conf", "$"],
        ["limit.py", "$"],
        ["loop.py", "$"],
        ["retry.py", "$", "job.py", "supervise.conf", "$"],
        ["beat.py", "$"],
        ["look.py", "$"],
        ["deploy.py", "app.py", "supervise.conf", "$"],
        ["dump.py", "$"],
    ]


def commands(session: str) -> list[tuple[str, str]]:
    """Each command with what it is to print."""
    return [(command, expected) for command, expected in re.findall(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", session, re.M)]


def shell(box: Box, lines: list[str]) -> list[str]:
    """What each command prints, stdout and stderr together; one shell for all, so that $? is the one before."""
    script = ["exec 2>&1", "last=0"]
    for line in lines:
        script += [f"echo '{MARK}'; (exit $last)", line.strip(), "last=$?"]
    env = {name: value for name, value in box.env.items() if name not in ("NOTIFY_SOCKET", "SUPERVISE_ROOT")}
    env["PATH"] = f"{os.path.dirname(SUPERVISE)}:{env['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", "\n".join(script)],
        cwd=box.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
    )
    return done.stdout.split(f"{MARK}\n")[1:]


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example(box: Box, title: str) -> None:
    checker = doctest.OutputChecker()
    for name, content in EXAMPLES[title]:
        if name:
            (box.folder / name).write_text(content)
            continue
        typed = commands(content)
        for (command, expected), printed in zip(typed, shell(box, [command for command, _ in typed])):
            as_said = checker.check_output(expected, printed, doctest.ELLIPSIS)
            assert as_said, f"{command.strip()} was to print\n{expected}but printed\n{printed}"


def test_the_retry_gives_up(box: Box) -> None:
    files = dict(EXAMPLES["Trying again after a hang"])
    program = files["retry.py"].replace("attempt < 3", "True").replace("TRIES = 5", "TRIES = 2")
    (box.folder / "retry.py").write_text(program)
    printed = shell(box, ["python3 retry.py 2>retry.err", "echo $?; tail -n 1 retry.err"])
    assert printed == ["try 1 ended with 1\ntry 2 ended with 1\n", "1\nit hangs each time\n"]
