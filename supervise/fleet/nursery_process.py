"""The nursery as a process of its own, so that nothing but it is shared with the supervises: what is asked of it.

Theory of operation
-------------------

Rule 1.  Whoever commands many services loads much that no supervise needs, and some of that acts in every fork
         (`logging` and `random` do).  So the process that is forked from does nothing else, and never loads it.
Rule 2.  It is asked over a stream for many starts at once, and answers for each, in any order, with what keeps it from
         being made, or with the pid and two descriptors; then it says that this was all.
Rule 3.  It divides them into batches.  For each it forks a process that prepares its starts, forks the supervises and
         ends: so a batch costs the same however many there were before, and what is left of it is nowhere.
Rule 4.  It loads and rehearses when it is told to, or asked for the first time.
Rule 5.  It ends with the other end of the stream.  It is in a session of its own, for signals from a terminal are not
         meant for it, and the supervises are not waited for.
"""

from __future__ import annotations

import _socket
import errno
import posix as os
import select
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

    from supervise.fleet.batch import Prepared
else:
    import _signal  # see spawn.py

_INT = 4  # bytes of a number
_DONE, _FAILED, _REFUSED, _HELD, _END = b"D", b"F", b"R", b"H", b"E"
_BATCH = 100  # starts
_EACH = 20  # descriptors of a start that is prepared, at most
_OTHERS = 64  # descriptors beside these


class NurseryGone(OSError):
    """The nursery has ended."""


class Held(str):
    """Why there is no copy: somebody else holds the lock."""

    __slots__ = ()


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

    def warm(self) -> None:
        """Have it get ready.  Raises OSError."""
        self._socket.sendall(_encoded(0))

    def start(self, starts: Sequence[Options]) -> list[Copy | OSError | str]:
        """Fork the supervises of services: of each the copy; or why there is none, a text if it is not for the fork.

        Raises OSError.
        """
        data = b"".join(_encoded(len(one)) + one for one in (options.encode() for options in starts))
        self._socket.sendall(_encoded(len(starts)) + data)
        answers: list[Copy | OSError | str] = ["the process that forks supervises has ended"] * len(starts)
        while True:
            head, fds = self._answer(1 + 2 * _INT)
            kind, at, number = head[:1], _decoded(head[1 : 1 + _INT]), _decoded(head[1 + _INT :])
            if kind == _END:
                return answers
            if kind in (_REFUSED, _HELD):
                text = fsdecode(self._answer(number)[0])
                answers[at] = Held(text) if kind == _HELD else text
            elif kind == _DONE and len(fds) == 2:
                answers[at] = Copy(number, *fds)
            else:
                for fd in fds:
                    os.close(fd)
                number = number if kind == _FAILED else errno.EMFILE  # its descriptors could not be received
                answers[at] = OSError(number, os.strerror(number))

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
    """Be the nursery, until nobody asks any more.  Raises whatever an import may raise, and OSError."""
    os.setsid()
    ready = False
    while True:
        count = _decoded(_read(its, _INT))
        starts = [Options.decode(_read(its, _decoded(_read(its, _INT)))) for _ in range(count)]
        if not ready:
            _get_ready(nursery, its, program)
            ready = True
        for first, last in _batches(count, nursery.descriptors):
            try:
                pid = os.fork()
            except OSError as why:
                for at in range(first, last):
                    its.sendall(_FAILED + _encoded(at) + _encoded(why.errno or errno.EAGAIN))
                continue
            if not pid:
                try:
                    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # the kernel reaps those that have ended
                    _start(nursery, starts[first:last], first, its)
                    os._exit(0)
                except Exception as why:
                    say(program, "warning", f"cannot start supervises: {origin(why)}")
                finally:
                    os._exit(SYSTEM)
            os.waitpid(pid, 0)
        if count:
            its.sendall(_END + _encoded(0) * 2)


def _get_ready(nursery: Nursery, its: _socket.socket, program: str) -> None:
    """Load everything and rehearse; end, if nobody waits for that any more.  Raises ImportError and OSError."""
    end = select.poll()
    end.register(its, select.POLLHUP)

    def needed() -> bool:
        return not any(events & select.POLLHUP for _, events in end.poll(0))

    nursery.warm()
    nursery.widen()
    why = nursery.rehearse(needed)
    if not needed():
        os._exit(0)
    if why:
        say(program, "warning", f"cannot rehearse a start, so each supervise takes more memory: {why}")
    nursery.freeze()


def _batches(count: int, descriptors: int) -> list[tuple[int, int]]:
    """Divide so many starts into batches of the same size: what is the batch's own, all copies of it share."""
    most = max(min(_BATCH, (descriptors - _OTHERS) // _EACH), 1)
    batches = -(-count // most)
    return [(count * number // batches, count * (number + 1) // batches) for number in range(batches)]


def _start(nursery: Nursery, batch: Sequence[Options], first: int, its: _socket.socket) -> None:
    """Fork the supervises of a batch, and answer for each: `first` is the number of the first."""
    ready: list[tuple[int, Prepared]] = []
    for at, made in enumerate(nursery.prepare_all(batch, unsaid=True), first):
        if made.reason:
            reason = fsencode(made.reason)
            its.sendall((_HELD if made.held else _REFUSED) + _encoded(at) + _encoded(len(reason)) + reason)
        else:
            ready.append((at, made))
    for (at, _), copy in zip(ready, nursery.fork([made for _, made in ready])):
        if isinstance(copy, OSError):
            its.sendall(_FAILED + _encoded(at) + _encoded(copy.errno or errno.EAGAIN))
            continue
        rights = _encoded(copy.report) + _encoded(copy.said)
        its.sendmsg([_DONE + _encoded(at) + _encoded(copy.pid)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
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
