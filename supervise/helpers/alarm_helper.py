"""Run as a script: deliver one alarm, log how that went, end within 30 seconds.

    alarm_helper.py STATUS_DIR      standard input: the alarm, as alarm.py writes it; descriptor 3: STATUS_DIR

Mail goes through `mail -s SUBJECT ADDRESS...`, or where there is none through `sendmail -t`; each number of alarm_gsm
through `gsmsend-script NUMBER@MESSAGE`.  All of them run at the same time, without a shell.
"""

from __future__ import annotations

import os
import sys
import time

# Last: no module of the standard library is to be found there.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from supervise.alarms.alarm import NOBODY_CAN_SEND, SAID
from supervise.alarms.mail import LIMIT, deliveries
from supervise.protocol.severities import NOTICE, WARNING
from supervise.runtime.event_log import Log
from supervise.system.statusdir import StatusDir

AFTERWARDS = 10.0  # seconds of LIMIT for what the programs have left at work in the background


def deliver(fields: list[str], log: Log) -> int:
    """Deliver an alarm: 0, NOBODY_CAN_SEND if a program is not installed, SAID if the log says what else failed."""
    deadline = time.monotonic() + LIMIT
    warned, subject, text, addresses, numbers = fields
    started, missing = deliveries(subject, text, addresses.split(), numbers.split())
    for line in () if warned else missing:
        log.add(WARNING, "cannot send alarms: %s", line)
    log.flush()
    failed = False
    for delivery in started:
        delivery.wait(deadline)
        failed |= bool(delivery.failure)
        if delivery.failure:
            log.add(WARNING, "%s failed: %s", delivery.what, delivery.failure)
        else:
            log.add(NOTICE, "%s: handed over", delivery.what)
        log.flush()
    # `mail` may leave the work to a child, which has time for it, but not for ever.
    end = min(deadline, time.monotonic() + AFTERWARDS)
    for delivery in started:
        delivery.finish(end)
    if missing:
        return NOBODY_CAN_SEND
    return SAID if failed else 0


def main(argv: list[str]) -> int:
    """Deliver the alarm on standard input; whatever goes wrong is in the log."""
    os.set_inheritable(3, False)
    log = Log(StatusDir.attach(argv[0], 3))
    log.limit = 0  # which is for supervise to keep
    try:
        fields = sys.stdin.buffer.read().split(b"\0")
        for variable in fields[5:]:
            name, _, value = variable.partition(b"=")
            os.environb[name] = value
        # Names may hold bytes that are not UTF-8; mail may not.
        return deliver([field.decode("utf-8", "backslashreplace") for field in fields[:5]], log)
    except Exception as why:  # the end of the line: nobody else would say that an alarm was lost
        log.add(WARNING, "alarm lost: %s: %s", type(why).__name__, why)
        return SAID
    finally:
        log.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
