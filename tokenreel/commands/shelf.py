"""`tokenreel shelf`: vocabularies, configs, models and small datasets under names, in a folder or a bucket.

Tested in tests/tokenreel/shelf/test_shelf.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from tokenreel.commands import run_arguments
from tokenreel.inspection.terminal import reader_may_leave
from tokenreel.shelf import shelf
from tokenreel.wording import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    push = actions.add_parser("push", help="put a file or a folder onto the shelf, and have a tag name it")
    push.add_argument("path", help="file or folder, local or gs://")
    fetch = actions.add_parser("fetch", help="print a folder with the files that were pushed, which are downloaded if they are not there")
    for action in (push, fetch):
        action.add_argument("identifier", help="name of the item")
        action.add_argument("--type", required=True, help="what it is, such as vocabulary, config, model or dataset")
        action.add_argument("--tag", default=shelf.DEFAULT_TAG, help="which version (default: %(default)s)")
    push.add_argument(
        "--replaces", metavar="DIGEST", help=f"move the tag only if it names this bundle, or {shelf.NOTHING!r}, now; else change nothing"
    )
    fetch.add_argument("--cache-dir", metavar="DIR", help="folder for unpacked bundles (default: ~/.cache/tokenreel/shelf)")
    fetch.add_argument("--lock", metavar="FILE", help="lock file: fetch what it pins, and pin what it does not pin yet")
    fetch.add_argument("--update", action="store_true", help="with --lock: pin what the tag names now")
    fetch.add_argument(
        "--max-bytes",
        type=run_arguments.whole_number(0),
        default=shelf.DEFAULT_MAX_BYTES,
        help="refuse a bundle whose files take more, before writing any (default: %(default)s)",
    )
    listed = actions.add_parser("list", help="list the tags, and the bundles that they name")
    listed.add_argument("--json", action="store_true", help="print a JSON object for each tag")
    for action in (push, fetch, listed):
        action.add_argument(
            "--shelf", metavar="DIR", help=f"directory of the shelf, local or gs:// (default: {shelf.ROOT} of the environment)"
        )


def run(arguments: argparse.Namespace) -> int:
    """Does what was asked for, and prints the tag, the folder or the list.

    Returns:
      0.
    """
    found = shelf.Shelf(arguments.shelf)
    if arguments.action == "push":
        moved = found.push(arguments.path, arguments.identifier, arguments.type, tag=arguments.tag, replaces=arguments.replaces)
        print(_describe(moved))
    elif arguments.action == "fetch":
        print(
            found.fetch(
                arguments.identifier,
                arguments.type,
                tag=arguments.tag,
                cache_dir=arguments.cache_dir,
                lock=arguments.lock,
                update=arguments.update,
                max_bytes=arguments.max_bytes,
            )
        )
    else:
        with reader_may_leave():
            for tag in found.list():
                print(json.dumps(dataclasses.asdict(tag)) if arguments.json else _describe(tag))
    return 0


def _describe(tag: shelf.Tag) -> str:
    return plain(f"{tag.item_type} {tag.identifier}@{tag.tag}  {tag.digest}  {tag.bytes:,} bytes")
