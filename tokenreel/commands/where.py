"""`tokenreel where`: what was in a step of a run.

Tested in tests/tokenreel/commands/test_run_arguments.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from tokenreel.commands import run_arguments
from tokenreel.errors import ConfigError
from tokenreel.inspection.terminal import reader_may_leave
from tokenreel.loaders import trace
from tokenreel.wording import one_line, plain, plain_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    run_arguments.add_arguments(parser)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--step", type=run_arguments.whole_number(0), help="counted from 0")
    place.add_argument(
        "--sample", type=run_arguments.whole_number(0), help="counted from 0 over all hosts: for runs whose batch size changed"
    )
    parser.add_argument("--row", type=int, action="append", help="of the global batch; may be repeated (default: all)")
    parser.add_argument("--text", action="store_true", help="decode the documents' tokens")


def run(arguments: argparse.Namespace) -> int:
    """Prints what was in a step."""
    batches = run_arguments.open_run(arguments)
    vocabulary = batches.sources[0].dataset.vocabulary() if arguments.text else None
    try:
        if arguments.sample is not None:
            found = trace.where_samples(batches, [arguments.sample], vocabulary=vocabulary)
        else:
            found = trace.where(batches, arguments.step, rows=arguments.row, vocabulary=vocabulary)
    except IndexError as error:
        raise ConfigError(str(error)) from error
    with reader_may_leave():
        for entry in found:
            print(plain_json(entry) if arguments.json else _describe(entry))
    return 0


def _describe(entry: Mapping[str, Any]) -> str:
    source = f"{one_line(entry['source'])}: " if entry["source"] else ""
    place = f"step {entry['step']:,} row {entry['row']:,}: " if "step" in entry else ""
    start, end = entry["bytes"]
    lines = [
        f"{place}{source}sample {entry['sample']:,}, epoch {entry['epoch']}, example {entry['example']:,}: "
        f"{entry['shard']} record {entry['record']:,}, bytes {start:,} to {end:,}"
    ]
    for found in entry["documents"] or []:
        metadata = "".join(f" {name}={value}" for name, value in found["metadata"].items() if value is not None)
        end = found["doc_token_start"] + found["length"]
        lines.append(one_line(f"  {found['source']}  {found['doc_id']}  tokens {found['doc_token_start']:,} to {end:,}{metadata}"))
        if "text" in found:
            lines += [f"    {line}" for line in plain(found["text"]).splitlines()]
    if entry["documents"] is None:
        lines.append("  (the dataset has no provenance tables)")
    return "\n".join(lines)
