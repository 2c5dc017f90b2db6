"""The private memory of supervises that were forked (supervise/fleet/nursery.py), beside those started by hand.

    .venv/bin/python bench/fork_memory.py [--services 1,20,100] [--kinds svall,nursery,plain,by hand]
        [--python PYTHON] [--site FOLDER]

`svall` is what users have: a configuration that defines the services, and `svall up` and `svall restart` where it is;
the others have none.  Of each number of services: the private memory of one supervise, in kB, as the mean and the most
of all, from /proc/PID/smaps_rollup: when it idles, when some letters were obeyed, and when its service has been
restarted.  `plain`
is a fork of a process that has loaded the same and does nothing else of what the nursery does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

PROGRAM = """
import gc, sys
gc.disable()
site, kind, root, count = sys.argv[1:5]
sys.path.append(site)
import posix as os
from supervise.fleet.nursery import Copy, Nursery
from supervise.protocol.options import Options, environment, set_apart
from supervise.supervisor.startup import Startup
from supervise.system.spawn import ignored_signals

env, apart = set_apart(environment())
ignored = ignored_signals()
starts = [Options(f"{root}/status/{number}", ["sleep", "86399"], f"{root}/none") for number in range(int(count))]
nursery = Nursery(env, ignored)
nursery.warm()
nursery.widen()
if kind == "nursery":
    problem = nursery.rehearse()
    if problem:
        sys.exit(problem)
    nursery.freeze()
    made = nursery.prepare_all(starts)
    for copy in nursery.fork(made):
        os.read(copy.report, 1)
        print(copy.pid, flush=True)
else:
    gc.freeze()
    for options in starts:
        pid = os.fork()
        if not pid:
            os.setsid()
            startup = Startup(options, dict(env), ignored)
            supervisor = startup.prepare() and startup.start()
            os._exit(supervisor.run() if supervisor else 111)
        print(pid, flush=True)
sys.stdin.read()
"""


class Folder:
    """Where the services of one run are."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="supervise-"))

    def clean(self) -> None:
        shutil.rmtree(self.root)

    def svall(self, python: str, site: str, *words: str) -> None:
        """Run svall where the configuration is."""
        program = f"import sys; sys.path.append({site!r})\nfrom supervise.programs.svall.main import main\nmain()"
        command = [python, "-I", "-S", "-c", program, *words]
        subprocess.run(command, cwd=self.root, check=True)

    def write(self, letters: str, count: int) -> None:
        for number in range(count):
            fd = os.open(self.root / f"status/{number}/control", os.O_WRONLY | os.O_NONBLOCK)
            os.write(fd, letters.encode())
            os.close(fd)

    def wait(self, text: str, count: int, times: int = 1) -> None:
        """Wait until all have logged this so many times."""
        for number in range(count):
            log = self.root / f"status/{number}/supervise.log"
            while not log.exists() or log.read_text().count(text) < times:
                time.sleep(0.02)


def private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def shown(pids: list[int]) -> str:
    found = [private(pid) for pid in pids]
    return f"{sum(found) // len(found)} ({max(found)})"


def holder(folder: Folder, number: int) -> int:
    state = (folder.root / f"status/{number}/state").read_text()
    return int(state.partition('"supervise_pid": ')[2].partition(",")[0])


def row(kind: str, count: int, python: str, site: str) -> str:
    """One row of the table."""
    folder = Folder()
    process = None
    try:
        if kind == "svall":
            text = "".join(f"[{number}]\ncommand : sleep 86399\n" for number in range(count))
            (folder.root / "supervise.conf").write_text(text)
            folder.svall(python, site, "up")
            pids = [holder(folder, number) for number in range(count)]
        elif kind == "by hand":
            for number in range(count):
                words = ["-u", f"{folder.root}/status/{number}", "-F", f"{folder.root}/none", "sleep", "86399"]
                options = [sys.executable, "-m", "supervise", *words]
                subprocess.run(options, check=True, stderr=subprocess.DEVNULL)
            pids = [holder(folder, number) for number in range(count)]
        else:
            words = [python, "-I", "-S", "-c", PROGRAM, site, kind, str(folder.root), str(count)]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdout
            pids = [int(process.stdout.readline()) for _ in range(count)]
        folder.wait("service started", count)
        time.sleep(2.5)  # what is looked at a second after the start
        figures = [shown(pids)]
        for letter in "chc":
            folder.write("c" if letter == "h" else letter, count)
            time.sleep(0.1)
        folder.wait("command c", count)
        figures.append(shown(pids))
        if kind == "svall":
            folder.svall(python, site, "restart")
        else:
            folder.write("t", count)
        folder.wait("service started", count, 2)
        time.sleep(2.5)
        figures.append(shown(pids))
        folder.write("dx", count)
        folder.wait("supervise ends", count)
        return f"| {count} | {kind} | {' | '.join(figures)} |"
    finally:
        if process:
            process.communicate()
        folder.clean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", default="1,20,100")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--site", default=sysconfig.get_paths()["purelib"], help="where the package is installed")
    parser.add_argument("--kinds", default="svall,nursery,plain,by hand")
    asked = parser.parse_args()
    print("| services | supervise | idle, kB | after letters | after a restart |")
    print("| --- | --- | --- | --- | --- |")
    for count in asked.services.split(","):
        for kind in asked.kinds.split(","):
            if kind != "by hand" or int(count) == 1:
                print(row(kind, int(count), asked.python, asked.site), flush=True)


if __name__ == "__main__":
    main()
