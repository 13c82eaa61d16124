"""A finished dataset to a report on it: `tokenreel verify DATASET --runner=RUNNER`.

Tested in tests/pipelines/test_verify.py.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import local
from tokenreel.commands import verify
from tokenreel.config import paths
from tokenreel.errors import ConfigError
from tokenreel.format import cache_manifest, features, mixture_manifest, pointer
from tokenreel.inspection.parts import Facts
from tokenreel.inspection.verification import differences
from tokenreel.storage import files, pooled
from tokenreel.storage.claims import Folder
from tokenreel.storage.stored_value import StoredValue
from tokenreel.wording import plain, plural
from transforms.verify_dataset import REPORT, ConcludeReport, VerifyDataset


def build(root: beam.Pipeline, facts: StoredValue[Facts], folder: Folder) -> beam.PCollection[str]:
    """Shards and provenance tables of a dataset to a report in a folder, whose path comes out."""
    return root | "Once" >> beam.Create([None]) | VerifyDataset(facts, folder)


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str]) -> int:
    """Checks a dataset on the runner that Beam's options name, and lists every difference.

    Returns:
      0 for a sound dataset, or a job that nobody waits for; 1 otherwise.

    Raises:
      TokenreelError: the job cannot be started, or fails.
    """
    local.quiet_logging()
    parsed = local.options(beam_arguments, releases_gil=True)
    leaves = local.leaves(parsed, no_wait=arguments.no_wait)
    arguments.directory = pointer.follow(arguments.directory)
    directory = paths.resolve(arguments.directory, os.getcwd())  # workers may have another working directory
    local.check_paths(parsed, [("DATASET", directory), ("--temp_location", local.temporary_location(parsed) or "what is not given")])
    local.check_endpoint(parsed)
    local.check_threads(local.threads(parsed))
    if leaves:
        return _leave(parsed, arguments.directory, directory)

    def conclude(note: Callable[[str], None], facts: Facts) -> Iterator[str]:
        with _folder(parsed) as folder:
            _check(parsed, dataclasses.replace(facts, directory=directory), folder)
            with files.open_read(files.join(folder, REPORT)) as report:
                for said in map(json.loads, report):
                    if "note" in said:
                        note(said["note"])
                    else:
                        yield said["line"]

    return verify.run(arguments, conclude)


def _leave(parsed: PipelineOptions, called: str, directory: str) -> int:
    """Starts a job that nobody waits for, and that fails over a difference; where one stands beside the shards, lists those instead.

    Returns:
      0 if the job was taken, 1 otherwise.

    Raises:
      ConfigError: there is no folder for the job, or nothing for it to do.
    """
    where = local.temporary_location(parsed)
    if where is None:
        raise ConfigError("--no-wait: the job needs a folder that stays when this command ends. Give one with --temp_location.")
    if any(kind.find(called) is not None for kind in (cache_manifest, mixture_manifest, features)):
        raise ConfigError(
            f"{called}: is the cache of a task or a mixture, which is checked in this process, as features are. Leave --no-wait and Beam's "
            "options out."
        )
    taken: list[Facts] = []

    def take(facts: Facts) -> Iterator[str]:
        taken.append(facts)
        return iter(())

    if verify.print_all(called, differences(called, note=local.note, conclude=take)):
        local.note("no job was started: what is named here stands beside the shards, which were not read")
        return 1
    folder = Folder(_name_folder(where))
    for facts in taken:
        with _telling(parsed, facts):
            pipeline = beam.Pipeline(local.make_runner(parsed), parsed)
            report = build(pipeline, StoredValue.store(folder.path, "facts", dataclasses.replace(facts, directory=directory)), folder)
            _ = report | ConcludeReport(called, folder)
            local.hand_over(pipeline, (), parsed)
    return 0


def _name_folder(where: str) -> str:
    """Names a folder of a job's own."""
    return files.join(paths.resolve(where, os.getcwd()), f"tokenreel-verify-{secrets.token_hex(8)}")


@contextlib.contextmanager
def _telling(parsed: PipelineOptions, facts: Facts) -> Iterator[None]:
    """Says what is checked where, and tells in a line what goes wrong with it."""
    count = sum(len(split.shards) for split in facts.manifest.splits.values())
    print(f"tokenreel: checking {plain(facts.called)}, {plural(count, 'shard')}, {local.describe(parsed)}", file=sys.stderr)
    with local.plain_errors(), local.guard():
        yield


def _check(parsed: PipelineOptions, facts: Facts, folder: str) -> None:
    """Runs the job."""
    with _telling(parsed, facts):
        pipeline = beam.Pipeline(local.make_runner(parsed), parsed)
        build(pipeline, StoredValue.store(folder, "facts", facts), Folder(folder))
        pipeline.run().wait_until_finish()


@contextlib.contextmanager
def _folder(parsed: PipelineOptions) -> Iterator[str]:
    """Makes a folder of the job's own where all workers can write, never in the dataset, and removes it."""
    where = local.temporary_location(parsed)
    if where is None:
        with tempfile.TemporaryDirectory(prefix="tokenreel-verify-") as folder:
            yield folder
        return
    folder = _name_folder(where)
    try:
        yield folder
    finally:
        pooled.remove_tree(folder)
