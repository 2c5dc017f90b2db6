"""What limits a service, as a process sees it that was started so (supervise/service/limits.py)."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from starting import Stage, descriptors, set_stage
from system import needs, needs_root

from supervise.service import limits

stage = pytest.fixture(set_stage)
root = pytest.fixture(needs_root)
USER = "nobody"
PLAIN = [{}, {"user": USER}]
IDS = ["as supervise", "as another user"]
SHOW = "import os; print(*sorted(os.sched_getaffinity(0)), sep=',')"


@pytest.fixture(params=PLAIN, ids=IDS)
def who(request: pytest.FixtureRequest) -> dict[str, str]:
    """As whom: limits are supervise's to set, whoever the service is."""
    if request.param:
        needs_root()
    found: dict[str, str] = request.param
    return found


def may_raise() -> bool:
    """Whether this process may raise limits: root may not everywhere."""
    capabilities = re.findall(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return bool(int(capabilities[0], 16) & 1 << 24)  # CAP_SYS_RESOURCE


def needs_to_raise() -> None:
    if not may_raise():
        pytest.skip("needs CAP_SYS_RESOURCE: limits are raised")


def limit(said: str, name: str) -> list[str]:
    """The soft and the hard limit in what /proc/PID/limits says."""
    found = re.search(rf"^{name}  +(\S+) +(\S+)", said, re.MULTILINE)
    assert found, said
    return list(found.groups())


def test_resource_limits(stage: Stage, who: dict[str, str]) -> None:
    said = stage.say(
        "/bin/cat",
        "/proc/self/limits",
        rlimit_nofile="50:60",
        rlimit_core="0",
        rlimit_nproc="1234:5678",
        rlimit_as="512M:1G",
        **who,
    )
    assert limit(said, "Max open files") == ["50", "60"]
    assert limit(said, "Max core file size") == ["0", "0"]
    assert limit(said, "Max processes") == ["1234", "5678"]
    assert limit(said, "Max address space") == [str(512 << 20), str(1 << 30)]


def test_those_that_are_not_named_are_supervises(stage: Stage, who: dict[str, str]) -> None:
    said = stage.say("/bin/cat", "/proc/self/limits", nice="0" if os.nice(0) == 0 else "", rlimit_core="0", **who)
    for name, number in (("Max open files", resource.RLIMIT_NOFILE), ("Max processes", resource.RLIMIT_NPROC)):
        own = ["unlimited" if one == resource.RLIM_INFINITY else str(one) for one in resource.getrlimit(number)]
        assert limit(said, name) == own


def test_ulimit(stage: Stage, who: dict[str, str]) -> None:
    assert stage.shell("ulimit -Sn; ulimit -Hn; ulimit -c", rlimit_nofile="33:44", rlimit_core="0", **who) == (
        "33\n44\n0\n"
    )


def test_a_hard_limit_is_raised_before_the_user_changes(stage: Stage) -> None:
    needs_to_raise()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    try:
        said = stage.shell("ulimit -Sn; ulimit -Hn", user=USER, rlimit_nofile="400:500")
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, 300)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert said == "400\n500\n"


def test_unlimited(stage: Stage, root: None) -> None:
    needs_to_raise()
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        assert stage.shell("ulimit -Sc; ulimit -Hc", user=USER, rlimit_core="unlimited") == "unlimited\nunlimited\n"
        assert stage.shell("ulimit -Sc; ulimit -Hc", rlimit_core="0:unlimited") == "0\nunlimited\n"
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_so_few_descriptors_that_the_child_itself_could_open_none(stage: Stage, root: None) -> None:
    """What it still has to find out, it finds out before: the user, the directory."""
    (stage.folder / "in").mkdir(mode=0o755)
    more = {"user": USER, "directory": str(stage.folder / "in"), "ionice": "idle"}
    assert stage.say("/bin/sh", "-c", "ulimit -n", rlimit_nofile="4:5", **more) == "4\n"


def test_no_address_space_is_no_mystery(stage: Stage) -> None:
    """Either the program has been executed and cannot begin, or it could not be, and that is said."""
    launcher = stage.launcher("/bin/true", rlimit_as="4K")
    result = launcher.service()
    if isinstance(result, int):
        assert os.waitstatus_to_exitcode(os.waitpid(result, 0)[1]) != 0
    else:
        assert result.failure


def test_nice(stage: Stage, who: dict[str, str]) -> None:
    here = os.nice(0)
    assert stage.shell("nice", nice=str(max(here, 7)), **who) == f"{max(here, 7)}\n"
    if os.geteuid() == 0:
        assert stage.shell("nice", nice="-5", **who) == "-5\n"
    assert os.nice(0) == here


def test_ionice(stage: Stage, who: dict[str, str]) -> None:
    needs("ionice")
    assert stage.shell("ionice -p $$", ionice="idle", **who) == "idle\n"
    assert stage.shell("ionice -p $$", ionice="best-effort:6", **who) == "best-effort: prio 6\n"
    if os.geteuid() == 0:
        assert stage.shell("ionice -p $$", ionice="realtime:2", **who) == "realtime: prio 2\n"


def test_oom_score_adj(stage: Stage, who: dict[str, str]) -> None:
    here = int(Path("/proc/self/oom_score_adj").read_text())
    assert stage.say("/bin/cat", "/proc/self/oom_score_adj", oom_score_adj="789", **who) == "789\n"
    if may_raise():
        assert stage.say("/bin/cat", "/proc/self/oom_score_adj", oom_score_adj="-321", **who) == "-321\n"
    assert int(Path("/proc/self/oom_score_adj").read_text()) == here


def test_cpu_affinity(stage: Stage, who: dict[str, str]) -> None:
    mine = os.sched_getaffinity(0)
    for cpus in ({min(mine)}, {max(mine)}, mine):
        text = ",".join(map(str, sorted(cpus)))
        said = stage.shell("grep Cpus_allowed_list /proc/self/status", cpu_affinity=text, **who)
        assert cpus_in(said.split()[1]) == cpus
    assert os.sched_getaffinity(0) == mine


def cpus_in(text: str) -> set[int]:
    ranges = [word.split("-") for word in text.split(",")]
    return {cpu for pair in ranges for cpu in range(int(pair[0]), int(pair[-1]) + 1)}


def test_a_check_has_the_same(stage: Stage) -> None:
    nice = max(os.nice(0), 9)
    launcher = stage.launcher("/bin/true", rlimit_nofile="55", nice=str(nice))
    reading, writing = os.pipe()
    try:
        pid = launcher.check_command(("/bin/sh", "-c", "ulimit -n; nice"), os.getpid(), writing)
        assert isinstance(pid, int)
        os.waitpid(pid, 0)
        assert os.read(reading, 100) == b"55\n%d\n" % nice
    finally:
        os.close(reading)
        os.close(writing)


def test_the_restart_script_has_none(stage: Stage) -> None:
    launcher = stage.launcher("/bin/true", script=["/bin/sh", "-c", "ulimit -Sn"], rlimit_nofile="55")
    pid = launcher.script(1)
    assert isinstance(pid, int)
    os.waitpid(pid, 0)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert stage.output() == f"{'unlimited' if soft == resource.RLIM_INFINITY else soft}\n"


# What cannot be set.


def failure(stage: Stage, **values: object) -> str:
    """What a start without privileges comes to, where 200 open files are the limit."""
    # In a child, for its limits and its user stay so.
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.chown(stage.status, 65534, 65534)
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
            launcher = stage.launcher("/bin/true", **values)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            os.write(writing, str(launcher.service()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    said = os.read(reading, 4096).decode()
    os.close(reading)
    return said


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("nice", "-5", "cannot set nice -5: Permission denied"),
        ("oom_score_adj", "-1000", "cannot set oom_score_adj -1000: Permission denied"),
        ("ionice", "realtime:0", "cannot set ionice realtime:0: Operation not permitted"),
        ("rlimit_nofile", "201:202", "cannot set rlimit_nofile 201:202: the hard limit is 200, and"),
    ],
)
def test_what_only_root_may(stage: Stage, key: str, text: str, why: str) -> None:
    assert why in failure(stage, **{key: text})


def test_more_open_files_than_the_kernel_has(stage: Stage, root: None) -> None:
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    said = stage.failure("/bin/true", rlimit_nofile=str(most + 1))
    assert said.startswith(f"cannot set rlimit_nofile {most + 1}: ")


def test_a_processor_that_there_is_not(stage: Stage) -> None:
    assert stage.failure("/bin/true", cpu_affinity="8000") == (
        "cannot set cpu_affinity 8000: no processor 8000 here, or it may not be used"
    )
    mine = min(os.sched_getaffinity(0))
    text = f"{mine},8000-8100"
    assert stage.failure("/bin/true", cpu_affinity=text) == (
        f"cannot set cpu_affinity {text}: no processor 8000, 8001, 8002, 8003, 8004, 8005, 8006, 8007, ... here,"
        " or it may not be used"
    )


def test_a_python_without_ctypes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert stage.failure("/bin/true", ionice="idle").startswith("cannot set ionice idle: ")


def test_a_machine_of_an_unknown_kind(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_IOPRIO_SET", {})
    machine = os.uname().machine
    assert stage.failure("/bin/true", ionice="idle") == (
        f"cannot set ionice idle: not known how on a machine of the kind {machine}"
    )


def test_the_number_of_the_system_call_is_this_machines() -> None:
    """ioprio_get(2) is the next one, and knows that a class was set: the own one, which is not changed by that."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = limits._IOPRIO_SET.get(os.uname().machine)
    if number is None:
        pytest.skip(f"not known on {os.uname().machine}")
    assert libc.syscall(ctypes.c_long(number + 1), 1, 0) >= 0


# The cgroup.


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of the test's own."""
    needs_root()
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = [Path(mount.split()[4]) for mount, rest in mounts if rest.split()[0] == "cgroup2"]
    for place in places:
        made = place / f"supervise-test-{uuid.uuid4().hex}"
        try:
            made.mkdir()
        except OSError:
            continue
        yield made
        for below in [*(path for path in made.iterdir() if path.is_dir()), made]:
            below.rmdir()
        return
    pytest.skip("no cgroup v2 that can be written to is mounted here")


def own_cgroup(said: str) -> str:
    return next(line for line in said.splitlines() if line.startswith("0::"))


def test_joining_a_cgroup(stage: Stage, who: dict[str, str], cgroup: Path) -> None:
    before = Path("/proc/self/cgroup").read_text()
    said = stage.say("/bin/cat", "/proc/self/cgroup", cgroup=str(cgroup), **who)
    assert own_cgroup(said).endswith(f"/{cgroup.name}")
    assert Path("/proc/self/cgroup").read_text() == before


@pytest.mark.parametrize(
    ("key", "text", "name", "written"),
    [("memory_max", "64M", "memory.max", str(64 << 20)), ("cpu_max", "50000 100000", "cpu.max", "50000 100000")],
)
def test_what_limits_it(stage: Stage, cgroup: Path, key: str, text: str, name: str, written: str) -> None:
    if (cgroup / name).exists():
        assert own_cgroup(stage.say("/bin/cat", "/proc/self/cgroup", cgroup=str(cgroup), **{key: text}))
        assert (cgroup / name).read_text().strip() == written
    else:
        assert stage.failure("/bin/true", cgroup=str(cgroup), **{key: text}) == (
            f"cannot set {key} {text} of cgroup {cgroup}: it has no {name}: its controller is not enabled"
        )


@pytest.mark.parametrize("key", ["memory_max", "cpu_max"])
def test_nothing_that_could_be_limited(stage: Stage, key: str) -> None:
    assert stage.failure("/bin/true", **{key: "max"}) == f"cannot set {key}: there is no cgroup to limit"


def test_a_cgroup_that_does_not_exist(stage: Stage, cgroup: Path) -> None:
    assert stage.failure("/bin/true", cgroup=f"{cgroup}/none") == (
        f"cannot join cgroup {cgroup}/none: No such file or directory"
    )


def test_what_is_no_cgroup_is_not_written_to(stage: Stage) -> None:
    """Whatever is there, and whoever has put it there."""
    planted = stage.folder / "planted"
    planted.mkdir()
    victim = stage.folder / "victim"
    victim.write_text("secret")
    (planted / "cgroup.procs").symlink_to(victim)
    (planted / "cgroup.controllers").touch()
    assert stage.failure("/bin/true", cgroup=str(planted)) == (
        f"cannot join cgroup {planted}: not a directory of cgroup v2"
    )
    assert stage.failure("/bin/true", cgroup=str(victim)) == f"cannot join cgroup {victim}: Not a directory"
    (planted / "cgroup.procs").unlink()
    (planted / "cgroup.procs").write_text("secret")
    assert stage.failure("/bin/true", cgroup=str(planted)) == (
        f"cannot join cgroup {planted}: not a directory of cgroup v2"
    )
    assert victim.read_text() == (planted / "cgroup.procs").read_text() == "secret"


def test_a_cgroup_that_this_user_may_not_join(stage: Stage, cgroup: Path) -> None:
    assert f"cannot join cgroup {cgroup}: Permission denied" in failure(stage, cgroup=str(cgroup))


# In supervise itself.


def test_nothing_is_left_of_it_in_the_parent(stage: Stage, who: dict[str, str]) -> None:
    launcher = stage.launcher("/bin/true", rlimit_nofile="60", ionice="idle", oom_score_adj="500", **who)
    before = descriptors()
    for _ in range(3):
        stage.run(launcher)
    assert descriptors() == before
