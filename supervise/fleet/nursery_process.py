"""The nursery as a process of its own, so that nothing but it is shared with the supervises: what is asked of it.

Theory of operation
-------------------

Rule 1.  Whoever commands many services loads much that no supervise needs, and some of that acts in every fork
         (`logging` and `random` do).  So the process that is forked from does nothing else, and never loads it.
Rule 2.  It is asked over a stream, and answers each request in turn: PREPARE with options, and a text says why that
         did not work; FORK, and for each start that was prepared since the last there is one answer, with descriptors.
Rule 3.  It ends with the other end of the stream.  It is in a session of its own, for signals from a terminal are not
         meant for it, and its children are not waited for.
"""

from __future__ import annotations

import _socket
import posix as os
import sys

from supervise.fleet.nursery import Copy, Nursery
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.filenames import fsdecode, fsencode
from supervise.protocol.options import Options
from supervise.protocol.text import origin, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Sequence
    from typing import NoReturn

    from supervise.fleet.nursery import Prepared
else:
    import _signal  # see spawn.py

PREPARE, FORK = b"P", b"F"
_INT = 4  # bytes of a number
_DONE, _FAILED = b"\1", b"\0"


class NurseryGone(OSError):
    """The nursery has ended."""


class NurseryProcess:
    """A nursery to be asked."""

    def __init__(self, env: dict[bytes, bytes], ignored: list[int], program: str) -> None:
        """Fork the process, for `program`; `env` and `ignored` as in Nursery.  Raises OSError."""
        self._socket, its = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.pid = os.fork()
        if not self.pid:
            try:
                self._socket.close()
                _serve(Nursery(env, ignored), its, program)
            except Exception as why:
                say(program, "fatal", f"cannot start supervises: {origin(why)}")
            finally:
                os._exit(SYSTEM)
        its.close()

    def prepare(self, options: Options) -> str:
        """Prepare the start of a service; why that failed, or an empty text.  Raises OSError."""
        data = options.encode()
        self._socket.sendall(PREPARE + _encoded(len(data)) + data)
        size, _ = self._answer(_INT)
        reason, _ = self._answer(_decoded(size))
        return fsdecode(reason)

    def fork(self, count: int) -> list[Copy | OSError]:
        """Fork what was prepared, so many: in that order the copies, or why it failed.  Raises OSError."""
        self._socket.sendall(FORK)
        return [self._copy() for _ in range(count)]

    def _copy(self) -> Copy | OSError:
        data, fds = self._answer(1 + _INT)
        number = _decoded(data[1:])
        if data[:1] == _DONE and len(fds) == 2:
            return Copy(number, *fds)
        for fd in fds:
            os.close(fd)
        return OSError(number, os.strerror(number))

    def _answer(self, size: int) -> tuple[bytes, list[int]]:
        data, fds = b"", []
        while len(data) < size:
            part, ancillary, _, _ = self._socket.recvmsg(
                size - len(data), _socket.CMSG_SPACE(2 * _INT), _socket.MSG_CMSG_CLOEXEC
            )
            for level, kind, content in ancillary:
                if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                    fds += [_decoded(content[at : at + _INT]) for at in range(0, len(content) - _INT + 1, _INT)]
            if not part:
                raise NurseryGone("the process that forks supervises has ended")
            data += part
        return data, fds

    def close(self) -> None:
        """Have it end."""
        self._socket.close()


def _serve(nursery: Nursery, its: _socket.socket, program: str) -> NoReturn:
    """Be the nursery, until nobody asks any more.  Raises whatever an import may raise."""
    os.setsid()
    nursery.warm()
    why = nursery.rehearse()
    if why:
        say(program, "warning", f"cannot rehearse a start, so each supervise takes more memory: {why}")
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # the kernel reaps those that have ended
    nursery.widen()
    nursery.freeze()
    prepared: list[Prepared] = []
    while True:
        kind = its.recv(1)
        if not kind:
            os._exit(0)
        if kind == PREPARE:
            made = nursery.prepare(Options.decode(_read(its, _decoded(_read(its, _INT)))), unsaid=True)
            if made:
                prepared.append(made)
            reason = b"" if made else fsencode(nursery.reason or "unknown")
            its.sendall(_encoded(len(reason)) + reason)
        elif kind == FORK:
            _fork(nursery, prepared, its)
            prepared = []


def _fork(nursery: Nursery, prepared: Sequence[Prepared], its: _socket.socket) -> None:
    for start, copy in zip(prepared, nursery.fork(prepared)):
        if isinstance(copy, OSError):
            nursery.withdraw(start)
            its.sendall(_FAILED + _encoded(copy.errno or 0))
            continue
        rights = _encoded(copy.report) + _encoded(copy.said)
        its.sendmsg([_DONE + _encoded(copy.pid)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        os.close(copy.report)
        os.close(copy.said)


def _read(its: _socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = its.recv(size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def _encoded(number: int) -> bytes:
    return number.to_bytes(_INT, sys.byteorder)


def _decoded(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
