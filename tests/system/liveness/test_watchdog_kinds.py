"""supervise.notify's watchdog with async functions, generators, and processes that fork."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from pathlib import Path

import pytest
from test_watchdog import ends_by_watchdog, goes_well, run

from supervise.notify import watchdog

# Decorated functions look like what they are.


def plain(a: int, b: str = "x") -> str:
    """Documented."""
    return b * a


async def coroutine(a: int) -> int:
    return a


def test_it_looks_like_the_function() -> None:
    limited = watchdog(3)(plain)
    assert (limited.__name__, limited.__doc__, limited.__module__) == ("plain", "Documented.", __name__)
    assert inspect.signature(limited) == inspect.signature(plain)
    assert limited(2, b="ab") == "abab"


def test_each_kind_stays_its_kind() -> None:
    def generator():  # type: ignore[no-untyped-def]
        yield 1

    async def async_generator():  # type: ignore[no-untyped-def]
        yield 1

    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    for function in (plain, coroutine, generator, async_generator):
        limited = watchdog(3)(function)
        assert [kind(limited) for kind in kinds] == [kind(function) for kind in kinds]
    assert inspect.iscoroutinefunction(watchdog(3)(partial(coroutine, 1)))


def test_methods() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        @watchdog(30)
        def add(self, number: int) -> int:
            self.count += number
            return self.count

        @classmethod
        @watchdog(30)
        def make(cls) -> Counter:
            return cls()

        @staticmethod
        @watchdog(30)
        def double(number: int) -> int:
            return number * 2

    counter = Counter.make()
    assert (counter.add(2), counter.add(3), counter.double(4), Counter.double(5)) == (2, 5, 8, 10)
    assert watchdog(30)(counter.add)(1) == 6


# Async functions.


def test_an_async_function() -> None:
    @watchdog(30)
    async def twice(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    @watchdog(30)
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("on purpose")

    async def main() -> list[object]:
        return await asyncio.gather(*map(twice, range(200)), fails(), return_exceptions=True)

    *numbers, failure = asyncio.run(main())
    assert numbers == [number * 2 for number in range(200)]
    assert isinstance(failure, KeyError)


@pytest.mark.parametrize("hang", ["await asyncio.sleep(100)", "await asyncio.Event().wait()", "time.sleep(100)"])
def test_an_async_function_that_hangs(tmp_path: Path, hang: str) -> None:
    code = f"""
import asyncio
@watchdog(1)
async def work():
    {hang}
@watchdog(50)
async def other():
    await asyncio.sleep(90)
async def main():
    await asyncio.gather(other(), work(), other())
asyncio.run(main())
"""
    ends_by_watchdog(tmp_path, code, "<module>")


def test_async_functions_that_are_cancelled_or_never_awaited(tmp_path: Path) -> None:
    code = """
import asyncio
@watchdog(1)
async def work():
    await asyncio.sleep(100)
async def main():
    never = work()
    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.01)
    task.cancel()
    try:
        await asyncio.wait_for(work(), 0.01)
    except asyncio.TimeoutError:
        pass
    await asyncio.sleep(1.5)
    never.close()
asyncio.run(main())
print("well")
"""
    goes_well(tmp_path, code)


# Generators.

GENERATORS = """
@watchdog(1)
def echo(first):
    given = first
    try:
        while given != "end":
            try:
                given = yield given
            except KeyError as why:
                given = why.args[0]
    finally:
        print("closed")
    return "returned"
"""


def test_a_generator(tmp_path: Path) -> None:
    code = f"""{GENERATORS}
steps = echo(1)
assert (next(steps), steps.send(2), steps.throw(KeyError(3)), next(steps)) == (1, 2, 3, None)
time.sleep(1.5)  # its consumer's time
try:
    steps.send("end")
except StopIteration as end:
    assert end.value == "returned"
steps = echo(1)
next(steps)
try:
    steps.throw(ValueError(4))
except ValueError as why:
    assert why.args == (4,)
steps = echo(1)
next(steps)
steps.close()
def delegates():
    assert (yield from echo(5)) == "returned"
steps = delegates()
assert (next(steps), steps.send(6)) == (5, 6)
del steps
for _ in echo(1):
    break
print("well")
"""
    goes_well(tmp_path, code, says="closed\n" * 5 + "well\n")


@pytest.mark.parametrize("step", ["next(steps)", "steps.send(1)", "steps.throw(KeyError)", "steps.close()"])
def test_a_generator_that_hangs(tmp_path: Path, step: str) -> None:
    code = f"""
@watchdog(1)
def items():
    try:
        yield 1
    finally:
        time.sleep(100)
steps = items()
next(steps)
{step}
"""
    ends_by_watchdog(tmp_path, code, "items")


def test_an_async_generator(tmp_path: Path) -> None:
    code = """
import asyncio
@watchdog(1)
async def echo(first):
    given = first
    try:
        while given != "end":
            await asyncio.sleep(0)
            try:
                given = yield given
            except KeyError as why:
                given = why.args[0]
    finally:
        await asyncio.sleep(0)
        print("closed")
async def main():
    steps = echo(1)
    assert [await steps.__anext__(), await steps.asend(2), await steps.athrow(KeyError(3))] == [1, 2, 3]
    await asyncio.sleep(1.5)
    try:
        await steps.asend("end")
    except StopAsyncIteration:
        pass
    steps = echo(1)
    assert await steps.__anext__() == 1
    await steps.aclose()
    assert [item async for item in echo("end")] == []
    steps = echo(1)
    await steps.__anext__()
    try:
        await steps.athrow(ValueError(4))
    except ValueError as why:
        assert why.args == (4,)
asyncio.run(main())
print("well")
"""
    goes_well(tmp_path, code, says="closed\n" * 4 + "well\n")


def test_an_async_generator_that_hangs(tmp_path: Path) -> None:
    code = """
import asyncio
@watchdog(1)
async def items():
    yield 1
    await asyncio.sleep(100)
async def main():
    async for _ in items():
        pass
asyncio.run(main())
"""
    ends_by_watchdog(tmp_path, code, "<module>")


# Forks.

WAITS = """
def ended(pid):
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
        dog.kick()
"""


def ends_by_child(folder: Path, code: str) -> str:
    """Run a program that goes well, and of which a child does not."""
    done = run(folder, code)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr
    return done.stderr


def test_a_child_is_not_watched_by_its_parents(tmp_path: Path) -> None:
    code = f"""{WAITS}
with watchdog(1) as dog, watchdog(30):
    pid = os.fork()
    if pid == 0:
        with watchdog(30):
            time.sleep(1.5)
        sys.exit(7)  # through each `with`, and the end of faulthandler
    assert ended(pid) == 7
print("well")
"""
    goes_well(tmp_path, code)


@pytest.mark.parametrize(
    ("before", "kick", "seconds"),
    [("", "dog.kick()", 1), ("@watchdog(1)", "pass", 20)],
    ids=["its parent's", "its own"],
)
def test_a_child_may_kick_its_parents_or_has_its_own(tmp_path: Path, before: str, kick: str, seconds: int) -> None:
    code = f"""{WAITS}
{before}
def child():
    {kick}
    time.sleep(100)
with watchdog({seconds}) as dog:
    pid = os.fork()
    if pid == 0:
        child()
    assert ended(pid) == 1
print("well")
"""
    stacks = ends_by_child(tmp_path, code)
    assert " in child\n" in stacks


def test_a_parent_is_watched_still(tmp_path: Path) -> None:
    code = """
with watchdog(1) as dog:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    threading.Event().wait()
"""
    ends_by_watchdog(tmp_path, code, "<module>")


def test_forks_while_threads_are_watched(tmp_path: Path) -> None:
    code = """
@watchdog(20)
def call():
    pass
done = threading.Event()
def works():
    with watchdog(20) as dog:
        while not done.is_set():
            call()
            dog.kick()
threads = [threading.Thread(target=works) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(100):
    pid = os.fork()
    if pid == 0:
        call()
        with watchdog(20) as dog:
            dog.kick()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for thread in threads:
    thread.join()
print("well")
"""
    goes_well(tmp_path, code)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    code = f"""
import multiprocessing
@watchdog(20)
def good():
    pass
@watchdog(1)
def bad():
    time.sleep(100)
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with watchdog(20):
        for target, code in ((good, 0), (bad, 1)):
            process = context.Process(target=target)
            process.start()
            process.join()
            assert process.exitcode == code, (target, process.exitcode)
    print("well")
"""
    assert " in bad\n" in ends_by_child(tmp_path, code)


def test_other_programs(tmp_path: Path) -> None:
    code = """
import subprocess
with watchdog(20):
    for more in ({}, {"preexec_fn": os.getpid}):
        assert subprocess.run(["true"], **more).returncode == 0
    assert os.system("exit 3") >> 8 == 3
print("well")
"""
    goes_well(tmp_path, code)
