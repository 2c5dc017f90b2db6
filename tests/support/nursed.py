"""A nursery in a process of its own, which does what the test asks: prepare, fork, look at itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from box import Box

SITE = sysconfig.get_paths()["purelib"]  # where the package is installed

# One line of JSON is a question, and one the answer.  What it says is on its standard error.
PROGRAM = """
import gc, sys
gc.disable()
sys.path.append(sys.argv[1])
import posix as os
from _json import encode_basestring_ascii as quoted
from supervise.fleet.nursery import Copy, Nursery
from supervise.protocol.options import Options, environment, set_apart
from supervise.runtime import inotify_lease
from supervise.system.spawn import HANDLED, ignored_signals
import _signal

env, apart = set_apart(environment())
nursery = Nursery(env, ignored_signals())
nursery.warm()
prepared = {}
copies = {}

def rehearse():
    return nursery.rehearse()

def freeze():
    nursery.freeze()

def prepare(path, *command):
    made = nursery.prepare(Options(path, list(command), variables=apart))
    if made:
        prepared[path] = made
    return bool(made)

def fork(*paths):
    found = nursery.fork([prepared.pop(path) for path in paths])
    answer = []
    for path, one in zip(paths, found):
        if isinstance(one, Copy):
            copies[path] = one
            answer.append(one.pid)
        else:
            answer.append(one.strerror)
    return answer

def outcome(path):
    one = copies[path]
    code = os.read(one.report, 1)
    said = b""
    while True:
        part = os.read(one.said, 65536)
        if not part:
            break
        said += part
    os.close(one.report)
    os.close(one.said)
    return [code[0] if code else -1, said.decode("utf-8", "replace")]

def limit(number, soft):
    import resource
    resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))

def inside():
    handlers = [_signal.getsignal(number) is _signal.SIG_DFL or repr(_signal.getsignal(number)) for number in HANDLED]
    fds = sorted(name for name in os.listdir("/proc/self/fd") if os.path_exists(name))
    return [fds, handlers, sys.argv, inotify_lease.Watch.server.open]

def server():
    return inotify_lease.Watch.server.pid

def reap():
    return os.waitpid(-1, 0)[0]

def exists(name):
    try:
        os.stat("/proc/self/fd/" + name)
    except OSError:
        return False
    return True

os.path_exists = exists

def said(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(said, value)) + "]"
    return quoted(value) if isinstance(value, str) else repr(value)

pending = b""
while True:
    while b"\\n" not in pending:
        part = os.read(0, 65536)
        if not part:
            os._exit(0)
        pending += part
    line, _, pending = pending.partition(b"\\n")
    words = line.decode("utf-8", "surrogateescape").split("\\0")
    call, words = globals()[words[0]], words[1:]
    try:
        answer = call(*(int(word) if word.isdigit() and call is limit else word for word in words))
    except Exception as why:
        answer = f"{type(why).__name__}: {why}"
    os.write(1, (said(answer) + "\\n").encode())
"""


class Nursed:
    """The nursery of one box; `ask` it."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.errors = box.folder / "nursery.errors"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", PROGRAM, SITE, " " * 4096],
                cwd=box.folder,
                env=box.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.pid = self.process.pid

    def ask(self, *words: str) -> Any:
        """Have a function of it called, with these words."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(b"\0".join(os.fsencode(word) for word in words) + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.said
        return json.loads(line)

    def start(self, *command: str) -> int:
        """Prepare and fork the supervise of the box; its pid."""
        path = f"status/{self.box.name}"
        assert self.ask("prepare", path, *command) is True, self.said
        (pid,) = self.ask("fork", path)
        assert self.ask("outcome", path) == [0, ""]
        assert isinstance(pid, int)
        return pid

    @property
    def said(self) -> str:
        """What it has said to its standard error."""
        return self.errors.read_text()

    def kill(self) -> None:
        """Kill it at once, as the kernel does that has no memory left."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def nursed(box: Box) -> Iterator[Nursed]:
    made = Nursed(box)
    try:
        yield made
    finally:
        made.end()
