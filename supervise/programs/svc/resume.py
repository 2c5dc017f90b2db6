"""`svc start` where no supervise runs any more: one is started that goes on as the last one did.

It reads in the state what that was, and believes that only if no other user can have written it
(programs/resumption.py).
"""

from __future__ import annotations

import os
import subprocess
import sys

from supervise.client import ClientError, NotRunning, Service, SystemRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.client import Status

_FATAL = "supervise: fatal: "


def resume(service: Service) -> None:
    """Start a supervise that goes on as the last one here did; it wants what that wanted.

    Raises NotRunning where that cannot be known, or is for somebody else to do, and SystemRefused.
    """
    gone = f"cannot start {service.path}: supervise not running"
    said = _options(service)
    if said is None:
        raise NotRunning(gone)
    if said["foreground"]:
        raise NotRunning(f"{gone}; it was started with --foreground: start it again as that was done")
    program = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "supervise")
    try:
        done = subprocess.run(
            [program, "-p", os.path.abspath(service.path), "--resume"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as why:
        raise SystemRefused(f"{gone}, and {program} cannot be executed: {why.strerror}") from None
    lines = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    fatal = lines.pop() if done.returncode and lines else ""
    for line in lines:
        print(line, file=sys.stderr)
    if done.returncode and not service.supervised():  # else another was faster
        raise SystemRefused(f"{gone}, and cannot be started: {fatal.replace(_FATAL, '', 1)}")


def _options(service: Service) -> dict[str, object] | None:
    try:
        status: Status = service.status()
    except ClientError:
        return None
    return status.state["options"] if status.state else None
