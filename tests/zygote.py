"""Starts many runs of a program whose imports take long: imports it once, and forks a process for each run.

`python -m tests.zygote MODULE FRESH` answers each order, a line of JSON, with a line. {"argv": [...], "environment": {...}, "output": PATH}
starts `MODULE.main(argv)` in a process group of its own: {"pid": N}. {"wait": N} waits for the end of that process: {"code": C}.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any


class Zygote:
    """The zygote of a module, as the tests see it.

    Args:
      module: has `main(argv)`.
      fresh: a module that the program imports and that reads the environment when it is imported: anew in each process.
    """

    def __init__(self, module: str, fresh: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "tests.zygote", module, fresh]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _ask(self, order: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            raise TimeoutError(f"no answer to {order} in {seconds} seconds")
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def start(self, argv: Sequence[str], environment: Mapping[str, str], output: str) -> int:
        """Starts a run whose output goes to a file; returns the number of its process and its process group."""
        return int(self._ask({"argv": list(argv), "environment": dict(environment), "output": output}, 240)["pid"])

    def wait(self, pid: int) -> int:
        """Waits for a run to end, and returns its code; negative for a signal."""
        return int(self._ask({"wait": pid}, 240)["code"])

    def close(self) -> None:
        """Ends the zygote."""
        self._process.kill()
        self._process.communicate()


def kill(pids: Sequence[int]) -> None:
    """Kills runs with all their processes, at once."""
    for pid in pids:
        os.killpg(pid, signal.SIGKILL)


def _run(program: Any, fresh: str, order: Mapping[str, Any]) -> None:
    """Runs the program in this process, which ends with it."""
    code = 1
    try:
        log = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        importlib.reload(importlib.import_module(fresh))
        program.main(order["argv"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve(module: str, fresh: str) -> None:
    program = importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])}
        elif pid := os.fork():
            os.setpgid(pid, pid)  # in both processes, so that it holds whichever is first
            answer = {"pid": pid}
        else:
            os.setpgid(0, 0)
            _run(program, fresh, order)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
