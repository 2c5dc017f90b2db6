"""The caller's variables PYTHON* are the service's: no Python that supervise starts heeds them (or its folder)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box, alive, wait_for
from installing import PROGRAMS
from mailers import POLICY, record, recorded
from system import children, needs

import supervise

PACKAGE = Path(supervise.__file__).parent  # as it is installed
# Whatever is imported, and what Python looks for by itself.
STANDARD = {*getattr(sys, "stdlib_module_names", ()), *sys.builtin_module_names, *sys.modules, "email", "logging"}
OTHERS = {"supervise", "docopt", "pyinotify", "sitecustomize", "usercustomize", "_distutils_hack", "startup"}


def plant(box: Box, folder: Path) -> None:
    """Modules by every name that could be asked for, which leave a mark when their code runs."""
    folder.mkdir()
    # So early there is no open() yet.
    trap = (
        f"import posix\nfd = posix.open({str(box.folder / 'MARK')!r}, {os.O_WRONLY | os.O_CREAT | os.O_APPEND})\n"
        "posix.write(fd, __name__.encode() + b'\\n')\nposix.close(fd)\nraise SystemExit('planted')\n"
    )
    original = box.folder / "trap.py"
    original.write_text(trap)
    for name in {name for name in STANDARD if "." not in name} | OTHERS:
        os.link(original, folder / f"{name}.py")


def hostile(box: Box) -> dict[str, str]:
    """An environment in which no ordinary Python would begin, or would begin with what was planted."""
    planted = box.folder / "planted"
    plant(box, planted)
    library = planted / "lib" / "python{}.{}".format(*sys.version_info[:2])
    library.parent.mkdir()
    library.symlink_to(planted)
    (planted / "site-packages").symlink_to(planted)
    (planted / "pyvenv.cfg").write_text(f"home = {planted}/bin\n")
    return {
        "PYTHONPATH": f"{planted}:",
        "PYTHONHOME": str(planted),
        "PYTHONEXECUTABLE": f"{planted}/bin/python",
        "__PYVENV_LAUNCHER__": f"{planted}/bin/python",
        "PYTHONUSERBASE": str(planted),
        "PYTHONPLATLIBDIR": "planted",
        "PYTHONPYCACHEPREFIX": f"{planted}/cache",
        "PYTHONSTARTUP": f"{planted}/startup.py",
        "PYTHONINSPECT": "1",
        "PYTHONOPTIMIZE": "2",
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "",
        "PYTHONBREAKPOINT": "startup.trap",
        "PYTHONIOENCODING": "utf-16",
        "PYTHONCOERCECLOCALE": "warn",
        "PYTHONWARNINGS": "error",
        **dict.fromkeys(("PYTHONVERBOSE", "PYTHONDEBUG", "PYTHONDEVMODE", "PYTHONPROFILEIMPORTTIME"), "1"),
        **dict.fromkeys(("PYTHONUTF8", "PYTHONHASHSEED", "PYTHONMALLOC", "PYTHONTRACEMALLOC"), "nonsense"),
        "PYTHONODD": os.fsdecode(b"\xff\n = '\x01"),
    }


def given(pid: int | str) -> list[bytes]:
    """The variables PYTHON* of a process, byte for byte."""
    return python_in(Path(f"/proc/{pid}/environ").read_bytes())


def python_in(block: bytes) -> list[bytes]:
    return sorted(entry for entry in block.split(b"\0") if entry.startswith((b"PYTHON", b"__PYVENV")))


def marks(box: Box) -> str:
    path = box.folder / "MARK"
    return path.read_text() if path.exists() else ""


def run(box: Box, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=box.folder, env=box.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
    )


def tool(box: Box, name: str, *args: str) -> str:
    done = run(box, str(Path(SUPERVISE).with_name(name)), *args)
    assert (done.returncode, done.stderr) == (0, ""), (name, args, done)
    return done.stdout


def end_of(tracer: subprocess.Popen[bytes]) -> None:
    """Wait for what a strace has started; it itself sometimes goes on to wait, for others that ended long ago."""
    wait_for("it to end", lambda: tracer.poll() is not None or not children(tracer.pid))
    tracer.terminate()
    tracer.wait(PATIENCE)


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"])
def test_what_was_planted_would_be_run(box: Box, name: str) -> None:
    """The test of the tests: each of these is enough for another Python, the last two even where it is isolated."""
    made = hostile(box)
    isolated = ["-I", "-S"] if name in ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__") else []
    if isolated and sys.version_info < (3, 11):
        pytest.skip("this Python does not heed it on Linux")
    box.env[name] = made[name]
    run(box, sys.executable, *isolated, "-c", "import json")
    assert marks(box)


def test_whatever_starts_python_starts_it_isolated(box: Box) -> None:
    """A life with all that supervise can be asked for, and every execve in it."""
    needs("strace")
    box.env |= hostile(box)
    for name in ("re", "email", "logging", "encodings", "supervise"):  # the working directory is no place either
        (box.folder / f"{name}.py").symlink_to(box.folder / "planted" / f"{name}.py")
    expected = python_in(b"\0".join(os.fsencode(f"{name}={value}") for name, value in box.env.items()))
    record(box, "mail")
    script = box.folder / "script"
    script.write_text(f'#!/bin/sh\ncat /proc/$$/environ >"{box.folder}/of-script.new"\ncd "{box.folder}"\n'
                      "mv of-script.new of-script\n")  # fmt: skip
    check = box.folder / "check"
    check.write_text(script.read_text().replace("of-script", "of-check"))
    mail = box.folder / "bin" / "mail"
    mail.write_text(mail.read_text() + f'cat /proc/$$/environ >"{box.folder}/of-mail.new"\ncd "{box.folder}"\n'
                    "mv of-mail.new of-mail\n")  # fmt: skip
    for path in (script, check):
        path.chmod(0o755)
    conf = POLICY + f"check_command : {check}\ncheck_interval : 1\npidfile : {box.folder}/app.pid\n"
    conf += 'environment : SEEN="%(ENV_PYTHONPATH)s"\n'
    seen_by_configuration = b"SEEN=" + os.fsencode(box.env["PYTHONPATH"])
    box.conf(conf)
    trace = box.folder / "trace"
    traced = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=execve", "-e", "signal=none", "-s", "4096"]
    launcher = subprocess.Popen(
        [*traced, box.program, "-r", str(script), "-u", "status/app", "sleep", "1000"], cwd=box.folder, env=box.env
    )
    box.processes.append(launcher)
    pid = wait_for("the service", lambda: (box.status / "status").exists() and box.pid)
    assert given(pid) == expected
    box.conf(conf + "max_tries : 100\n")
    box.wait_log("max_tries 100")  # the watches are set
    os.kill(pid, 9)
    pid = box.wait_new_pid(pid)
    assert given(pid) == expected
    box.control("e")
    box.wait_log("supervise replaced by the installed version")
    box.control("R")
    pid = box.wait_new_pid(pid)
    assert given(pid) == expected
    assert seen_by_configuration in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    for what in ("script", "mail", "check"):
        path = wait_for(what, lambda what=what: (box.folder / f"of-{what}").exists() and box.folder / f"of-{what}")
        assert python_in(path.read_bytes()) == expected, what
    box.wait_log("through mail: handed over")
    tool(box, "svc", "exit", "app")
    end_of(launcher)

    started = re.findall(r'execve\("[^"]*", \[(.*?)\],? (?!.*= -1)', trace.read_text(), re.MULTILINE)
    words = [re.findall(r'"((?:[^"\\]|\\.)*)"', line) for line in started]
    pythons = [found for found in words if "python" in Path(found[0]).name]
    assert all(found[1:3] == ["-I", "-S"] for found in pythons), pythons
    seen = [next(Path(word).name for word in found[3:] if word.startswith("/")) for found in pythons]
    assert {*seen} == {"supervise", "daemon.py", "alarm_helper.py", "inotify_helper.py"}
    assert seen.count("daemon.py") == 3  # the start, the trial of the upgrade, and the upgrade
    assert marks(box) == ""
    assert box.warnings == ""


def test_a_supervise_that_svc_starts_again_is_isolated(box: Box) -> None:
    """And gives its service the variables of who has started it again, but for those that no program of ours keeps."""
    needs("strace")
    box.start("sleep", "1000")
    tool(box, "svc", "exit", "app")
    box.env |= hostile(box)
    kept = {name: value for name, value in box.env.items() if name not in ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")}
    expected = python_in(b"\0".join(os.fsencode(f"{name}={value}") for name, value in kept.items()))
    trace = box.folder / "trace"
    traced = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=execve", "-e", "signal=none", "-s", "4096"]
    words = [*traced, str(Path(SUPERVISE).with_name("svc")), "--no-wait", "start", "app"]
    launcher = subprocess.Popen(words, cwd=box.folder, env=box.env, stdout=subprocess.DEVNULL)
    box.processes.append(launcher)
    pid = wait_for("the service", lambda: box.pid)
    assert given(pid) == expected
    tool(box, "svc", "exit", "app")
    assert launcher.wait(PATIENCE) == 0
    started = re.findall(r'execve\("[^"]*", \[(.*?)\],? (?!.*= -1)', trace.read_text(), re.MULTILINE)
    words = [re.findall(r'"((?:[^"\\]|\\.)*)"', line) for line in started]
    pythons = [found for found in words if "python" in Path(found[0]).name]
    assert all(found[1:3] == ["-I", "-S"] for found in pythons), pythons
    seen = {next(Path(word).name for word in found[3:] if word.startswith("/")) for found in pythons}
    assert {"svc", "__main__.py", "daemon.py"} <= seen
    assert marks(box) == ""


def test_what_svall_starts_is_isolated(box: Box) -> None:
    """And gives its services the variables of who has called it, but for those that no program of ours keeps."""
    needs("strace")
    (box.folder / "supervise.conf").write_text("[app]\ncommand : sleep 1000\n")
    box.env |= hostile(box)
    kept = {name: value for name, value in box.env.items() if name not in ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")}
    expected = python_in(b"\0".join(os.fsencode(f"{name}={value}") for name, value in kept.items()))
    trace = box.folder / "trace"
    traced = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=execve", "-e", "signal=none", "-s", "4096"]
    words = [*traced, str(Path(SUPERVISE).with_name("svall")), "up"]
    caller = subprocess.Popen(words, cwd=box.folder, env=box.env, stdout=subprocess.DEVNULL)
    box.processes.append(caller)
    pid = wait_for("the service", lambda: (box.status / "status").exists() and box.pid)
    assert given(pid) == expected
    tool(box, "svwait", "-s", "app")
    tool(box, "svc", "exit", "app")
    end_of(caller)
    started = re.findall(r'execve\("[^"]*", \[(.*?)\],? (?!.*= -1)', trace.read_text(), re.MULTILINE)
    words = [re.findall(r'"((?:[^"\\]|\\.)*)"', line) for line in started]
    pythons = [found for found in words if "python" in Path(found[0]).name]
    assert len(pythons) > 1 and all(found[1:3] == ["-I", "-S"] for found in pythons), pythons
    assert marks(box) == ""


def test_no_other_place_starts_python() -> None:
    """What the tests above go through is all that there is."""
    assert PACKAGE.name == "supervise"
    users = {path.stem for path in PACKAGE.rglob("*.py") if "sys.executable" in path.read_text()}
    expected = "__main__ daemon_process handoff helper main nursery output resume task upgrade"
    assert users == {*expected.split()}


@pytest.mark.parametrize("words", [["-S", "-E"], ["-I", "-S"]], ids=" ".join)
def test_the_daemon_as_an_older_supervise_starts_it(box: Box, words: list[str]) -> None:
    """When that one replaces itself: it is told nothing here, and so has loaded all of itself, and ends."""
    done = run(box, sys.executable, *words, "-v", str(PACKAGE / "daemon.py"))
    assert done.returncode == 0
    assert "import 'supervise.supervisor.startup'" in done.stderr
    from_its_folder = r"^import '(supervisor|protocol|daemon|notify)'"
    assert not re.search(from_its_folder, done.stderr, re.MULTILINE)


def test_the_programs(box: Box) -> None:
    plain = {name: tool(box, name, "--help") for name in PROGRAMS}
    box.env |= hostile(box)
    box.conf(POLICY + 'environment : SEEN="%(ENV_PYTHONOPTIMIZE)s"\n')
    assert {name: tool(box, name, "--help") for name in PROGRAMS} == plain  # usage texts are docstrings
    assert all(tool(box, name, "--version").startswith(f"{name} ") for name in PROGRAMS)
    pid = box.start("sh", "-c", "echo hello; exec sleep 1000")
    assert 'SEEN="2"' in tool(box, "supervise", "--check", "app")
    assert f"pid {pid}" in tool(box, "svstat", "app")
    assert tool(box, "svok", "app") == tool(box, "svwait", "-u", "app") == ""
    assert tool(box, "svlog", "app") == "hello\n"
    assert "restarted" in tool(box, "svc", "restart", "app")
    assert "hello" in tool(box, "svlog", "app")
    box.control("dx")
    box.wait_gone()
    assert marks(box) == ""


@pytest.mark.parametrize("way", ["-m", "script"])
def test_a_python_that_the_caller_starts(box: Box, way: str) -> None:
    """`python -m supervise` and `python .../bin/supervise` begin again, isolated."""
    box.env |= {"PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "PYTHONPATH": str(box.folder), "PYTHONVERBOSE": ""}
    for name in ("docopt", "json", "subprocess"):
        (box.folder / f"{name}.py").write_text("raise SystemExit('planted')\n")
    words = [sys.executable, *(("-m", "supervise") if way == "-m" else (SUPERVISE,))]
    done = run(box, *words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage:" in done.stdout
    box.env["ODD.NAME"] = "odd"
    done = run(box, *words, "-u", "status/app", "sleep", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    environ = Path(f"/proc/{box.pid}/environ").read_bytes().split(b"\0")
    assert {b"PYTHONOPTIMIZE=2", b"PYTHONINSPECT=1", b"ODD.NAME=odd"} <= {*environ}


def test_a_service_cannot_have_root_run_its_code(box: Box) -> None:
    """A module in its own directory, which is in PYTHONPATH: neither run by the helper, nor does it cost the alarm."""
    record(box, "mail")
    folder = box.folder / "application"
    for name in ("email", "logging", "socket"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"open({str(box.folder / 'MARK')!r}, 'w')\nraise SystemExit(9)\n")
    box.env["PYTHONPATH"] = str(folder)
    box.conf(POLICY + f"directory : {folder}\n")
    pid = box.start("sleep", "1000")
    os.kill(pid, 9)
    box.wait_new_pid(pid)
    box.wait_log("through mail: handed over")
    assert len(recorded(box, "mail")) == 1
    assert marks(box) == box.warnings == ""
    assert alive(box.pid)
