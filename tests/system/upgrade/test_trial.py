"""The trial of an upgrade: what is missing in the new version is noticed, and nothing is touched (trial.py)."""

from __future__ import annotations

import ast
import os
import random
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from conftest import wait_for
from heirs import NOT_REPLACED, Private, start, state

from supervise.protocol.options import Options
from supervise.supervisor import preloaded
from supervise.supervisor.handoff import options_fd

LIST = """
from supervise.supervisor import symbol_check, preloaded
loaded = symbol_check.load_all("supervise.supervisor.startup", *preloaded.NAMES)
print(*(module.__name__.partition(".")[2] for module in loaded))
"""
FOR_HELPERS = ("helpers.alarm_helper", "helpers.inotify_helper", "alarms.mail")
NOT_RESIDENT = ("supervisor.symbol_check", "supervisor.trial")  # they are needed in the trial alone


@cache
def modules() -> list[str]:
    """Those that are loaded in a trial; asked for in another process, for this one has loaded what other tests need."""
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True)
    return sorted(done.stdout.split())


def trial(private: Private, package: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Try a package as a running supervise would that wrote the state."""
    descriptors = {"lock": 5, "control": 6, "ok": 7, "directory": 3, "service": 8, "notify": -1, "notification": -1}
    fields = {
        **state(private),
        **{"script_pid": 0, "alarm_pids": [], "mailer_missing": False, "child": False},
        "descriptors": descriptors,
    }
    options = Options("status/app", ["sleep", "86399"]).with_handover(fields, True)
    daemon = (package or private.package) / "daemon.py"
    task = options_fd(options)
    try:
        words = [sys.executable, "-B", "-S", "-E", str(daemon)]
        return subprocess.run(words, stdin=task, cwd=private.folder, capture_output=True, text=True, timeout=60)
    finally:
        os.close(task)


def assert_refused(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode not in (0, -9), said
    assert said in done.stderr.splitlines()[-1], (said, done.stderr)


# The list of modules.


def imported(package: Path, name: str) -> set[str]:
    """The modules of this package that a file imports anywhere, but for type checkers."""
    tree = ast.parse(module(package, name).read_text())
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "supervise":
            where = node.module.partition(".")[2]
            found.add(where)
            found.update(f"{where}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return {name for name in found if module(package, name).is_file()}


def module(package: Path, name: str) -> Path:
    """The file of a module."""
    return package.joinpath(*name.split(".")).with_suffix(".py")


def test_every_module_that_the_process_that_stays_can_import_is_loaded() -> None:
    """By the source: from startup.py on, whatever any function imports."""
    package = Path(preloaded.__file__).parent.parent
    names = ["supervisor.startup", *(name.partition(".")[2] for name in preloaded.NAMES)]
    pending, found = list(names), set(names)
    while pending:
        new = imported(package, pending.pop()) - found
        found |= new
        pending += new
    assert found == {name for name in modules() if module(package, name).is_file()}
    needed = "alarms.alarm supervisor.conf_follower runtime.inotify_lease supervisor.upgrade supervisor.takeover"
    assert {*needed.split(), *(f"service.{name}" for name in ("readiness", "successor", "health_check"))} <= found


# What is noticed.


def test_a_sound_version_passes_and_touches_nothing(private: Private) -> None:
    private.conf("[global]\nnotify : yes\npidfile : pid\ncheck_command : true\nwatchdog_secs : 100\n")
    private.env["NOTIFY_SOCKET"] = "/nowhere"
    start(private)

    def looks() -> dict[str, tuple[int, bytes]]:
        files = [entry for entry in private.status.iterdir() if entry.is_file()]
        return {entry.name: (entry.stat().st_mtime_ns, entry.read_bytes()) for entry in files}

    wait_for("the state", lambda: state(private)["service"])
    before = looks()
    done = trial(private)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert looks() == before


def test_each_module_is_needed(private: Private, tmp_path: Path) -> None:
    """One that is missing, or does not parse, fails the trial and is named; a sample, or with EVERY_MODULE all."""
    start(private, "sleep", "86399")

    def broken(name: str) -> None:
        package = tmp_path / f"without-{name}" / "supervise"
        for entry in (*private.package.rglob("*.py"), *private.package.rglob("__pycache__")):
            link = package / entry.relative_to(private.package)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(entry)
        (package / "daemon.py").unlink()
        (package / "daemon.py").write_text((private.package / "daemon.py").read_text())
        path, last_name = module(package, name), name.rpartition(".")[2]
        path.unlink()
        if random.Random(name).random() < 0.5:
            said = f"supervise.{name}" if name not in FOR_HELPERS else last_name
        else:
            path.write_text("def main( -> int:\n")
            said = "SyntaxError"
        done = trial(private, package)
        assert done.returncode not in (0, -9), name
        last = done.stderr.splitlines()[-1]
        assert said in last or f"'{last_name}' from" in last or f"has no {last_name}," in last, (name, last)

    named = ["alarms.alarm", "supervisor.conf_follower", "runtime.inotify_lease", "service.health_check"]
    named += ["supervisor.upgrade", "supervisor.takeover", *FOR_HELPERS]
    files = [name for name in modules() if module(private.package, name).is_file()]
    wanted = files if os.environ.get("EVERY_MODULE") else random.Random(9).sample(files, 4)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(broken, {*named, *wanted}))


RENAMED = {
    "service.health_check": ("def readable(self", "self.readable"),
    "alarms.alarm": ("def give(", "self.alarms.give"),
    "service.spawn_as": ("def spawn_as(", "spawn_as"),
    "service.successor": ("def reaped(self", "self.parts.successor.reaped"),
    "service.readiness": ("def close_pipe(self", "close_pipe"),
    "runtime.path_follower": ("def rewatch(self", "rewatch"),
    "supervisor.conf_follower": ("def read(self) -> Config", "follower.read"),
    "supervisor.loop": ("def _children(self", "self._children"),
    "supervisor.guardian": ("def taken(", "taken"),
    "machine.on_liveness": ("def overdue(", "overdue"),
    "machine.situation": ("def rest(self", "machine.rest"),
    "runtime.inotify_lease": ("def drain(self", "drain"),
    "runtime.status_writer": ("def move(self", "move"),
}


def test_a_renamed_function_is_noticed(private: Private) -> None:
    start(private, "sleep", "86399")
    for module, (name, said) in RENAMED.items():
        private.change(module, name, name.replace("def ", "def new_"))
        assert_refused(trial(private), said)
        private.restore(module)


def test_most_renamed_functions_are_noticed(private: Private) -> None:
    """A sample of all functions that anything else of the package calls; `e` with a broken one changes nothing."""
    start(private, "sleep", "86399")
    names = [name for name in modules() if name not in NOT_RESIDENT and private.path(name).exists()]
    sources = {name: private.path(name).read_text() for name in names}
    everything = "\n".join(sources.values())
    words, defined = Counter(re.findall(r"\w+", everything)), Counter(re.findall(r"def (\w+)\(", everything))
    found = []
    for module, text in sources.items():
        for match in re.finditer(r"^ *def ((?!__)\w+)\(", text, re.M):
            name = match.group(1)
            if words[name] > 1 and defined[name] == 1:
                found.append((module, name))
    assert len(found) > 200
    chosen = random.Random(9).sample(found, int(os.environ.get("RENAMED", "6")))
    missed = []
    for module, name in chosen:
        private.change(module, f"def {name}(", f"def new_{name}(")
        if trial(private).returncode == 0:
            missed.append(f"{module}.{name}")
        private.restore(module)
    assert len(missed) <= max(1, len(chosen) / 10), missed
    print(f"{len(chosen) - len(missed)} of {len(chosen)} renamed functions noticed; not: {missed}")


def test_what_is_wrong_is_one_line(private: Private) -> None:
    start(private)
    private.change("alarms.alarm", "def send(", "def new_send(")
    private.control("e")
    warned = private.wait_warning(NOT_REPLACED)
    assert len(warned.splitlines()) == 1
    assert "its trial exited with status 1: supervise.alarms.alarm:" in warned
    assert "uses send, which is not there" in warned


def test_the_configuration_is_read_and_the_state_understood(private: Private) -> None:
    private.conf("[global]\nalarm_interval : 60\n")
    start(private)
    broken = "def read_file(path):\n    raise ValueError('no such key')\n\n\ndef _read_file("
    private.change("config.file", "def read_file(", broken)
    assert_refused(trial(private), "ValueError: no such key")
    private.restore("config.file")
    private.change("protocol.state", "VERSION = 1", "VERSION = 0")
    assert_refused(trial(private), "version 1, this supervise knows version 0")
