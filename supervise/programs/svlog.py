"""svlog: the last lines of what services printed.

Usage:
  svlog [-f] [-t] [-n LINES] [-e | -s] [--] [DIR ...]
  svlog -h | --help | --version

Options:
  -f          go on with what is added, through restarts and rotations, until
              Ctrl-C
  -t          when a line was written, where that is known: of the last line of
              a log, and of those that begin with a TAI64N label
  -n LINES    so many lines of each service [default: 10]
  -e          what the service printed to stderr, not to stdout
  -s          what supervise itself logged: supervise.log and supervise.log.wf,
              by time
  -h, --help  this text
  --version   the version

DIR is a status directory, the name of a service, or in quotes a pattern such
as 'web_*', GROUP:* or GROUP:NAME; without any, all services below ./status are
meant.  Unless it is one that was named, each line begins with the name of its
service.
On a terminal, what could disturb it is shown as ^[ or \\x9b; a pipe gets all as
it is.

Exit codes: 0 all could be read, or the reader of a pipe has left; 100 wrong
usage, or there is no such service; 111 a log could not be read; 130 Ctrl-C.
"""

from __future__ import annotations

import heapq
import os
import re
import select
import sys

from supervise.client import services
from supervise.client.errors import ClientError
from supervise.client.logfiles import LogError
from supervise.client.named import named
from supervise.client.tail import Follower, exists, last_blocks, last_lines
from supervise.programs.labelled import Lines, coloured, labels
from supervise.programs.program import UsageError, complain, parse, remark, run, warning
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.names import PIPES
from supervise.protocol.selection import is_pattern
from supervise.protocol.text import quoted, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from supervise.client import Service
    from supervise.client.inotify import Changes
    from supervise.client.livefile import Lost
    from supervise.client.service import LogName
    from supervise.programs.harmless import Harmless
    from supervise.programs.linetimes import LineTimes

_PIPES = dict(zip(("stdout", "stderr"), PIPES))
_STAMP = re.compile(rb"\[[A-Z]+\] (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ")


def main() -> int:
    """The console script; the exit code."""
    return run("svlog", _main)


def _main(argv: list[str]) -> int:
    args = parse("svlog", str(__doc__), argv, lambda words: words.wrong(("-e", "-s")))
    if args is None:
        return 0
    lines = count(args["-n"])
    logs: list[LogName] = ["supervise", "warnings"] if args["-s"] else ["stderr" if args["-e"] else "stdout"]
    found, code = find(args["DIR"])
    timed = args["-t"] and not args["-s"]  # those lines have their times
    sources = [Source(service, logs, lines, timed) for service in found]
    labels = {} if is_one(args["DIR"], found) else label(found)
    printer = Printer(labels, sources, os.isatty(1))
    failed = follow(sources, printer) if args["-f"] else show(sources, printer)
    return SYSTEM if failed else code


def find(arguments: list[str]) -> tuple[list[Service], int]:
    """The services that are meant, each once, and the exit code for those that were not found."""
    found: dict[str, Service] = {}
    code = 0
    meant: list[tuple[str, Service | ClientError]]
    try:
        meant = named(arguments, warning("svlog")) if arguments else [("", service) for service in services()]
    except ClientError as why:
        meant = [("", why)]
    for _, service in meant:
        if isinstance(service, ClientError):
            complain("svlog", service)
            code = max(code, service.exit_code)
        else:
            found.setdefault(service.path, service)
    return list(found.values()), code


def is_one(arguments: list[str], found: list[Service]) -> bool:
    """Whether one service was named, and not a pattern or a group that there is one of now."""
    if len(arguments) != 1 or len(found) > 1:
        return False
    return "/" in arguments[0] or not is_pattern(arguments[0]) or [service.name for service in found] == arguments


def label(found: list[Service]) -> dict[str, bytes]:
    """The prefix of each service's lines, by its directory: its name, unless two have the same."""
    names = [service.name for service in found]
    if len(set(names)) < len(names):
        names = [service.path for service in found]
    return dict(zip([service.path for service in found], labels(names, coloured())))


def count(text: str) -> int:
    """The value of -n.  Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UsageError(f"-n takes a number of lines, not {quoted(text)}")
    return int(text)


class Source:
    """The output of one service: one log, or several merged by time."""

    def __init__(self, service: Service, logs: list[LogName], lines: int, timed: bool = False) -> None:
        self.directory = service.path
        self._service = service
        self._logs = logs
        self._timed = timed
        self._times: LineTimes | None = None
        self._lines = lines
        self._followers: list[Follower] = []
        self._partial: dict[str, Lines] = {}
        self._begun = False

    def last(self) -> Iterator[bytes]:
        """The last lines, in pieces.  Raises LogError."""
        places = self._places()
        if not any(exists(*place) for place in places):
            what = "there is no such log"
            if self._is_piped(self._logs[0]):
                what = f"{self._logs[0]}_command reads what the service prints"
            raise LogError(f"read {shown_name('/'.join(places[0]))}: {what}")
        if len(places) == 1:
            blocks = last_blocks(*places[0], self._lines, self._lost(*places[0]))
            yield from self._with_times(*places[0], blocks) if self._timed else blocks
        else:
            yield b"".join(self._newest(merged(last_lines(*place, self._lines) for place in places)))

    def _places(self) -> list[tuple[str, str]]:
        """The directory and the name of each log.  Raises LogError."""
        return [self._place(log) for log in self._logs]

    def _place(self, log: LogName) -> tuple[str, str]:
        place = self._service.log_place(log)
        if self._is_piped(log):
            from supervise.client.logger_log import log_of_logger

            try:
                return log_of_logger(self._service, log) or place
            except ClientError as why:
                raise LogError(str(why)) from None
        return place

    def _is_piped(self, log: LogName) -> bool:
        """Whether a logger is to read what would be in this log."""
        return log in _PIPES and os.path.exists(f"{self._service.path}/{_PIPES[log]}")

    def _newest(self, lines: list[bytes]) -> list[bytes]:
        return lines[max(len(lines) - self._lines, 0) :]

    def watch(self, changes: Changes) -> None:
        """Set the watches that `new` needs.  Raises LogError."""
        if self._timed:
            from supervise.programs.linetimes import LineTimes

            self._times = LineTimes(last=False)
        self._followers = [Follower(*place, self._lines, changes, self._lost(*place)) for place in self._places()]
        self._partial = {follower.name: Lines() for follower in self._followers}

    @staticmethod
    def _lost(directory: str, name: str) -> Lost:
        """Say that something is gone."""

        def say(count: int, all_of_it: bool) -> None:
            some = f"{'' if all_of_it else 'at least '}{count} bytes" if count else "some bytes"
            remark(f"svlog: warning: {some} of {shown_name(f'{directory}/{name}')} went before they were read")

        return say

    def _with_times(self, directory: str, name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The last lines of a log with their times."""
        from supervise.client.written import written
        from supervise.programs.linetimes import LineTimes

        times = LineTimes(last=True)
        before = written(directory, name)
        for data in pieces:
            yield times.add(data)
        yield times.end(before if written(directory, name) == before else None)

    @property
    def watched(self) -> set[str]:
        """The directories whose changes matter."""
        return {path for follower in self._followers for path in follower.watched}

    def new(self) -> Iterator[bytes]:
        """First the last lines, then whatever is new, in pieces.  Raises LogError."""
        if len(self._followers) == 1:
            read = self._followers[0].read()
            yield from read if self._times is None else map(self._times.add, read)
            return
        found = merged([line for data in f.read() for line in self._partial[f.name].add(data)] for f in self._followers)
        yield b"".join(found if self._begun else self._newest(found))
        self._begun = True


def merged(logs: Iterable[list[bytes]]) -> list[bytes]:
    """Lines of several logs by time; within a second in the order of the logs.  Never reorders the lines of one."""
    return [line for _, line in heapq.merge(*map(stamped, logs), key=lambda pair: pair[0])]


def stamped(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Each line with the time at its beginning; one that has none belongs to the one before it."""
    pairs, stamp = [], b""
    for line in lines:
        found = _STAMP.match(line)
        stamp = found[1] if found else stamp
        pairs.append((stamp, line))
    return pairs


class Printer:
    """Writes to standard output: bytes as they are, or, of several services, lines with names before them.

    So that lines are whole, one of several services is shown when its newline has come.
    """

    def __init__(self, labels: dict[str, bytes], sources: list[Source], harmless: bool = False) -> None:
        """Without labels: as it is, of the only service; `harmless`: for a terminal."""
        self._labels = labels
        self._lines = {source.directory: Lines() for source in sources}
        self._harmless: dict[str, Harmless] = {}
        if harmless:
            from supervise.programs.harmless import Harmless

            self._harmless = {source.directory: Harmless(sys.stdout.encoding) for source in sources}

    def show(self, directory: str, data: bytes) -> None:
        """Show a piece of what this service printed.  Raises OSError."""
        if self._harmless:
            data = self._harmless[directory].shown(data)
        label = self._labels.get(directory)
        if label is not None:
            data = b"".join([label + line for line in self._lines[directory].add(data)])
        write(data)

    def end(self, directory: str) -> None:
        """There is no more of it: show a line that never ended."""
        label = self._labels.get(directory)
        data = self._harmless[directory].end() if self._harmless else b""
        lines = self._lines[directory]
        write(data if label is None else b"".join([label + line for line in (*lines.add(data), *lines.end())]))


def write(data: bytes) -> None:
    """Write to standard output, without a buffer: who follows wants to see it now.  Raises OSError."""
    while data:
        try:
            data = data[os.write(1, data) :]
        except BlockingIOError:  # somebody who shares it has made it non-blocking
            select.select([], [1], [])


def show(sources: list[Source], printer: Printer) -> int:
    """Show the last lines of each service; how many could not be read."""
    failed = 0
    for source in sources:
        try:
            for data in source.last():
                printer.show(source.directory, data)
        except LogError as why:
            complain("svlog", f"cannot {why}")
            failed += 1
        printer.end(source.directory)
    return failed


def follow(sources: list[Source], printer: Printer) -> int:
    """Show what the services print until nobody reads it; how many could not be read."""
    from supervise.client.inotify import Changes

    begun = len(sources)
    changes = Changes()
    sources = [source for source in sources if watching(source, changes)]
    changed = {directory for source in sources for directory in source.watched}
    while sources:
        sources = [source for source in sources if not source.watched & changed or shown(source, printer)]
        if not sources:
            break
        if left(changes):
            return begun - len(sources)
        changes.drain()
        changed = changes.wait(0)
    return begun


def left(changes: Changes) -> bool:
    """Wait until there may be something new; whether the reader is gone instead."""
    poll = select.poll()  # each time anew, for the descriptor of `changes` is not the same for ever
    poll.register(1, 0)
    if changes.fileno() >= 0:
        poll.register(changes, select.POLLIN)
    seconds = changes.left(None)
    return any(fd == 1 for fd, _ in poll.poll(None if seconds is None else seconds * 1000))


def watching(source: Source, changes: Changes) -> bool:
    """Set the watches; False, with a complaint, if that cannot be."""
    try:
        source.watch(changes)
    except LogError as why:
        complain("svlog", f"cannot {why}")
        return False
    return True


def shown(source: Source, printer: Printer) -> bool:
    """Show what is new; False, with a complaint, if it cannot be read any more."""
    try:
        for data in source.new():
            printer.show(source.directory, data)
    except LogError as why:
        printer.end(source.directory)
        complain("svlog", f"cannot {why}")
        return False
    return True
