"""The threads that run the app for the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeVar

R = TypeVar("R")


class Job(NamedTuple):
    """A function that is to run, and the future of what it returns or raises."""

    function: Callable[[], Any]
    future: "asyncio.Future[Any]"

    def run(self) -> None:
        """Call the function, and have the event loop settle the future."""
        try:
            outcome = self.future.set_result, self.function()
        except BaseException as error:  # noqa: BLE001  # it is raised where the future is awaited
            outcome = self.future.set_exception, error
        with suppress(RuntimeError):  # the event loop has been closed
            self.future.get_loop().call_soon_threadsafe(self._settle, *outcome)

    def _settle(self, settle: Callable[[Any], None], value: Any) -> None:
        if not self.future.cancelled():
            settle(value)


class ThreadPool:
    """A fixed number of threads, of which at most ``turns`` run functions that take turns.

    After a turn a thread runs the next in line itself, or queues it behind the jobs that wait for a
    thread. So it does not sleep in between: if the event loop gave the turns, a POST would take an
    eighth more CPU.
    """

    def __init__(self, size: int, turns: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._line: deque[Job] = deque()
        self._free_turns = turns
        self._lock = Lock()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[], R]) -> "asyncio.Future[R]":
        """Return a future of the running event loop for what ``function`` returns or raises."""
        job = Job(function, asyncio.get_running_loop().create_future())
        self._jobs.put(job.run)
        return job.future

    def submit_in_turn(
        self, function: Callable[[], R], seconds: float, refuse: Callable[[], None]
    ) -> "asyncio.Future[R]":
        """Return a future as ``submit`` does; run the function when there is a turn for it.

        If it stands in line for ``seconds``, it is run without a turn, after ``refuse``. If its
        future is cancelled meanwhile, it is not run.
        """
        loop = asyncio.get_running_loop()
        job = Job(function, loop.create_future())
        with self._lock:
            has_turn = self._free_turns > 0
            if has_turn:
                self._free_turns -= 1
            else:
                self._line.append(job)
        if has_turn:
            self._jobs.put(partial(self._take_turn, job))
        else:
            timer = loop.call_later(seconds, self._refuse_late, job, refuse)
            job.future.add_done_callback(lambda _: timer.cancel())
        return job.future

    def close(self, seconds: float) -> None:
        """Run what has been queued, then end the threads; wait up to ``seconds`` for all of them.

        What stands in line is not run: the event loop has cancelled it.
        """
        deadline = time.monotonic() + seconds
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def _refuse_late(self, job: Job, refuse: Callable[[], None]) -> None:
        """Run a job without a turn, after ``refuse``, if it still stands in line."""

        def refused() -> Any:
            refuse()
            return job.function()

        with self._lock:
            if job not in self._line:
                return
            self._line.remove(job)
        self._jobs.put(Job(refused, job.future).run)

    def _take_turn(self, job: Job) -> None:
        """Run a job, then the next in line, until other jobs wait or the line is empty."""
        following: Job | None = job
        while following:
            if not following.future.cancelled():
                following.run()
            following = self._next_or_free_turn()
            if following and not self._jobs.empty():
                self._jobs.put(partial(self._take_turn, following))
                break

    def _next_or_free_turn(self) -> Job | None:
        """Return the first in line, which has the turn now; without one, the turn is free."""
        with self._lock:
            if self._line:
                return self._line.popleft()
            self._free_turns += 1
            return None

    def _work(self) -> None:
        for run in iter(self._jobs.get, None):
            run()
