"""Ends a build as a whole: when a worker process dies, when it is interrupted, when its lock is another's.

Tested in tests/pipelines/test_interruption.py.
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import psutil

from tokenreel.errors import BuildError
from tokenreel.storage.object_lock import EXIT_LOST
from tokenreel.wording import plain
from transforms.workers import orphans

EXIT_WORKER_DIED = 70
EXIT_STARVED = 1
_REFUSED = "can't start new thread"
_STARVED = "the system gives this process no more threads or memory"
_ending = threading.RLock()  # a second signal may find this very thread at the end of the process
_LESS = "Run the same command again: a build keeps what it has finished. Fewer workers need less: --direct_num_workers=1."


@contextmanager
def guard(at_work: Callable[[], str] = str, stopped: Callable[[], object] = str) -> Iterator[None]:
    """Ends the whole process when a worker process or a thread of the runner dies, for which the runner itself would wait for ever.

    Meanwhile the environment names this process, so that workers end with it (`transforms/workers/orphans.py`).

    Args:
      at_work: says what a process that died was at, as part of a sentence, or "".
      stopped: called where the process and its workers are ended on purpose.
    """
    previous = threading.excepthook

    def on_exception(arguments: threading.ExceptHookArgs) -> None:
        if "Worker subprocess exited" not in str(arguments.exc_value):
            if is_starved(arguments.exc_value):
                _end(EXIT_STARVED, starved(arguments.exc_value))
            previous(arguments)
            return
        code = re.search(r"-?\d+$", str(arguments.exc_value))
        died = f"a worker process died (exit code {code[0] if code else 'unknown'}; 137 and -9 mean killed, often for lack of memory)"
        _end(EXIT_WORKER_DIED, f"{died}{at_work()}. {_LESS}")

    threading.excepthook = on_exception
    os.environ[orphans.BUILD] = str(os.getpid())
    try:
        with _interruptible(stopped):
            yield
    finally:
        threading.excepthook = previous
        os.environ.pop(orphans.BUILD, None)


@contextmanager
def _interruptible(stopped: Callable[[], object]) -> Iterator[None]:
    """Ends the process and its workers at once on SIGINT and SIGTERM: the runner's threads would first finish what they are at.

    What a killed build leaves is what the same command expects to find when it is given again.
    """

    def on_signal(number: int, _: FrameType | None) -> None:
        message = f"tokenreel: stopped by {signal.Signals(number).name}. Run the same command again: a build keeps what it has finished.\n"
        os.write(2, message.encode())  # sys.stderr may be busy with the very line that was interrupted
        stopped()
        _end(128 + number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check_threads(count: int) -> None:
    """Starts as many threads as a runner will need, and ends them: one that is refused while it runs may end this process without a word.

    Raises:
      BuildError: the system refuses one.
    """
    done, threads = threading.Event(), []

    def wait() -> None:
        bytearray(1 << 16)  # as a thread that works takes memory of its own
        done.wait()

    try:
        for _ in range(count):
            threads.append(threading.Thread(target=wait, daemon=True))
            threads[-1].start()
    except (RuntimeError, MemoryError) as error:
        raise BuildError(
            f"{_STARVED} ({error or type(error).__name__}), and this build needs about {count} threads. Raise the limit (`ulimit -v`, "
            "`ulimit -u`, or that of the container). Fewer workers need fewer: --direct_num_workers=1."
        ) from error
    finally:
        done.set()
        for thread in threads[:-1]:
            thread.join()


def stop(message: str) -> None:
    """Ends this process and its workers at once, from any thread: what a build does when its lock is another's."""
    _end(EXIT_LOST, message)


def end(tell: Callable[[], int]) -> NoReturn:
    """Ends this process and its workers after a job that failed: threads of the runner may never end.

    Args:
      tell: prints why, and returns the exit code. It is not called where another thread has told of the end already.
    """
    _begin_end()
    code = tell()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    _exit(code)


def is_starved(error: BaseException | None) -> bool:
    """Says whether the system refused a thread or memory, to this thread or to the server that it called: what waits for it never wakes."""
    return isinstance(error, MemoryError) or _REFUSED in str(error)


def starved(error: BaseException | None) -> str:
    """Says what such an error means, and what to do."""
    return f"{_STARVED} ({_REFUSED if _REFUSED in str(error) else error or type(error).__name__}). {_LESS}"


def _end(code: int, message: str | None = None) -> NoReturn:
    """Ends this process and its workers, with a message once, whichever thread is the first to have one."""
    _begin_end()
    if message is not None:
        print(f"tokenreel: error: {plain(message)}", file=sys.stderr, flush=True)
    _exit(code)


def _begin_end() -> None:
    """Returns in the first thread that ends the process, which alone tells why; the others wait here for its end."""
    threading.excepthook = lambda _: None  # of the workers that end now nobody need say that they died
    if not _ending.acquire(blocking=False):
        threading.Event().wait()


def _exit(code: int) -> NoReturn:
    """Ends this process and its workers.

    A worker that is just being started sees for itself that its build is gone (`transforms/workers/worker.py`).
    """
    killed: set[int] = set()
    # Looked for again until there are no more: a worker may start another one while it is being ended.
    while new := descendants(os.getpid()) - killed:
        for process in new:
            _kill(process)
        killed |= new
    os._exit(code)


def descendants(pid: int) -> set[int]:
    """Finds the processes that a process started, and those that they started, by their ids."""
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, 9)
