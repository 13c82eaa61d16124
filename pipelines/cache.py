"""`tokenreel cache`: lists and clears stage files that builds have kept.

Tested in tests/pipelines/test_token_cache.py.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence

from tokenreel.config import reading as configs
from tokenreel.config.build import JobConfig
from tokenreel.errors import ConfigError
from tokenreel.inspection.terminal import reader_may_leave
from tokenreel.staging.token_cache import Entry, choose, read, uses
from tokenreel.storage import files, links, pooled
from tokenreel.wording import plain, plural

_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def table(entries: Sequence[Entry], foreign: int) -> str:
    """Lays out what `tokenreel cache list` prints: the stage files by how they were made, then what is left over.

    Args:
      entries: the files of a stage directory.
      foreign: number of other files in it.
    """
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        if entry.state is Entry.State.SOUND:
            groups.setdefault(entry.group, []).append(entry)
    lines = []
    for group, members in sorted(groups.items()):
        source, vocabulary, filters, sentences, version = group
        lines.append(f"{source}  vocabulary {vocabulary}  filters {filters}  sentences {sentences}  {version}")
        lines.append(f"    {_sums(members)}, last used {_date(max(entry.used for entry in members))}")
    lines.append(f"total: {_sums([entry for entry in entries if entry.state is Entry.State.SOUND])}")
    for state, meaning in ((Entry.State.TEMPORARY, "unfinished writes"), (Entry.State.DAMAGED, "damaged or of another version")):
        members = [entry for entry in entries if entry.state is state]
        if members:
            lines.append(
                f"{meaning}: {plural(len(members), 'file')}, {_size(sum(entry.bytes for entry in members))}; "
                "`tokenreel cache clean` removes them"
            )
    if foreign:
        lines.append(f"{plural(foreign, 'other file')}, which no build wrote and no command touches")
    return "\n".join(lines)


def _sums(members: Sequence[Entry]) -> str:
    blocks = len({entry.block for entry in members})
    documents, tokens, size = (sum(getattr(entry, name) for entry in members) for name in ("documents", "tokens", "bytes"))
    return f"{plural(blocks, 'block')}, {plural(documents, 'document')}, {plural(tokens, 'token')}, {_size(size)}"


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def seconds(text: str) -> float:
    """Reads a duration, in seconds.

    >>> seconds("30d"), seconds("12h")
    (2592000.0, 43200.0)

    Raises:
      ConfigError: the text is no number of hours, days or weeks.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    if match is None:
        raise ConfigError(f"--older-than {text}: write a number and h, d or w, for example 30d")
    return float(match[1]) * _UNITS[match[2]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what is there, and what configs would find")
    listing.add_argument("directory", type=files.expand, help="an execution.stage directory, local or gs://")
    listing.add_argument(
        "--config", nargs="+", default=[], metavar="CONFIG", help="say what a build of each would find and what it would tokenize"
    )
    cleaning = actions.add_parser("clean", help="remove unfinished and damaged files, and the others that all conditions hold for")
    cleaning.add_argument("directory", type=files.expand, help="an execution.stage directory, local or gs://")
    cleaning.add_argument("--older-than", metavar="AGE", help="not used for so long: 12h, 30d, 8w")
    cleaning.add_argument("--vocabulary", metavar="FINGERPRINT", help="made with this vocabulary; its first digits are enough")
    cleaning.add_argument("--source", metavar="NAME", help="made from the source of this name")
    cleaning.add_argument("--unused-by", nargs="+", default=[], metavar="CONFIG", help="that a build of none of these configs would find")
    cleaning.add_argument("--all", action="store_true", help="every stage file")
    cleaning.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    for command in (listing, cleaning):
        command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting of the configs")


def run(arguments: argparse.Namespace) -> int:
    """Lists or clears a stage directory.

    Returns:
      The exit code, 0.

    Raises:
      ConfigError: there is no such directory, or a config or the duration cannot be read.
    """
    directory = links.follow(arguments.directory, "DIRECTORY", lambda line: print(f"tokenreel: note: {line}", file=sys.stderr))
    entries, foreign = read(directory)
    planned = arguments.action == "list" and arguments.config  # of builds to come: the first of them makes the directory
    missing = not (entries or foreign) and (files.is_remote(arguments.directory) or not os.path.isdir(arguments.directory))
    if missing and not planned:
        raise ConfigError(f"{arguments.directory}: no such directory. Give the one that execution.stage names in a config.")
    with reader_may_leave():
        if arguments.action == "list":
            print(plain(table(entries, foreign)))
            for path in arguments.config:
                for use in uses(configs.read(JobConfig, path, arguments.set), entries):
                    print(
                        f"{plain(path)}: {plain(use.source)}: {use.hits:,} of {use.blocks:,} blocks are here; "
                        f"{_size(use.missing_bytes)} of {_size(use.bytes)} of files would be tokenized"
                    )
            return 0
        chosen = choose(
            entries,
            older_than=None if arguments.older_than is None else seconds(arguments.older_than),
            vocabulary=arguments.vocabulary,
            source=arguments.source,
            unused_by=[configs.read(JobConfig, path, arguments.set) for path in arguments.unused_by],
            everything=arguments.all,
        )
        size = sum(entry.bytes for entry in chosen)
        if arguments.dry_run:
            for entry in chosen:
                print(plain(entry.name))
            print(f"would remove {len(chosen):,} of {plural(len(entries), 'file')}, {_size(size)} (nothing was removed)")
            return 0
        pooled.remove(entry.path for entry in chosen)
        print(f"removed {len(chosen):,} of {plural(len(entries), 'file')}, {_size(size)}")
    return 0
