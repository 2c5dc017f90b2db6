"""The configuration of one service as a value: its keys and their defaults.

What lives here: the keys, with their defaults.  What does not: how they are read from a file (parser.py).
"""

from __future__ import annotations

from supervise.config.written import logged, written
from supervise.protocol.filenames import join

INHERIT, NONE = "INHERIT", "NONE"  # what supervise prints to itself; nothing is kept
SIZE_LIMIT = 1 << 20  # bytes of a file that are read: parsing them holds the loop up for a tenth of a second
POLICY_KEYS = ("alarm_interval", "alarm_mail", "alarm_gsm", "max_tries", "max_tries_if_coredumped")
# What limits a service.  Each is text in one form (limits.py); empty: as supervise's own.
LIMITS = (
    *("rlimit_nofile", "rlimit_core", "rlimit_nproc", "rlimit_as"),
    *("nice", "ionice", "oom_score_adj", "cpu_affinity"),
    *("cgroup", "memory_max", "cpu_max"),
)
# What is for whoever starts several services by one file; the supervise of one service passes over it.
FLEET_KEYS = frozenset(
    (
        *("command", "autostart", "depends_on", "depends_restart", "priority", "startretries"),
        *("numprocs", "numprocs_start", "process_name"),
    )
)
PLACED = ("stdout_logfile", "stderr_logfile")  # of these, too, it may turn out later that they are of no use
RESTRICTING = ("user", "group", "umask", "directory", *LIMITS)  # what these say is never passed over: restrictions.py


class _Standing:
    """The part of a configuration that is no key of the service's sections.

    `blocked`: why no start is allowed under it; empty if one is.  `startretries`: how often a start that has failed is
    tried again before supervise gives up, where the definition of the service says so (definitions.py); else None.
    """

    __slots__ = ("blocked", "startretries")


class Config(_Standing):
    """The configuration of one service.  Times are whole seconds; 0 stands for "no limit" or "off".

    It is changed only by the code that reads it, and from then on a value: `frozen`.
    Text is what was bytes in the file, decoded as UTF-8 with surrogateescape; to the system it goes the same way.
    """

    __slots__ = (
        *("alarm_interval", "alarm_mail", "alarm_gsm", "max_tries", "max_tries_if_coredumped"),
        *("autorestart", "exitcodes", "restart_delay", "restart_delay_max", "startsecs"),
        *("stopsignal", "stopwaitsecs", "stopasgroup", "killasgroup"),
        *("directory", "user", "group", "umask", "environment", "redirect_stderr"),
        *("stdout_logfile", "stderr_logfile"),
        *("stdout_logfile_maxbytes", "stdout_logfile_backups", "stderr_logfile_maxbytes", "stderr_logfile_backups"),
        *("logfile_compress", "stdout_command", "stderr_command", "logfile_maxbytes", "logfile_backups"),
        *LIMITS,
        *("notify", "notification_fd", "starttimeoutsecs"),
        *("watchdog_secs", "watchdog_signal"),
        *("check_command", "check_interval", "check_timeout", "check_failures", "check_delay"),
        "pidfile",
    )

    def __init__(self) -> None:
        self.alarm_interval = 0
        self.alarm_mail: tuple[str, ...] = ()
        self.alarm_gsm: tuple[str, ...] = ()
        self.max_tries = 0
        self.max_tries_if_coredumped = 0
        self.autorestart = "always"  # or "unexpected", "never"
        self.exitcodes: tuple[int, ...] = (0,)
        self.restart_delay = 1
        self.restart_delay_max = 0  # 0, or less than restart_delay: as restart_delay
        self.startsecs = 1
        self.stopsignal = "TERM"
        self.stopwaitsecs = 0
        self.stopasgroup = False
        self.killasgroup: bool | str = False  # or "all"
        self.directory = ""
        self.user = ""  # USER or USER:GROUP
        self.group = ""
        self.umask: int | None = None  # None: inherited
        self.environment: tuple[tuple[str, str], ...] = ()
        self.redirect_stderr = False
        self.stdout_logfile = self.stderr_logfile = ""  # or INHERIT, NONE, a path: see `output_path`
        self.stdout_logfile_maxbytes = self.stderr_logfile_maxbytes = 0
        self.stdout_logfile_backups = self.stderr_logfile_backups = 10
        self.logfile_compress = ""  # or "gzip"
        self.stdout_command: tuple[str, ...] = ()  # what reads it from a pipe, in place of the file
        self.stderr_command: tuple[str, ...] = ()
        self.logfile_maxbytes, self.logfile_backups = 10 << 20, 1  # of supervise's own
        self.rlimit_nofile = self.rlimit_core = self.rlimit_nproc = self.rlimit_as = ""
        self.nice = self.ionice = self.oom_score_adj = self.cpu_affinity = ""
        self.cgroup = self.memory_max = self.cpu_max = ""
        self.notify = False
        self.notification_fd = 0
        self.starttimeoutsecs = 0
        self.watchdog_secs = 0
        self.watchdog_signal = "ABRT"
        self.check_command: tuple[str, ...] = ()
        self.check_interval = 30
        self.check_timeout = 10
        self.check_failures = 3
        self.check_delay: int | None = None  # None: at once, and failures count when it has had time to start
        self.pidfile = ""
        self.blocked = ""
        self.startretries: int | None = None

    def frozen(self) -> Config:
        """Make this configuration immutable, and return it."""
        self.__class__ = _Frozen
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and all(getattr(self, key) == getattr(other, key) for key in Config.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, key) for key in Config.__slots__))

    @property
    def capped(self) -> bool:
        """Whether what it prints is limited."""
        return bool(self.stdout_logfile_maxbytes or self.stderr_logfile_maxbytes)

    def output_path(self, stream: str) -> str:
        """The file of the user's choice that it prints "stdout" or "stderr" to; empty if that goes elsewhere."""
        said = self.logfile_of("stdout" if self.redirect_stderr else stream)
        return join(self.directory, said) if said not in ("", INHERIT, NONE) else ""

    def logfile_of(self, stream: str) -> str:
        """What the key of the file says that it prints "stdout" or "stderr" to; empty where a command reads that."""
        if stream == "stdout":
            return "" if self.stdout_command else self.stdout_logfile
        return "" if self.stderr_command else self.stderr_logfile

    @property
    def inherited_key(self) -> str:
        """The key by which it prints to supervise's own output; empty if none does."""
        return next((key for key in PLACED if self.logfile_of(key.partition("_")[0]) == INHERIT), "")

    @property
    def limited(self) -> bool:
        """Whether anything limits the service."""
        return any(getattr(self, key) for key in LIMITS)

    def items(self) -> list[tuple[str, str]]:
        """Every key with its value as a person would write it."""
        return [(key, written(key, getattr(self, key))) for key in Config.__slots__]

    def __str__(self) -> str:
        """For the log: the policy, and what else is not at its default."""
        said = ", ".join(f"{key} {written(key, getattr(self, key)) or '(empty)'}" for key in POLICY_KEYS)
        if not self.alarm_interval:
            said = "no policy: alarm_interval is 0, restarts are not limited"
        for key in Config.__slots__[len(POLICY_KEYS) :]:
            value = getattr(self, key)
            if value != getattr(_DEFAULTS, key):
                said += f", {key} {logged(key, value) or '(empty)'}"
        return said


class _Frozen(Config):
    """An immutable configuration."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        if name != "__class__":
            raise AttributeError("a configuration that was read does not change")
        super().__setattr__(name, value)


KEYS = frozenset(Config.__slots__)
_DEFAULTS = Config().frozen()
