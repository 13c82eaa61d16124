"""`tokenreel when`: which steps of a run see an example, or a document."""

from __future__ import annotations

import argparse
import json

from tokenreel.errors import ConfigError
from tokenreel.loaders import trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    trace.add_run_arguments(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--example", type=int, help="number of the example in the split")
    what.add_argument("--document", metavar="ID", help="id of a document: all examples that hold a part of it")
    parser.add_argument("--limit", type=int, default=None, help="times to list for each example (default: all, or 3 for a run without end)")


def run(arguments: argparse.Namespace) -> int:
    """Prints the steps."""
    dataset, batches = trace.open_run(arguments)
    limit = 3 if arguments.limit is None and arguments.epochs is None else arguments.limit
    if arguments.document is None:
        examples = [arguments.example]
    elif not (examples := trace.examples_of(dataset, arguments.document)):
        raise ConfigError(f"{arguments.dataset}: no example of split {arguments.split!r} holds a document {arguments.document!r}")
    for example in examples:
        try:
            found = trace.when(batches, example, limit=limit)
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
