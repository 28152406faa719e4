"""The threads that run the app for the event loop."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
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

    A thread gives the turn that it has ended to the next in line, or first takes another job that
    waits. So it does not sleep in between: if the event loop gave the turns, a POST would take
    15 % more CPU.
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
        """Do as ``submit`` when it is its turn, unless the future was cancelled before.

        After ``seconds`` in line, call ``refuse`` and run ``function`` out of turn.
        """
        loop = asyncio.get_running_loop()
        job = Job(function, loop.create_future())
        timer = loop.call_later(seconds, self._leave_line, job, refuse)
        job.future.add_done_callback(lambda _: timer.cancel())
        with self._lock:
            self._line.append(job)
            if self._free_turns:
                self._free_turns -= 1
                self._jobs.put(self._take_turn)
        return job.future

    def close(self, seconds: float) -> None:
        """Run what was submitted, then end the threads; wait up to ``seconds`` for all of them."""
        deadline = time.monotonic() + seconds
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def _leave_line(self, job: Job, refuse: Callable[[], None]) -> None:
        with self._lock:
            if job not in self._line:
                return
            self._line.remove(job)
        refuse()
        self._jobs.put(job.run)

    def _take_turn(self) -> None:
        """Run the first in line, then the next, until other jobs wait or the line is empty."""
        while job := self._first_in_line():
            if not job.future.cancelled():
                job.run()
            if not self._jobs.empty():
                self._jobs.put(self._take_turn)
                break

    def _first_in_line(self) -> Job | None:
        """Return the job whose turn it is; without one the turn is free."""
        with self._lock:
            if self._line:
                return self._line.popleft()
            self._free_turns += 1
            return None

    def _work(self) -> None:
        for run in iter(self._jobs.get, None):
            run()
