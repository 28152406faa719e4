"""The threads that run the app, and the turns of writes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from threading import Event

import pytest

from service.server.threads import ThreadPool

SECONDS, SHORT_SECONDS = 30, 0.01


class Work:
    """Functions that say that they have started, and run until they may end."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._started: SimpleQueue[str] = SimpleQueue()
        self._may_end: dict[str, Event] = {}

    def named(self, name: str, *, is_held: bool = False) -> Callable[[], str]:
        self._may_end[name] = Event()
        if not is_held:
            self.release(name)
        return partial(self._run, name)

    def release(self, *names: str) -> None:
        for name in names:
            self._may_end[name].set()

    async def next_start(self) -> str:
        return await asyncio.to_thread(self._started.get, timeout=SECONDS)

    def _run(self, name: str) -> str:
        self.order.append(name)
        self._started.put(name)
        assert self._may_end[name].wait(SECONDS)
        return name


@contextmanager
def pool(size: int, turns: int) -> Iterator[ThreadPool]:
    threads = ThreadPool(size, turns)
    try:
        yield threads
    finally:
        threads.close(SECONDS)


def in_turn(
    threads: ThreadPool, function: Callable[[], str], seconds: float = SECONDS
) -> "asyncio.Future[str]":
    return threads.submit_in_turn(function, seconds, partial(pytest.fail, "refused"))


def test_as_many_run_as_there_are_turns_and_first_come_is_first_served() -> None:
    async def converse() -> list[str]:
        futures = [in_turn(threads, work.named(name, is_held=True)) for name in "abcd"]
        first = {await work.next_start(), await work.next_start()}
        read = await threads.submit(work.named("read"))
        assert (first, read, len(work.order)) == ({"a", "b"}, "read", 3)
        assert await work.next_start() == "read"
        work.release("b")
        assert await work.next_start() == "c"
        work.release("a", "c", "d")
        return await asyncio.gather(*futures)

    work = Work()
    with pool(3, turns=2) as threads:
        assert asyncio.run(converse()) == ["a", "b", "c", "d"]
    assert work.order[3:] == ["c", "d"]


def test_the_next_turn_comes_after_what_waits_for_a_thread() -> None:
    async def converse() -> None:
        first = in_turn(threads, work.named("first", is_held=True))
        await work.next_start()
        others = [threads.submit(work.named("read")), in_turn(threads, work.named("second"))]
        work.release("first")
        await asyncio.gather(first, *others)

    work = Work()
    with pool(1, turns=1) as threads:
        asyncio.run(converse())
    assert work.order == ["first", "read", "second"]


def test_what_was_cancelled_in_line_is_not_run() -> None:
    async def converse() -> None:
        first = in_turn(threads, work.named("first", is_held=True))
        await work.next_start()
        cancelled, last = (in_turn(threads, work.named(name)) for name in ("cancelled", "last"))
        cancelled.cancel()
        work.release("first")
        await asyncio.gather(first, last)

    work = Work()
    with pool(2, turns=1) as threads:
        asyncio.run(converse())
    assert work.order == ["first", "last"]


def test_what_stands_in_line_too_long_is_refused_and_needs_no_turn() -> None:
    async def converse() -> None:
        first = in_turn(threads, work.named("first", is_held=True))
        await work.next_start()
        late = work.named("late")
        refused = threads.submit_in_turn(late, SHORT_SECONDS, lambda: work.order.append("refused"))
        assert await refused == "late"
        assert not first.done()
        work.release("first")
        assert await first == "first"
        assert await in_turn(threads, work.named("next")) == "next"

    work = Work()
    with pool(2, turns=1) as threads:
        asyncio.run(converse())
    assert work.order == ["first", "refused", "late", "next"]


def test_what_has_a_turn_is_not_refused_however_long_it_waits_for_a_thread() -> None:
    async def converse() -> None:
        read = threads.submit(work.named("read", is_held=True))
        await work.next_start()
        write = in_turn(threads, work.named("write"), SHORT_SECONDS)
        asyncio.get_running_loop().call_later(2 * SHORT_SECONDS, work.release, "read")
        assert tuple(await asyncio.gather(read, write)) == ("read", "write")

    work = Work()
    with pool(1, turns=1) as threads:
        asyncio.run(converse())


def test_what_a_function_raises_is_raised_and_ends_its_turn() -> None:
    def fail() -> str:
        raise SystemExit("wrong")

    async def converse() -> str:
        with pytest.raises(SystemExit, match="wrong"):
            await in_turn(threads, fail)
        return await in_turn(threads, Work().named("next"))

    with pool(1, turns=1) as threads:
        assert asyncio.run(converse()) == "next"
