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
from tokenreel.format import pointer
from tokenreel.inspection.parts import Facts
from tokenreel.storage import files, pooled
from tokenreel.storage.claims import Folder
from tokenreel.storage.stored_value import StoredValue
from tokenreel.wording import plain, plural
from transforms.verify_dataset import REPORT, VerifyDataset


def build(root: beam.Pipeline, facts: StoredValue[Facts], folder: Folder) -> None:
    """Shards and provenance tables of a dataset to a report in a folder."""
    _ = root | "Once" >> beam.Create([None]) | VerifyDataset(facts, folder)


def run(arguments: argparse.Namespace, beam_arguments: Sequence[str]) -> int:
    """Checks a dataset on the runner that Beam's options name, and lists every difference.

    Returns:
      0 for a sound dataset, 1 otherwise.

    Raises:
      TokenreelError: the job cannot be started, or fails.
    """
    local.quiet_logging()
    parsed = local.options(beam_arguments, releases_gil=True)
    arguments.directory = pointer.follow(arguments.directory)
    directory = paths.resolve(arguments.directory, os.getcwd())  # workers may have another working directory
    local.check_directories(parsed, directory)
    local.check_endpoint(parsed)
    local.check_threads(local.threads(parsed))

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


def _check(parsed: PipelineOptions, facts: Facts, folder: str) -> None:
    """Runs the job."""
    count = sum(len(split.shards) for split in facts.manifest.splits.values())
    print(f"tokenreel: checking {plain(facts.called)}, {plural(count, 'shard')}, {local.describe(parsed)}", file=sys.stderr)
    with local.plain_errors(), local.guard():
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
    folder = files.join(paths.resolve(where, os.getcwd()), f"tokenreel-verify-{secrets.token_hex(8)}")
    try:
        yield folder
    finally:
        pooled.remove_tree(folder)
