"""The status directory: opening it, locking it, and making and replacing the files in it (names.py).

Everything is opened relative to one directory descriptor, without following a symlink in the last
component, and checked to be of the right kind after it was opened: whoever may write in the directory can
plant what he likes, and reaches nothing outside of it.  What is believed of it, trust.py says.
"""

from __future__ import annotations

import errno
import fcntl
import posix as os
import stat

from supervise.protocol import lockfile
from supervise.protocol.names import CONTROL, LOCK, NOTIFY, OK
from supervise.protocol.text import shown_name
from supervise.system.descriptors import close, samestat
from supervise.system.errors import LockHeld as LockHeld
from supervise.system.errors import NotBelieved as NotBelieved
from supervise.system.errors import StatusDirError as StatusDirError
from supervise.system.errors import WrongKind as WrongKind
from supervise.system.errors import is_transient, kind, lost_directory
from supervise.system.retry import retried
from supervise.system.rollback import SAFE as _SAFE
from supervise.system.rollback import Rollback
from supervise.system.trust import Untrusted, is_foreign, open_directory, why_not

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

_READ_LIMIT = (1 << 20) + 1  # bytes
_ROUNDS = 100  # tries to have a lock that nobody else takes away, or has a hand in: on some disks none is one's own
_NEW = ".new"  # what these two are written as before they are renamed

_READABLE = 0o644
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class StatusDir(Rollback):
    """An open status directory.  `path` is what the user called it, `shown_path` that as people are shown it.

    `fd` stays open for its life.

    `foreign`: it belongs to another user, who can put into it what he likes.  `replaced`: what was not believed.
    """

    def __init__(self, path: str) -> None:
        """Open the directory, making what is missing of the path.  Raises StatusDirError."""
        self._prepare(path)
        try:
            self.fd = open_directory(path, self._made_dirs)
        except Untrusted as why:
            self.remove_made()
            raise StatusDirError(f"cannot use {self.shown_path}: {why}") from None
        except OSError as why:
            self.remove_made()
            refused = self._refused("open", ".", why)
            raise StatusDirError(f"{refused}{lost_directory(path)}", refused.transient) from None
        self.foreign = is_foreign(self.fd)
        self._shown = self._is_shown()
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=self.fd, effective_ids=True):
            close(self.fd)
            self.remove_made()
            raise self._refused("write in", ".", OSError(errno.EACCES, os.strerror(errno.EACCES)))

    def _prepare(self, path: str) -> None:
        self.path = path
        self.shown_path = shown_name(path)
        self._begin()
        self.replaced: list[str] = []
        # Asked when nothing can be made here, for the directory has been removed: whether there is one again
        # (statusdir_watch.py).
        self.restore: Callable[[], bool] | None = None

    @classmethod
    def attach(cls, path: str, fd: int) -> StatusDir:
        """The status directory that an inherited descriptor `fd` is open for."""
        directory = cls.__new__(cls)
        directory._prepare(path)
        directory.fd = fd
        directory.foreign = is_foreign(fd)
        directory._shown = directory._is_shown()
        return directory

    def _is_shown(self) -> bool:
        """Whether others may look into the directory: what is written there can be read, whatever umask there is."""
        try:
            return bool(os.fstat(self.fd).st_mode & 0o011)
        except OSError:
            return False

    @property
    def made(self) -> bool:
        """Whether this object has made the directory itself, so that nothing was in it before."""
        return self._made_dirs[-1:] == [self.path]

    def _refused(self, what: str, name: str, why: OSError) -> StatusDirError:
        path = self.shown_path if name == "." else f"{self.shown_path}/{name}"
        return StatusDirError(f"cannot {what} {path}: {why.strerror}", is_transient(why))

    def _open(self, name: str, flags: int, right: Callable[[int], bool], what: str, mode: int = 0o600) -> int:
        """Open `name`, which must be of the kind that `right` knows.  Raises StatusDirError."""
        try:
            fd = os.open(name, flags | _SAFE, mode, dir_fd=self.fd)
        except OSError as why:
            if why.errno == errno.ENOENT and flags & os.O_CREAT and self.restore and self.restore():
                return self._open(name, flags, right, what, mode)
            if why.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                found_mode = self._mode(name)
                if not right(found_mode):
                    raise self._wrong_kind(name, found_mode, what) from None
            raise self._refused("open", name, why) from None
        try:
            found = os.fstat(fd)
        except OSError as why:
            close(fd)
            raise self._refused("look at", name, why) from None
        if not right(found.st_mode):
            close(fd)
            raise self._wrong_kind(name, found.st_mode, what)
        if flags & os.O_APPEND and found.st_nlink > 1:  # a link to a file of somebody's
            close(fd)
            raise WrongKind(f"cannot use {self.shown_path}/{name}: it has {found.st_nlink} links")
        return fd

    def _wrong_kind(self, name: str, mode: int, what: str) -> WrongKind:
        return WrongKind(f"cannot use {self.shown_path}/{name}: is {kind(mode)}, not {what}")

    def _mode(self, name: str) -> int:
        """The kind and mode of what has the name, 0 if nothing has.  Raises StatusDirError."""
        try:
            return os.lstat(name, dir_fd=self.fd).st_mode
        except FileNotFoundError:
            return 0
        except OSError as why:
            raise self._refused("look at", name, why) from None

    def identity(self) -> dict[str, int]:
        """The identity of the directory, also among copies of it: device and inode."""
        found = os.fstat(self.fd)
        return {"device": found.st_dev, "inode": found.st_ino}

    def is_at(self, path: bytes) -> bool:
        """Whether a path leads to this directory."""
        try:
            return samestat(os.stat(path), os.fstat(self.fd))
        except (OSError, ValueError):
            return False

    # The lock.

    def lock(self) -> int:
        """Take the lock; it lasts as long as the descriptor.  Raises StatusDirError: held by pid N."""
        for _ in range(_ROUNDS):
            if not self.has(LOCK) and LOCK not in self._made_files:
                self._made_files.append(LOCK)  # before it is made: open(2) can succeed and what follows fail
            fd = self._open(LOCK, os.O_RDWR | os.O_CREAT, stat.S_ISREG, "a regular file")
            try:
                self._take(fd)
                # A supervise that could not start removes the lock file that it made: ours may be that one.
                if self._is_current(fd) and self._is_ours(fd):
                    return fd
            except BaseException:
                close(fd)
                raise
            close(fd)
        raise StatusDirError(f"cannot lock {self.shown_path}/{LOCK}: it does not stay as it is made")

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            if why.errno != errno.EWOULDBLOCK:
                raise self._refused("lock", LOCK, why) from None
            from supervise.system.lock_holder import lock_holder  # to refuse a start, and for nothing else

            raise LockHeld(f"cannot lock {self.shown_path}/{LOCK}: held by pid {lock_holder(fd)}") from None

    def _is_current(self, fd: int) -> bool:
        try:
            return self.names(LOCK, fd)
        except OSError as why:
            raise self._refused("look at", LOCK, why) from None

    def _is_ours(self, fd: int) -> bool:
        """Whether nobody else can open the lock: who can read it can hold it, and so keep supervise from starting.

        One that somebody else may have is removed, now that nobody holds it.
        """
        try:
            found = os.fstat(fd)
            why_removed = why_not(fd, found)
            if found.st_mode & 0o077 and found.st_uid == os.geteuid() and found.st_nlink == 1:
                os.fchmod(fd, 0o600)
                self._lock_was = fd, stat.S_IMODE(found.st_mode)
            elif why_removed or found.st_mode & 0o077:
                self._replace(LOCK, why_removed or "can be opened by others")
                return False
        except OSError as why:
            raise self._refused("secure", LOCK, why) from None
        return True

    def _replace(self, name: str, why: str) -> None:
        """Remove what is not believed, so that it can be made anew.  Raises OSError."""
        os.unlink(name, dir_fd=self.fd)
        self.replaced.append(f"{self.shown_path}/{name} {why}: it is replaced")

    def has(self, name: str) -> bool:
        """Whether a file of that name exists.  Raises StatusDirError."""
        return self._mode(name) != 0

    def names(self, name: str, fd: int) -> bool:
        """Whether `name` is still the open file `fd`.  Raises OSError: it could not be looked at."""
        try:
            return samestat(os.lstat(name, dir_fd=self.fd), os.fstat(fd))
        except FileNotFoundError:
            return False

    def claim(self, lock: int, place: bytes) -> None:
        """Write into the lock which path it is held for (lockfile.py).  Raises OSError."""
        self._claim = (lock, lockfile.content(lock)) if self._starting else None
        lockfile.claim(lock, place)

    # The FIFOs.

    def open_fifos(self) -> tuple[int, int]:
        """Make and open `control` and `ok`; only under the lock.  Raises StatusDirError.

        `control` is opened for both reading and writing, so that it never ends; `ok` only for reading, so
        that opening it for writing tells whether a supervise is alive.
        """
        control = self._fifo(CONTROL, os.O_RDWR)
        try:
            return control, self._fifo(OK, os.O_RDONLY)
        except BaseException:
            close(control)
            raise

    def _fifo(self, name: str, flags: int) -> int:
        if self.has(name):
            fd = self._open(name, flags, stat.S_ISFIFO, "a FIFO")
            try:
                why_replaced = why_not(fd, os.fstat(fd))
                if not why_replaced:
                    os.fchmod(fd, 0o600)
                    return fd
                self._replace(name, why_replaced)
            except OSError as why:
                close(fd)
                raise self._refused("secure", name, why) from None
            close(fd)
        try:
            os.mkfifo(name, 0o600, dir_fd=self.fd)
        except OSError as why:
            raise self._refused("make", name, why) from None
        self._made_files.append(name)
        fd = self._open(name, flags, stat.S_ISFIFO, "a FIFO")
        try:
            why_refused = why_not(fd, os.fstat(fd))
        except OSError as why:
            close(fd)
            raise self._refused("look at", name, why) from None
        if why_refused:  # put there meanwhile
            close(fd)
            raise StatusDirError(f"cannot use {self.shown_path}/{name}: it {why_refused}")
        return fd

    # The socket that the service tells its state through.

    def bind_notify(self, bind: Callable[[str], None]) -> None:
        """Bind a socket to `notify`, mode 0600; only under the lock.  Raises StatusDirError.

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
                raise StatusDirError(f"cannot use {self.shown_path}/{NOTIFY}: is {kind(mode)}, not a socket")
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
                self._found[name] = retried(self.read, name)
            except (NotBelieved, WrongKind):
                pass  # nothing that would be worth restoring
            except StatusDirError as why:  # what could not be put back is not touched
                raise OSError(errno.EIO, str(why)) from None
        try:
            fd = self._create(name + _NEW)
            try:
                written = os.write(fd, data)
            finally:
                close(fd)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            try:
                os.rename(name + _NEW, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            except IsADirectoryError:
                os.rmdir(name, dir_fd=self.fd)  # no supervise has made it; what is in it, if anything, stays
                os.rename(name + _NEW, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            try:
                os.unlink(name + _NEW, dir_fd=self.fd)
            except OSError:
                pass
            raise

    def read(self, name: str) -> bytes | None:
        """The first megabyte of `status` or `state`; None if there is none.

        Raises NotBelieved, WrongKind, StatusDirError where it could not be looked at.
        """
        if not self.has(name):
            return None
        fd = self._open(name, os.O_RDONLY, stat.S_ISREG, "a regular file")
        try:
            why_not_believed = why_not(fd, os.fstat(fd))
            data = b""
            while len(data) < _READ_LIMIT:
                part = os.read(fd, _READ_LIMIT - len(data))
                if not part:
                    break
                data += part
        except OSError as why:
            raise self._refused("read", name, why) from None
        finally:
            close(fd)
        if why_not_believed:
            raise NotBelieved(f"cannot believe {self.shown_path}/{name}: it {why_not_believed}", data)
        return data

    def _create(self, name: str) -> int:
        fd = self._create_anew(name)
        try:
            if self._shown:
                os.fchmod(fd, _READABLE)
        except OSError:
            close(fd)
            raise
        return fd

    def _create_anew(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
        try:
            return os.open(name, flags, _READABLE, dir_fd=self.fd)
        except FileNotFoundError:
            if not (self.restore and self.restore()):
                raise
            return os.open(name, flags, _READABLE, dir_fd=self.fd)
        except FileExistsError:
            # Left over from a supervise that was killed, or planted.
            os.unlink(name, dir_fd=self.fd)
            return os.open(name, flags, _READABLE, dir_fd=self.fd)

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
        """The arguments with which the spawned service opens `__stdout` or `__stderr` itself: path, flags, mode.

        Four system calls less on the way to a restart.  What is not a file, but can be opened, is not noticed;
        it cannot make the service wait, and nothing outside of the directory is reached.
        """
        # By the descriptor, which is there until the program is executed: the path may lead elsewhere by then.
        return f"/proc/self/fd/{self.fd}/{name}", _APPEND | _SAFE & ~os.O_CLOEXEC, 0o644

    def append(self, name: str, text: bytes) -> int:
        """Append lines to one of the logs, in one write; the bytes written.  Raises OSError or StatusDirError."""
        if self._starting and not self.has(name):
            self._made_files.append(name)
        fd = self._open(name, _APPEND, stat.S_ISREG, "a regular file", 0o644)
        try:
            return os.write(fd, text)
        finally:
            close(fd)

    def bound(self, name: str, limit: int, backups: int, more: int) -> int:
        """Make the log a part (log_parts.py), or remove it, if it outgrew `limit` with `more` bytes; its size then.

        Raises OSError, StatusDirError: it stays as it is.
        """
        try:
            size = os.lstat(name, dir_fd=self.fd).st_size
        except FileNotFoundError:
            return 0
        if not size or size + more <= limit:
            return size
        if backups:
            from supervise.system.log_parts import LogParts  # once for so many bytes

            LogParts(self.fd, name).push(name, backups)
        else:
            os.unlink(name, dir_fd=self.fd)
        return 0

    def probe(self, name: str) -> None:
        """Check that one of the logs, if it exists, can be appended to.  Raises StatusDirError."""
        if self.has(name):
            close(self._open(name, os.O_WRONLY | os.O_APPEND, stat.S_ISREG, "a regular file"))
