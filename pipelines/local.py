"""Running a pipeline on this machine: which runner, how many workers, progress, and what to do when a worker dies."""

import builtins
import difflib
import itertools
import logging
import os
import re
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import psutil
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from tokenreel import errors
from tokenreel.errors import BuildError, ConfigError, TokenreelError
from tokenreel.storage.object_lock import EXIT_LOST
from tokenreel.storage.redaction import redact
from transforms import orphans

LOCAL_RUNNER = "FnApiRunner"
_OWN = ("set", "input", "output", "overwrite", "no-wait")  # options of the commands themselves
EXIT_WORKER_DIED = 70
_OS_ERRORS = "|".join(name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError))


def options(argv: Sequence[str], *, releases_gil: bool) -> PipelineOptions:
    """Reads Beam's options; those that are not given are set to use this machine well.

    `DirectRunner`, the default, means Beam's in-process runner by its own name: the name alone would first try to download another engine.

    Args:
      argv: Beam's options.
      releases_gil: whether threads can work side by side; if not, processes are started.

    Raises:
      ConfigError: this machine's runner has no such option. Others may have options that only their job service knows.
    """
    parsed = PipelineOptions(list(argv), save_main_session=False)
    standard, direct = parsed.view_as(StandardOptions), parsed.view_as(DirectOptions)
    if standard.runner in (None, "DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner"):
        standard.runner = LOCAL_RUNNER
    given = {argument.split("=")[0].lstrip("-") for argument in argv}
    if standard.runner == LOCAL_RUNNER:
        _check_known(argv)
        if "direct_num_workers" not in given:
            direct.direct_num_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if "direct_running_mode" not in given:
            mode = "multi_threading" if releases_gil else "multi_processing"
            direct.direct_running_mode = mode if direct.direct_num_workers != 1 else "in_memory"
    return parsed


def runner(parsed: PipelineOptions) -> FnApiRunner | None:
    """The runner for a pipeline on this machine; None where Beam makes the one that the options name."""
    return _LocalRunner() if parsed.view_as(StandardOptions).runner == LOCAL_RUNNER else None


class _LocalRunner(FnApiRunner):
    """Beam's in-process runner; its worker processes are children without a shell between, and end with the build."""

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                environment.payload = f"exec {shlex.quote(sys.executable)} -m transforms.worker".encode()
        return super().run_via_runner_api(pipeline_proto, options)


def _check_known(argv: Sequence[str]) -> None:
    """Refuses what neither we nor Beam know, and Beam would pass over: a slip of the pen must not run for hours with other settings."""
    known = PipelineOptions([]).get_all_options()
    for name in PipelineOptions(list(argv)).get_all_options(retain_unknown_options=True):
        if name not in known:
            near = difflib.get_close_matches(name, [*_OWN, *known], n=1)
            hint = f"did you mean --{near[0]}?" if near else "--help lists those of this command; the others are Beam's."
            raise ConfigError(f"unknown option --{name}: {hint}")
    for before, argument in itertools.pairwise(["", *argv]):
        if not argument.startswith("-") and (not before.startswith("-") or "=" in before):
            raise ConfigError(f"one argument too many: {argument!r}. The command takes one config; text is named with --input.")


def check_endpoint(parsed: PipelineOptions) -> None:
    """Asks whether anybody listens at the job endpoint: Beam itself would wait for minutes, and then name neither.

    Raises:
      ConfigError: nobody does.
    """
    endpoint = parsed.view_as(PortableOptions).job_endpoint
    if parsed.view_as(StandardOptions).runner != "PortableRunner" or not endpoint or endpoint == "embed":
        return
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host.strip("[]") or "localhost", int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"--job_endpoint={endpoint}: no job service answers there ({error}). Give host:port of one that runs; Beam's own is started by "
            "python -m apache_beam.runners.portability.local_job_service_main --port=PORT"
        ) from error


def describe(parsed: PipelineOptions) -> str:
    """Says what a pipeline will run on, such as "in 2 threads"."""
    runner, direct = parsed.view_as(StandardOptions).runner, parsed.view_as(DirectOptions)
    if runner != LOCAL_RUNNER:
        return f"on {runner}"
    if direct.direct_running_mode == "in_memory":
        return "in this process"
    kind = {"multi_threading": "threads", "multi_processing": "processes"}[direct.direct_running_mode]
    return f"in {direct.direct_num_workers} {kind}"


@contextmanager
def watchdog() -> Iterator[None]:
    """Ends the whole process when a worker process dies, which the runner itself would wait for; workers end with this process, too."""
    previous = threading.excepthook

    def on_exception(arguments: threading.ExceptHookArgs) -> None:
        if "Worker subprocess exited" not in str(arguments.exc_value):
            previous(arguments)
            return
        code = re.search(r"-?\d+$", str(arguments.exc_value))
        print(
            f"tokenreel: error: a worker process died (exit code {code[0] if code else 'unknown'}; 137 and -9 mean killed, often for "
            "lack of memory). Run the same command again: a build keeps what it has finished. Fewer workers need less: "
            "--direct_num_workers=1.",
            file=sys.stderr,
            flush=True,
        )
        _end(EXIT_WORKER_DIED)

    threading.excepthook = on_exception
    os.environ[orphans.BUILD] = str(os.getpid())
    try:
        with _interruptible():
            yield
    finally:
        threading.excepthook = previous
        os.environ.pop(orphans.BUILD, None)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ends the process and its workers at once on SIGINT and SIGTERM: the runner's threads would first finish what they are at.

    What a killed build leaves is what the next run expects to find.
    """

    def on_signal(number: int, _: FrameType | None) -> None:
        message = f"tokenreel: stopped by {signal.Signals(number).name}. Run the same command again: a build keeps what it has finished.\n"
        os.write(2, message.encode())  # sys.stderr may be busy with the very line that was interrupted
        _end(128 + number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stop(message: str) -> None:
    """Ends this process and its workers at once, from any thread: what a build does when its lock is another's."""
    print(f"tokenreel: error: {message}", file=sys.stderr, flush=True)
    _end(EXIT_LOST)


def _end(code: int) -> None:
    """Ends this process and its workers. One that is just being started sees for itself that its build is gone (`transforms/worker.py`)."""
    threading.excepthook = lambda _: None  # of the workers that end now nobody need say that they died
    killed: set[int] = set()
    while new := _descendants(os.getpid()) - killed:
        for process in new:
            _kill(process)
        killed |= new
    os._exit(code)


def _descendants(pid: int) -> set[int]:
    """The processes that a process started, and theirs."""
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, 9)


_LOOKING = 0.02  # of the time, at most: reports list directories


@contextmanager
def progress(report: Callable[[], str], seconds: float = 5.0) -> Iterator[None]:
    """Prints a line every few seconds, if it says something new; less often where it takes long to find out."""
    done = threading.Event()

    def watch() -> None:
        last, pause = "", seconds
        while not done.wait(pause):
            began = time.monotonic()
            try:
                line = report()
            except (OSError, TokenreelError) as error:  # the build meets it too, and says so if it matters
                line = f"progress is unknown ({error})"
            pause = max(seconds, (time.monotonic() - began) / _LOOKING)
            if line != last and not done.is_set():
                print(f"tokenreel: {line}", file=sys.stderr, flush=True)
                last = line

    thread = threading.Thread(target=watch, daemon=True)
    started = time.monotonic()
    thread.start()
    try:
        yield
    finally:
        done.set()  # nobody waits for a listing that is under way
        print(f"tokenreel: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def quiet_logging() -> None:
    """Shows Beam's warnings, but neither the tracebacks of errors whose message will be printed alone nor what every worker says."""

    def wanted(record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        meant = record.exc_info is not None and isinstance(record.exc_info[1], TokenreelError)
        message = record.msg
        return not meant and "tokenreel.errors." not in message and "No semi_persistent_directory found" not in message

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s:%(name)s:%(message)s")
    for handler in logging.getLogger().handlers:
        if wanted.__qualname__ not in {getattr(known, "__qualname__", "") for known in handler.filters}:
            handler.addFilter(wanted)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Finds in what a runner raises the error that a worker meant, so that its message stands alone.

    Raises:
      TokenreelError: the error that caused the failure.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, TokenreelError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise type(cause)(_without_step(str(cause))) from error
        # From another process only the text of the traceback arrives.
        found = re.findall(r"^tokenreel\.errors\.(\w+): (.*(?:\n  .*)*)", str(error), flags=re.MULTILINE)
        if found:
            kind, message = found[-1]
            raise getattr(errors, kind)(_without_step(message)) from error
        messages = re.findall(rf"^(?:\w+\.)*(?:{_OS_ERRORS}): (.*)", str(error), flags=re.MULTILINE)
        if messages or isinstance(error, OSError):
            what = _without_step(messages[-1] if messages else str(error))
            raise BuildError(f"{what}. Run the same command again: a build keeps what it has finished.") from error
        raise


def _without_step(message: str) -> str:
    return re.sub(r"\s*\[while running .*?\]\s*$", "", message, flags=re.DOTALL)
