"""The status directory: the only module that knows the names in it.

Everything is opened relative to one directory descriptor, without following a symlink in the last
component, and checked to be of the right kind after it was opened: whoever may write in the directory can
plant what he likes, and reaches nothing outside of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

LOCK, CONTROL, OK = "lock", "control", "ok"
STATUS, STATE = "status", "state"
NOTIFY = "notify"
_READ_LIMIT = (1 << 20) + 1  # bytes
_NEW = ".new"  # what these two are written as before they are renamed
STDOUT, STDERR = "__stdout", "__stderr"
LOG, LOG_WF = "supervise.log", "supervise.log.wf"

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class StatusDirError(Exception):
    """The system refuses, or the directory holds something that it should not; the message says what."""


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symlink",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def close(fd: int) -> None:
    """Close a descriptor, which it is then whatever close(2) says: no reason to give up what it was for."""
    try:
        os.close(fd)
    except OSError:
        pass


class Kept:
    """The descriptors that last as long as this supervise does: the lock and the two FIFOs."""

    __slots__ = ("lock", "control", "ok")

    def __init__(self, lock: int, control: int, ok: int) -> None:
        self.lock = lock
        self.control = control
        self.ok = ok

    def numbers(self) -> dict[str, int]:
        """Each by its name."""
        return {name: getattr(self, name) for name in self.__slots__}


class StatusDir:
    """An open status directory.  `path` is what the user called it, `fd` stays open for its life."""

    def __init__(self, path: str) -> None:
        """Open the directory, making what is missing of the path.  Raises StatusDirError."""
        self._prepare(path)
        try:
            self._make_dirs()
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as why:
            self._remove_dirs()
            raise StatusDirError(f"cannot open {path}: {why.strerror}") from None
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd, effective_ids=True):
            raise self._refused("write in", ".", OSError(errno.EACCES, os.strerror(errno.EACCES)))

    def _prepare(self, path: str) -> None:
        self.path = path
        self._made_dirs: list[str] = []
        self._made_files: list[str] = []
        self._found: dict[str, bytes | None] = {}  # the record and the state as they were
        self._starting = True

    @classmethod
    def attach(cls, path: str, fd: int) -> StatusDir:
        """A status directory that another process has opened: `fd` is its descriptor."""
        directory = cls.__new__(cls)
        directory._prepare(path)
        directory.fd = fd
        return directory

    def _make_dirs(self) -> None:
        missing = []
        path = self.path
        while path and not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            try:
                os.mkdir(path, 0o700)
                self._made_dirs.append(path)
            except FileExistsError:
                # Somebody else was faster, or it is a file, which opening it will tell.
                pass

    def _refused(self, what: str, name: str, why: OSError) -> StatusDirError:
        path = self.path if name == "." else f"{self.path}/{name}"
        return StatusDirError(f"cannot {what} {path}: {why.strerror}")

    def _open(self, name: str, flags: int, right: Callable[[int], bool], what: str, mode: int = 0o600) -> int:
        """Open `name`, which must be of the kind that `right` knows.  Raises StatusDirError."""
        try:
            fd = os.open(name, flags | _SAFE, mode, dir_fd=self.fd)
        except OSError as why:
            if why.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                try:
                    found = _kind(os.lstat(name, dir_fd=self.fd).st_mode)
                except OSError:
                    found = "gone"
                raise StatusDirError(f"cannot use {self.path}/{name}: is {found}, not {what}") from None
            raise self._refused("open", name, why) from None
        try:
            found_mode = os.fstat(fd).st_mode
        except OSError as why:
            close(fd)
            raise self._refused("look at", name, why) from None
        if not right(found_mode):
            close(fd)
            raise StatusDirError(f"cannot use {self.path}/{name}: is {_kind(found_mode)}, not {what}")
        return fd

    def identity(self) -> dict[str, int]:
        """What tells the directory from a copy of it."""
        found = os.fstat(self.fd)
        return {"device": found.st_dev, "inode": found.st_ino}

    def is_at(self, path: bytes) -> bool:
        """Whether a path leads to this directory."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self.fd))
        except (OSError, ValueError):
            return False

    # The lock.

    def lock(self) -> int:
        """Take the lock; it lasts as long as the descriptor.  Raises StatusDirError: held by pid N."""
        while True:
            new = not self.has(LOCK)
            fd = self._open(LOCK, os.O_RDWR | os.O_CREAT, stat.S_ISREG, "a regular file")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as why:
                by = f"held by pid {_holder(fd)}" if why.errno == errno.EWOULDBLOCK else why.strerror
                os.close(fd)
                raise StatusDirError(f"cannot lock {self.path}/{LOCK}: {by}") from None
            # A supervise that could not start removes the lock file that it made: ours may be that one.
            if self._is_current(fd):
                break
            os.close(fd)
        if new:
            self._made_files.append(LOCK)
        return fd

    def has(self, name: str) -> bool:
        """Whether there is anything by that name."""
        try:
            os.lstat(name, dir_fd=self.fd)
        except OSError:
            return False
        return True

    def _is_current(self, fd: int) -> bool:
        try:
            named = os.stat(LOCK, dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(named, os.fstat(fd))

    # The FIFOs.

    def open_fifos(self) -> tuple[int, int]:
        """Make and open `control` and `ok`; only under the lock.  Raises StatusDirError.

        `control` is opened for both reading and writing, so that it never ends; `ok` only for reading, so
        that opening it for writing tells whether a supervise is alive.
        """
        return self._fifo(CONTROL, os.O_RDWR), self._fifo(OK, os.O_RDONLY)

    def _fifo(self, name: str, flags: int) -> int:
        if not self.has(name):
            try:
                os.mkfifo(name, 0o600, dir_fd=self.fd)
            except OSError as why:
                raise self._refused("make", name, why) from None
            self._made_files.append(name)
        fd = self._open(name, flags, stat.S_ISFIFO, "a FIFO")
        try:
            os.fchmod(fd, 0o600)
        except OSError as why:
            os.close(fd)
            raise self._refused("set the mode of", name, why) from None
        return fd

    # The socket that the service tells its state through.

    def bind_notify(self, bind: Callable[[str], None]) -> None:
        """Have a socket bound to `notify`, mode 0600; only under the lock.  Raises StatusDirError.

        `bind` gets a path that is short enough for a socket's address whatever the directory is called.
        """
        self.remove_notify()
        mask = os.umask(0o177)  # it is what the kernel takes the mode from, and no moment with another mode is left
        try:
            bind(f"/proc/self/fd/{self.fd}/{NOTIFY}")
        except OSError as why:
            raise self._refused("make", NOTIFY, why) from None
        finally:
            os.umask(mask)
        if self._starting:
            self._made_files.append(NOTIFY)

    def remove_notify(self) -> None:
        """Remove the socket, which a killed supervise leaves behind; only under the lock.  Raises StatusDirError."""
        try:
            mode = os.lstat(NOTIFY, dir_fd=self.fd).st_mode
            if not stat.S_ISSOCK(mode):
                raise StatusDirError(f"cannot use {self.path}/{NOTIFY}: is {_kind(mode)}, not a socket")
            os.unlink(NOTIFY, dir_fd=self.fd)
        except FileNotFoundError:
            pass
        except OSError as why:
            raise self._refused("remove", NOTIFY, why) from None

    # The record and the state.

    def replace(self, name: str, data: bytes) -> None:
        """Replace `status` or `state` as a whole.  Raises OSError, with the last good one still in place."""
        if self._starting and name not in self._found:
            try:
                self._found[name] = self.read(name)
            except (StatusDirError, OSError):
                pass  # nothing that would be worth restoring
        try:
            fd = self._create(name + _NEW)
            try:
                written = os.write(fd, data)
            finally:
                close(fd)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.rename(name + _NEW, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            try:
                os.unlink(name + _NEW, dir_fd=self.fd)
            except OSError:
                pass
            raise

    def read(self, name: str) -> bytes | None:
        """The first megabyte of `status` or `state`; None if there is none.  Raises StatusDirError, OSError."""
        if not self.has(name):
            return None
        fd = self._open(name, os.O_RDONLY, stat.S_ISREG, "a regular file")
        try:
            return os.read(fd, _READ_LIMIT)
        finally:
            close(fd)

    def _create(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
        try:
            return os.open(name, flags, 0o644, dir_fd=self.fd)
        except FileExistsError:
            # Left over from a supervise that was killed, or planted.
            os.unlink(name, dir_fd=self.fd)
            return os.open(name, flags, 0o644, dir_fd=self.fd)

    # What the service prints, and what supervise has to say.

    def open_output(self, name: str) -> int:
        """Open `__stdout` or `__stderr` for the service, to append.  Raises StatusDirError, which says why."""
        if self._starting and not self.has(name):
            self._made_files.append(name)
        fd = self._open(name, _APPEND, stat.S_ISREG, "a regular file", 0o644)
        try:
            os.set_blocking(fd, True)
        except OSError as why:
            close(fd)
            raise self._refused("use", name, why) from None
        return fd

    def output(self, name: str) -> tuple[str, int, int]:
        """The same for open(2) in the process that is to become the service: path, flags, mode.

        Four system calls less on the way to a restart.  What is not a file, but can be opened, is not noticed;
        it cannot make the service wait, and nothing outside of the directory is reached.
        """
        # By the descriptor, which is there until the program is executed: the path may lead elsewhere by then.
        return f"/proc/self/fd/{self.fd}/{name}", _APPEND | _SAFE & ~os.O_CLOEXEC, 0o644

    def append(self, name: str, text: bytes) -> int:
        """Add lines to one of the logs, in one write: how many bytes of them.  Raises OSError or StatusDirError."""
        if self._starting and not self.has(name):
            self._made_files.append(name)
        fd = self._open(name, _APPEND, stat.S_ISREG, "a regular file", 0o644)
        try:
            return os.write(fd, text)
        finally:
            close(fd)

    # A start that failed.

    def keep(self) -> None:
        """The service runs: what was made stays."""
        self._starting = False
        self._made_dirs.clear()
        self._made_files.clear()

    def undo(self) -> None:
        """The start failed: remove what this supervise made, and nothing else.  Only under the lock."""
        names = [*self._made_files, *(name for name, data in self._found.items() if data is None)]
        self._starting = False
        for name, data in self._found.items():
            if data is not None:
                try:
                    self.replace(name, data)
                except OSError:
                    pass
        if self._made_dirs and self._made_dirs[-1] == self.path:
            names = [STDOUT, STDERR, LOG, LOG_WF, STATUS, STATE, NOTIFY, CONTROL, OK, LOCK]
        for name in names:
            try:
                os.unlink(name, dir_fd=self.fd)
            except OSError:
                pass
        self._remove_dirs()

    def _remove_dirs(self) -> None:
        for path in reversed(self._made_dirs):
            try:
                os.rmdir(path)
            except OSError:
                break
        self._made_dirs.clear()


def _holder(fd: int) -> str:
    """Who holds the flock on the file, as the kernel lists it; only asked for when a start is refused."""
    found = os.fstat(fd)
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            for line in locks:
                fields = line.split()
                if "FLOCK" in fields and wanted in fields:
                    return fields[fields.index(wanted) - 1]
    except OSError:
        pass
    return "unknown"
