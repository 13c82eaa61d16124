"""What a runner whose workers are elsewhere asks of a job, looked at before anything is written.

Workers share this machine's disk on the runners that start them here: `FnApiRunner`, which is the default, `PrismRunner`, and every runner
with `--environment_type=LOOPBACK`. Pools (`EXTERNAL`) and processes (`PROCESS`) of a cluster may share a file system; containers and
Dataflow's machines never do.
"""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.runner import PipelineResult

from pipelines.local.errors import plain_errors
from pipelines.local.progress import note
from pipelines.local.runner import LOCAL_RUNNER, make_runner, remembered_specs
from tokenreel.config import paths
from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import ConfigError
from tokenreel.sources.inputs import InputFile
from tokenreel.storage import files
from tokenreel.storage.locking import LocalHold
from tokenreel.storage.object_lock import ObjectHold
from tokenreel.wording import plain
from transforms.clean_up import CleanUp

_CLOUD = "DataflowRunner"
_AT_HOME = "LOOPBACK"
_MAY_SHARE = ("EXTERNAL", "PROCESS")
_LAUNCH = re.compile(r"/template_launches/([0-9_-]+)/")
_Config = TypeVar("_Config", JobConfig, TokenizerJobConfig)
_Hold = LocalHold | ObjectHold


def leaves(parsed: PipelineOptions, *, no_wait: bool) -> bool:
    """Says whether the command ends before its job does: one that is handed over, or a template that starts none.

    Raises:
      ConfigError: the job would end with the command.
    """
    if parsed.view_as(StandardOptions).runner == LOCAL_RUNNER:
        return False
    if no_wait and (_environment(parsed) == _AT_HOME or parsed.view_as(PortableOptions).job_endpoint == "embed"):
        raise ConfigError(
            "--no-wait: the workers of this job run in this command and would end with it (--environment_type=LOOPBACK, or "
            "--job_endpoint=embed). Leave --no-wait out, or give the workers a place of their own with --environment_type=EXTERNAL."
        )
    return no_wait or bool(parsed.view_as(GoogleCloudOptions).template_location)


def check(parsed: PipelineOptions, config: JobConfig | TokenizerJobConfig, listed: Sequence[Sequence[InputFile]]) -> None:
    """Checks that the workers of a job can see its files, and that its runner has what it needs.

    Args:
      parsed: Beam's options; a relative setup file becomes absolute.
      config: the settings of the job.
      listed: the files of each source.

    Raises:
      ConfigError: a path is local where workers do not share the disk, or an option is missing.
    """
    named = [("output", config.output), ("execution.stage", config.execution.stage or config.output)]
    named += [(f"sources.{index}.files", found[0].path) for index, found in enumerate(listed) if found]
    check_paths(parsed, named)


def check_paths(parsed: PipelineOptions, named: Iterable[tuple[str, str]]) -> None:
    """Checks that the workers of a job can see what it reads and writes, and that its runner has what it needs.

    Args:
      parsed: Beam's options; a relative setup file becomes absolute.
      named: paths, each behind what the user calls it; looked at where workers are elsewhere.

    Raises:
      ConfigError: a path is local where workers do not share the disk, or an option is missing.
    """
    runner = parsed.view_as(StandardOptions).runner
    if runner == LOCAL_RUNNER:
        return
    _check_options(parsed, runner)
    if not _may_share(parsed):
        _refuse_local(runner, named)


def temporary_location(parsed: PipelineOptions) -> str | None:
    """Gives the directory that the options name for files that a job needs only while it runs."""
    location: str | None = parsed.view_as(GoogleCloudOptions).temp_location
    return location


def _may_share(parsed: PipelineOptions) -> bool:
    """Says whether the workers of a runner other than the default may see this machine's disk."""
    return parsed.view_as(StandardOptions).runner != _CLOUD and _environment(parsed) in (_AT_HOME, *_MAY_SHARE)


def _refuse_local(runner: str, named: Iterable[tuple[str, str]]) -> None:
    for setting, path in named:
        if not files.is_remote(path):
            raise ConfigError(
                f"{setting}: {path} lies on this machine, whose disk the workers of {runner} do not share. Give gs:// paths. Workers run "
                f"here on {LOCAL_RUNNER} (the default), PrismRunner, and with --environment_type=LOOPBACK; with EXTERNAL or PROCESS they "
                "must see the same file system."
            )


def _check_options(parsed: PipelineOptions, runner: str) -> None:
    setup, cloud = parsed.view_as(SetupOptions), parsed.view_as(GoogleCloudOptions)
    if cloud.update:
        raise ConfigError(
            "--update: a job that runs cannot be replaced by another one. Cancel it, and run the same command again: a build keeps what it "
            "has finished."
        )
    for name in ("setup_file", "requirements_file"):
        path = getattr(setup, name)
        if path and not os.path.isfile(path):
            raise ConfigError(f"--{name}={path}: no such file. A relative path begins in the working directory.")
    if setup.setup_file:
        setup.setup_file = os.path.abspath(setup.setup_file)  # Beam fails at a name without a folder
    found = PipelineOptionsValidator(parsed, None).validate() if runner != _CLOUD else []
    if found:
        raise ConfigError(f"--runner={runner}: {' '.join(found[0].split()).rstrip('.')}. Give that option, or leave out what asks for it.")
    missing = [name for name in ("project", "region", "temp_location") if runner == _CLOUD and not getattr(cloud, name)]
    if missing:
        needed = "--project=PROJECT --region=REGION --temp_location=gs://BUCKET/FOLDER"
        raise ConfigError(f"--runner={runner} also needs --{' and --'.join(missing)}: {needed}")


def _environment(parsed: PipelineOptions) -> str:
    """Says where a runner's workers run, by the name that Beam has for it; without a word of the user it is a container."""
    given, runner = parsed.view_as(PortableOptions).environment_type, parsed.view_as(StandardOptions).runner
    flink = runner == "FlinkRunner" and parsed.view_as(FlinkRunnerOptions).flink_master in ("[local]", "[auto]")
    spark = runner == "SparkRunner" and str(parsed.view_as(SparkRunnerOptions).spark_master_url).startswith("local")
    return str(given or (_AT_HOME if flink or spark else "DOCKER"))


def absolute(config: _Config, parsed: PipelineOptions) -> _Config:
    """Gives settings whose local paths mean the same in any working directory, where workers may have another."""
    if parsed.view_as(StandardOptions).runner == LOCAL_RUNNER:
        return config
    here = os.getcwd()
    sources = tuple(
        dataclasses.replace(source, files=tuple(paths.resolve(path, here) for path in source.files)) for source in config.sources
    )
    execution = config.execution
    if execution.stage is not None:
        execution = dataclasses.replace(execution, stage=paths.resolve(execution.stage, here))
    return dataclasses.replace(config, output=paths.resolve(config.output, here), sources=sources, execution=execution)


def run_job(
    build: Callable[[beam.Pipeline], beam.PCollection[str]],
    outputs: Sequence[tuple[_Hold, Callable[[], None]]],
    parsed: PipelineOptions,
    *watchers: contextlib.AbstractContextManager[object],
    leaves: bool,
) -> PipelineResult | None:
    """Runs a job to its end; or starts one, which has its outputs from then on, and removes from them what only a running job needs.

    Args:
      build: makes the graph; what comes out of it comes last.
      outputs: what is held, each with what removes the rest from it.
      parsed: Beam's options.
      watchers: are entered while the job is made and runs, such as `guard()`.
      leaves: as `leaves` said.

    Returns:
      None if nobody waits for the job.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(plain_errors())
        for each in watchers:
            stack.enter_context(each)
        pipeline = beam.Pipeline(make_runner(parsed), parsed)
        with remembered_specs():
            written = build(pipeline)
        if leaves:
            _ = written | CleanUp([(hold.claim(), remove) for hold, remove in outputs])
            hand_over(pipeline, [hold for hold, _ in outputs], parsed)
            return None
        result = pipeline.run()
        result.wait_until_finish()
        return result


def hand_over(pipeline: beam.Pipeline, holds: Sequence[_Hold], parsed: PipelineOptions) -> None:
    """Starts a job that nobody waits for, which has the held outputs from then on, and says how to find it."""
    with contextlib.ExitStack() as stack:
        told = [stack.enter_context(hold.handing_over()) for hold in holds]
        found = _describe_job(pipeline.run(), parsed)
        for each in told:
            each.update(found)
    keeps = f" has the {'output' if len(holds) == 1 else 'outputs'} until it is done" if holds else ""
    print(f"tokenreel: job {plain(' '.join(found.values()))}{keeps}", file=sys.stderr)


def answer_launcher(parsed: PipelineOptions) -> None:
    """Starts a job that does nothing if the launcher of a flex template waits for one: a launch without a job counts as failed."""
    if _LAUNCH.search(parsed.view_as(GoogleCloudOptions).template_location or ""):
        note("there is nothing to do; the launcher gets a job that does nothing")
        parsed.view_as(WorkerOptions).num_workers = 1
        pipeline = beam.Pipeline(make_runner(parsed), parsed)
        _ = pipeline | "NothingToDo" >> beam.Create([None])
        hand_over(pipeline, [], parsed)


def _describe_job(result: PipelineResult, parsed: PipelineOptions) -> dict[str, str]:
    """Says how to find a job that a runner has taken: its id, and the address of its page where it has one; or its template."""
    cloud, runner = parsed.view_as(GoogleCloudOptions), parsed.view_as(StandardOptions).runner
    launched = _LAUNCH.search(cloud.template_location or "")
    if cloud.template_location and not launched:
        return {"job": f"of the template {cloud.template_location}"}
    # A launcher of a flex template has the job written to a file, and starts it under the name that the file's folder has.
    identity = launched[1] if launched else getattr(result, "job_id", None) or getattr(result, "_job_id", None)
    identity = identity() if callable(identity) else identity
    found = {"job": f"{identity or 'without an id'} on {runner}"}
    if identity and runner == _CLOUD:
        found["url"] = f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{identity}?project={cloud.project}"
    return found
