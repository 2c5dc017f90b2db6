"""Ranges of a file taken out of it, or emptied, while others go on appending: fallocate(2), lseek(2).

For helpers, and by way of _ctypes, as Python has no fallocate with a mode: ctypes takes longer to import than all else.
"""

from __future__ import annotations

import _ctypes
import errno
import fcntl
import mmap
import os

_KEEP_SIZE, _PUNCH_HOLE, _COLLAPSE_RANGE = 1, 2, 8  # linux/falloc.h
_FICLONERANGE = 0x4020940D  # linux/fs.h
_AT_ONCE = 1 << 23  # bytes
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV)
_CANNOT_COPY = (*_CANNOT, errno.EXDEV, errno.EINVAL, errno.EBADF, errno.EPERM)
_SMALLEST = 4096  # bytes; of a page


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Int64(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "q"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int
    _argtypes_ = (_Int, _Int, _Int64, _Int64)


_function = _Function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "fallocate64"))  # type: ignore[arg-type]


class Unsupported(Exception):
    """The filesystem cannot do that with this file."""


def _fallocate(fd: int, mode: int, start: int, size: int) -> None:
    while _function(fd, mode, start, size):
        code = _ctypes.get_errno()
        if code in _CANNOT:
            raise Unsupported(os.strerror(code))
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def collapse(fd: int, start: int, size: int) -> None:
    """Take whole blocks out of a file, which must not reach its end; what follows moves up, in one step.

    Raises Unsupported and OSError.
    """
    try:
        _fallocate(fd, _COLLAPSE_RANGE, start, size)
    except OSError as why:
        if why.errno == errno.EINVAL:  # blocks of another size than the filesystem says
            raise Unsupported(why.strerror) from None
        raise


def punch(fd: int, start: int, size: int) -> None:
    """Make a hole of a range: its space is free, and all else where it was.  Raises Unsupported and OSError."""
    _fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, start, size)


def block_size(fd: int) -> int:
    """The bytes of one block, in which space is given and taken."""
    return max(os.fstatvfs(fd).f_bsize, _SMALLEST)


def data_from(fd: int, start: int) -> int:
    """Where the first data is from `start` on; the end of the file where there is none.  Raises OSError."""
    return _seek(fd, start, os.SEEK_DATA)


def hole_from(fd: int, start: int) -> int:
    """Where the first hole is from `start` on; the end of the file is one.  Raises OSError."""
    return _seek(fd, start, os.SEEK_HOLE)


def _seek(fd: int, start: int, whence: int) -> int:
    try:
        return os.lseek(fd, start, whence)
    except OSError as why:
        if why.errno == errno.ENXIO:
            return os.fstat(fd).st_size
        raise


def copy(source: int, start: int, size: int, target: int) -> None:
    """Copy a range to the beginning of an empty file.

    Where the filesystem can, the blocks are shared; or else the pages that hold them in memory are written to the disk
    from there, which takes a quarter of what copying them does.  Raises OSError: ENOSPC, or ENODATA where the source
    has become shorter.
    """
    try:
        fcntl.ioctl(target, _FICLONERANGE, _clone(source, start, size))
        return
    except OSError:
        pass
    done = _copy_directly(source, start, size, target)
    while done < size:
        copied = _copy_some(source, start + done, min(size - done, _AT_ONCE), target, done)
        if not copied:
            raise OSError(errno.ENODATA, "it has become shorter")
        done += copied


def _clone(source: int, start: int, size: int) -> bytes:
    """struct file_clone_range."""
    return b"".join(number.to_bytes(8, "little") for number in (source, start, size, 0))


def _copy_directly(source: int, start: int, size: int, target: int) -> int:
    """Copy without a copy in memory (open(2), O_DIRECT); the bytes that were, which may be none."""
    done = 0
    flags = fcntl.fcntl(target, fcntl.F_GETFL)
    try:
        fcntl.fcntl(target, fcntl.F_SETFL, flags | os.O_DIRECT)
        while done < size:
            some = min(size - done, _AT_ONCE)
            with mmap.mmap(source, some, mmap.MAP_SHARED, mmap.PROT_READ, offset=start + done) as pages:
                written = os.pwrite(target, pages, done)
            if written % _SMALLEST:
                return done  # the rest in the other way, from where it is aligned
            done += written
    except (OSError, ValueError) as why:
        if isinstance(why, OSError) and why.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        fcntl.fcntl(target, fcntl.F_SETFL, flags)
    return done


def _copy_some(source: int, start: int, size: int, target: int, at: int) -> int:
    try:
        return os.copy_file_range(source, target, size, start, at)
    except OSError as why:
        if why.errno not in _CANNOT_COPY:
            raise
    return os.pwrite(target, os.pread(source, size, start), at)
