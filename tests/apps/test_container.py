"""supervise as process 1 of a container, and ending with its service."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, SUPERVISE, Box, alive, wait_for
from heirs import SLEEP, kill_supervise, state
from mailers import record, recorded
from system import children, needs

KINDS = {
    "proc": ("--mount-proc",),
    "no-proc": (),  # /proc is the host's, and all pids in it are other processes'
    "user": ("--mount-proc", "--user", "--map-root-user"),
}
ALARMS = "alarm_interval : 60\nalarm_mail : a@example.org\n"
PYTHON = (sys.executable, "-S", "-E", "-c")
# Ends by USR2 only.
DEAF = (
    *PYTHON,
    "import os, signal\n"
    "wanted = signal.SIGTERM, signal.SIGUSR2\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, wanted)\n"
    "os.write(1, b'ready\\n')\n"
    "while signal.sigwait(wanted) != signal.SIGUSR2: os.write(1, b'got TERM\\n')\n",
)


class Container(Box):
    """A box whose services live in PID namespaces, each with its supervise as process 1.

    `record` and `pid` are as in there; `supervisor` is as out here.
    """

    def __init__(self, box: Box, flags: tuple[str, ...]) -> None:
        super().__init__(box.folder, box.name)
        self.flags = flags
        self.env = {**os.environ, "CONTAINER_OF": str(box.folder)}
        self.processes = box.processes

    def words(self, *args: str) -> list[str]:
        return ["unshare", "--pid", "--fork", "--kill-child", *self.flags, *args]

    def begin(self, *args: str) -> subprocess.Popen[bytes]:
        """Run `supervise --foreground ARGS` as process 1; the process whose exit code is that of process 1."""
        process = self.enter(SUPERVISE, "--foreground", *args)
        self.wait_log("service started")
        return process

    def enter(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.words(*command),
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def inhabitants(self) -> list[int]:
        """Whoever lives in there, with pids as out here."""
        found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in found if self.owns(pid) and inner(pid)]

    def others(self) -> list[int]:
        """The same, without process 1 and its service."""
        return [pid for pid in self.inhabitants() if inner(pid) not in (1, self.pid)]


def inner(pid: int) -> int:
    """The number of a process in a PID namespace of its own, 0 if it is not in one."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    numbers = re.findall(r"^NSpid:(.*)$", text, re.MULTILINE)[0].split()
    return int(numbers[-1]) if len(numbers) > 1 else 0


@pytest.fixture(params=KINDS)
def container(box: Box, request: pytest.FixtureRequest) -> Iterator[Container]:
    yield made(box, KINDS[request.param])


@pytest.fixture
def plain(box: Box) -> Iterator[Container]:
    yield made(box, KINDS["proc"])


def made(box: Box, flags: tuple[str, ...]) -> Container:
    needs("unshare")
    container = Container(box, flags)
    if subprocess.run(container.words("true"), capture_output=True).returncode:
        pytest.skip(f"not allowed: {' '.join(container.words())}")
    return container


# As process 1.


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_from_outside_is_an_orderly_stop(container: Container, name: str) -> None:
    container.conf("[global]\nstopwaitsecs : 1\n")
    process = container.begin("-u", "status/app", *DEAF)
    container.wait_stdout("ready\n")
    assert inner(container.supervisor) == 1
    assert container.pid > 1
    before = time.monotonic()
    os.kill(container.supervisor, getattr(signal, f"SIG{name}"))
    assert process.wait(PATIENCE) == 0
    assert time.monotonic() - before >= 1
    assert container.stdout() == "ready\ngot TERM\n"
    assert container.pid == 0
    assert "(KILL)" in container.log()
    assert container.inhabitants() == []


def test_letters(container: Container) -> None:
    process = container.begin("-u", "status/app", *SLEEP)
    pid = container.pid
    container.control("R")
    again = container.wait_new_pid(pid)
    container.control("k")
    container.wait_new_pid(again)
    container.control("d")
    container.wait_down()
    container.control("u")
    container.wait_log("service started", 4)
    container.control("dx")
    assert process.wait(PATIENCE) == 0
    assert container.warnings == ""


CROWD = """
import os, signal
for number in range(100):
    if not os.fork():
        if number % 2: os.setsid()
        if not os.fork(): os._exit(number)
        if number % 3: os._exit(0)  # else it goes first, and becomes an orphan and a zombie one after the other
        os.wait()
        os._exit(0)
os.write(1, b"ready\\n")
while True: signal.pause()
"""


def test_it_reaps_whatever_comes_to_it(container: Container) -> None:
    """The service waits for nobody: its own children are its zombies until it ends, and then supervise's."""
    process = container.begin("-u", "status/app", *PYTHON, CROWD)
    for count in (1, 2):
        container.wait_stdout("ready\n", count)
        pid = container.pid
        service = next(one for one in children(container.supervisor) if inner(one) == pid)
        wait_for("no zombie", lambda service=service: set(children(container.supervisor)) == {service})
        container.control("k")
        container.wait_new_pid(pid)
    container.control("dx")
    assert process.wait(PATIENCE) == 0
    if "--mount-proc" not in container.flags:
        assert container.warnings == ""  # zombies cannot be told from others there


def test_nothing_is_left_running(container: Container) -> None:
    code = (
        "import os, signal\n"
        "for more in (os.setsid, os.setpgrp, os.getpid):\n"
        "    if not os.fork(): break\n"
        "else: more = lambda: print('ready', flush=True)\n"
        "more()\n"
        "signal.pause()"
    )
    process = container.begin("-u", "status/app", *PYTHON, code)
    container.wait_stdout("ready\n")
    wait_for("all of them", lambda: len(container.others()) == 3)
    os.kill(container.supervisor, signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert container.inhabitants() == []


TELLS = """
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
if os.fork():
    time.sleep(86399)
os.setsid()
os.write(1, b"ready\\n")
signal.sigwait([signal.SIGTERM])
os.write(1, b"daemon got TERM\\n")
while not os.path.exists("go"): time.sleep(0.02)
os.write(1, b"daemon ends\\n")
"""


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT"])
def test_what_is_left_at_its_end_is_told_to_end_and_has_time_for_it(container: Container, name: str) -> None:
    """Whatever has come from the service, or into the container, and whatever killasgroup says."""
    process = container.begin("-u", "status/app", *PYTHON, TELLS)
    container.wait_stdout("ready\n")
    os.kill(container.supervisor, signal.SIGSTOP)
    (service,) = (one for one in children(container.supervisor) if inner(one) == container.pid)
    os.kill(service, signal.SIGKILL)  # which blocks TERM
    os.kill(container.supervisor, getattr(signal, f"SIG{name}"))
    os.kill(container.supervisor, signal.SIGCONT)
    container.wait_stdout("daemon got TERM\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(container.supervisor, number)  # does not hurry it
    container.control("u")
    assert process.poll() is None
    (container.folder / "go").touch()
    assert process.wait(PATIENCE) == 0
    assert container.stdout().endswith("daemon ends\n")
    assert "sending TERM to all that is left" in container.log()
    assert "sending KILL" not in container.log()
    assert container.inhabitants() == []


def test_what_is_left_and_does_not_end_is_killed(plain: Container) -> None:
    plain.conf("[global]\nstopwaitsecs : 1\n")
    process = plain.begin("-u", "status/app", *PYTHON, TELLS)
    plain.wait_stdout("ready\n")
    stranger = subprocess.Popen(["nsenter", f"--target={plain.supervisor}", "--pid", "sleep", "86397"], env=plain.env)
    plain.processes.append(stranger)
    wait_for("the stranger", lambda: len(plain.others()) == 2)
    began = time.monotonic()
    os.kill(plain.supervisor, signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert stranger.wait(PATIENCE) == -signal.SIGTERM
    assert time.monotonic() - began >= 2, "one second for the service, and one for what it left"
    assert re.search(r"sending KILL to all that is left: pid \d+ \(python", plain.log())
    assert plain.stdout().endswith("daemon got TERM\n")


def test_what_is_left_of_the_process_group_is_cleared(container: Container) -> None:
    container.conf("[global]\nkillasgroup : yes\nstopwaitsecs : 1\n")
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork(): print('ready', flush=True)\n"
        "signal.pause()"
    )
    process = container.begin("-u", "status/app", *PYTHON, code)
    for count in range(1, 4):
        container.wait_stdout("ready\n", count)
        wait_for("the one child", lambda: len(container.others()) == 1)
        pid = container.pid
        container.control("k")
        container.wait_new_pid(pid)
    container.control("dx")
    assert process.wait(PATIENCE) == 0


def test_it_can_be_replaced_by_the_installed_version(plain: Container) -> None:
    plain.conf("[global]\nautorestart : never\n")
    process = plain.begin("--exit-with-service", "-u", "status/app", *PYTHON, CROWD + "\nraise SystemExit(9)")
    plain.wait_stdout("ready\n")
    pid, supervisor = plain.pid, plain.supervisor
    plain.control("e")
    plain.wait_log("replaced by the installed version")
    assert (plain.pid, plain.supervisor) == (pid, supervisor)
    plain.control("k")
    assert process.wait(PATIENCE) == 128 + 9


def test_alarms_on_their_way_arrive(plain: Container) -> None:
    """When process 1 ends, the kernel kills all others."""
    record(plain, "mail", "sleep 1; :>$RECORDS/$$.sent\n")
    plain.conf(f"[global]\n{ALARMS}max_tries : 1\n")
    process = plain.begin("-u", "status/app", "false")
    assert process.wait(PATIENCE) == 111
    said = sorted(subject.split("app ")[1] for _, subject, *_ in recorded(plain, "mail"))
    assert said == ["exited!", "gave up after 1 restarts!"]
    assert len(list((plain.folder / "mail.records").glob("*.sent"))) == 2


def test_a_signal_ends_the_wait_for_alarms(plain: Container) -> None:
    record(plain, "mail", "exec sleep 86399\n")
    plain.conf(f"[global]\n{ALARMS}autorestart : never\n")
    process = plain.begin("--exit-with-service", "-u", "status/app", "false")
    wait_for("the alarm to be on its way", lambda: recorded(plain, "mail"))
    assert process.poll() is None
    os.kill(plain.supervisor, signal.SIGTERM)
    assert process.wait(PATIENCE / 2) == 1


# Restarted containers.

# Processes with any number up to that of the former service, each with a process group of its own; then supervise.
ENTRY = """
import os, signal, sys, time
wanted = int(sys.argv[1])
pid = 0
while pid < wanted:
    pid = os.fork()
    if not pid:
        os.setpgrp()
        signal.pause()
while not os.path.exists(sys.argv[2]): time.sleep(0.01)
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.parametrize("killasgroup", ["no", "yes"])
def test_nothing_of_another_container_is_taken_over(container: Container, killasgroup: str) -> None:
    """The numbers of a container begin anew when it is restarted; its files are still there."""
    container.conf(f"[global]\nkillasgroup : {killasgroup}\nstopwaitsecs : 1\n")
    process = container.begin("-u", "status/app", *SLEEP)
    pid = container.pid
    os.kill(container.supervisor, signal.SIGKILL)
    process.wait()
    container.wait_gone()
    assert state(container)["service"]["pid"] == pid


    def is_stranger(pid: int) -> bool:
        try:
            return ENTRY.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False  # it has ended

    def strangers() -> list[int]:
        return [one for one in container.inhabitants() if is_stranger(one)]

    container.enter(*PYTHON, ENTRY, str(pid), "go", SUPERVISE, "--foreground", "-u", "status/app", *SLEEP)
    wait_for("all of them", lambda: sorted(map(inner, strangers())) == list(range(1, pid + 1)))
    before = [one for one in strangers() if inner(one) > 1]
    (container.folder / "go").touch()
    container.wait_log("service started", 2)
    assert container.pid > pid
    assert "taken over (pid" not in container.log()
    assert strangers() == before
    assert "process group" not in container.log() + container.warnings


# Ending with the service.


def ended(container: Container, *command: str, letters: str = "", options: tuple[str, ...] = ()) -> int:
    """Run a service as long as it is to run; the exit code."""
    process = container.begin("--exit-with-service", *options, "-u", f"status/{container.name}", *command)
    if letters:
        container.wait_stdout("ready\n")
        container.control(letters)
    code = process.wait(PATIENCE)
    assert container.pid == 0
    assert container.inhabitants() == []
    return code


@pytest.mark.parametrize(
    "conf, words, code",
    [
        ("autorestart : never", "exit 0", 0),
        ("autorestart : never", "exit 7", 7),
        ("autorestart : no", "exit 255", 255),
        ("autorestart : never", "kill -9 $$", 137),
        ("autorestart : never", "ulimit -c 0; kill -SEGV $$", 139),
        ("autorestart : unexpected", "exit 0", 0),
        ("autorestart : unexpected\nexitcodes : 3 4", "exit 4", 4),
        ("autorestart : unexpected\nexitcodes : 4", "[ -e 1 ] && exit 4; >1; exit 0", 4),
        ("autorestart : unexpected", "[ -e 1 ] && exit 0; >1; kill -TERM $$", 0),
        ("autorestart : unexpected\nalarm_interval : 60\nmax_tries : 1", "exit 6", 6),
        ("alarm_interval : 60\nmax_tries : 1", "exit 5", 5),
        ("alarm_interval : 60\nmax_tries : 1", "exit 0", 0),
        ("alarm_interval : 60\nmax_tries : 1", "kill -KILL $$", 137),
        ("killasgroup : yes\nautorestart : no", "sleep 86399 & exit 8", 8),
    ],
)
def test_the_exit_code_is_the_services(plain: Container, conf: str, words: str, code: int) -> None:
    plain.conf(f"[global]\n{conf}\n")
    assert ended(plain, "sh", "-c", words) == code


@pytest.mark.parametrize(
    "letters, words, code",
    [
        ("d", "exec sleep 86399", 143),
        ("d", "trap 'kill $!; exit 21' TERM; sleep 86399 & wait", 21),
        ("dx", "exec sleep 86399", 143),
        ("xk", "exec sleep 86399", 137),
        ("ok", "exec sleep 86399", 137),
        ("Rd", "exec sleep 86399", 143),
        ("o2", "trap 'kill $!; exit 22' USR2; sleep 86399 & wait", 22),
    ],
)
def test_after_letters(plain: Container, letters: str, words: str, code: int) -> None:
    assert ended(plain, "sh", "-c", f"echo ready; {words}", letters=letters) == code


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_after_a_signal(plain: Container, name: str) -> None:
    words = "trap 'kill $!; exit 23' TERM; echo ready; sleep 86399 & wait"
    process = plain.begin("--exit-with-service", "-u", "status/app", "sh", "-c", words)
    plain.wait_stdout("ready\n")
    os.kill(plain.supervisor, getattr(signal, f"SIG{name}"))
    assert process.wait(PATIENCE) == 23


def test_one_that_is_killed_because_it_does_not_end(plain: Container) -> None:
    plain.conf("[global]\nstopwaitsecs : 1\n")
    assert ended(plain, *DEAF, letters="d") == 137


@pytest.mark.parametrize("replaced", [False, True], ids=["", "replaced"])
def test_a_service_that_waits_for_its_next_start(plain: Container, replaced: bool) -> None:
    plain.conf("[global]\nrestart_delay : 1000\n")
    process = plain.begin("--exit-with-service", "-u", "status/app", "sh", "-c", "exit 6")
    wait_for("the delay", lambda: state(plain)["machine"] == "delay")
    if replaced:
        plain.control("e")
        plain.wait_log("replaced by the installed version")
    os.kill(plain.supervisor, signal.SIGTERM)
    assert process.wait(PATIENCE) == 6


def test_a_start_that_fails(plain: Container) -> None:
    plain.conf("[global]\nalarm_interval : 60\nmax_tries : 1\n")
    program = plain.folder / "program"
    shutil.copy("/bin/sleep", program)
    process = plain.begin("--exit-with-service", "-u", "status/app", "./program", "86399")
    program.unlink()
    plain.control("k")
    assert process.wait(PATIENCE) == 111
    assert "could not be started" in plain.warnings


def test_the_first_start_fails(plain: Container) -> None:
    process = plain.enter(SUPERVISE, "--foreground", "--exit-with-service", "-u", "status/app", "./no-such-program")
    assert process.wait(PATIENCE) == 111
    assert os.listdir(plain.folder) == []


def test_supervise_is_told_to_leave(plain: Container) -> None:
    process = plain.begin("--exit-with-service", "-u", "status/app", *SLEEP)
    os.kill(plain.supervisor, signal.SIGQUIT)
    assert process.wait(PATIENCE) == 0
    assert plain.inhabitants() == []


def test_a_service_that_is_restarted_is_no_end(plain: Container) -> None:
    process = plain.begin("--exit-with-service", "-u", "status/app", *SLEEP)
    for letters in "kR":
        pid = plain.pid
        plain.control(letters)
        plain.wait_new_pid(pid)
    assert process.poll() is None
    plain.conf("[global]\nautorestart : unexpected\nexitcodes : 0\n")
    plain.control("rk")
    pid = plain.wait_new_pid(plain.pid)
    plain.conf("[global]\nautorestart : never\n")
    plain.control("rk")
    assert process.wait(PATIENCE) == 137


def test_in_the_background(box: Box) -> None:
    """Nobody is told the exit code; it is in the state."""
    box.conf("[global]\nautorestart : unexpected\n")
    words = "echo ready; while [ ! -e go ]; do sleep 0.01; done; exit 0"
    box.start("sh", "-c", words, options=("--exit-with-service",))
    pid = box.pid
    box.control("k")
    box.wait_new_pid(pid)
    (box.folder / "go").touch()
    box.wait_gone()
    assert (box.pid, box.record.want) == (0, "up")
    assert state(box)["last_exit"]["code"] == 0
    # Nothing is in the way of the next.
    (box.folder / "go").unlink()
    assert box.start("sh", "-c", words, options=("--exit-with-service",))
    box.control("d")
    box.wait_gone()
    assert box.record.want == "down"


def test_the_help_says_it() -> None:
    done = subprocess.run([SUPERVISE, "--help"], capture_output=True, text=True, timeout=PATIENCE)
    assert re.search(r"^  --exit-with-service  \w", done.stdout, re.MULTILINE)


def test_a_container_in_the_place_of_the_host(plain: Container, box: Box) -> None:
    """The state is of another PID namespace: nobody can see whether the service still runs; one line says so."""
    pid = box.start(*SLEEP)
    kill_supervise(box)
    plain.enter(SUPERVISE, "--foreground", "-u", "status/app", *SLEEP)
    box.wait_log("service started", 2)
    assert box.warnings.count("state is of another PID namespace") == box.warnings.count("\n") == 1
    assert alive(pid) and box.pid != pid


def test_a_container_where_nothing_was_left(plain: Container) -> None:
    process = plain.begin("-u", "status/app", *SLEEP)
    plain.control("dx")
    process.wait()
    plain.begin("-u", "status/app", *SLEEP)
    plain.wait_log("service started", 2)
    assert "PID namespace" not in plain.warnings


# The image in docs/.

DOCS = ROOT / "docs"


def dockerfile(word: str) -> list[str]:
    """The words of an instruction of the Dockerfile, in its JSON form."""
    lines = (DOCS / "Dockerfile").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{word} ["))
    words: list[str] = json.loads(found.partition(" ")[2])
    return words


def test_what_the_image_runs_prints_to_the_containers_output(plain: Container) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root: the service of the image has a user")
    shutil.copy(DOCS / "container.conf", plain.folder / "supervise.conf")
    (plain.folder / "supervise.conf").chmod(0o644)
    for folder in (plain.folder, *plain.folder.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    program, *words = dockerfile("ENTRYPOINT")
    assert program == "supervise"
    words[words.index("-F") + 1] = "supervise.conf"
    command = "sh -c 'id -un; echo out; echo err >&2; exec sleep 86399'"
    logs = plain.folder / "logs"
    with open(logs, "ab") as output:
        args = plain.words(SUPERVISE, *words, command)
        process = subprocess.Popen(
            args, cwd=plain.folder, env=plain.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    plain.processes.append(process)
    plain.wait_log("service started")
    for count in (1, 2):
        wait_for("its output", lambda count=count: logs.read_text().count("err\n") == count)
        said = [line for line in logs.read_text().splitlines() if line[0] != "["]
        assert sorted(said) == sorted(["nobody", "out", "err"] * count)
        if count == 1:
            plain.control("k")
    assert inner(plain.supervisor) == 1
    os.kill(plain.supervisor, signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM  # the service's own end
    assert "[NOTICE]" in logs.read_text()
    assert not (plain.status / "__stdout").exists()


def test_the_command_of_the_image_is_one() -> None:
    (command,) = dockerfile("CMD")
    assert command.split()[0] == "python3"
    assert dockerfile("ENTRYPOINT")[-1] == "-f"


def test_the_image_with_an_engine() -> None:
    """Built and run, where there is an engine that has, or gets, the image that it begins with."""
    engine = next(
        (
            name
            for name in ("docker", "podman")
            if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True).returncode
        ),
        "",
    )
    if not engine:
        pytest.skip("no container engine runs here")
    name = f"supervise-test-{os.getpid()}"
    built = subprocess.run(
        [engine, "build", "-q", "-t", name, "-f", "docs/Dockerfile", "."], cwd=ROOT, capture_output=True, text=True
    )
    if built.returncode:
        pytest.skip(f"cannot be built here: {built.stderr.strip()[-200:]}")
    try:
        command = "sh -c 'echo out; echo err >&2; exec sleep 86399'"
        subprocess.run([engine, "run", "-d", "--rm", "--name", name, name, command], check=True, capture_output=True)

        def logs() -> str:
            done = subprocess.run([engine, "logs", name], capture_output=True, text=True)
            return done.stdout + done.stderr

        wait_for("its output", lambda: "out\n" in logs() and "err\n" in logs())
        subprocess.run([engine, "exec", name, "svok", "status/app"], check=True, capture_output=True)
        subprocess.run([engine, "stop", name], check=True, capture_output=True)
    finally:
        subprocess.run([engine, "rm", "-f", name], capture_output=True)
        subprocess.run([engine, "rmi", "-f", name], capture_output=True)
