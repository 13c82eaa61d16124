"""What a command costs, all its processes together: CPU time, wall time and peak memory."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence

import psutil

_INTERVAL = 0.1  # seconds between samples; reading proportional shares walks page tables, so they are read less often
_INTERVALS_FOR_SHARES = 5


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a command with all its processes.

    Attributes:
      cpu: seconds.
      wall: seconds.
      resident: peak of the summed resident memory in MB; pages that processes share count in each.
      proportional: peak of the summed proportional shares in MB, each page counted once; None where the kernel does not tell.
      processes: most at once.
    """

    cpu: float
    wall: float
    resident: float
    proportional: float | None
    processes: int


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command in a session of its own and samples the processes in it.

    Raises:
      SystemExit: the command failed; its last words are the message.
    """
    with tempfile.TemporaryFile() as words:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=words, stderr=words, start_new_session=True, env={**os.environ, **(environment or {})})
        sampler = _Sampler(process.pid)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        sampler.finish()
        if process.returncode:
            words.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{words.read().decode(errors='replace')[-3000:]}")
    # What the kernel charged to the command and the children that it waited for; samples see those that nobody waited for.
    cpu = max(usage.ru_utime + usage.ru_stime, sum(sampler.cpu.values()))
    return Cost(cpu, wall, sampler.resident / 1e6, sampler.proportional / 1e6 or None, sampler.processes)


class _Sampler(threading.Thread):
    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session, self._done = session, threading.Event()
        self.resident = self.proportional = self.processes = 0
        self.cpu: dict[tuple[int, float], float] = {}  # of each process (number and start time), at the last sample

    def finish(self) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        number = 0
        while not self._done.wait(_INTERVAL):
            resident = proportional = processes = 0
            with_shares = number % _INTERVALS_FOR_SHARES == 0
            for pid in psutil.pids():
                try:
                    if os.getsid(pid) != self._session:
                        continue
                    process = psutil.Process(pid)
                    used = process.cpu_times()
                    processes += 1
                    self.cpu[pid, process.create_time()] = used.user + used.system
                    resident += process.memory_info().rss
                    if with_shares:
                        proportional += getattr(process.memory_full_info(), "pss", 0)
                except (psutil.Error, ProcessLookupError):  # it ended meanwhile
                    continue
            self.resident, self.processes = max(self.resident, resident), max(self.processes, processes)
            self.proportional = max(self.proportional, proportional)
            number += 1
