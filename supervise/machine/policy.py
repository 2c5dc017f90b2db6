"""Restart policy: counting exits, alarms, giving up, and the backoff before the next start.

What lives here: the counting window, the delay.  What does not: clocks (the time is handed in), alarms, restarts.

Rule 1.  A window opens with an exit, when none is open, and is over `alarm_interval` seconds later.
Rule 2.  The exit that opens the window raises the alarm; those within it do not.
Rule 3.  An exit that would need more than `max_tries` restarts within the window, or by which
         `max_tries_if_coredumped` exits within it have dumped core, is the last: supervise gives up.
Rule 4.  With `alarm_interval` 0 nothing is counted.
Rule 5.  Each quick exit in a row but the first doubles the delay from `restart_delay`, up to `restart_delay_max`;
         what is longer than `restart_delay` is shortened by up to a quarter of it by chance, so that services that
         failed for the same reason do not come back at the same moment.
Rule 6.  With `startretries` a quick exit is a start that has failed, whatever its exit code is: it is tried again, also
         where `autorestart` would not, as supervisor does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.config import Config
    from supervise.protocol.exitstatus import ExitStatus

MIN_DELAY = 1.0  # seconds between two starts, whoever asks for the second


class Verdict:
    """The verdict on an exit: `alarm` now?  `give_up`?  And the `restarts` within the window before this exit."""

    __slots__ = ("alarm", "give_up", "restarts")

    def __init__(self, alarm: bool, give_up: bool, restarts: int) -> None:
        self.alarm = alarm
        self.give_up = give_up
        self.restarts = restarts


class Window:
    """The window in which exits are counted (alarm_interval); times are monotonic seconds."""

    __slots__ = ("opened", "exits", "cores")

    def __init__(self) -> None:
        self.opened: float | None = None
        self.exits = 0
        self.cores = 0

    def count(self, now: float, core: bool, config: Config) -> Verdict:
        """Count one exit that was not planned."""
        if not config.alarm_interval:
            self.opened = None
            return Verdict(False, False, 0)
        opens = self.opened is None or now - self.opened >= config.alarm_interval
        if opens:
            self.opened, self.exits, self.cores = now, 0, 0
        restarts = self.exits
        self.exits += 1
        self.cores += core
        tries, core_tries = config.max_tries, config.max_tries_if_coredumped
        give_up = bool((tries and restarts >= tries) or (core_tries and self.cores >= core_tries))
        return Verdict(opens or give_up, give_up, restarts)

    def may_give_up(self, config: Config) -> bool:
        """Whether the next exit could be the one after which supervise gives up."""
        tries, core_tries = config.max_tries, config.max_tries_if_coredumped
        return bool((tries and self.exits >= tries) or (core_tries and self.cores + 1 >= core_tries))


def start_failed(config: Config, quick_exits: int) -> bool:
    """Whether an exit was a start that is to be tried again (rule 6); `quick_exits` in a row, it included."""
    return config.startretries is not None and quick_exits > 0


def is_expected(config: Config, how: ExitStatus, quick_exits: int) -> bool:
    """Whether an exit that nobody asked for is one that its `exitcodes` and `autorestart` expect."""
    if config.autorestart == "always" or how.fault or start_failed(config, quick_exits):
        return False
    return how.code in config.exitcodes


def delay(config: Config, quick_exits: int, chance: float) -> float:
    """The backoff: seconds from one start to the next, after quick exits in a row; `chance` is from 0 to 1."""
    shortest = config.restart_delay
    longest = max(config.restart_delay_max, shortest)
    # Beyond 32 times the longest that there can be is reached.
    seconds = min(shortest << min(max(quick_exits - 1, 0), 32), longest)
    if seconds == shortest:
        return float(shortest)
    return max(seconds * (1 - chance / 4), float(shortest))
