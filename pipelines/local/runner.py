"""Which runner a pipeline gets, and how many workers."""

import contextlib
import itertools
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from apache_beam import DoFn, Pipeline
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms import userstate

from pipelines import own_packages
from pipelines.local import prism
from tokenreel.errors import ConfigError
from tokenreel.wording import did_you_mean

LOCAL_RUNNER = "FnApiRunner"
_MODE, _WORKERS = "direct_running_mode", "direct_num_workers"
_SMALL_BYTES = 1 << 20  # of text, which one worker reads in about the time that two take to start
_FEW_FILES = 100  # each of which a bucket takes its time to open
_THREADS = 24  # of a worker: 102 were counted with four
_View = TypeVar("_View", bound=PipelineOptions)
_OWN = ("set", "input", "output", "overwrite", "recheck", "no-wait")  # options of the commands themselves


def options(argv: Sequence[str], *, releases_gil: bool) -> PipelineOptions:
    """Reads Beam's options; those that are not given are set to use this machine well.

    `DirectRunner`, the default, means Beam's in-process runner by its own name: the name alone would first try to download another engine.

    Args:
      argv: Beam's options.
      releases_gil: whether threads can work side by side; if not, processes are started.

    Raises:
      ConfigError: there is no such option, or Prism is not installed.
    """
    parsed = _Options(list(argv), save_main_session=False)
    standard, direct = parsed.view_as(StandardOptions), parsed.view_as(DirectOptions)
    if standard.runner in (None, "DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner"):
        standard.runner = LOCAL_RUNNER
    prism.set_up(parsed)
    given = _given(argv)
    _check_known(argv, parsed)
    if standard.runner == LOCAL_RUNNER:
        if _WORKERS not in given:  # the processors that this process may use, which can be fewer than there are
            direct.direct_num_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if _MODE not in given:
            mode = "multi_threading" if releases_gil else "multi_processing"
            direct.direct_running_mode = mode if direct.direct_num_workers != 1 else "in_memory"
    return parsed


def _given(argv: Sequence[str]) -> set[str]:
    return {argument.split("=")[0].lstrip("-") for argument in argv}


def suit_size(argv: Sequence[str], parsed: PipelineOptions, files: int, size: int) -> None:
    """Has one worker read an input of a few bytes, where `options` chose threads: setting them up takes longer than the work itself.

    Args:
      argv: Beam's options, as `options` had them.
      parsed: what it gave; changed.
      files: of the input.
      size: of the input in bytes.
    """
    direct, small = parsed.view_as(DirectOptions), size < _SMALL_BYTES and files <= _FEW_FILES
    if small and direct.direct_running_mode == "multi_threading" and not _given(argv) & {_MODE, _WORKERS}:
        direct.direct_num_workers, direct.direct_running_mode = 1, "in_memory"


def with_threads(argv: Sequence[str], parsed: PipelineOptions) -> PipelineOptions | None:
    """Gives options as `options` does, with threads where it chose processes; None where it did not choose them."""
    threaded = options(argv, releases_gil=True) if parsed.view_as(StandardOptions).runner == LOCAL_RUNNER else parsed
    modes = [each.view_as(DirectOptions).direct_running_mode for each in (parsed, threaded)]
    return None if modes[0] == modes[1] else threaded


def make_runner(parsed: PipelineOptions) -> FnApiRunner | None:
    """The runner for a pipeline on this machine; None where Beam makes the one that the options name."""
    return _LocalRunner() if parsed.view_as(StandardOptions).runner == LOCAL_RUNNER else None


class _Options(PipelineOptions):
    """Beam's options, each view of which is made once: for a view Beam sets a parser up, and a pipeline asks for hundreds."""

    def view_as(self, cls: type[_View]) -> _View:
        views: dict[type[PipelineOptions], Any] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: _View = views[cls]
        return view

    def __getstate__(self) -> dict[str, Any]:
        # Copies make views of their own; Beam leaves secrets out of what it gives here.
        return {name: value for name, value in super().__getstate__().items() if name != "_views"}


@contextlib.contextmanager
def remembered_specs() -> Iterator[None]:
    """Has Beam look once for what state and timers a DoFn takes: it asks six times, each time for the signatures of thirty methods."""
    ask = userstate.get_dofn_specs
    found: dict[int, tuple[DoFn, Any]] = {}  # each DoFn is held, so that no other one gets its id

    def answer(dofn: DoFn) -> Any:
        if id(dofn) not in found:
            found[id(dofn)] = dofn, ask(dofn)
        return found[id(dofn)][1]

    userstate.get_dofn_specs = answer
    try:
        yield
    finally:
        userstate.get_dofn_specs = ask


class _LocalRunner(FnApiRunner):
    """Beam's in-process runner; its worker processes are children without a shell between, and end with the build."""

    def run_pipeline(self, pipeline: Pipeline, options: PipelineOptions) -> Any:
        if options.view_as(DirectOptions).direct_running_mode != "in_memory":
            return super().run_pipeline(pipeline, options)
        with remembered_specs():
            return super().run_pipeline(pipeline, options)

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        # Beam sends what is written every second from a thread of its own, perhaps in the middle of an element: on a starved machine the
        # reader then takes any bytes for lengths, and its memory grows without end. What is large enough is sent anyway.
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0
        # Beam gives the command to a shell. With `exec` the worker takes its place, so what is sent to the child reaches the worker. `-P`
        # leaves the working directory out of the path, as the command `tokenreel` does.
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:
                command = [sys.executable, "-P", own_packages.__file__, "transforms.workers.worker"]
                environment.payload = f"exec {shlex.join(command)}".encode()
        return super().run_via_runner_api(pipeline_proto, options)


def _check_known(argv: Sequence[str], parsed: PipelineOptions) -> None:
    """Refuses what nobody knows, and Beam would pass over: a slip of the pen must not run for hours with other settings."""
    known = {*PipelineOptions([]).get_all_options(), *_known_to_service(parsed)}
    for name in PipelineOptions(list(argv)).get_all_options(retain_unknown_options=True):
        if name not in known:
            otherwise = "--help lists those of this command; the others are Beam's."
            hint = did_you_mean(name, [*_OWN, *known], otherwise, shown="--{}".format)
            raise ConfigError(f"unknown option --{name}: {hint}")
    for before, argument in itertools.pairwise(["", *argv]):
        if not argument.startswith("-") and (not before.startswith("-") or "=" in before):
            raise ConfigError(f"one argument too many: {argument!r}. The command takes one config; text is named with --input.")


def _known_to_service(parsed: PipelineOptions) -> set[str]:
    """Asks a job service which options it has of its own; none where it does not answer, which `check_endpoint` tells."""
    endpoint = parsed.view_as(PortableOptions).job_endpoint
    if parsed.view_as(StandardOptions).runner == LOCAL_RUNNER or not endpoint or endpoint == "embed":
        return set()
    import grpc  # type: ignore[import-untyped]
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    with grpc.insecure_channel(endpoint) as channel:
        stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
        try:
            answer = stub.DescribePipelineOptions(beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=10)
        except grpc.RpcError:
            return set()
    return {option.name for option in answer.options}


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


def threads(parsed: PipelineOptions) -> int:
    """Says how many threads this process will have at once, at most: each worker has its own for data, state and control."""
    direct = parsed.view_as(DirectOptions)
    local = parsed.view_as(StandardOptions).runner == LOCAL_RUNNER
    return 8 if not local or direct.direct_running_mode == "in_memory" else 8 + _THREADS * int(direct.direct_num_workers)


def describe(parsed: PipelineOptions) -> str:
    """Says what a pipeline will run on, such as "in 2 threads"."""
    runner, direct = parsed.view_as(StandardOptions).runner, parsed.view_as(DirectOptions)
    if runner != LOCAL_RUNNER:
        return f"on {runner}"
    if direct.direct_running_mode == "in_memory":
        return "in this process"
    kind = {"multi_threading": "threads", "multi_processing": "processes"}[direct.direct_running_mode]
    return f"in {direct.direct_num_workers} {kind}"
