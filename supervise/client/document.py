"""Services as plain values, for programs: what Service.to_dict returns, and the JSON document of svstat --json.

version     1; counts up when a field is renamed or means something else, not when one is added
time        when it was made, Unix seconds
services    a list, in the order of the command line, of objects with all of these fields, as Service.to_dict has
            them; a field is null where what it says is not known, as most are when `error` is not null or supervise
            is the C implementation

name              the service's name
path              its status directory, as it was found; the very text of both, but where one holds bytes that are no
                  text: then as svstat shows it, with "\\xff" for such a byte and "\\\\" for a backslash
path_hex          the bytes of path, in hexadecimal, whatever they are: bytes.fromhex is what leads to the service
error             why it, or its state, could not be read; null when it could
supervised        whether a supervise runs
supervise_pid     its pid
supervise_version its version
gave_up           whether supervise has ended because the service failed too often
machine           what supervise is about, null when none runs: "idle", "spawning", "running", "stopping",
                  "aborting" (a service that hangs, did not get ready or did not end as it said is being ended),
                  "cleanup" (so is what is left of its process group), "succession" (its main process has
                  ended, the next is awaited), "delay", "script" (the restart script runs), "ended"
up                whether the service runs
ready             whether it runs and is ready; of one that does not say so: whether it runs
phase             "starting", "ready", "reloading" or "stopping", as it says; null when it does not say, or is down
phase_seconds     how long ago that began
status_text       what it last said of itself (STATUS=), as it came; null if nothing
fault             why supervise is ending it at the moment, such as "not ready within 30 seconds"; else null
health            what its checks (check_command) have found since its start, null if none has ended, else an object:
    healthy       whether the last one succeeded; null if nothing can be said
    failures      how many have failed in a row
    limit         so many in a row end the service
    starting      whether they do not count yet, for it still has time to start
    failure       what the last one did, such as "exited with status 3"; null if it succeeded
    output        how what it printed begins, as it came
    since         when they began to fail, Unix seconds, or null
    seconds       how long ago that was
    problem       why the service is not checked, or null
loggers           the programs that read what it prints (stdout_command, stderr_command), a list of objects; empty where
                  there are none:
    stream        "stdout" or "stderr"
    pid           its pid, null when it does not run
    seconds       how long it has run, or null
    restarts      how often it has ended and was started again
    failure       where it should run and does not: how it ended, or why it cannot be started; else null
    waiting       then, how many bytes waited for it when it was tried last
pid               its pid, null when it does not run
changed           when that pid last changed, Unix seconds
seconds           how long ago that was: the uptime, or how long it is down
want              "up", "down" or "once"
paused            whether it is paused
stopped           whether it is stopped by a signal that supervise did not send it
alarms            whether alarms are on
command           its program and arguments, a list
groups            the names of the groups that it is in, a list; null where no file of svall defines it
failing           whether svstat --failed shows it
finished          whether it has ended and is not restarted, as its autorestart has it
next_start_seconds  when the next start is due, where one is waited for: so many seconds from now
quick_exits       how many times in a row it has ended before it had been up for startsecs
hangs             how often it was ended because it hung, since it was first supervised here
restarts          starts after the first, since it was first supervised here
last_exit         null if it has never ended, else an object:
    time          Unix seconds
    text          in words
    code          exit status 0-255, or null
    signal        number of the signal that killed it, or null
    core          whether it dumped core
    failure       why it could not be started, or null
    planned       whether it was asked for
    fault         why supervise ended it, or null if it did not
    expected      whether its exit code is one of its exitcodes, with another autorestart than always; null if not known
    uptime        seconds that it had run
    seconds       how long ago it was
processes         how many processes its process group has
memory            bytes, resident, of the whole group
cpu               seconds of processor time of the whole group
cpu_percent       of one processor, since the oldest process of the group was started
stdout_bytes      how much of its standard output is kept, older parts included, as large as they are where they are
                  compressed; null if nothing
stderr_bytes      the same of its standard error; null as well where that goes to the same file

In any other text a byte that is no text is "\\xff", too, so that every JSON reader takes it.
"""

from __future__ import annotations

import json
import os
import time

from supervise.client.errors import ClientError
from supervise.client.kept import kept
from supervise.client.status import DamagedState
from supervise.client.trouble import failing
from supervise.client.usage import usage
from supervise.protocol.text import one_line, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.client.service import Service
    from supervise.client.status import Health, LastExit, LoggerStatus, Status
    from supervise.client.usage import Usage

    Found = tuple[str, Service | None, Status | None, ClientError | None]

VERSION = 1

_STATUS_FIELDS = (
    *("supervised", "supervise_pid", "supervise_version", "gave_up", "machine", "up", "ready", "phase"),
    *("phase_seconds", "status_text", "fault", "health", "loggers", "pid", "changed", "seconds", "want", "paused"),
    *("stopped", "alarms", "command", "groups", "failing", "finished", "next_start_seconds", "quick_exits", "hangs"),
    "restarts",
    "last_exit",
)
_USAGE_FIELDS = ("processes", "memory", "cpu", "cpu_percent")
_KEPT_FIELDS = ("stdout_bytes", "stderr_bytes")


def document(found: list[Found]) -> str:
    """The document, as text."""
    made = {"version": VERSION, "time": round(time.time(), 3), "services": described(found)}
    return json.dumps(made, indent=2)


def describe(service: Service) -> dict[str, Any]:
    """One service as it is now.  Never raises: `error` says what could not be read."""
    status: Status | None = None
    problem: ClientError | None = None
    try:
        status = service.status()
    except DamagedState as why:
        status, problem = why.status, why
    except ClientError as why:
        problem = why
    try:
        return described([(service.path, service, status, problem)])[0]
    except ClientError as why:  # whether it runs may not be known
        return described([(service.path, service, None, why)])[0]


def described(found: list[Found]) -> list[dict[str, Any]]:
    """The fields of each, with memory and CPU as they are now."""
    used = usage({status.pid for _, _, status, _ in found if status and status.running})
    services = []
    for path, service, status, problem in found:
        fields: dict[str, Any] = {
            "name": _name(service.name if service else path),
            "path": _name(path),
            "path_hex": os.fsencode(path).hex(),
            "error": str(problem) if problem else None,
        }
        fields.update(_status(status) if status else {**dict.fromkeys(_STATUS_FIELDS), "failing": True})
        use = used.get(status.pid) if status and status.running else None
        fields.update(_usage(use) if use else dict.fromkeys(_USAGE_FIELDS))
        fields.update(zip(_KEPT_FIELDS, kept(path) if service else (None, None)))
        services.append({key: _plain(value) for key, value in fields.items()})
    return services


def _name(name: str) -> str:
    """A name as it is, if it is text, else as people are shown it."""
    return name if _plain(name) == name else shown_name(name)


def _plain(value: Any) -> Any:
    """A value without what JSON cannot say: half a pair of surrogates, which stands for a byte that is no text."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(one_line(char) if "\ud800" <= char <= "\udfff" else char for char in value)


def _status(status: Status) -> dict[str, Any]:
    last = status.last_exit
    values = (
        status.supervised,
        status.supervise_pid,
        status.state["supervise_version"] if status.state else None,
        status.gave_up,
        status.machine,
        status.running,
        status.ready if status.state and status.supervised else None,
        status.phase,
        _rounded(status.phase_seconds),
        status.status_text,
        status.fault,
        _health(status.health) if status.health else None,
        [_logger(logger) for logger in status.loggers] if status.state else None,
        status.pid if status.running else None,
        round(status.changed, 3),
        round(status.seconds, 3),
        status.want,
        status.paused,
        status.stopped if status.state else None,
        status.alarms,
        status.state["command"] if status.state else None,
        None if status.groups is None else [*map(_name, status.groups)],
        failing(status),
        status.finished if status.state else None,
        _rounded(status.next_start_seconds),
        status.quick_exits,
        status.hangs,
        status.restarts,
        _last_exit(last) if last else None,
    )
    return dict(zip(_STATUS_FIELDS, values))


def _last_exit(last: LastExit) -> dict[str, Any]:
    names = ("time", "code", "signal", "core", "failure", "planned", "fault", "expected", "uptime")
    fields = {name: getattr(last, name) for name in names}
    return {"text": str(last), **fields, "seconds": _rounded(last.seconds)}


def _health(health: Health) -> dict[str, Any]:
    names = ("healthy", "failures", "limit", "starting", "failure", "output", "since")
    fields = {name: getattr(health, name) for name in names}
    return {**fields, "seconds": _rounded(health.seconds), "problem": health.problem}


def _logger(logger: LoggerStatus) -> dict[str, Any]:
    fields = {name: getattr(logger, name) for name in ("restarts", "failure", "waiting")}
    return {"stream": logger.stream, "pid": logger.pid or None, "seconds": _rounded(logger.seconds), **fields}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _usage(use: Usage) -> dict[str, Any]:
    return dict(zip(_USAGE_FIELDS, (use.processes, use.memory, round(use.cpu, 2), round(use.percent, 2))))
