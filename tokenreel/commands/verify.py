"""Checks every byte and every number of a dataset."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tokenreel.errors import ManifestError
from tokenreel.format import cache_manifest, features, mixture_manifest, pointer
from tokenreel.format import manifest as manifests
from tokenreel.inspection import cache_check, feature_check, mixture_check
from tokenreel.inspection.parts import Facts
from tokenreel.inspection.terminal import reader_may_leave
from tokenreel.inspection.trust import taken_on_trust
from tokenreel.inspection.verification import differences, quick_differences
from tokenreel.wording import plain, plural

Conclude = Callable[[Callable[[str], None], Facts], Iterator[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("directory", help="dataset, or a pointer to one, local or gs://")
    parser.add_argument(
        "--quick", action="store_true", help="compare names, sizes and, in a bucket, the CRC32C it keeps, from one listing; reads no file"
    )
    parser.add_argument("--quiet", action="store_true", help="print differences only")


def run(arguments: argparse.Namespace, conclude: Conclude | None = None) -> int:
    """Lists every difference on standard output.

    Args:
      arguments: of the command line.
      conclude: checks the shards and all that follows from them, elsewhere, and is given what to tell of what could not be checked.

    Returns:
      0 for a sound dataset, 1 otherwise.
    """
    quiet = arguments.quiet
    arguments.directory = pointer.follow(arguments.directory)
    started = time.monotonic()

    def say(line: str) -> None:
        if not quiet:
            print(f"tokenreel: {plain(line)}", file=sys.stderr, flush=True)

    cache = cache_manifest.find(arguments.directory)
    if cache is not None:
        return _verify_cache(arguments, f"Cache of task {cache.task}", cache, cache_check.differences)
    order = mixture_manifest.find(arguments.directory)
    if order is not None:
        return _verify_cache(arguments, f"Cached order of mixture {order.mixture}", order, mixture_check.differences)
    try:
        store = features.find(arguments.directory)
    except ManifestError as error:
        return print_all(arguments.directory, iter([str(error)]))
    if store is not None:
        return _verify_cache(arguments, f"Features of dataset {store.dataset}", store, feature_check.differences)
    reading = say if sys.stderr.isatty() else lambda line: None
    if arguments.quick:
        found = quick_differences(arguments.directory)
    else:
        job = None if conclude is None else functools.partial(conclude, say)
        found = differences(arguments.directory, note=say, progress=lambda name: reading(f"reading {name}"), conclude=job)
    if print_all(arguments.directory, found):
        return 1
    if not quiet:
        manifest = manifests.read(arguments.directory)
        shards = [shard for split in manifest.splits.values() for shard in split.shards]
        size = sum(shard.bytes for shard in shards)
        seconds = max(time.monotonic() - started, 1e-9)
        rate = f" ({size / 1e6 / seconds:,.0f} MB/s)" if seconds > 5 and not arguments.quick else ""
        verdict = "sound" if not arguments.quick else "names, sizes and known checksums are those of the manifest"
        print(
            f"{plain(arguments.directory)}: {verdict}. {plural(sum(shard.records for shard in shards), 'record')} in "
            f"{plural(len(shards), 'shard')}, {size / 1e6:,.1f} MB, checked in {seconds:.1f} s{rate}\nfingerprint: {manifest.fingerprint}"
        )
        if arguments.quick:
            print("no file was read: `tokenreel verify` without --quick compares every byte and every number")
            return 0
        for each in taken_on_trust(manifest):
            print(f"taken on trust: {each.what}")
    return 0


def print_all(directory: str, found: Iterator[str]) -> int:
    """Prints differences as they are found, and how many there are, which it returns."""
    count = 0
    with reader_may_leave():
        for line in found:
            count += 1
            print(plain(line), flush=True)
    if count:
        print(plain(f"{directory}: {plural(count, 'difference')}"), file=sys.stderr)
    return count


def _verify_cache(arguments: argparse.Namespace, what: str, manifest: Any, compare: Callable[..., Iterator[str]]) -> int:
    """Does for the cache of a task or a mixture, and for features, what `run` does for a dataset."""
    if print_all(arguments.directory, compare(arguments.directory, manifest, quick=arguments.quick)):
        return 1
    if not arguments.quiet:
        verdict = "names and sizes are those of the manifest" if arguments.quick else "sound"
        told = ", ".join(f"{split} {plural(found.examples, 'example')}" for split, found in manifest.splits.items())
        print(plain(f"{arguments.directory}: {verdict}. {what}: {told}\nfingerprint: {manifest.fingerprint}"))
    return 0
