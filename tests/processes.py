"""Signals to a server and to the processes that it has started."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.helpers import wait_for
from tests.server import children

# As /proc/PID/stat names them. A parent takes note of the end of a zombie.
STOPPED, ZOMBIE, ENDED = "T", "Z", "X"
STATES = {
    signal.SIGSTOP: {STOPPED, ZOMBIE, ENDED},
    signal.SIGKILL: {ZOMBIE, ENDED},
}


def signal_all(number: signal.Signals, *servers: int) -> None:
    """Send a signal to servers and their processes; wait until these have stopped or ended.

    A server is stopped first, so that it starts no process that would miss the signal.
    """
    processes = [process for server in servers for process in _stopped(server)]
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)
    _wait_for_states(number, processes)


def _stopped(server: int) -> list[int]:
    """Stop a server; return it and the processes that it has started, or nothing if it ended."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(server, signal.SIGSTOP)
        _wait_for_states(signal.SIGSTOP, [server])
        return [server, *children(server)]
    return []


def _wait_for_states(number: signal.Signals, processes: list[int]) -> None:
    if states := STATES.get(number):
        wait_for(lambda: states.issuperset(map(_state, processes)))


def _state(pid: int) -> str:
    """Return the state of a process, as /proc/PID/stat names it."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    return ENDED
