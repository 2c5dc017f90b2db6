"""For services written in Python: tell supervise how the service does, and end it when it hangs.

    from supervise.notify import ready, status, stopping, watchdog

    ready()                         # works from now on, is not only started
    status("42 connections")        # svstat shows it

    @watchdog(3)                    # a call that takes more than 3 seconds ends the process
    def request(): ...

    with watchdog(10) as dog:       # a loop whose turn takes more than 10 seconds ends the process
        while True:
            turn()
            dog.kick()

docs/python.md is about the use.  Nothing else of the package is imported, and of Python only what each use needs.

Telling: sd_notify's protocol, one datagram to $NOTIFY_SOCKET each time, from a new socket, for supervise may have been
replaced meanwhile.  It never waits and never raises for want of a listener; it returns whether the datagram was sent,
so False where there is no supervise.

Watching: faulthandler's timer, a thread in C that needs neither the GIL nor anybody's lock.  When it goes off, it
writes every thread's stack to descriptor 2, and the process ends with status 1.  There is one such timer in a process,
so it is kept set for the earliest of all watchdogs; whoever else calls faulthandler.dump_traceback_later takes it away.
"""

from __future__ import annotations

import os
from _thread import RLock
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from typing import Any, Callable, TypeVar

    Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = ["alive", "extend", "main_pid", "ready", "reloading", "send", "status", "stopping", "watchdog"]

_PATIENCE = 0.05  # seconds for supervise to make room, where others fill its queue
_FIELD_LENGTH = 1000  # characters of a field: the protocol's datagrams have at most 4,096 bytes
_LONGEST = 10**9  # seconds, some 30 years: what faulthandler takes for sure
_SLACK = 0.1  # how late, in timeouts, the timer may go off after a kick, so that not every kick has to set it anew
_MOST_SLACK = 1.0  # the same in seconds
_PINGS = 4  # WATCHDOG=1 at most so often within the time in which supervise expects one

# Flags of code objects, as inspect has them.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


# Telling.


def ready() -> bool:
    """Notify that the service is ready: it listens, it has read what it needs."""
    return send(READY=1)


def status(text: str) -> bool:
    """Notify what the service does, in a line for people."""
    return send(STATUS=text)


def stopping() -> bool:
    """Notify that the service is about to end, by its own decision or as asked."""
    return send(STOPPING=1)


def reloading() -> bool:
    """Notify that the service reads its configuration again; `ready()` ends that."""
    return send(RELOADING=1, MONOTONIC_USEC=int(monotonic() * 1e6))


def main_pid(pid: int) -> bool:
    """Notify that another process is the service's main process from now on."""
    return send(MAINPID=int(pid))


def extend(seconds: float) -> bool:
    """Notify that starting (or stopping) takes longer: so many seconds more, from now."""
    return send(EXTEND_TIMEOUT_USEC=int(_seconds("extend", seconds) * 1e6))


def alive() -> bool:
    """Notify that the service does not hang, for `watchdog_secs`; `kick()` does it on its own."""
    return send(WATCHDOG=1)


def send(**fields: object) -> bool:
    """Any fields of the protocol, in one datagram: send(READY=1, STATUS="listening").

    A field is one line of printable characters, whatever it was made of, and is cut after a thousand.
    """
    to = os.environb.get(b"NOTIFY_SOCKET", b"")
    if to[:1] == b"@":
        to = b"\0" + to[1:]  # an abstract address
    elif to[:1] != b"/":
        return False
    import _socket

    lines = [_printable(f"{name}={value}"[:_FIELD_LENGTH]) for name, value in fields.items()]
    try:
        sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            sender.settimeout(_PATIENCE)
            sender.sendto("\n".join(lines).encode(), _socket.MSG_NOSIGNAL, to)
        finally:
            sender.close()
    except OSError:
        return False
    return True


def _printable(line: str) -> str:
    """Without what could begin another field, or command a terminal, or is not Unicode."""
    return line if line.isprintable() else "".join([char if char.isprintable() else " " for char in line])


# Watching.


class watchdog:
    """Ends this process, with every thread's stack on stderr, when something takes more than `timeout` seconds.

    `@watchdog(3)` limits each call of a function from its beginning to its end:
    - of an async function too, whatever it awaits meanwhile;
    - of a generator, async or not, each step to the next item; the time between the steps is its consumer's.
    Calls may be recursive, nested, and in several threads at once: each has its own time.

    `with watchdog(3) as dog:` limits the block, or with `dog.kick()` the time between one kick and the next.  An object
    is in one `with` at a time.  Other threads may kick as well.

    It goes off at its time, or after a kick a little later (a tenth of `timeout`, at most a second), never earlier.

    The child of a fork is not watched by what its parent was in: it takes a watchdog of its own, or carries on with
    its parent's by kicking it.
    """

    __slots__ = ("_deadline", "_entered", "_kicks", "_latest", "_pause", "_slack", "timeout")

    def __init__(self, timeout: float) -> None:
        """Raises TypeError or ValueError: `timeout` is not a number of seconds above 0."""
        self.timeout = _seconds("watchdog", timeout)
        self._slack = min(self.timeout * _SLACK, _MOST_SLACK)
        self._entered = False
        self._kicks = 0
        self._deadline = 0.0  # monotonic: it does not go off before
        self._latest = 0.0  # monotonic: nor after
        self._pause = 0.0  # seconds from one WATCHDOG=1 to the next

    def __repr__(self) -> str:
        return f"watchdog({self.timeout:g})"

    def __call__(self, function: Function) -> Function:
        """The function, with this limit.  Raises TypeError: not a function."""
        return _limited(function, self.timeout)

    def __enter__(self) -> watchdog:
        """Raises RuntimeError: it is in another `with`, or no thread could be started."""
        with _lock:
            if self._entered:
                raise RuntimeError(f"{self!r} is in use already, make another")
            self._entered = True
            self._deadline = self._latest = monotonic() + self.timeout
            try:
                _running.add(self)
                if _armed is None or self._latest < _armed:
                    _set_timer()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            _running.discard(self)
            self._entered = False
            if _armed is None or self._deadline <= _armed:
                try:
                    _set_timer()
                except BaseException:  # of a signal handler: sys.exit, say, which may well take its time
                    _set_timer()
                    raise

    def kick(self) -> None:
        """From now on it is `timeout` seconds again; supervise is told from time to time that the service is alive.

        Raises RuntimeError outside of `with`, where nothing is watched.
        """
        with _lock:
            if not self._entered:
                raise RuntimeError(f"{self!r}.kick() outside of `with`")
            while True:
                self._kicks = kicks = self._kicks + 1
                now = monotonic()
                self._deadline = deadline = now + self.timeout
                self._latest = deadline + self._slack
                if kicks == self._kicks:
                    break  # else a signal handler that took its time has kicked meanwhile, and `now` is long ago
            _running.add(self)  # it may be the parent's, and this the child of a fork
            if _armed is None or not deadline <= _armed <= self._latest:
                _set_timer()
        if now - _pinged >= self._pause:
            self._ping(now)

    def _ping(self, now: float) -> None:
        """WATCHDOG=1, unless it was sent a moment ago through another watchdog."""
        global _pinged
        usec = os.environb.get(b"WATCHDOG_USEC", b"")
        expected = int(usec) / 1e6 if usec.isdigit() and len(usec) < 20 else 0.0
        self._pause = (expected or self.timeout) / _PINGS
        if now - _pinged >= self._pause:
            _pinged = now
            alive()


# All of this under _lock.  The thread that holds it may be interrupted by a signal handler that uses watchdogs too.
_lock = RLock()
_running: set[watchdog] = set()  # those that may go off
_armed: float | None = None  # monotonic: when the timer goes off; None: not known, set it
_turn = 0  # how often the timer was set, so that one who was interrupted notices
_pinged = float("-inf")  # monotonic: the last WATCHDOG=1; not under _lock, one more does not matter


def _set_timer() -> None:
    """See that the timer goes off neither before the earliest deadline nor after the earliest latest time."""
    global _armed, _turn
    import faulthandler

    while True:
        _turn = turn = _turn + 1
        running = tuple(_running)
        latest = min([dog._latest for dog in running], default=0.0)
        if running and _armed is not None and min([dog._deadline for dog in running]) <= _armed <= latest:
            return
        _armed = None
        if running:
            milliseconds = max(int((latest - monotonic()) * 1000) + 1, 1)  # whole ones, for people read them
            faulthandler.dump_traceback_later(milliseconds / 1000, exit=True, file=2)
            _armed = latest
        else:
            faulthandler.cancel_dump_traceback_later()
        if turn == _turn:
            return
        _armed = None


# A fork takes faulthandler's locks along but not its thread, and the child would wait for that for ever, at the latest
# when it ends.  So there is no timer while a process forks.


def _before_fork() -> None:
    _lock.acquire()
    if _running or _armed is not None:
        import faulthandler

        faulthandler.cancel_dump_traceback_later()


def _after_fork_in_parent() -> None:
    global _armed
    try:
        _armed = None
        if _running:
            _set_timer()
    finally:
        _lock.release()


def _after_fork_in_child() -> None:
    global _armed, _lock, _turn
    _lock = RLock()
    _running.clear()
    _armed = None
    _turn += 1


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _seconds(whose: str, value: float) -> float:
    """A number of seconds above 0.  Raises TypeError, ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{whose}() takes a number of seconds, not {value!r}")
    if not 0 < value <= _LONGEST:
        raise ValueError(f"{whose}() takes a number of seconds above 0 and at most {_LONGEST}, not {value!r}")
    return float(value)


# The decorator's four kinds of functions.


def _limited(function: Function, timeout: float) -> Function:
    """Raises TypeError."""
    if isinstance(function, (classmethod, staticmethod)):
        raise TypeError(f"watchdog({timeout:g}) goes below @{type(function).__name__}, not above it")
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"watchdog({timeout:g}) is for a function, not for {function!r}")
    from functools import partial, update_wrapper

    inner: Any = function
    while isinstance(inner, partial):
        inner = inner.func
    flags = getattr(getattr(inner, "__code__", None), "co_flags", 0)
    limit = _call
    for flag, its in ((_GENERATOR, _generator), (_COROUTINE, _coroutine), (_ASYNC_GENERATOR, _async_generator)):
        if flags & flag:
            limit = its
    limited: Function = update_wrapper(limit(function, timeout), function)  # type: ignore[assignment]
    return limited


def _call(function: Callable[..., Any], timeout: float) -> Callable[..., Any]:
    def limited(*args: Any, **kwargs: Any) -> Any:
        with watchdog(timeout):
            return function(*args, **kwargs)

    return limited


def _coroutine(function: Callable[..., Any], timeout: float) -> Callable[..., Any]:
    async def limited(*args: Any, **kwargs: Any) -> Any:
        with watchdog(timeout):
            return await function(*args, **kwargs)

    return limited


def _generator(function: Callable[..., Any], timeout: float) -> Callable[..., Any]:
    def limited(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        step, given = generator.send, None
        while True:
            with watchdog(timeout):
                try:
                    item = step(given)
                except StopIteration as end:
                    return end.value
            try:
                step, given = generator.send, (yield item)
            except GeneratorExit:
                with watchdog(timeout):
                    generator.close()
                raise
            except BaseException as why:
                step, given = generator.throw, why

    return limited


def _async_generator(function: Callable[..., Any], timeout: float) -> Callable[..., Any]:
    async def limited(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        step, given = generator.asend, None
        while True:
            with watchdog(timeout):
                try:
                    item = await step(given)
                except StopAsyncIteration:
                    return
            try:
                step, given = generator.asend, (yield item)
            except GeneratorExit:
                with watchdog(timeout):
                    await generator.aclose()
                raise
            except BaseException as why:
                step, given = generator.athrow, why

    return limited
