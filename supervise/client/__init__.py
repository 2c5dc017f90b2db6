"""The Python interface to services: their status, commanding them, waiting for them, their output.

    from supervise.client import Service

    app = Service("status/app")            # or Service("app")
    if not app.status().running:
        app.command("u")
        app.wait("ready", seconds=10)
    print(app.log("stderr", lines=3))

The programs svc, svstat, svok, svwait and svlog are written with it.  What it raises are the exceptions of
supervise/client/errors.py, ClientError being the base of all; nothing here blocks but `wait`.  A supervise of the C
implementation does as well: it has no `state`, so that what comes from there is None.
"""

from supervise.client.errors import (
    CannotComeTrue,
    ClientError,
    DamagedRecord,
    NoPermission,
    NotAStatusDir,
    NotRunning,
    SystemRefused,
    UnknownService,
)
from supervise.client.service import LETTERS, LOGS, Service, services
from supervise.client.status import DamagedState, Health, LastExit, Status, TimeLimit

__all__ = [
    "LETTERS",
    "LOGS",
    "CannotComeTrue",
    "ClientError",
    "DamagedRecord",
    "DamagedState",
    "Health",
    "LastExit",
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
