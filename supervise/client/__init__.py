"""The Python interface to services: their status, commanding them, waiting for them, their output.

    from supervise.client import Service

    app = Service("status/app")            # or Service("app")
    if not app.status().running:
        app.start(seconds=10)              # returns when it is up, and ready where it tells that
    print(app.log("stderr", lines=3))

The programs svc, svstat, svok, svwait and svlog are written with it.  What it raises are the exceptions of
supervise/client/errors.py, ClientError being the base of all; nothing here blocks but `wait`, `start`, `stop` and
`restart`.  A supervise of the C implementation does as well: it has no `state`, so that what comes from there is None.
docs/python.md is about the use.
"""

from supervise.client.errors import (
    BadLetters,
    CannotComeTrue,
    ClientError,
    DamagedRecord,
    NoPermission,
    NotAStatusDir,
    NotRunning,
    SystemRefused,
    UnknownService,
)
from supervise.client.meant import LETTERS
from supervise.client.named import services
from supervise.client.service import LOGS, Service
from supervise.client.status import (
    DamagedState,
    DidNotStayUp,
    Health,
    IsStopped,
    LastExit,
    LoggerStatus,
    Status,
    TimeLimit,
)

__all__ = [
    "LETTERS",
    "LOGS",
    "BadLetters",
    "CannotComeTrue",
    "ClientError",
    "DamagedRecord",
    "DamagedState",
    "DidNotStayUp",
    "Health",
    "IsStopped",
    "LastExit",
    "LoggerStatus",
    "NoPermission",
    "NotAStatusDir",
    "NotRunning",
    "Service",
    "Status",
    "SystemRefused",
    "TimeLimit",
    "UnknownService",
    "services",
]
