"""How the programs find the Python and the package that they belong to, wherever they are called from."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, SUPERVISE, Box, wait_for
from installing import PROGRAMS, install, own
from watched import wait_watching

SOURCES = ROOT / "supervise" / "bin"
SHELLS = [found for found in map(shutil.which, ("dash", "bash", "busybox", "mksh")) if found]
NOT_FOUND = "svstat: fatal: cannot find a service named 'nope': there are no services in status\n"
LONG = "x" * 200
MODULES = {
    **{name: f"supervise.programs.{name}" for name in PROGRAMS},
    **{name: f"supervise.programs.{name}.main" for name in ("svall", "svc", "svstat")},
}

shells = pytest.mark.parametrize("shell", SHELLS, ids=[Path(shell).name for shell in SHELLS])


def works(box: Box, *words: str, where: str = ".", **env: str) -> None:
    """These words run svstat, with docopt and all."""
    done = run(box, *words, "nope", where=where, **env)
    assert (done.returncode, done.stdout, done.stderr) == (100, "", NOT_FOUND), words


def run(box: Box, *words: str, where: str = ".", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=box.folder / where,
        env={**box.env, **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )


def test_they_are_one_file() -> None:
    """But for its name, and for what `supervise` alone does: a fault is not to be mended in one of them only."""
    texts = {name: (SOURCES / name).read_text() for name in PROGRAMS}
    first = texts["svc"]
    for name in PROGRAMS[1:]:
        assert texts[name] == first.replace('"svc', f'"{name}').replace(MODULES["svc"], MODULES[name])
    python = {name: text.partition("\n'''\n")[2] for name, text in texts.items()}
    assert python["supervise"] == python["svc"].replace('"svc', '"supervise').replace(
        MODULES["svc"], MODULES["supervise"]
    )


def test_the_installer_said_which_python_it_is() -> None:
    first = Path(SUPERVISE).with_name("supervise-python").read_text().partition("\n")[0]
    assert os.path.samefile(first[2:], sys.executable)
    assert Path(first[2:]).parent == Path(sys.executable).parent
    assert (SOURCES / "supervise-python").read_text().startswith("#!python\n")


def test_wherever_they_are_called_from(box: Box) -> None:
    own(box)
    (box.folder / "a b").mkdir()
    (box.folder / "own").rename(box.folder / "a b" / "it's")
    places = box.folder / "links"
    places.mkdir()
    (places / "shown").symlink_to("../a b/it's/bin/svstat")
    (places / "again").symlink_to(places / "shown")
    (box.folder / "bin").symlink_to("a b/it's/bin")
    works(box, str(box.folder / "bin" / "svstat"))
    works(box, "bin/svstat")
    works(box, "./svstat", where="bin")
    works(box, "a b/it's/bin/svstat")
    works(box, "links/shown")
    works(box, "links/again")
    works(box, "./again", where="links")
    for path in ("bin", "a b/it's/bin"):
        works(box, "/usr/bin/env", "svstat", PATH=f"{path}:/nowhere")
    for path in (":/nowhere", "."):
        works(box, "/usr/bin/env", "svstat", where="bin", PATH=path)
        works(box, "/usr/bin/env", "again", where="links", PATH=path)


@shells
def test_whatever_sh_is(box: Box, shell: str) -> None:
    own(box)
    words = [shell, *({"busybox": ["sh"], "bash": ["--posix"]}.get(Path(shell).name, []))]
    works(box, *words, "own/bin/svstat")
    works(box, *words, "svstat", where="own/bin")
    odd = [bytes([byte]) for byte in range(1, 256)] + [b"", b"*", b"\\", b"$HOME `x` \"'"]
    command = [os.fsencode(sys.executable), b"-I", b"-S", b"-c", b"import time; time.sleep(1000)", *odd]
    names = {b"a.b": b"1", b"BASH_FUNC_x%%": b"() { :\n}", b"MANY": b"a\nb=\xff\x81 ", b"OPTIND": b"7", b"PPID": b"1"}
    env = {**names, b"PATH": b"/usr/bin:/bin", b"PS1": b"$ ", b"SUPERVISE_CALLER": b"1 2 end"}
    subprocess.run([*words, box.program, "-u", "status/app", *command], cwd=box.folder, env=env, check=True)
    entries = Path(f"/proc/{box.pid}/environ").read_bytes().split(b"\0")[:-1]
    ours = {b"SUPERVISE_SERVICE": b"app", b"SUPERVISE_STATUS_DIR": os.fsencode(box.status)}
    assert dict(entry.split(b"=", 1) for entry in entries) == {**env, **ours}
    assert Path(f"/proc/{box.pid}/cmdline").read_bytes() == b"".join(word + b"\0" for word in command)


def test_a_large_environment(box: Box) -> None:
    """What does not fit into one word is left as sh has it: nothing of any use is lost."""
    box.env |= {"LARGE": "x" * 60000, "PYTHONPATH": "/nowhere"}
    pid = box.start("sleep", "1000")
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert {b"LARGE=" + b"x" * 60000, b"PYTHONPATH=/nowhere"} <= {*entries}


@pytest.mark.parametrize(
    ("form", "folder"),
    [
        ("#!{}\n", f"{LONG}/a b"),
        ("#!/bin/sh\n'''exec' {} \"$0\" \"$@\"\n' '''\n", LONG),
        ("#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n", f"{LONG}/a b"),
        ("#!/bin/sh\n'''exec' '{}' \"$0\" \"$@\"\n' '''\n", f"{LONG}/a b"),
    ],
    ids=["plain", "long", "double quotes", "single quotes"],
)
def test_as_installers_name_the_python(box: Box, form: str, folder: str) -> None:
    """pip writes the first, also where the path is too long for the kernel; distlib and uv the others then."""
    own(box)
    python = box.folder / folder / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ntouch "{box.folder}/used"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (box.folder / "own" / "bin" / "supervise-python").write_text(form.format(python) + "the rest\n")
    works(box, "own/bin/svstat")
    assert (box.folder / "used").exists()


UNSAID = "find the Python that it was installed for: own/bin/supervise-python does not say it"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        pytest.param(None, UNSAID, id="nothing"),
        pytest.param("", UNSAID, id="empty"),
        pytest.param("#!python\n", UNSAID, id="not installed"),
        pytest.param("#!/bin/sh\n'''exec' \"$(dirname x)\"/python\n", UNSAID, id="relative"),
        pytest.param(
            "#!/nowhere/python\n",
            "execute the Python that it was installed for, /nowhere/python: No such file or directory",
            id="gone",
        ),
        pytest.param(
            "#!/dev/null\n", "execute the Python that it was installed for, /dev/null: not a program", id="no program"
        ),
    ],
)
def test_where_nothing_usable_is_said(box: Box, record: str | None, why: str) -> None:
    """The Python beside it, as after a virtual environment was moved; or else one line."""
    own(box)
    said = box.folder / "own" / "bin" / "supervise-python"
    if record is None:
        said.unlink()
    else:
        said.write_text(record)
    # Nor do variables of the caller say it.
    names = ("python", "line", "next", "opened", "record", "self", "why", "said")
    ours = dict.fromkeys(names, f"#!{sys.executable}")
    done = run(box, "own/bin/svstat", "nope", **ours)
    assert (done.returncode, done.stdout) == (111, "")
    assert done.stderr == f"svstat: fatal: cannot {why}\n"
    (box.folder / "own" / "bin" / "python3").symlink_to(sys.executable)
    works(box, "own/bin/svstat")


@shells
@pytest.mark.parametrize("name", ["supervise", "svc"])
@pytest.mark.parametrize(
    "text", [b"\x7fELF\1\0", b"#!/nowhere/python\n"], ids=["of another machine", "without its interpreter"]
)
def test_a_python_that_cannot_be_executed(box: Box, shell: str, name: str, text: bytes) -> None:
    """sh says so in its way; then there is one line as of any other failure, and the exit code is the system's."""
    own(box)
    python = box.folder / "python"
    python.write_bytes(text)
    python.chmod(0o755)
    (box.folder / "own" / "bin" / "supervise-python").write_text(f"#!{python}\n")
    words = [shell, *({"busybox": ["sh"], "bash": ["--posix"]}.get(Path(shell).name, []))]
    for variables in ({}, {"BASH_VERSION": "5", "why": "x", "PYTHONEXECUTABLE": sys.executable}):
        done = run(box, *words, f"own/bin/{name}", "-u", "status/app", "sleep", "1000", **variables)
        *_, last = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (111, "")
        assert last.startswith(f"{name}: fatal: cannot execute {python}: "), done.stderr
    assert not box.status.exists()


def test_without_its_package(box: Box) -> None:
    modules = own(box)
    venv.create(box.folder / "alone", symlinks=True)
    (box.folder / "own" / "bin" / "supervise-python").write_text(f"#!{box.folder}/alone/bin/python3\n")
    for path, said in ((modules / "docopt.py", "cannot start: "), (modules / "supervise", "cannot find its")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        for name in ("svstat", "supervise"):
            done = run(box, f"own/bin/{name}", "nope")
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (111, "", 1), done
            assert done.stderr.startswith(f"{name}: fatal: {said}")


def test_installed_in_place(box: Box) -> None:
    """As with `pip install -e`: site-packages says where the package is; docopt is there, not beside the package."""
    modules = own(box)
    (box.folder / "source").mkdir()
    (modules / "supervise").rename(box.folder / "source" / "supervise")
    (modules / "supervise.pth").write_text(f"{box.folder}/source\n")
    works(box, "own/bin/svstat")
    box.conf("[global]\nalarm_interval : 60\n")
    box.start("sleep", "1000")
    wait_watching(box)  # pyinotify was found, too
    assert box.warnings == ""


def test_installed_into_one_folder(box: Box) -> None:
    """As with `pip install --target`; and docopt is where the rest of that Python's modules are."""
    modules = install(box.folder / "own")
    (modules / "supervise").rename(box.folder / "own" / "supervise")
    shutil.rmtree(modules)
    works(box, "own/bin/svstat")


def test_given_to_a_python(box: Box) -> None:
    program = str(Path(SUPERVISE).with_name("svstat"))
    works(box, sys.executable, program)
    works(box, sys.executable, "-I", program)


def test_what_they_are_called(box: Box) -> None:
    """For pgrep and killall: the name of the program, not of its interpreter."""
    box.start("sleep", "1000")
    words = [str(Path(SUPERVISE).with_name("svwait")), "-d", "app"]
    process = subprocess.Popen(words, cwd=box.folder, env=box.env, stdin=subprocess.DEVNULL)
    box.processes.append(process)
    wait_for("its interpreter", lambda: b"\0-I\0-S\0" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
    wait_for("its name", lambda: Path(f"/proc/{process.pid}/comm").read_text() == "svwait\n")
    box.control("d")
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [3, 6, 10, 11, 12, 13, 14, 16])
def test_few_descriptors(box: Box, number: int) -> None:
    """It works whole, or it is one line (the shell's, where that cannot begin) and nothing left."""
    done = subprocess.run(
        [SUPERVISE, "-u", "status/app", "sleep", "1000"],
        cwd=box.folder,
        env=box.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number)),
        timeout=PATIENCE,
    )
    if done.returncode == 0:
        assert done.stderr == b"" and box.pid
    else:
        assert done.stderr.count(b"\n") == 1, done.stderr
        assert not box.status.exists()


def test_a_daemon_that_cannot_begin(box: Box) -> None:
    """It was told to a pipe that nobody reads: that is no success."""
    modules = own(box)
    (modules / "supervise" / "daemon.py").write_text("raise SystemExit(7)\n")
    done = box.run("-u", "status/app", "sleep", "1000")
    assert (done.returncode, done.stderr.count("\n")) == (111, 1)
    assert not box.status.exists()
