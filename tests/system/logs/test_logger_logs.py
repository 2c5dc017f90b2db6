"""svlog of a service whose output a logger reads: the log that this keeps, where it is known how it keeps one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SUPERVISE, Box, wait_for
from quota import ON_REQUEST, quota
from system import needs
from tools import run_tool

LINES = 3000
KEEPERS = {
    "multilog": "multilog t s4096 n99 ./kept",
    "multilog, compressed": "multilog t '!gzip' s4096 n99 ./kept",
    "s6-log": "s6-log t s4096 n99 ./kept",
    "svlogd": "svlogd -t ./kept",
}


@pytest.fixture
def kept(request: pytest.FixtureRequest, box: Box) -> Iterator[Box]:
    needs(request.param.partition(",")[0])
    (box.folder / "kept").mkdir()
    (box.folder / "kept" / "config").write_text("s4096\nn99\n")  # svlogd's
    box.conf(f"[app]\nstdout_command : {KEEPERS[request.param]}\n")
    quota(box, LINES)
    box.start(*ON_REQUEST)
    yield box


def older(box: Box) -> list[Path]:
    return [*(box.folder / "kept").glob("@*.[su]")]


@pytest.mark.parametrize("kept", KEEPERS, indirect=True)
def test_its_last_lines_over_all_its_files(kept: Box) -> None:
    def shown(*words: str) -> list[str]:
        done = run_tool(kept, "svlog", *words, "app")
        assert (done.stderr, done.returncode) == ("", 0)
        return done.stdout.splitlines(True)

    def is_last() -> bool:
        found = run_tool(kept, "svlog", "-n", "1", "app").stdout  # nothing, while the logger is being started
        return found.endswith(f" {LINES - 1}\n")

    wait_for("the last of them", is_last)
    assert len(older(kept)) > 5
    found = shown("-n", str(LINES + 10))
    assert [text.split(" ", 1)[1] for text in found] == [f"{number}\n" for number in range(LINES)]
    timed = shown("-t", "-n", "20")
    assert [text[20:] for text in timed] == [f"{number}\n" for number in range(LINES - 20, LINES)]
    assert all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d ", text) for text in timed)


@pytest.mark.parametrize("kept", [name for name in KEEPERS if "compressed" not in name], indirect=True)
def test_it_is_followed_through_its_rotations(kept: Box) -> None:
    """Many within a moment; where a processor makes each anew no more than one may be."""
    wait_for("some of its files", lambda: len(older(kept)) > 5)
    svlog = Path(SUPERVISE).with_name("svlog")
    words = [svlog, "-f", "-t", "-n", str(LINES), "app"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=kept.folder, env=kept.env) as follower:
        assert follower.stdout
        try:
            for limit in range(LINES, 2 * LINES + 1, LINES // 10):
                quota(kept, limit)
                for _ in range(LINES if limit == LINES else LINES // 10):
                    last = follower.stdout.readline()
                assert last[20:] == f"{limit - 1}\n"
        finally:
            follower.kill()


def test_one_that_keeps_no_log_is_named(box: Box) -> None:
    box.conf("[app]\nstdout_command : cat\n")
    box.start("sleep", "1000")
    wait_for("the logger", lambda: '"loggers": [' in (box.status / "state").read_text())
    done = run_tool(box, "svlog", "app")
    assert done.returncode != 0 and done.stderr.endswith("stdout_command reads what the service prints\n")
