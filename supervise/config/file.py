"""The configuration file: reading it, noticing that it changed, and what to watch for that.

The path may lead through symlinks, any part of it may be missing, and any part of it may be replaced; so what
is watched is not one file but a plan: every directory on the way, and the file at its end.
"""

from __future__ import annotations

import errno
import posix as os
import stat
import sys

from supervise.config.config import PLACED, RESTRICTING, Config
from supervise.config.config import SIZE_LIMIT as SIZE_LIMIT
from supervise.config.restrictions import copy, holds, keep, names_something, plainly_harmless, stays
from supervise.protocol.filenames import dirname, in_file, join
from supervise.protocol.paths import plain
from supervise.protocol.text import shown_name
from supervise.system.installed import replaced
from supervise.system.trust import Untrusted, open_file, signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.config.expand import Names
    from supervise.config.sections import Problem, Problems

    Watched = tuple[str, str, int, int]  # path, kind, device, inode

# What a watch is for.
DIR = "dir"  # a directory on the way: is it moved or deleted?
NAMES = "names"  # the same, and names in it matter: a symlink, the file itself, something missing
WRITES = "writes"  # the same, and so do writes to files in it
FILE = "file"  # the file: is it written, is its mode changed?
LINKS = "links"  # a file that is open here: does it lose its name?
_STRENGTH = (LINKS, DIR, FILE, NAMES, WRITES)  # each also tells what those before it do, of the same file or directory

_MAX_LINKS = 40  # as the kernel's own limit
# Why a file cannot be read that will not pass by itself; for other reasons it is tried again.
_LASTING = (
    *(errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EINVAL, errno.ENXIO, errno.ENODEV),
)


class ConfFile:
    """The configuration file of one service: its `path`, and whether the user `named` it.

    `text` is what it says, where the path is that of a descriptor, which cannot be read again; else None.
    """

    def __init__(self, path: str, name: str, named: bool, text: bytes | None = None) -> None:
        self.path = path
        self.shown_path = shown_name(path)
        self._text = text
        self._name = in_file(name)
        self.named = named
        self.present = False
        self.silent = False  # there is none, or it is empty
        self.held = False  # what restricts the service is not what the file says, but what was in force
        self.failing = False  # it could not be read, and that may pass
        self.problems: list[str] = []  # of the last reading, and what it leaves as it was
        self.unsure = False  # whether there is what it names outside of the file is not known yet
        self.before: Config | None = None  # what was in force until it was read, while that is so
        self.awaited = False  # somebody waits for it to be known
        self.groups: dict[str, list[int]] | None = None  # as protocol/state.py has them
        self._places: dict[str, int] = {}  # key -> line, of those whose values may turn out later to be of no use
        self._seen: tuple[object, ...] | None = None

    def read(self, previous: Config | None = None) -> tuple[Config, list[str]]:
        """Read the configuration, and every problem as `FILE:LINE: what is wrong`.  Never raises.

        A file that is absent means no policy.  One that cannot be read, or is not believed, leaves `previous` in force,
        and where there is none, blocks.  What restricts the service stays as it was where the file is absent, empty, or
        blocks.
        """
        config, problems = self._read(previous)
        self.problems = problems
        if self.silent and self.named and not self.present:
            self.problems = [f"{self.shown_path} does not exist: no policy"]
        elif self.held and not problems:
            self.problems = [f"{self.shown_path}: {stays(config)}"]
        return config.frozen(), problems

    def _read(self, previous: Config | None) -> tuple[Config, list[str]]:
        if self.before and previous:
            previous = keep(copy(previous), self.before)  # what was not sure yet is nothing to go back to
        self.before, self.unsure = None, False
        self.held = self.failing = self.silent = False
        try:
            data, cut, found = self._load()
            parse = parser()
        except FileNotFoundError:
            self.present, self.silent, self._seen = False, True, None
            return self._keep(Config(), previous), []
        except Replaced as why:
            self.present, self._seen = True, self._signature(found)
            problem = f"{self.shown_path}: cannot be read: {why}"
            config = copy(previous or Config())
            if previous is None or cut or not plainly_harmless(data):
                config.blocked = problem
            self.held = holds(config)
            return config, [problem]
        except (Untrusted, OSError, ImportError, MemoryError) as why:
            self.present, self._seen = True, self._look()
            self.failing = not isinstance(why, OSError) or why.errno not in _LASTING
            said = "not believed" if isinstance(why, Untrusted) else "cannot be read"
            problem = f"{self.shown_path}: {said}: {why.strerror if isinstance(why, OSError) else why}"
            if previous is None:
                previous = Config()
                previous.blocked = problem
            self.held = holds(previous)
            return previous, [problem]
        self.present, self._seen = True, self._signature(found)
        names = names_for(self.path if self._text is None else "-", self._name)
        harmless = False
        if cut and previous is None:  # a start: later, nothing is imported, and what is in force stays
            from supervise.config.oversize import harmless as looked_through

            harmless = looked_through(self.path, data, found)
        config, problems = parse(data, self._name, previous, cut, names=names, harmless=harmless)
        self._places = problems.places
        if problems.blocking:
            self.held = previous is not None
            if previous is None or previous.blocked:
                config.blocked = self._at(problems.blocking[0])
        elif not data and (stat.S_ISREG(found.st_mode) or self._text is not None):
            self.silent = True
            config = self._keep(config, previous)
        if not self.held and not config.blocked and names_something(config):
            self.before, self.unsure = previous, True
        return config, problems.told(self._at)

    def _load(self) -> tuple[bytes, bool, os.stat_result]:
        """What governs the service, whether that is cut short, and the stat of the file.  Raises as `read_file`."""
        if self._text is None:
            return read_file(self.path)
        return self._text, False, os.stat("/")  # which is never compared

    def _signature(self, found: os.stat_result) -> tuple[object, ...]:
        """What `_look` gives as long as the file is the one that was loaded."""
        return signature(found)

    def _at(self, problem: Problem) -> str:
        return problem.at(self.shown_path)

    def _keep(self, config: Config, previous: Config | None) -> Config:
        if previous is None:
            return config
        self.held = holds(previous)
        return keep(config, previous)

    def where(self, key: str) -> str:
        """`FILE:LINE` of a key, `FILE` if the file does not have it.  A group may be the one in `user`."""
        return self._place(self._places.get(key) or self._places.get("user" if key == "group" else "", 0))

    def _place(self, line: int) -> str:
        return f"{self.path}:{line}" if line else self.path

    def blamed(self, failure: str) -> str:
        """Why a start has failed, with the place of the key that it names in front, if it names one."""
        words = failure.split()[:4]
        words = [word.rstrip(":") for word in words[2:]] if words[:1] == ["cannot"] else words[:1]
        key = next((word for word in words if word in RESTRICTING or word in PLACED), "")
        return f"{self.where(key)}: {failure}" if key and self._places else failure

    def changed(self) -> bool:
        """Whether the file was replaced or written since it was read."""
        return self._text is None and self._look() != self._seen

    def forget(self) -> None:
        """Treat the file as changed, so that it is read again."""
        self._seen = ()

    def _look(self) -> tuple[object, ...] | None:
        try:
            return signature(os.stat(self.path))
        except OSError:
            return None

    def plan(self) -> tuple[Watched, ...]:
        """The watches that notice a change of the file, as its path leads now.  Equal plans need the same watches."""
        return watch_plan(self.path) if self._text is None else ()


class Replaced(Exception):
    """The parser is not loaded, and the installed one is of another version."""


def parser() -> Callable[..., tuple[Config, Problems]]:
    """Load parser.parse, which is in memory only where there has been something to read.

    Raises OSError, ImportError or Replaced.
    """
    if "supervise.config.parser" not in sys.modules and replaced():
        raise Replaced("another version of supervise is installed: upgrade this one (letter e) to read it")
    from supervise.config.parser import parse

    return parse


def names_for(path: str, service: str) -> Names:
    """The names that the configuration at `path` can expand, for the service `service`, as the file has that."""
    try:
        here = dirname(plain(join(os.getcwd(), path)))
    except OSError:
        here = dirname(plain(path)) if path.startswith("/") else ""
    here = in_file(here)
    from supervise.config.expand import Names  # as parser()

    return Names(here, service, os.uname().nodename, os.environ)


def open_configuration(path: str) -> int:
    """Open a configuration that is trusted; never waits, whatever kind of file it is.

    Raises Untrusted, OSError.
    """
    return open_file(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)


def read_file(path: str) -> tuple[bytes, bool, os.stat_result]:
    """Read the first SIZE_LIMIT bytes, whether there is more, and the stat.  Raises Untrusted, OSError."""
    return read_from(open_configuration(path))


def read_from(fd: int, limit: int = SIZE_LIMIT) -> tuple[bytes, bool, os.stat_result]:
    """Read the same from a descriptor, which is closed; up to another limit of bytes.  Raises OSError.

    A FIFO is not read: what was in it would be gone the next time.
    """
    try:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISFIFO(found.st_mode):
            raise OSError(errno.EINVAL, "Is a FIFO")
        chunks, size = [], 0
        while size <= limit:
            chunk = os.read(fd, limit + 1 - size)
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
        data = b"".join(chunks)
        return data[:limit], len(data) > limit, found
    finally:
        os.close(fd)


def joined(*plans: tuple[Watched, ...]) -> tuple[Watched, ...]:
    """Join plans to one, without duplicates."""
    plan: dict[str, Watched] = {}
    for step in (step for steps in plans for step in steps):
        known = plan.get(step[0])
        if known is None or _STRENGTH.index(known[1]) < _STRENGTH.index(step[1]):
            plan[step[0]] = step
    return tuple(sorted(plan.values()))


def watch_plan(path: str, through_directory: bool = False, directory: bool = False) -> tuple[Watched, ...]:
    """The watches that notice a change of what a path leads to, one for each step of the kernel's way.

    `directory`: it leads to a directory, of which only matters where it is.

    `through_directory`: the file is seen through the directory that it is in.  So the plan stays the same while the
    file is made, written, replaced and removed, and what happens to it is never missed while watches are being set.
    """
    plan: dict[str, tuple[str, int, int]] = {}

    def note(where: str, kind: str, found: os.stat_result | None = None) -> None:
        known = plan.get(where)
        if known and (kind == DIR or known[0] == WRITES):
            return
        try:
            found = found or os.lstat(where)
            plan[where] = (kind, found.st_dev, found.st_ino)
        except OSError:
            pass

    try:
        base = os.getcwd()
    except OSError:
        base = "/"
    current, links = "/", 0
    pending = join(base, path).split("/")
    while pending:
        part = pending.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            current = dirname(current)
            continue
        step = join(current, part)
        last = all(rest in ("", ".") for rest in pending)
        names = WRITES if last and through_directory else NAMES
        try:
            found = os.lstat(step)
        except OSError:
            note(current, names)
            break
        if stat.S_ISLNK(found.st_mode):
            note(current, names)
            links += 1
            try:
                target = os.readlink(step)
            except OSError:
                break
            if links > _MAX_LINKS:
                break
            pending = target.split("/") + pending
            current = "/" if target.startswith("/") else current
        elif directory or not last:
            note(step, DIR, found)
            current = step
        else:
            note(current, names)
            if not through_directory:
                note(step, FILE, found)
            break
    return tuple((where, kind, dev, ino) for where, (kind, dev, ino) in sorted(plan.items()))
