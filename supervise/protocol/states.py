"""The vocabulary of the state machine: its states, the events that it answers, the actions that it asks for.

What lives here: names.  What does not: what they lead to (table.py).
"""

from __future__ import annotations

from supervise.protocol.severities import FATAL, NOTICE, WARNING

# States.
IDLE = "idle"  # no process, none wanted
SPAWNING = "spawning"  # START was asked for; its result is the next thing to come
RUNNING = "running"
STOPPING = "stopping"  # the service runs and was told to end, by `d` or `R`
ABORTING = "aborting"  # the service runs and was told to end, because it hangs or has not got ready
CLEANUP = "cleanup"  # no process; what is left of the service is told to end
SUCCESSION = "succession"  # the main process has ended well; processes are left, one of them may be the next
DELAY = "delay"  # no process; the next start waits for its time
SCRIPT_RUN = "script"  # no process; the restart script runs
ENDED = "ended"  # supervise is to exit
STATES = (IDLE, SPAWNING, RUNNING, STOPPING, ABORTING, CLEANUP, SUCCESSION, DELAY, SCRIPT_RUN, ENDED)

# How far a service is that says so.  None: it does not.
STARTING = "starting"
READY = "ready"
RELOADING = "reloading"
ENDING = "stopping"  # it has said that it is about to end by itself

# What kinds of faults there are, for which supervise ends a service (exitstatus.Fault).
HUNG = "hung"  # it has given no sign of life, or said itself that it hangs
SICK = "unhealthy"  # its check says so
NOT_READY = "not_ready"  # in time
LATE = "late"  # it did not end in time

# Events that are not letters.
BEGIN = "begin"  # supervise is ready: start the service.  value: whether one before it has left something
ADOPTED = "adopted"  # a service that still runs was taken over.  value: the pid, and the state it was found in
STARTED = "started"  # value: the pid
FAILED = "failed"  # value: an ExitStatus that says why
EXITED = "exited"  # value: an ExitStatus
MAIN_EXITED = "main_exited"  # the main process has exited and left processes, one may succeed it.  value: an ExitStatus
NO_SUCCESSOR = "no_successor"  # none of them is left.  value: None, or its ExitStatus, for that was unknown
MAIN = "main"  # another process of the service is its main process now.  value: its pid
CLEARED = "cleared"  # nothing is left of what was to end
AMENDED = "amended"  # how a service ended whose exit status was unknown.  value: an ExitStatus and its pid
TIMER = "timer"  # the deadline is past
SPARED = "spared"  # it was told to stop, but the signal could not be sent, and it is to stay up after all
SCRIPT_DONE = "script_done"  # value: what went wrong, or None
CONFIG = "config"  # value: a Config
# What the service says of itself (sdnotify.py has these, too).
SAYS_READY = "ready"
SAYS_RELOADING = "reloading"
SAYS_STOPPING = "stopping"
SAYS_TEXT = "text"  # value: the text
KICK = "kick"  # it is not hanging
TRIGGER = "trigger"  # it has found out that it hangs
WATCHDOG = "watchdog"  # value: seconds between two kicks
EXTEND = "extend"  # value: seconds that it needs from now on
UNHEALTHY = "unhealthy"  # what the health check has found.  value: the fault, in words

# Actions.
START = "start"
SIGNAL = "signal"  # a signal's name, and whether it goes to the process group
KILL_LEFTOVERS = "kill_leftovers"  # a signal's name, for what is left and is to end; CLEARED comes when nothing is
REPORT_LEFTOVERS = "report_leftovers"  # report what is left of the service
SCRIPT = "run_script"  # how many times the service has exited
END_SCRIPT = "end_script"
RELOAD = "reload"
UPGRADE = "upgrade"
GONE = "gone"  # for the state: an ExitStatus, uptime in seconds, whether it was planned
ALARM = "alarm"  # an ExitStatus, uptime in seconds, restarts in the window, whether supervise gives up
LINES = NOTICE, WARNING, FATAL  # a line for the log: a %-template and its values
COMMAND = "command %s: "  # how the template of a line about a letter begins; the letter is its first value
