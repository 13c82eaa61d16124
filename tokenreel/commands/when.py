"""`tokenreel when`: which steps of a run see an example, or a document.

Tested in tests/tokenreel/commands/test_run_arguments.py.
"""

from __future__ import annotations

import argparse
import json

from tokenreel.commands import run_arguments
from tokenreel.errors import ConfigError
from tokenreel.inspection.terminal import reader_may_leave
from tokenreel.loaders import trace
from tokenreel.loaders.examples import Examples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    run_arguments.add_arguments(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--example", type=int, help="number of the example in the split")
    what.add_argument("--document", metavar="ID", help="id of a document: all examples that hold a part of it")
    parser.add_argument("--source", metavar="NAME", help="dataset of the mixture that the example or document belongs to")
    parser.add_argument(
        "--limit",
        type=run_arguments.whole_number(1),
        default=None,
        help="times to list for each example (default: all, or 3 for a run without end)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the steps."""
    batches = run_arguments.open_run(arguments)
    limit = 3 if arguments.limit is None and batches.plan.length is None else arguments.limit
    names = [source.name for source in batches.sources]
    if arguments.source is None and len(names) > 1:
        raise ConfigError(f"say which dataset of the mixture is meant: --source {' or '.join(names)}")
    source = names.index(arguments.source) if arguments.source in names else 0
    if arguments.source is not None and arguments.source not in names:
        raise ConfigError(f"the run has no source {arguments.source!r}; there are {', '.join(map(repr, names))}")
    dataset = batches.sources[source].dataset
    examples = [arguments.example] if arguments.document is None else _examples_of(dataset, arguments.document)
    with reader_may_leave():
        for example in examples:
            try:
                found = trace.when(batches, example, source, limit=limit)
            except IndexError as error:
                raise ConfigError(str(error)) from error
            for entry in found:
                if arguments.json:
                    print(json.dumps({"example": example} | dict(entry)))
                else:
                    print(
                        f"example {example:,}: step {entry['step']:,}, row {entry['row']:,} (epoch {entry['epoch']}, sample "
                        f"{entry['sample']:,})"
                    )
    return 0


def _examples_of(dataset: Examples, document: str) -> list[int]:
    """Finds the examples that hold a document.

    Raises:
      ConfigError: none does, or the dataset has no provenance tables.
    """
    try:
        found = trace.examples_of(dataset, document)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{dataset.path}: has no provenance tables, which say where documents are: it was built with shards.provenance: false"
        ) from error
    if not found:
        raise ConfigError(f"{dataset.path}: no example of split {dataset.split!r} holds a document {document!r}")
    return found
