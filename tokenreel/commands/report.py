"""Writes what a dataset or a task's cache consists of as one HTML page.

Tested in tests/tokenreel/inspection/test_report.py and tests/tokenreel/commands/test_caches.py.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from tokenreel.errors import ConfigError
from tokenreel.format import cache_manifest, features, naming, pointer
from tokenreel.format.features import FeatureManifest
from tokenreel.inspection import cache_report
from tokenreel.inspection.cache_report import SplitFacts
from tokenreel.inspection.report import write
from tokenreel.storage import files
from tokenreel.tasks import caching
from tokenreel.wording import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("directory", help="dataset, a pointer to one, the cache of a task, or features, local or gs://")
    parser.add_argument("--output", metavar="FILE", help=f"the page to write, in place of {naming.REPORT} in the directory")


def run(arguments: argparse.Namespace) -> int:
    """Writes the report and prints where it is.

    Raises:
      ConfigError: the output is a directory.
    """
    arguments.directory = pointer.follow(arguments.directory)
    if arguments.output and not files.is_remote(arguments.output) and os.path.isdir(arguments.output):
        page = files.join(arguments.output, naming.REPORT)
        raise ConfigError(f"--output {arguments.output}: a directory, and the report is one page. Name the file to write, such as {page}.")
    if (store := features.find(arguments.directory)) is not None:
        page = _write_of_features(arguments.directory, store, arguments.output)
    else:
        page = (_write_of_cache if caching.is_cache(arguments.directory) else write)(arguments.directory, arguments.output)
    print(plain(page))
    return 0


def _write_of_cache(directory: str, output: str | None) -> str:
    """Does for the cache of a task, ours or SeqIO's, what `write` does for a dataset.

    Raises:
      ManifestError: a file that the page is made of is missing, or not what was written.
    """
    manifest = cache_manifest.find(directory)
    if manifest is not None:
        about = f"cache of task {manifest.task}, fingerprint {manifest.fingerprint}, made by tokenreel {manifest.tokenreel_version}"
        facts, made_of = cache_report.of_manifest(directory, manifest), manifest.identity
    else:
        about, made_of = "cache of a task, made by SeqIO, which keeps no digests and does not say of what", {}
        facts = {split: _facts_of_seqio(directory, split) for split in caching.splits_of(directory)}
    return _write_page(directory, output, about, facts, made_of)


def _write_of_features(directory: str, manifest: FeatureManifest, output: str | None) -> str:
    """Does for features what `write` does for a dataset.

    Raises:
      ManifestError: a file that the page is made of is missing, or not what was written.
    """
    about = f"features of dataset {manifest.dataset}, fingerprint {manifest.fingerprint}, made by tokenreel {manifest.tokenreel_version}"
    facts = cache_report.of_features(directory, manifest)
    return _write_page(directory, output, about, facts, {"model": dict(manifest.model), **manifest.identity})


def _write_page(directory: str, output: str | None, about: str, facts: Mapping[str, SplitFacts], made_of: Mapping[str, Any]) -> str:
    title = directory.rstrip("/").rpartition("/")[2] or directory
    target = output or files.join(directory, naming.REPORT)
    files.write_bytes(target, cache_report.render(title, about, facts, made_of).encode())
    return target


def _facts_of_seqio(directory: str, split: str) -> cache_report.SplitFacts:
    records = caching.open_cached(directory, split)
    shards = [(name, size) for name, size in sorted(files.list_files(directory).items()) if name.startswith(f"{split}.tfrecord-")]
    return cache_report.of_records(records, records.stats, shards)
