"""The event log, supervise.log and supervise.log.wf: one line for everything that happened.

`[NOTICE] 2026-01-31 23:59:59 service exited with status 1`: notices in supervise.log, warnings and fatal errors
in supervise.log.wf, in local time.  Lines are gathered and written when the loop has nothing more urgent to do.
A log is opened for each batch, so that one that was moved away by a rotation is not written to any more.

Theory of operation
-------------------

Rule 1.  Whoever can make supervise say something can make it say that a million times.  So each template has a
         budget of lines, which fills up again with time: a line costs one, one that says the same as the last of its
         template ten.  Of lines about letters each letter has a budget of its own.
Rule 2.  What the budget is not enough for is counted, and so is what follows of that template, until a line says how
         often: `command u: keep the service up (the same 4,000 times more)`.  That comes SUMMED_UP seconds after the
         first that was not written, or when supervise ends.
Rule 3.  What is remembered does not grow: a template whose budget is full again is forgotten.
Rule 4.  Lines that cannot be written (a full disk, no descriptor left) are kept, _KEPT bytes of them, and written
         later; for a while supervise sees to that by itself, then with the next line.  Where there is no file to
         write to, but a symlink or something else that somebody has put there, the other log says so.
Rule 5.  A log that would outgrow its limit is renamed first (log_parts.py), by the name that it has then.  What is
         written is counted, so that the file is looked at when it may be so large, and at the first line.  Where it
         cannot be renamed, it grows on, which is said once.
"""

from __future__ import annotations

import posix as os
import select
import time

from supervise.config.config import Config
from supervise.protocol.names import LOG, LOG_WF
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.states import COMMAND
from supervise.protocol.text import one_line
from supervise.system.statusdir import StatusDir, StatusDirError, WrongKind

_LONGEST = 4000  # characters of one line
_BUDGET = 200.0  # of a template: a configuration may have many mistakes, each said in a line of its own
_INCOME = 10.0  # a second
_SAME = 10.0  # what a line costs that says the same as the one before
_REMEMBERED = 64  # templates, before those are forgotten that are of no interest any more
SUMMED_UP = 2.0  # seconds from a line that was not written to the one that says so
_KEPT = 16384  # bytes of lines that could not be written, for each log
_RETRY = 65536  # bytes until it is tried again to rename a log that could not be
_TRIES = 10  # to write them, without another line


class _Template:
    """The rate limit of one template.  `hidden`: lines since the last that was written; `last`: its values."""

    __slots__ = ("severity", "text", "budget", "at", "last", "hidden", "same")

    def __init__(self, severity: str, text: str, now: float) -> None:
        self.severity, self.text = severity, text
        self.budget = _BUDGET
        self.at = now  # when that was so much, monotonic
        self.last: tuple[object, ...] | None = None
        self.hidden = 0
        self.same = True  # all that are hidden say the same

    def takes(self, values: tuple[object, ...], now: float) -> bool:
        """Whether another line may be written; otherwise count it."""
        same = values == self.last
        self.last = values
        if not self.hidden:
            budget = min(self.budget + (now - self.at) * _INCOME, _BUDGET)
            cost = _SAME if same else 1.0
            self.at = now
            if budget >= cost:
                self.budget = budget - cost
                return True
            self.budget, self.same = budget, True
        self.same &= same
        self.hidden += 1
        return False


def _spelt_out(value: object) -> object:
    return value if isinstance(value, (str, int, float)) else str(value)


class Log:
    """The two logs of one status directory; with `echo`, a copy of each line goes to that descriptor.

    `limit`: bytes of each, 0 for no limit; `backups`: the older files that are kept beside it.
    """

    def __init__(self, directory: StatusDir, echo: int | None = None) -> None:
        self._directory = directory
        self._echo = echo
        self._waiting: list[tuple[str, str, tuple[object, ...]]] = []
        self._templates: dict[str, _Template] = {}
        self._kept: dict[str, bytes] = {}
        self._failed = 0  # tries in a row
        self._unusable: set[str] = set()  # of which the other log has said so
        self._grows: set[str] = set()  # those that could not be renamed
        self._sizes: dict[str, int] = {}  # as last looked at, and what was written since
        self.configure(Config())
        self.due: float | None = None  # monotonic: when to `flush`, for what was not written

    def configure(self, config: Config) -> None:
        """Use the limits of this configuration from now on."""
        self.limit, self.backups = config.logfile_maxbytes, config.logfile_backups

    def spell_out(self) -> None:
        """Make texts of what waits to be written and is neither one nor a number."""
        for at, (severity, text, values) in enumerate(self._waiting):
            self._waiting[at] = severity, text, tuple(map(_spelt_out, values))

    def add(self, severity: str, template: str, *values: object) -> None:
        """Gather one line: a %-template and its values, which are put together when it is written."""
        now = time.monotonic()
        # Each letter for itself: many share their words.
        key = template + str(values[0]) if template.startswith(COMMAND) else template
        known = self._templates.get(key)
        if known is None:
            known = self._templates[key] = _Template(severity, template, now)
        if known.takes(values, now):
            self._waiting.append((severity, template, values))
        elif self.due is None:
            self.due = now + SUMMED_UP

    @property
    def unwritten(self) -> bool:
        """Whether there are lines that could not be written."""
        return bool(self._kept)

    def drop(self) -> None:
        """Discard the lines that were gathered."""
        self._waiting.clear()

    def on_time(self, now: float) -> None:
        """Do nothing: `flush` comes at the end of each turn, after everything else."""

    def flush(self, ending: bool = False) -> None:
        """Write the lines that were gathered; `ending`: and how many were only counted.  Never raises."""
        if (self.due is not None and (ending or time.monotonic() >= self.due)) or (ending and self._kept):
            self._sum_up()
        elif not self._waiting:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        batches, self._kept = self._kept, {}
        waiting, self._waiting = self._waiting, []
        for severity, template, values in waiting:
            try:
                line = f"[{severity}] {stamp} {one_line((template % values)[:_LONGEST])}\n".encode()
            except Exception:  # a line that makes no sense must not cost the others
                line = f"[{severity}] {stamp} {one_line(template)}\n".encode("ascii", "replace")
            name = LOG if severity == NOTICE else LOG_WF
            batches[name] = batches.get(name, b"") + line
            if self._echo is not None:
                self._say(line)
        for name, data in batches.items():
            self._write(name, data)
        if len(self._templates) > _REMEMBERED:
            self._forget()

    def _write(self, name: str, data: bytes) -> None:
        """Rules 4 and 5."""
        if self.limit and self._sizes.get(name, self.limit) + len(data) > self.limit:
            self._bound(name, len(data))
        try:
            written = self._directory.append(name, data)
            if name in self._sizes:
                self._sizes[name] += written
            data = data[written:]
            self._unusable.discard(name)
        except WrongKind as why:
            self._say_unusable(name, str(why))
        except Exception:
            pass
        if not data:
            self._failed = 0
            return
        self._kept[name] = data if len(data) <= _KEPT else data[: data.rfind(b"\n", 0, _KEPT) + 1]
        self._failed += 1
        if self.due is None and self._failed < _TRIES:
            self.due = time.monotonic() + SUMMED_UP

    def _bound(self, name: str, more: int) -> None:
        """Rule 5."""
        try:
            self._sizes[name] = self._directory.bound(name, self.limit, self.backups, more)
            self._grows.discard(name)
        except Exception as why:  # no disk, no memory, the module of another version
            self._sizes[name] = max(self.limit - _RETRY, 0)
            if name not in self._grows:
                self._grows.add(name)
                said = why.strerror if isinstance(why, OSError) else why
                self._waiting.append((WARNING, "cannot rotate %s: %s; it grows beyond its limit", (name, said)))
                self.due = time.monotonic()

    def probe(self) -> list[str]:
        """Check that both logs can be appended to; a line for each that cannot, to be written to the other."""
        problems = []
        for name in (LOG, LOG_WF):
            try:
                self._directory.probe(name)
            except StatusDirError as why:
                problems.append(f"{why}; nothing is logged there")
                self._say_unusable(name, str(why))
        return problems

    def create(self) -> None:
        """Have a log of warnings from the start, before there is one.  Never raises: `probe` has said why not."""
        try:
            self._directory.append(LOG_WF, b"")
        except (OSError, StatusDirError):
            pass

    def _say_unusable(self, name: str, why: str) -> None:
        if name not in self._unusable:
            self._unusable.add(name)
            severity = NOTICE if name == LOG_WF else WARNING
            self._waiting.append((severity, "%s; nothing is logged there", (why,)))

    def _sum_up(self) -> None:
        """Rule 2."""
        self.due = None
        for known in self._templates.values():
            if known.hidden:
                text = f"{known.hidden:,} times more"
                said = f"(the same {text})" if known.same else f"(the last of such lines, {text})"
                self._waiting.append((known.severity, f"{known.text} {said}", known.last or ()))
                known.hidden = 0

    def _forget(self) -> None:
        """Rule 3."""
        before = time.monotonic() - _BUDGET / _INCOME
        self._templates = {key: one for key, one in self._templates.items() if one.hidden or one.at > before}

    def _say(self, line: bytes) -> None:
        """A copy for the terminal, or none where writing it would wait: a reader that stands still does not
        stop supervise."""
        if self._echo is None:
            return
        poller = select.poll()
        poller.register(self._echo, select.POLLOUT)
        if len(line) > select.PIPE_BUF:  # more than a pipe that is ready is sure to take at once
            kept = line[: select.PIPE_BUF - 4].decode("utf-8", "ignore")
            line = f"{kept}...\n".encode()
        try:
            if poller.poll(0):
                os.write(self._echo, line)
        except OSError:
            self._echo = None
